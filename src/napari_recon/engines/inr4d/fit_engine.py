"""The engine `inr4d.fit`: a field that stands for one recording, between its planes and frames too. No torch until a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from napari_recon.core.arrange import Arrangement, one_of
from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection
from napari_recon.core.token import CancelToken
from napari_recon.engines.inr4d.fit_params import LARGEST, FitParams, resolved_fit
from napari_recon.engines.inr4d.lattice import AXES
from napari_recon.engines.inr4d.place import checked_movie, unknown_step

MOVIE = InputSpec(name="movie", axes=AXES, loops="C", lazy=True, description="one recording of volumes over time")
#: What a fit takes besides the recording.
FIXED_BYTES = 2**29


class Fit(FrameEngine[FitParams]):
    """Fits a field to a recording."""

    Params = FitParams
    info = EngineInfo(
        name="inr4d.fit",
        kind="fit",
        title="4-D field (fit)",
        summary="A field that stands for one recording of volumes over time and gives values between its planes and frames",
        inputs=(MOVIE,),
        outputs=(
            OutputInfo(name="movie", axes=AXES, description="the field on the recording's own voxels"),
            OutputInfo(name="model", kind="model", description="the field, for inr4d.query"),
            OutputInfo(name="report", kind="report", description="fast: scores on frames and lines kept aside"),
        ),
        halo="all of what is fitted: the selected box and times, or with region_only off the whole recording",
        roi_tolerance=1e-3,
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
        values = resolved_fit(values)
        grid = checked_movie(self._arranged_ref(MOVIE, by_name["movie"][0], values).grid, values.axes_checked)
        plan = super().plan(refs, values.model_dump(), selection, model, compute)
        resources, fitted = plan.resources, grid
        if values.region_only:
            fitted = grid.cropped({**dict(plan.box.items() if isinstance(plan.box, Box) else ()), "T": _times(plan)})
            checked_movie(fitted, axes_checked=True, what="the selected part")
            resources = _resources(values, fitted)
        said = [sentence for sentence in (unknown_step(grid), _too_large(resources, plan.compute, fitted)) if sentence]
        return plan.model_copy(update={"resources": resources.model_copy(update={"warnings": tuple(said)})})

    def arranged(self, spec: InputSpec, grid: Grid, params: FitParams) -> Arrangement | None:
        """See `FrameEngine.arranged`: one channel of several."""
        return one_of(grid, "C", params.channel) if set(AXES) <= set(grid.axes) else None

    def outputs_of(self, refs: Refs, params: FitParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        return (OutputSpec(name="movie", grid=checked_movie(refs["movie"][0].grid, axes_checked=True)),)

    def resources(
        self,
        refs: Refs,
        params: FitParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`; for the whole recording along time."""
        return _resources(params, outputs[0].grid)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        params = self.params_of(plan)
        if params.method == "upstream":
            from napari_recon.engines.inr4d.upstream.run import PublishedRun

            yield from PublishedRun(plan, params, frame["movie"]).events(token)
        else:
            from napari_recon.engines.inr4d.fast.run import FastRun

            yield from FastRun(plan, params, frame["movie"]).events(token)


def _times(plan: Plan) -> tuple[int, int]:
    time = plan.selection.time
    assert time is not None  # a recording has T
    return time.start, time.stop


def _resources(params: FitParams, fitted: Grid) -> Resources:
    """Return what a fit of a part of a recording (TZYX) takes: a field is fitted to all of it at once."""
    frames, rows = fitted.size("T"), fitted.size("Y")
    voxels = fitted.size("Z") * rows * fitted.size("X")
    if params.method != "upstream":
        finer = LARGEST if params.plane_distance == "auto" else params.plane_distance
        moving = {"fast": 16 + 12 * finer, "flow": 28}.get(params.method, 16)
        memory, work = FIXED_BYTES + moving * voxels * frames, 1e12 + 1e5 * voxels * frames
        return Resources(tile={"z": 1, "y": rows}, tiles=frames, memory_bytes=memory, work=work)
    settings = params.upstream
    layers, points = settings.layers, settings.batch * settings.samples
    kept = 4 * points * (2 * layers.width * layers.depth + 3 * layers.encoded)
    encoder = 4 * voxels // 8 * settings.features * (4 * settings.groups * settings.blocks + 4)
    memory = 2**27 + max(kept, encoder) + 40 * voxels * frames
    work = 6.0 * points * layers.width**2 * layers.depth * settings.steps
    return Resources(tile={"z": 1, "y": rows}, tiles=settings.steps, memory_bytes=memory, work=work)


def _too_large(needs: Resources, compute: Compute, fitted: Grid) -> str | None:
    """Return a sentence when what is fitted takes more memory than there is, None when it does not."""
    needed, allowed = needs.memory_bytes - FIXED_BYTES, compute.memory_bytes
    if needed <= allowed:
        return None
    return (
        f"a field is fitted to all of its recording at once: {fitted.size('T')} time points take about "
        f"{needed / 1e9:.1f} GB, {allowed / 1e9:.1f} GB may be used; choose a smaller region or a time range"
    )
