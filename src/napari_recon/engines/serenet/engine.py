"""The engines `serenet.reconstruct` and `serenet.refocus`: what they declare and plan. No torch until they run."""

from __future__ import annotations

from collections.abc import Iterator

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.light_field_optics import load_optics
from napari_recon.engines.serenet.compat import SCRIPTS
from napari_recon.engines.serenet.layout import HALO_YX, HALO_Z, NetworkField, bounds_of, tiles_of, working_device
from napari_recon.engines.serenet.models import check_pages, geometry_for, options_of, reconstructing
from napari_recon.engines.serenet.params import RefocusParams, SerenetParams
from napari_recon.engines.serenet.prestep import PAPER, VIEWS
from napari_recon.optics.lightfield_geometry import LightFieldGeometry
from napari_recon.optics.psf_shift import check_field, other_pixel_um


class Reconstruct(FrameEngine[SerenetParams]):
    """The networks that make volumes: the published or your own weights, exact tiles of any size."""

    Params = SerenetParams
    info = EngineInfo(
        name="serenet.reconstruct",
        kind="reconstruct",
        title="SeReNet and other networks (light field)",
        summary="Volume from a light field with a trained SeReNet, F-SeReNet, RL-Net, VCD-Net or HyLFM-Net",
        inputs=(VIEWS,),
        outputs=(OutputInfo(name="volume", axes="ZYX", description="the volume on the fine grid"),),
        needs_model="required",
        halo=(
            f"SeReNet {HALO_YX['serenet']} light-field pixels and {HALO_Z['serenet']} planes, "
            f"F-SeReNet {HALO_YX['fserenet']} and {HALO_Z['fserenet']}, RL-Net {HALO_YX['rlnet']} and {HALO_Z['rlnet']}, "
            "beyond the shift of the views; "
            f"HyLFM-Net {HALO_YX['hylfmnet']} and {HALO_Z['hylfmnet']}, VCD-Net {HALO_YX['vcdnet']}"
        ),
        roi_tolerance=1e-5,
        references=(PAPER,),
    )

    def outputs_of(self, refs: Refs, params: SerenetParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        geometry = _geometry_of(params, model)
        check_pages(_main(refs).size("V"), reconstructing(model), geometry)
        return (_volume_of(refs, geometry),)

    def resources(
        self,
        refs: Refs,
        params: SerenetParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`. Tiles are counted in light-field pixels."""
        grid = _main(refs)
        network, geometry = reconstructing(model), _geometry_of(params, model)
        field = _field(network, geometry, (grid.size("Y"), grid.size("X")), compute)
        if params.compat == "upstream":
            SCRIPTS[network.architecture].with_sizes(params.tile_size, params.overlap, geometry.scanning)
        elif params.batch_norm == "batch" and network.architecture == "vcdnet":
            raise InputError(
                "batch_norm=batch makes a result depend on how the field is cut and so needs compat=upstream; choose stored"
            )
        frame_bytes = 4 * (grid.size("V") + geometry.views) * grid.size("Y") * grid.size("X")
        edge = field.tile(params.tile_size, max(0, compute.memory_bytes - frame_bytes))
        tiles = tiles_of(box, edge, geometry.upsampling)
        reads = [[hi - lo for lo, hi in (field.read(0, y), field.read(1, x))] for _, y, x in map(bounds_of, tiles)]
        kept = 4 * outputs[0].grid.shape[0] * field.volume_yx[0] * field.volume_yx[1] if params.compat == "upstream" else 0
        return Resources(
            tile={"y": edge, "x": edge},
            tiles=len(tiles),
            memory_bytes=frame_bytes + kept + max(field.memory(y, x) for y, x in reads),
            work=sum(field.work(tile) for tile in tiles),
            warnings=_pixel_size_warning(grid, geometry),
            details={"tile_size": edge, "psf_shift": geometry.name},
        )

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.serenet.pipeline import reconstruct

        params = self.params_of(plan)
        network, geometry = reconstructing(plan.model), _geometry_of(params, plan.model)
        views = frame["views"]
        field = _field(network, geometry, views.shape[-2:], plan.compute)
        yield from reconstruct(plan, params, geometry, field, views, index, token)


class Refocus(FrameEngine[RefocusParams]):
    """Shift-and-combine refocusing: no model, seconds, the baseline of everything else."""

    Params = RefocusParams
    info = EngineInfo(
        name="serenet.refocus",
        kind="reconstruct",
        title="Refocus (light field)",
        summary="Focal stack from a light field by shifting and averaging its views; needs no model",
        inputs=(VIEWS,),
        outputs=(OutputInfo(name="volume", axes="ZYX", description="the focal stack on the fine grid"),),
        halo="the largest shift of a view (15 light-field pixels for Nnum 13)",
        roi_tolerance=1e-5,
        references=(PAPER,),
    )

    def outputs_of(self, refs: Refs, params: RefocusParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        return (_volume_of(refs, load_optics(params.psf_shift).with_planes(params.planes)),)

    def resources(
        self,
        refs: Refs,
        params: RefocusParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        grid = _main(refs)
        geometry = load_optics(params.psf_shift).with_planes(params.planes)
        z, y, x = bounds_of(box)
        pixels = (y[1] - y[0]) * (x[1] - x[0]) / geometry.upsampling**2
        frame_bytes = 4 * (grid.size("V") + geometry.views) * grid.size("Y") * grid.size("X")
        per_plane = 4 * pixels * (5 * geometry.views + 3 * geometry.upsampling**2)
        planes = int(min(16, max(1, min(compute.memory_bytes - frame_bytes, 2**28) // per_plane)))
        return Resources(
            tile={"z": planes},
            tiles=-(-(z[1] - z[0]) // planes),
            memory_bytes=int(frame_bytes + planes * per_plane),
            work=20.0 * pixels * geometry.views * (z[1] - z[0]),
            warnings=_pixel_size_warning(grid, geometry),
            details={"planes_at_once": planes, "psf_shift": geometry.name},
        )

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.serenet.pipeline import refocus

        params = self.params_of(plan)
        geometry = load_optics(params.psf_shift).with_planes(params.planes)
        yield from refocus(plan, params, geometry, frame["views"], token)


def _field(model: ModelRef, geometry: LightFieldGeometry, field_yx: tuple[int, int], compute: Compute) -> NetworkField:
    factors = {"rlnet": 0, "vcdnet": 16, "hylfmnet": 4}
    factor = factors.get(model.architecture)
    return NetworkField(
        architecture=model.architecture,
        factor=round(2 * options_of(model)["second_up"]) if factor is None else factor,
        planes=geometry.planes,
        field_yx=field_yx,
        volume_yx=geometry.volume_yx(*field_yx),
        device=working_device(compute.device),
        threads=compute.threads,
    )


def _geometry_of(params: SerenetParams, model: ModelRef | None) -> LightFieldGeometry:
    return geometry_for(params.psf_shift, params.planes, reconstructing(model))


def _main(refs: Refs) -> Grid:
    grid = refs["views"][0].grid
    assert grid is not None  # checked by the base class
    return grid


def _volume_of(refs: Refs, geometry: LightFieldGeometry) -> OutputSpec:
    grid = _main(refs)
    geometry.page_indices(grid.size("V"))
    check_field(geometry, grid)
    return OutputSpec(name="volume", grid=geometry.volume_of(grid))


def _pixel_size_warning(grid: Grid, geometry: LightFieldGeometry) -> tuple[str, ...]:
    expected = geometry.fine_pixel_um * geometry.upsampling
    found = other_pixel_um(grid, expected)
    if found is None:
        return ()
    return (
        f"the light-field pixel is {found:.4g} um in the data, psf_shift {geometry.name} belongs to {expected:.4g} um; "
        "depths and sharpness are right only for the microscope the psf_shift describes",
    )
