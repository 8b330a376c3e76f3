"""The engine `lightfield_inr.fit`: a field whose volume explains the views. No torch until it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from napari_recon.core.arrange import Arrangement, one_of
from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fit_params import FitParams, resolved_fit
from napari_recon.engines.lightfield_inr.frames import Frames
from napari_recon.engines.lightfield_inr.modality import TOMOGRAPHY, beam_resources, resolved_projections, told
from napari_recon.engines.lightfield_inr.network_params import NetworkParams
from napari_recon.engines.lightfield_inr.ptychography_params import (
    index_grid,
    ptychography_resources,
    resolved_ptychography,
)
from napari_recon.engines.tomography.params import size_zyx, volume_grid
from napari_recon.engines.tomography.sirt import ANGLES
from napari_recon.optics.psf_checks import odd_size
from napari_recon.optics.psf_shift import SAME
from napari_recon.optics.support import next_smooth_size

VIEWS = InputSpec(name="views", axes="VYX", loops="T", description="the light field or projections, one page per view")
MOST_PAIRS = 8
"""Pairs of volumes from which a fast fit learns the objective's curvature."""
TRANSFER_BYTES = 3 << 30
"""Largest size of kept transfer functions, see `optics.psf_convolution`."""
PSF = InputSpec(
    name="psf",
    axes="VZYX",
    accepts=("psf",),
    required=False,
    description="of a light field: PSF per view and plane, sampled at the views' pixels",
)


class Fit(FrameEngine[FitParams]):
    """Fits a field to a scene, and to the next scenes of a sequence from where the one before ended."""

    Params = FitParams
    info = EngineInfo(
        name="lightfield_inr.fit",
        kind="fit",
        title="Neural field (fit)",
        summary="A neural field of a light field, of projections or of a sequence, from the views and how they were made",
        inputs=(VIEWS, PSF, ANGLES),
        outputs=(
            OutputInfo(name="volume", axes="ZYX", description="the field on the views' pixels, in their unit"),
            OutputInfo(name="model", kind="model", description="the field, for lightfield_inr.query"),
            OutputInfo(name="report", kind="report", description="fast: steps, reduced deviance and what it says"),
            OutputInfo(name="positions", kind="table", description="fast: refined displacement of each view, in pixels"),
            OutputInfo(name="checkpoint", kind="file", description="upstream: the field in the published layout"),
        ),
        halo="all of the field: it is fitted whole, whatever the box",
        roi_tolerance=1e-5,
    )

    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """See `Engine.plan`."""
        values, by_name = self.checked(refs, params, model)
        by_name["views"] = [self._arranged_ref(VIEWS, by_name["views"][0], values)]
        views = self.checked_grid(VIEWS, by_name["views"][0])
        values = told(values, by_name)
        if values.modality in TOMOGRAPHY:
            values = values.model_copy(update=resolved_projections(values, by_name, views))
            planes = size_zyx(values, views)[0]
        elif values.modality == "fpm":
            values = values.model_copy(update=resolved_ptychography(values, views))
            return super().plan(refs, values.model_dump(), selection, model, compute)
        else:
            psf = self.checked_grid(PSF, by_name["psf"][0])
            check_pair(views, psf)
            planes = psf.size("Z")
        values = resolved_fit(values, (views.size("Y"), views.size("X")), planes, views.size("V"))
        return super().plan(refs, values.model_dump(), selection, model, compute)

    def arranged(self, spec: InputSpec, grid: Grid, params: FitParams) -> Arrangement | None:
        """See `FrameEngine.arranged`: one channel of several."""
        return one_of(grid, "C", params.channel) if spec.name == VIEWS.name else None

    def outputs_of(self, refs: Refs, params: FitParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        views = refs["views"][0].grid
        assert views is not None  # checked
        if params.modality in TOMOGRAPHY:
            return (OutputSpec(name="volume", grid=volume_grid(params, views)),)
        if params.modality == "fpm":
            return (OutputSpec(name="volume", grid=index_grid(params, views)),)
        psf = refs["psf"][0].grid
        assert psf is not None
        return (OutputSpec(name="volume", grid=psf.only("Z").joined(views.only("YX"))),)

    def resources(
        self,
        refs: Refs,
        params: FitParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        if params.modality in TOMOGRAPHY:
            views = refs["views"][0].grid
            assert views is not None
            return beam_resources(views.size("V"), outputs[0].grid, params, compute)
        if params.modality == "fpm":
            return ptychography_resources(outputs[0].grid, params)
        psf = refs["psf"][0].grid
        assert psf is not None
        if params.method == "fast":
            return _fast_resources(psf, outputs[0].grid, params, compute)
        return network_resources(psf, outputs[0].grid, params, compute)

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`; frames are not independent here, so the loop is the method's own."""
        token.check()
        inputs, first = self._arranged_inputs(plan, inputs), plan.starts.get("T", 0)
        frames = Frames(lambda number: self._read(VIEWS, inputs["views"], {"T": first + number}), plan.frames)
        static = {spec.name: self._read(spec, inputs.get(spec.name, ()), {}) for spec in (PSF, ANGLES)}
        start = self._read(VIEWS, inputs["views"], {}) if first else frames[0]
        yield from self._fitted(plan, frames, start, static, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`: one frame by itself."""
        yield from self._fitted(plan, [frame["views"]], frame["views"], frame, token)

    def _fitted(self, plan: Plan, frames: Sequence[Any], start: Any, static: Frame, token: CancelToken) -> Iterator[Event]:
        params, psf = self.params_of(plan), static["psf"]
        if params.modality in TOMOGRAPHY and params.method == "fast":
            from napari_recon.engines.lightfield_inr.tomography.run import BeamRun

            yield from BeamRun(plan, params, frames, start, static["angles"]).events(token)
        elif params.modality in TOMOGRAPHY:
            from napari_recon.engines.lightfield_inr.tomography.network import BeamNetworkRun

            yield from BeamNetworkRun(plan, params, frames, start, static["angles"]).events(token)
        elif params.modality == "fpm":
            from napari_recon.engines.lightfield_inr.ptychography.run import PtychographyRun

            yield from PtychographyRun(plan, params, frames).events(token)
        elif params.method == "fast":
            from napari_recon.engines.lightfield_inr.fast.run import FastRun

            yield from FastRun(plan, params, frames, psf).events(token)
        else:
            from napari_recon.engines.lightfield_inr.upstream.run import UpstreamRun

            yield from UpstreamRun(plan, params, frames, psf).events(token)


def network_resources(psf: Grid, volume: Grid, params: NetworkParams, compute: Compute) -> Resources:
    """Return what the steps of a network's fit take, whose parameters are resolved.

    A step keeps the layers of all points that its block sees; where those are too many for the memory, they are computed
    again for the gradient, some points at a time.
    """
    planes, height, width = volume.shape
    settings, layers = params.upstream, params.layers
    rows, columns = (min(size, settings.block + psf.size(axis) - 1) for axis, size in (("Y", height), ("X", width)))
    points = planes * rows * columns
    per_point = 4 * (3 * layers.width * layers.depth + 3 * layers.encoded)
    around = 2**28 + 64 * points  # volumes, their spectra and gradients
    room = max(compute.memory_bytes - around, 2**27) // per_point
    at_once = int(room) if points > room else 0
    return Resources(
        tile={"y": settings.block, "x": settings.block},
        tiles=settings.steps,
        memory_bytes=around + per_point * (at_once or points),
        work=6.0 * layers.width**2 * layers.depth * points * settings.steps,
        details={"points_at_once": at_once},
    )


def _fast_resources(psf: Grid, volume: Grid, params: FitParams, compute: Compute) -> Resources:
    """Return what a fast fit takes: transfer functions, volumes, and pairs of them as far as the memory goes."""
    planes, *field = volume.shape
    reach = [psf.size(axis) // 2 + 2 + (4 if params.refine_views else 0) for axis in "YX"]
    rows, columns = (size + 2 * max(reach) for size in field)
    voxels = planes * rows * columns
    spectra = min(4 * psf.size("V") * planes * next_smooth_size(rows) * next_smooth_size(columns), TRANSFER_BYTES)
    around = 2**28 + 2 * spectra + 48 * voxels  # estimate, gradient, direction, trial and what they are made with
    pairs = int(min(MOST_PAIRS, max(2, (compute.memory_bytes - around) // (8 * voxels))))
    steps = 60 if params.iterations == "auto" else params.iterations
    return Resources(
        tile={"y": field[0], "x": field[1]},
        tiles=steps,
        memory_bytes=around + 8 * pairs * voxels,
        work=float(voxels) * (psf.size("V") + 100) * 4 * (steps + 20),
        details={"pairs": pairs},
    )


def check_pair(views: Grid, psf: Grid) -> None:
    """Raise an InputError when views and PSF are not of one microscope."""
    odd_size(psf.size("Y"), psf.size("X"))
    if views.size("V") != psf.size("V"):
        raise InputError(
            f"the PSF should have one set of planes per view ({views.size('V')}), found {psf.size('V')}; give the PSF of "
            "these views, in their order"
        )
    for axis in "YX":
        known = views.unit(axis) == psf.unit(axis) == "micrometer"
        if known and abs(views.step(axis) / psf.step(axis) - 1) > SAME:
            raise InputError(
                f"PSF and views should have one pixel size along {axis.lower()}, found {psf.step(axis):.4g} and "
                f"{views.step(axis):.4g} um; resample the PSF or correct a pixel size"
            )
