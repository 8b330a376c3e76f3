"""The engine `inr4d.query`: any box, times and sampling density of a 4-D field. No torch until it runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.pieces import pieces_of
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.token import CancelToken
from napari_recon.engines.field_runs import of_frames, of_times
from napari_recon.engines.inr4d.checkpoint import ARCHITECTURES, PUBLISHED, layers_of
from napari_recon.engines.inr4d.lattice import AXES, Sampling, sampled_grid, samplings
from napari_recon.engines.inr4d.params import QueryParams
from napari_recon.engines.inr4d.place import data_grid, unknown_step

if TYPE_CHECKING:
    from napari_recon.engines.inr4d.query import FieldRun

SLAB_WORK = 1 << 34
"""Floating-point operations of an automatic slab: about a second on one core, so that results flow."""
SLAB_POINTS = 1 << 22
RECORDING = InputSpec(
    name="recording",
    axes="ZYX",
    loops="T",
    required=False,
    lazy=True,
    description="the recording the field was fitted to: a published save folder does not say its size and intensities",
)


class Query(FrameEngine[QueryParams]):
    """Samples a 4-D field on a lattice, slab by slab."""

    Params = QueryParams
    info = EngineInfo(
        name="inr4d.query",
        kind="query",
        title="4-D field (query)",
        summary="Any box, times and sampling density of the recording a 4-D field stands for, between planes and frames",
        inputs=(RECORDING,),
        outputs=(OutputInfo(name="movie", axes="ZYX", description="the field's values, in the recording's intensities"),),
        needs_model="required",
        halo="none: every voxel is computed from its own coordinate",
        roi_tolerance=1e-4,
    )
    _run: FieldRun | None = None

    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """See `Engine.plan`; a time range counts the recording's time points, a box the voxels of the result."""
        values, by_name = self.checked(refs, params, model)
        assert model is not None  # checked
        if model.architecture not in ARCHITECTURES:
            raise CheckpointError(
                f"{self.info.name} needs a 4-D field, found {model.id} ({model.architecture or 'not recognised'}); choose "
                "another model"
            )
        given = tuple(ref for group in by_name.values() for ref in group)
        data = data_grid(values, model, _recording(given))
        sampled = of_frames(selection, values.frames) if values.frames else selection
        if selection.time is not None:
            sampled = selection.model_copy(update={"time": _samples(selection.time, data, values)})
        # what a recording says is in the parameters and the model by now; its own time points are none of the result's
        own = {**values.model_dump(), "shape_tzyx": data.shape}
        located = model.model_copy(update={"options": {**model.options, "grid": data.model_dump(mode="json")}})
        plan = super().plan((), own, sampled, located, compute)
        said = unknown_step(data)
        time = selection.time or (None if values.frames else TimeRange(start=0, stop=data.size("T")))
        plan = of_times(plan, time, (said,) if said else ())
        return plan.model_copy(update={"inputs": given, "model": model})

    def main_grid(self, refs: Refs, params: QueryParams, model: ModelRef | None) -> Grid:
        """See `FrameEngine.main_grid`: the query's times, and the recording's voxels."""
        assert model is not None
        data = data_grid(params, model, None)
        return sampled_grid(data, along(params, data)).only("T").joined(data.only("ZYX"))

    def outputs_of(self, refs: Refs, params: QueryParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        assert model is not None
        data = data_grid(params, model, None)
        grid = sampled_grid(data, along(params, data)).only("ZYX")
        return (OutputSpec(name="movie", grid=grid, dtype="uint8" if params.intensities == "upstream" else "float32"),)

    def resources(
        self,
        refs: Refs,
        params: QueryParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`. A slab is some planes, or, of very large ones, some rows of one plane."""
        assert model is not None
        planes, rows, columns = box.shape()
        published = model.architecture == PUBLISHED
        per_point, weights = 60.0, 2**22
        if published:
            layers = layers_of(model.options)
            per_point = 2.0 * params.samples * params.tables * layers.width**2 * max(1, layers.depth - 1)
            tables = params.samples * layers.width * (planes + rows + columns) * (1 + len(layers.skips))
            weights = 4 * (layers.width**2 * layers.depth + 2 * tables) + 2**23 * compute.threads
        points = max(1, min(SLAB_POINTS, int(SLAB_WORK // per_point)))
        depth = min(planes, params.slab or max(1, points // (rows * columns)))
        high = min(rows, max(1, points // columns)) if depth == 1 and not params.slab else rows
        data = data_grid(params, model, None)
        frames = along(params, data)["T"].size
        kept = 6 * frames * planes * rows * columns if params.intensities == "upstream" else 0
        held = weights if published else 6 * math.prod(data.shape) + 8 * rows * columns
        return Resources(
            tile={"z": depth, "y": high},
            tiles=-(-planes // depth) * -(-rows // high),
            memory_bytes=16 * depth * high * columns + kept + held + 2**23,
            work=per_point * planes * rows * columns,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`: the recording is only looked at for its intensities."""
        from napari_recon.engines.inr4d.query import FieldRun

        token.check()
        given = next(iter(inputs.get("recording", ())), None)
        recording = None if given is None else pieces_of(given, RECORDING.model_copy(update={"axes": AXES}), {})
        worker = copy.copy(self)
        worker._run = run = FieldRun(plan, self.params_of(plan), recording, token)
        if self.params_of(plan).intensities == "upstream":
            yield from run.published_look(token)
        else:
            yield from super(Query, worker).process(plan, {}, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.inr4d.query import FieldRun

        run = self._run or FieldRun(plan, self.params_of(plan), None, token)
        yield from run.frame(index, token)


def along(params: QueryParams, data: Grid) -> dict[str, Sampling]:
    """Return how a query samples every axis of a recording (TZYX)."""
    return samplings(data, params.factors, params.sampled)


def _recording(refs: Sequence[InputRef]) -> Grid | None:
    """Return the grid (TZYX) of the recording that was given, None without one."""
    from napari_recon.engines.inr4d.place import checked_movie

    grid = next((ref.grid for ref in refs), None)
    return None if grid is None else checked_movie(grid, axes_checked=True)


def _samples(time: TimeRange, data: Grid, params: QueryParams) -> TimeRange:
    """Return a range of time points as one of samples."""
    asked = time.resolved(data.size("T"))
    start, stop = along(params, data)["T"].within(asked.start, asked.stop)
    if stop <= start:
        raise InputError(f"time points {time} hold no sample at scale {params.scale}; ask for more, or choose a larger t=")
    return TimeRange(start=start, stop=stop)
