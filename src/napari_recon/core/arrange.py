"""Views of a stack with other outer axes: one axis split into several, several merged into one, pages reordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import AXIS_NAMES, Grid
from napari_recon.core.lazy import PieceArray
from napari_recon.core.stack import ImageStack

_OUTER = "TCVZAPN"


@dataclass(frozen=True, eq=False)
class Arrangement:
    """A grid with other outer axes, and which page of the original each of its pages is.

    Attributes
    ----------
    grid : Grid
        Outer axes in the order T C V Z A P N, then Y X.
    pages : ndarray of int
        Shape of the outer axes of `grid`; numbers count through the original's outer axes in C order.
    """

    grid: Grid
    pages: NDArray[Any]

    def of(self, stack: ImageStack) -> ImageStack:
        """Return `stack` seen this way; nothing is read."""
        lead = stack.grid.shape[:-2]
        if self.grid == stack.grid and np.array_equal(self.pages.ravel(), np.arange(self.pages.size)):
            return stack

        def load(number: int, key: tuple[Any, ...]) -> NDArray[Any]:
            page = np.unravel_index(int(self.pages.flat[number]), lead)
            return np.asarray(stack.data[(*(int(i) for i in page), *key)])

        data = PieceArray(self.pages.shape, stack.grid.shape[-2:], stack.dtype, load)
        return replace(stack, data=data, grid=self.grid)


def one_of(grid: Grid, axis: str, number: int | str) -> Arrangement | None:
    """Return the arrangement without an outer axis, at one place along it ("auto" is the only one); None without the axis.

    Raises
    ------
    InputError
        A place that is not there, or several and none was said.
    """
    if axis not in grid.axes[:-2]:
        return None
    name, count = AXIS_NAMES[axis], grid.size(axis)
    if isinstance(number, str):
        if count > 1:
            sizes = ", ".join(f"{a}={n}" for a, n in zip(grid.axes, grid.shape, strict=True))
            raise InputError(f"one {name} is used, found {sizes}; set {name} to a number from 0 to {count - 1}")
        number = 0
    if not 0 <= number < count:
        raise InputError(f"{name} should be from 0 to {count - 1}, found {number}; set {name}")
    lead = grid.shape[:-2]
    pages = np.moveaxis(np.arange(int(np.prod(lead, dtype=int))).reshape(lead), grid.axes.index(axis), 0)[number]
    return Arrangement(grid.only("".join(a for a in grid.axes if a != axis)), pages)


def arrangement(grid: Grid, split: Sequence[tuple[str, int]] = (), join: str = "AP", into: str = "N") -> Arrangement:
    """Return the arrangement in which axis `into` was first split, then the axes `join` merged into `into`.

    Parameters
    ----------
    grid : Grid
        Its last two axes are Y X.
    split : sequence of (axis, size)
        What the pages along `into` count through, slowest first; empty leaves them.
    join : str
        Axes merged into `into`, slowest first.
    into : str
    """
    outer = list(zip(grid.axes[:-2], grid.shape[:-2], strict=True))
    pages = np.arange(int(np.prod([n for _, n in outer], dtype=int)))
    new = {axis for axis, _ in split}
    outer = [(a, n) for a, n in outer if a not in new]  # what is split off replaces an axis of length one
    parts = [part for item in outer for part in (split if split and item[0] == into else [item])]
    kept = sorted((a for a, _ in parts if a not in join), key=_OUTER.index)
    letters = [a for a, _ in parts]
    numbers = pages.reshape([n for _, n in parts]).transpose([letters.index(a) for a in (*kept, *join)])
    numbers = numbers.reshape(*numbers.shape[: len(kept)], -1)
    known = {a: i for i, a in enumerate(grid.axes)}
    axes = "".join(kept) + into
    found = Grid.of(
        axes,
        numbers.shape,
        {a: grid.scale[known[a]] for a in kept if a in known},
        {a: grid.translate[known[a]] for a in kept if a in known},
        {a: grid.units[known[a]] for a in kept if a in known},
    )
    return Arrangement(found.joined(grid.only("YX")), numbers)
