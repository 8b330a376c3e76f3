"""The engine `lightfield_inr.query`: any box, at any time and density, of a field. No torch until it runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, OutputInfo
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.token import CancelToken
from napari_recon.engines.field_runs import of_frames, of_times
from napari_recon.engines.lightfield_inr import dense_shape
from napari_recon.engines.lightfield_inr.checkpoint import ARCHITECTURES
from napari_recon.engines.lightfield_inr.field import options_of
from napari_recon.engines.lightfield_inr.params import QueryParams, resolved, with_asked_part
from napari_recon.engines.lightfield_inr.place import lattice_grid, time_grid
from napari_recon.tiling.partition import Tile, tiles

if TYPE_CHECKING:
    from napari_recon.engines.lightfield_inr.query import FieldRun

SLAB_POINTS = 1 << 19
"""Points of an automatic slab: about a second on one core, so that results flow."""


class Query(FrameEngine[QueryParams]):
    """Samples a neural field on a lattice, slab by slab."""

    Params = QueryParams
    info = EngineInfo(
        name="lightfield_inr.query",
        kind="query",
        title="Neural field (query)",
        summary="Any box, time and sampling density of a scene or sequence that a neural field holds",
        outputs=(OutputInfo(name="volume", axes="ZYX", description="the field's values"),),
        needs_model="required",
        halo="none: every voxel is computed from its own coordinate",
        roi_tolerance=1e-5,
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
        """See `Engine.plan`; `roi_xyzwhd` and `t_range` become the plan's selection."""
        values, _ = self.checked(refs, params, model)
        assert model is not None  # checked
        if model.architecture not in ARCHITECTURES:
            raise CheckpointError(
                f"{self.info.name} needs a neural field, found {model.id} ({model.architecture or 'not recognised'}); "
                "choose another model"
            )
        values = resolved(with_asked_part(values, selection), model)
        selection = _selected(values, selection, model)
        plain = values.model_copy(update={"roi_xyzwhd": None, "t_range": None})
        if values.frames:
            sampled = of_frames(selection, values.frames)
        elif values.time_scale == 1:
            return super().plan(refs, plain.model_dump(), selection, model, compute)
        else:
            sampled = _sampled(selection, values.time_scale, int(model.options["frames"]))
        return of_times(super().plan(refs, plain.model_dump(), sampled, model, compute), selection.time)

    def main_grid(self, refs: Refs, params: QueryParams, model: ModelRef | None) -> Grid:
        """See `FrameEngine.main_grid`: the lattice of the field, and the time points of a sequence."""
        assert model is not None
        lattice, times = _lattice(params, model), time_grid(model.options)
        if times is not None and params.time_scale != 1:
            count = math.floor(round((times.size("T") - 1) * params.time_scale, 6)) + 1
            times = times.model_copy(update={"shape": (count,), "scale": (times.step("T") / params.time_scale,)})
        return times.joined(lattice) if times is not None else lattice

    def outputs_of(self, refs: Refs, params: QueryParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        assert model is not None
        lattice, scales = _lattice(params, model), params.scale_zyx
        shape = tuple(_samples(n, scale) for n, scale in zip(lattice.shape, scales, strict=True))
        steps = tuple(step / scale for step, scale in zip(lattice.scale, scales, strict=True))
        if min(shape) < 1:
            raise InputError(f"scale {params.scale} leaves no voxel of a lattice {lattice.shape}; choose a larger one")
        dtype = "uint16" if params.scaling == "upstream" else "float32"
        return (OutputSpec(name="volume", grid=lattice.model_copy(update={"shape": shape, "scale": steps}), dtype=dtype),)

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
        depth = min(planes, params.slab or max(1, SLAB_POINTS // (rows * columns)))
        high = min(rows, max(1, 8 * SLAB_POINTS // columns)) if depth == 1 else rows
        points, width = depth * high * columns, 12
        per_point = 1100.0
        if model.architecture in ("voxels", "grid"):
            width, per_point = 1, 30.0
        elif model.architecture != "nerf_ex":
            layers = options_of(model.options)
            width, per_point = layers.width, 2.0 * layers.width * layers.width * max(1, layers.depth - 1)
        kept = 6 * planes * rows * columns if params.scaling == "upstream" else 0
        frames = max(1, int(model.options.get("frames", 0)))
        own, held = width * width * 8, frames
        if model.architecture in ("voxels", "grid"):  # volumes are read one by one; splines are fewer numbers, but all there
            own, held = math.prod(lattice_zyx(params, model)), 2 if model.architecture == "voxels" else max(2, frames)
        weights = 4 * held * own
        return Resources(
            tile={"z": depth, "y": high},
            tiles=len(slabs(box, outputs[0].grid, depth, high)),
            memory_bytes=12 * points + kept + weights + 8 * width * (2048 * compute.threads + columns + high) + 2**23,
            work=per_point * planes * rows * columns,
        )

    def prepared(self, plan: Plan) -> Query:
        """Return a copy that holds the networks of all time points."""
        if self._run is not None:
            return self
        from napari_recon.engines.lightfield_inr.query import FieldRun

        worker = copy.copy(self)
        worker._run = FieldRun(plan, self.params_of(plan))
        return worker

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        run = self.prepared(plan)._run
        assert run is not None  # prepared sets it
        yield from run.frame(index, token)


def slabs(box: Box, grid: Grid, depth: int, rows: int) -> list[Tile]:
    """Return the pieces of a box that are computed one after the other, the central one first."""
    return tiles(box, grid, {"Z": depth, "Y": rows})


def lattice_zyx(params: QueryParams, model: ModelRef) -> tuple[int, int, int]:
    """Return the voxels of the whole field."""
    if model.architecture == "nerf_ex":
        return dense_shape.output_zyx(model.options["table"])
    assert params.render_size is not None  # resolved
    height, width, planes = params.render_size
    return planes, height, width


def _lattice(params: QueryParams, model: ModelRef) -> Grid:
    return lattice_grid(model.options, lattice_zyx(params, model), params.voxel_um)


def _samples(count: int, scale: float) -> int:
    """Return how many multiples of ``1 / scale`` lie before voxel `count`."""
    return math.ceil(round(count * scale, 6))


def _selected(params: QueryParams, selection: Selection, model: ModelRef) -> Selection:
    """Return the selection with the box and time range that the parameters give in the published program's numbers."""
    found: dict[str, Any] = {}
    if params.roi_xyzwhd is not None:
        if selection.box is not None:
            raise InputError(f"a region ({selection.box}) and roi_xyzwhd {params.roi_xyzwhd} were given; give one of them")
        found |= {"box": _box(params, model), "space": "output"}
    if params.t_range is not None:
        if selection.time is not None:
            raise InputError(f"a time range ({selection.time}) and t_range {params.t_range} were given; give one of them")
        found["time"] = _times(params.t_range, int(model.options.get("frames", 0)), model)
    return selection.model_copy(update=found)


def _box(params: QueryParams, model: ModelRef) -> Box:
    assert params.roi_xyzwhd is not None
    firsts, sizes = params.roi_xyzwhd[:3], params.roi_xyzwhd[3:]
    lattice = lattice_zyx(params, model)[::-1]
    bounds = {}
    for axis, first, size, count, scale in zip("XYZ", firsts, sizes, lattice, params.scale_zyx[::-1], strict=True):
        if first < 1 or size < 1 or first + size - 1 > count:
            raise InputError(
                f"roi_xyzwhd (first voxel x,y,z from 1, then sizes) should lie inside {axis.lower()} 1 to {count}, found "
                f"{axis.lower()} {first} to {first + size - 1}; shrink or move it"
            )
        bounds[axis] = _samples(first - 1, scale), _samples(first - 1 + size, scale)
    return Box.of(bounds)


def _sampled(selection: Selection, scale: float, frames: int) -> Selection:
    """Return the selection with its time points as samples of a field that is continuous in time."""
    if selection.time is None:
        return selection
    time = selection.time.resolved(frames)
    first, last = math.ceil(round(time.start * scale, 6)), math.floor(round((time.stop - 1) * scale, 6))
    if last < first:
        raise InputError(f"time points {time} hold no sample at time_scale {scale:g}; ask for more, or choose a larger one")
    return selection.model_copy(update={"time": TimeRange(start=first, stop=last + 1)})


def _times(t_range: tuple[int, int], frames: int, model: ModelRef) -> TimeRange:
    first, last = t_range
    if not frames:
        raise InputError(f"t_range {first},{last} was asked of {model.id}, which is a single scene; leave it out")
    if first < 1 or last < first or last > frames:
        raise InputError(
            f"t_range should lie inside 1 to {frames} (first and last time point, both included), found {first} to {last}; "
            "shorten it"
        )
    return TimeRange(start=first - 1, stop=last)
