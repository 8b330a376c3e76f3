"""Cells that follow their nuclei: what changes when some are moved, added or taken away, near them or throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from napari_recon.core.plan import Plan
from napari_recon.core.stack import ImageStack
from napari_recon.engines.segmentation.regions import Box, Labels, faces_of, flooded, reflooded, resampled
from napari_recon.engines.segmentation.run import Field, check_places, membranes_of, named, relabelled, rows_of
from napari_recon.engines.segmentation.seeded import SeededParams
from napari_recon.engines.segmentation.seeds import Nucleus, When, mothers_in

QUICK_S = 0.5
"""Seconds: what takes less is done as a whole, since nobody would notice the difference."""
_GONE = 2
"""What is added to the number of cells for those that are no more; one above is the outside of a flood."""


@dataclass(frozen=True)
class Change:
    """What other nuclei make of one time point.

    Attributes
    ----------
    time : int
        Frame of the series.
    place : tuple of slice
        (z, y, x) in the voxels of the whole labels.
    labels : ndarray
    rows : list of dict
        All cells of this time.
    sisters : list of dict
    near : bool
        Only what lies around the changed nuclei was looked at.
    """

    time: int
    place: Box
    labels: Labels
    rows: list[dict[str, Any]]
    sisters: list[dict[str, Any]]
    near: bool


@dataclass
class _Frame:
    cells: list[Nucleus]
    regions: Labels
    names: list[str]
    fine: Labels
    seconds: float


class Editing:
    """The cells of one run, changed with its nuclei. Numbers of names stay; new names get new ones.

    Parameters
    ----------
    plan : Plan
        Of the run.
    stack : ImageStack
        Its main input.
    nuclei : mapping
        Frame -> nuclei, as the labels show them. The time of frame 0 is ``time_point``, 0 when that is auto.
    numbers : mapping
        Name -> label.
    quick_s : float
        Stacks whose cells all grow anew in less are done as a whole.
    """

    def __init__(
        self,
        plan: Plan,
        stack: ImageStack,
        nuclei: Mapping[int, Sequence[Nucleus]],
        numbers: Mapping[str, int],
        quick_s: float = QUICK_S,
    ) -> None:
        self.quick_s = quick_s
        self.params = SeededParams.model_validate(plan.params)
        self.field = Field.of(plan, self.params)
        self.numbers = dict(numbers)
        self._stack = stack
        self._nuclei = {time: list(cells) for time, cells in nuclei.items()}
        self._frames: dict[int, _Frame] = {}

    def changes(
        self, nuclei: Mapping[int, Sequence[Nucleus]], params: SeededParams, check: Callable[[], None] = lambda: None
    ) -> Iterator[Change]:
        """Yield what differs from before, one time point after the other (InputError for nuclei outside)."""
        for cells in nuclei.values():
            check_places(cells, self.field.stack.shape)
        everything = params != self.params
        self.params = params
        for time in sorted({*nuclei, *self._nuclei}):
            before, now = self._nuclei.get(time, []), list(nuclei.get(time, ()))
            if everything or set(before) != set(now):
                check()
                self._number(now)
                change = self._change(time, now, check)
                self._nuclei[time] = now
                yield change

    def _number(self, cells: Sequence[Nucleus]) -> None:
        for name in [*(cell.name for cell in cells), *mothers_in(cells)]:
            self.numbers.setdefault(name, max(self.numbers.values(), default=0) + 1)

    def _change(self, time: int, cells: list[Nucleus], check: Callable[[], None]) -> Change:
        params, field = self.params, self.field
        spatial = self._stack.read("ZYX", **({"t": time} if "T" in self._stack.grid.axes else {}))
        membranes = membranes_of(np.asarray(spatial, np.float32), field.shape, params, check)
        old = self._frames.pop(time, None)
        started = perf_counter()
        box: Box | None = None
        if old is not None and old.seconds > self.quick_s and (hit := self._changed(old, cells)):
            regions, seconds = _renumbered(old, cells), old.seconds
            free = hit | {int(n) for pair in _touching(regions) if hit & set(pair) for n in pair if n}
            grown, box = reflooded(membranes, field.places(cells), params.nucleus_radius, params.pull, regions, hit, free)
            regions[box] = grown
        else:
            regions = flooded(membranes, field.places(cells), params.nucleus_radius, params.pull)
            seconds = perf_counter() - started
        when = When(time, time + (0 if params.time_point == "auto" else params.time_point))
        names, told = named(regions, membranes, cells, params, when.time)
        labels = relabelled(regions, [self.numbers[name] for name in names])
        if old is None or _renamed(old, cells, names):
            box = None  # far away there may be another number too
        fine, place = resampled(labels, field.shape, box)
        if box is not None and old is not None:
            whole = old.fine
            whole[place] = fine
            fine = whole
        block = fine[place]
        if field.output(params) != field.shape:
            block, place = resampled(labels, field.output(params), box)
        rows = rows_of(fine, {self.numbers[name]: name for name in names}, field.voxel, when)
        self._frames = {time: _Frame(cells, regions, names, fine, seconds)}  # of large stacks there is room for one
        return Change(time, place, block.copy(), rows, told, box is not None)

    def _changed(self, old: _Frame, cells: Sequence[Nucleus]) -> set[int]:
        """Return the numbers of cells whose nucleus differs, of those that hold its new place, and of what is no more."""
        before, after = {c.name: c for c in old.cells}, {c.name: c for c in cells}
        names = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        for place in self.field.places([after[name] for name in names if name in after]):
            if holder := int(old.regions[tuple(round(p) for p in place)]):
                names.add(old.cells[holder - 1].name)
        found = {number for number, cell in enumerate(cells, 1) if cell.name in names}
        return found | ({len(cells) + _GONE} if set(before) - set(after) else set())


def _touching(regions: Labels) -> list[tuple[int, int]]:
    most = int(regions.max()) + 1
    codes = np.unique(faces_of(regions).pairs.astype(np.int64) @ [most, 1])
    return [(int(code // most), int(code % most)) for code in codes]


def _renumbered(old: _Frame, cells: Sequence[Nucleus]) -> Labels:
    """Return the old regions with the numbers that their cells have now; cells that are gone have one of their own."""
    order = {cell.name: number for number, cell in enumerate(cells, 1)}
    return relabelled(old.regions, [order.get(cell.name, len(cells) + _GONE) for cell in old.cells])


def _renamed(old: _Frame, cells: Sequence[Nucleus], names: Sequence[str]) -> bool:
    """Return whether cells that were there before have another name now, wherever they are."""
    before = dict(zip((cell.name for cell in old.cells), old.names, strict=True))
    return any(before.get(cell.name, name) != name for cell, name in zip(cells, names, strict=True))
