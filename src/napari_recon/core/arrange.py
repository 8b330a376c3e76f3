"""Views of a stack with other outer axes: one axis split into several, several merged into one, pages reordered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.grid import Grid
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
