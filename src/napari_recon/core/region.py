"""What part of the data is asked for: boxes, time ranges, selections, and the live region a viewer edits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from psygnal import SignalGroupDescriptor
from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_recon.core.errors import InputError
from napari_recon.core.grid import SPATIAL, Frozen, Grid

Bounds = tuple[int, int]
_SLACK = 1e-3
"""Fraction of a voxel by which an edge may miss a voxel boundary, as numbers typed or printed with few digits do."""
_RANGE = re.compile(r"^\s*(-?[\d.eE+-]*)\s*:\s*(-?[\d.eE+-]*)\s*$")


class Box(Frozen):
    """A half-open box in voxel indices; an axis that is None means all of it."""

    z: Bounds | None = None
    y: Bounds | None = None
    x: Bounds | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        for axis, (start, stop) in self.items():
            if stop <= start:
                raise InputError(
                    f"the region should hold at least one voxel along {axis.lower()}, found "
                    f"{axis.lower()}={start}:{stop}; give start:stop with start below stop"
                )
        return self

    @classmethod
    def of(cls, bounds: Mapping[str, Bounds]) -> Box:
        """Return a box from ``{"Z": (lo, hi), ...}``."""
        return cls(**{axis.lower(): (int(lo), int(hi)) for axis, (lo, hi) in bounds.items()})

    @classmethod
    def whole(cls, grid: Grid) -> Box:
        """Return the box that covers `grid`."""
        return cls.of({a: (0, grid.size(a)) for a in grid.axes if a in SPATIAL})

    def items(self) -> Iterator[tuple[str, Bounds]]:
        """Yield (axis letter, bounds) for every limited axis, in ZYX order."""
        for axis in SPATIAL:
            bounds = getattr(self, axis.lower())
            if bounds is not None:
                yield axis, bounds

    def bounds(self, axis: str, size: int) -> Bounds:
        """Return the bounds along `axis`, the whole `size` when it is not limited."""
        return getattr(self, axis.lower()) or (0, size)

    def resolved(self, grid: Grid) -> Box:
        """Return this box with every spatial axis of `grid` filled in.

        Raises
        ------
        InputError
            When the box reaches outside `grid` or names an axis it does not have.
        """
        for axis, (start, stop) in self.items():
            if axis not in grid.axes:
                raise InputError(f"the region limits {axis.lower()}, but the result has axes {grid.axes}; leave it out")
            if start < 0 or stop > grid.size(axis):
                raise InputError(
                    f"the region should lie inside {axis.lower()}=0:{grid.size(axis)}, found "
                    f"{axis.lower()}={start}:{stop}; draw it on the data or shrink it"
                )
        return Box.of({a: self.bounds(a, grid.size(a)) for a in grid.axes if a in SPATIAL})

    def clipped(self, grid: Grid) -> Box:
        """Return the part of this box inside `grid` (InputError when nothing is)."""
        bounds = {a: (max(lo, 0), min(hi, grid.size(a))) for a, (lo, hi) in self.items() if a in grid.axes}
        for axis, (lo, hi) in bounds.items():
            if hi <= lo:
                raise InputError(
                    f"the region should overlap the result, found it outside along {axis.lower()} (voxels "
                    f"{self.bounds(axis, 0)[0]}:{self.bounds(axis, 0)[1]} of 0:{grid.size(axis)}); draw it on the data"
                )
        return Box.of(bounds).resolved(grid)

    def expanded(self, halo: Mapping[str, int], grid: Grid) -> Box:
        """Return this box grown by `halo` voxels per axis and clipped to `grid`."""
        whole = self.resolved(grid)
        return Box.of({a: (lo - halo.get(a, 0), hi + halo.get(a, 0)) for a, (lo, hi) in whole.items()}).clipped(grid)

    def mapped(self, source: Grid, target: Grid) -> Box:
        """Return the smallest box of `target` voxels that covers this box of `source` voxels in the world."""
        bounds = {}
        for axis, (lo, hi) in self.items():
            if axis in target.axes:
                ends = [target.to_index(axis, source.to_world(axis, edge - 0.5)) + 0.5 for edge in (lo, hi)]
                bounds[axis] = (math.floor(min(ends) + _SLACK), math.ceil(max(ends) - _SLACK))
        return Box.of(bounds)

    def slices(self, axes: str) -> tuple[slice, ...]:
        """Return one slice per letter of `axes`."""
        return tuple(slice(*b) if (b := getattr(self, a.lower(), None)) else slice(None) for a in axes)

    def within(self, outer: Box) -> tuple[slice, ...]:
        """Return the slices that cut this box out of an array of `outer`, in ZYX order of the limited axes."""
        starts = {axis: lo for axis, (lo, _) in outer.items()}
        return tuple(slice(lo - starts.get(axis, 0), hi - starts.get(axis, 0)) for axis, (lo, hi) in self.items())

    def shape(self) -> tuple[int, ...]:
        """Return the extent of the limited axes, in ZYX order."""
        return tuple(hi - lo for _, (lo, hi) in self.items())

    def __str__(self) -> str:
        return ",".join(f"{axis.lower()}={lo}:{hi}" for axis, (lo, hi) in self.items())


class WorldBox(Frozen):
    """A box in world coordinates (edges, not centres); None means all of it."""

    z: tuple[float, float] | None = None
    y: tuple[float, float] | None = None
    x: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _forward(self) -> Self:
        for axis in ("z", "y", "x"):
            edges = getattr(self, axis)
            if edges is not None and not (math.isfinite(edges[0]) and edges[0] < edges[1] < math.inf):
                raise InputError(
                    f"the region should run forward along {axis}, found {axis}={edges[0]:g}:{edges[1]:g}; "
                    "give start:stop with start below stop"
                )
        return self

    def on(self, grid: Grid) -> Box:
        """Return the voxels of `grid` that this box touches, clipped to it."""
        bounds = {}
        for axis in SPATIAL:
            edges = getattr(self, axis.lower())
            if edges is not None and axis in grid.axes:
                ends = sorted(grid.to_index(axis, edge) + 0.5 for edge in edges)
                bounds[axis] = (math.floor(ends[0] + _SLACK), math.ceil(ends[1] - _SLACK))
        return Box.of(bounds).clipped(grid)


class TimeRange(Frozen):
    """Half-open range of frame indices."""

    start: Annotated[int, Field(ge=0)]
    stop: int

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.stop <= self.start:
            raise InputError(
                f"a time range should run forward and hold at least one frame, found {self.start}:{self.stop}; "
                "give start:stop with start below stop"
            )
        return self

    def resolved(self, frames: int) -> TimeRange:
        """Return this range after checking that it lies inside `frames` frames."""
        if self.stop > frames:
            raise InputError(f"the time range should lie inside 0:{frames}, found {self}; shorten it")
        return self

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}"


class Selection(Frozen):
    """What is asked for: a box (on the output grid unless `space` says otherwise) and a time range."""

    box: Box | WorldBox | None = None
    space: Literal["output", "input", "world"] = "output"
    time: TimeRange | None = None

    def box_on(self, output: Grid, source: Grid) -> Box:
        """Return the asked box in voxels of `output`, every axis filled in.

        In input space, bounds along an axis that only the output has (z of a light field) count its voxels.

        Parameters
        ----------
        output, source : Grid
            The whole output grid and the main input's grid, in the same world.

        Raises
        ------
        InputError
            When the box is outside.
        """
        if self.box is None:
            return Box.whole(output)
        if isinstance(self.box, WorldBox):
            return self.box.on(output)
        if self.space == "output":
            return self.box.resolved(output)
        shared = Box.of({a: bounds for a, bounds in self.box.items() if a in source.axes})
        own = {a: bounds for a, bounds in self.box.items() if a not in source.axes}
        if lacking := [a.lower() for a in own if a not in output.axes]:
            raise InputError(
                f"the region limits {lacking[0]}, but the data have axes {source.axes} and the result {output.axes}; "
                "leave it out"
            )
        mapped = shared.resolved(source).mapped(source, output)
        return Box.of({**dict(mapped.items()), **own}).clipped(output)


class Region(BaseModel):
    """The region a person is editing: an evented model that rectangles and sliders both view and change.

    `events.box` and `events.time` fire on change. Indices are voxels of the *input* data, of the output along axes
    the input lacks.
    """

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    box: Box | None = None
    time: TimeRange | None = None

    def selection(self) -> Selection:
        """Return the frozen selection, in input space."""
        return Selection(box=self.box, space="input", time=self.time)


def _parse_range(text: str, what: str, number: type[int] | type[float]) -> tuple[Any, Any]:
    match = _RANGE.match(text)
    try:
        if match is None:
            raise ValueError
        return number(match[1]), number(match[2])
    except ValueError:
        raise InputError(
            f"{what} should look like start:stop with two numbers, found {text!r}; write for example 4:20"
        ) from None


def parse_time(text: str) -> TimeRange:
    """Return the time range of ``"3:10"`` (half-open)."""
    start, stop = _parse_range(text, "a time range", int)
    if start < 0:
        raise InputError(f"a time range should start at frame 0 or later, found {text}; give start:stop")
    return TimeRange(start=start, stop=stop)


def parse_box(text: str, space: str = "output") -> Box | WorldBox:
    """Return the box of ``"z=4:20,y=16:80,x=0:64"``; in world space the numbers may be fractions."""
    bounds: dict[str, tuple[Any, Any]] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        axis, _, limits = part.partition("=")
        axis = axis.strip().lower()
        if axis not in ("z", "y", "x") or not limits or axis in bounds:
            raise InputError(f"a region should look like z=4:20,y=16:80,x=0:64, found {text!r}; name z, y or x once each")
        bounds[axis] = _parse_range(limits, f"the region along {axis}", float if space == "world" else int)
    if not bounds:
        raise InputError("a region should look like z=4:20,y=16:80,x=0:64, found nothing; leave it out for the whole field")
    return WorldBox(**bounds) if space == "world" else Box(**bounds)
