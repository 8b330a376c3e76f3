"""deconvolution.rl: what it takes and gives, and its plan. No torch is imported before a run."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_recon.core.arrange import Arrangement
from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs, read_frame
from napari_recon.core.grid import Grid
from napari_recon.core.params import make_params
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.deconvolution.rl_params import RLParams, common_grid, spatial, voxel_um

if TYPE_CHECKING:
    from napari_recon.engines.deconvolution.volumes.run import VolumeRun

VIEWS = InputSpec(
    name="views",
    axes="ZYX",
    also=("VZYX", "YX"),
    many=True,
    description="the volume as each microscope sees it, on one grid (or one file with an axis V; or single planes)",
)
PSF = InputSpec(
    name="psf",
    axes="ZYX",
    also=("VZYX", "YX"),
    many=True,
    required=False,
    accepts=("psf",),
    description="the PSF of each view, or one for all; the middle voxel (n // 2) is its origin",
)
OUTPUTS = (
    OutputInfo(name="volume", axes="ZYX", description="the estimate, on the grid of the views"),
    OutputInfo(
        name="report", kind="report", description="iterations, reduced deviance, background, brightness of the views"
    ),
)
REFERENCES = ("10.1364/JOSA.62.000055", "10.1086/111605", "10.1364/AO.36.001766", "10.1002/jemt.20294")

#: Voxels of a window's core along z, y, x; smaller ones where memory is short.
CORES = ((256, 192, 192), (128, 128, 128), (64, 96, 96), (32, 64, 64), (32, 32, 32))


class DeconvolutionRL(FrameEngine[RLParams]):
    """Richardson-Lucy deconvolution of volumes seen by one or several microscopes."""

    Params = RLParams
    info = EngineInfo(
        name="deconvolution.rl",
        kind="reconstruct",
        title="Richardson-Lucy",
        summary="Deconvolution of volumes or planes with a measured, Gaussian or computed PSF; needs no model",
        inputs=(VIEWS, PSF),
        outputs=OUTPUTS,
        halo="the reach of the PSF (1 % of its light per axis lies beyond); windows lie where those of the whole field do",
        roi_tolerance=1e-6,
        references=REFERENCES,
    )
    _run: VolumeRun | None = None

    def plan(self, refs: Sequence[InputRef], params: Mapping[str, Any], *rest: Any, **named: Any) -> Plan:
        """See `Engine.plan`; one setting is known here alone: how many views there are."""
        values = make_params(self.Params, params, self.info.name)
        views = sum(_count(ref) for ref in refs if ref.name == "views")
        psfs = sum(_count(ref) for ref in refs if ref.name == "psf")
        if views and psfs not in (0, 1, views):
            raise InputError(
                f"there should be one PSF for each of the {views} views, or one for all, found {psfs}; give them in the "
                "order of the views (--input psf=FILE, repeated)"
            )
        if views and len(values.weights) not in (0, views):
            raise InputError(
                f"weights should hold one number for each of the {views} views, found {len(values.weights)}; correct it"
            )
        if values.weights and min(values.weights) <= 0:
            raise InputError(f"weights should be above 0, found {min(values.weights):g}; leave a view out instead")
        return super().plan(refs, params, *rest, **named)

    def checked_grid(self, spec: InputSpec, ref: InputRef) -> Grid:
        """Return a grid without its axis V, of volumes or of planes."""
        grid = ref.grid
        if grid is not None and "V" in grid.axes:
            grid = grid.only(grid.axes.replace("V", ""))
        if grid is not None and "Z" not in grid.axes and set("YX") <= set(grid.axes) <= {*"YX", *spec.loops}:
            return grid
        return super().checked_grid(spec, ref.model_copy(update={"grid": grid}))

    def outputs_of(self, refs: Refs, params: RLParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        views = [ref.model_copy(update={"grid": self.checked_grid(VIEWS, ref)}) for ref in refs["views"]]
        grid = common_grid(views)
        if min(spatial(grid).shape[-2:]) < 2:
            raise InputError(f"views should have at least 2 x 2 pixels, found {grid.shape}; choose other data")
        if not refs["psf"] and not (params.psf_fwhm_um or params.psf_model != "gaussian"):
            raise InputError(
                "a PSF is needed, found neither the input psf nor psf_fwhm_um; give PSF files (--input psf=FILE), the width "
                "of a Gaussian one (psf_fwhm_um), or psf_model and the optics"
            )
        return (OutputSpec(name="volume", grid=grid, optics=refs["views"][0].optics),)

    def resources(
        self,
        refs: Refs,
        params: RLParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        grid = outputs[0].grid
        views = sum(_count(ref) for ref in refs["views"])
        field = [grid.size(axis) for axis in "ZYX"]
        halo = _halo(refs["psf"], grid, field, params)
        chosen = [(params.tile_size,) * 3] if params.tile_size else CORES
        for cores in chosen:
            solved = [min(n, core + 2 * h) + 2 * h for n, core, h in zip(field, cores, halo, strict=True)]
            memory = 4 * math.prod(solved) * (2 * views + 14) + 8 * views * math.prod(field) + 2**26
            if memory <= compute.memory_bytes:
                break
        wanted = [box.bounds(axis, n) for axis, n in zip("ZYX", field, strict=True)]
        whole = [n <= core + 2 * h for n, core, h in zip(field, cores, halo, strict=True)]
        pieces = [
            1 if one else (hi - 1) // core - lo // core + 1 for one, (lo, hi), core in zip(whole, wanted, cores, strict=True)
        ]
        iterations = 30 if isinstance(params.iterations, str) else params.iterations
        voxels = math.prod(solved)
        return Resources(
            tile=dict(zip("zyx", cores, strict=True)),
            tiles=math.prod(pieces),
            memory_bytes=memory,
            work=10.0 * math.prod(pieces) * iterations * views * voxels * math.log2(max(voxels, 2)),
        )

    def prepared(self, plan: Plan) -> DeconvolutionRL:
        """Return a copy that keeps transfer functions and what was decided for all frames."""
        return self if self._run is not None else copy.copy(self)

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Fix automatic iterations on the recording's first frame, also when it is not among the selected ones."""
        worker = self.prepared(plan)
        if plan.starts_later and isinstance(self.params_of(plan).iterations, str):
            frame = {spec.name: self._read(spec, inputs.get(spec.name, ()), {"T": 0, "C": 0}) for spec in self.info.inputs}
            run = worker._run_of(plan, frame)
            if run.undecided:
                yield from run.decide(_volumes(frame["views"]), token)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        yield from self._run_of(plan, frame).frame(_volumes(frame["views"]), index, token)

    def _run_of(self, plan: Plan, frame: Frame) -> VolumeRun:
        """Return the run, made with the first frame's PSFs."""
        if self._run is None:
            from napari_recon.engines.deconvolution.volumes import psf
            from napari_recon.engines.deconvolution.volumes.run import VolumeRun

            params, views = self.params_of(plan), len(frame["views"])
            data = spatial(plan.whole["volume"])
            grids = [spatial(ref.grid) for ref in plan.inputs if ref.name == "psf" and ref.grid for _ in range(_count(ref))]
            said: list[str] = []
            if frame["psf"]:
                psfs = []
                for number, (array, grid) in enumerate(zip(_volumes(frame["psf"]), grids, strict=True), 1):
                    one, sentences = psf.measured(array, grid, data, number)
                    psfs.append(one)
                    said += sentences
            else:
                ref = plan.input("views")
                assert ref is not None
                psfs = psf.modelled(params, views, data, ref, plan.starts.get("C", 0))
            self._run = VolumeRun(plan, params, psfs * (views if len(psfs) == 1 else 1), said)
        return self._run

    def _read(self, spec: InputSpec, things: Sequence[Any], index: Mapping[str, int]) -> Any:
        stacks = [stack for thing in things for stack in _views_of(thing)]
        return [read_frame(stack, _as_planes(spec, stack), index, spec.name == "psf") for stack in stacks]


def _count(ref: InputRef) -> int:
    return ref.grid.size("V") if ref.grid else 1


def _halo(psfs: Sequence[InputRef], grid: Grid, field: Sequence[int], params: RLParams) -> list[int]:
    """Return the reach of the PSFs per axis (z, y, x) in voxels of the data, as far as headers tell."""
    data, reach = voxel_um(grid), [0, 0, 0]
    for ref in psfs:
        assert ref.grid is not None
        own = voxel_um(ref.grid)
        for axis, name in enumerate("ZYX"):
            factor = own[axis] / data[axis] if own and data else 1.0
            reach[axis] = max(reach[axis], math.ceil(ref.grid.size(name) // 2 * factor))
    if not psfs and data:
        lateral = params.psf_fwhm_um or 1.0
        reach = [
            math.ceil(1.4 * width / step)
            for width, step in zip((params.psf_fwhm_z_um or 3 * lateral, lateral, lateral), data, strict=True)
        ]
    return [min(r, n - 1) for r, n in zip(reach, field, strict=True)]


def _views_of(stack: Any) -> list[Any]:
    """Return a stack with an axis V as one stack per view; nothing is read."""
    if not isinstance(stack, ImageStack) or "V" not in stack.grid.axes:
        return [stack]
    import numpy as np

    grid, at = stack.grid, stack.grid.axes.index("V")
    pages = np.arange(math.prod(grid.shape[:-2])).reshape(grid.shape[:-2])
    of_view = np.split(pages, grid.size("V"), axis=at)
    single = grid.only(grid.axes.replace("V", ""))
    return [Arrangement(single, one.squeeze(at)).of(stack) for one in of_view]


def _as_planes(spec: InputSpec, stack: ImageStack) -> InputSpec:
    return spec if "Z" in stack.grid.axes else spec.model_copy(update={"axes": "YX"})


def _volumes(arrays: Sequence[Any]) -> list[Any]:
    """Return volumes; a plane is one of a single slice."""
    return [array if array.ndim == 3 else array[None] for array in arrays]
