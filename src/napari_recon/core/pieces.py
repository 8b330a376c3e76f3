"""FramePieces: one frame of an input, read piece by piece instead of whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack, check_content

#: Pieces of about this many voxels are read when all is looked at.
PIECE = 2**24


@dataclass(frozen=True)
class FramePieces:
    """What an engine gets for an input declared `lazy`: pixels are read when asked for, as float32.

    Attributes
    ----------
    stack : ImageStack
    axes : str
        Of the frame, in the declared order; the first may be cut into pieces.
    index : dict
        Axis letter in lower case -> index, of all other axes.
    what : str
        The frame's name in messages.
    """

    stack: ImageStack
    axes: str
    index: Mapping[str, int]
    what: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent along `axes`."""
        return tuple(self.stack.grid.size(a) for a in self.axes)

    def read(self, *bounds: slice) -> NDArray[np.float32]:
        """Return a piece in the declared axes; missing bounds mean all.

        Raises
        ------
        InputError
            When it holds no finite numbers.
        """
        limits = {a.lower(): s for a, s in zip(self.axes, bounds, strict=False)}
        array = self.stack.read(self.axes, **self.index, **limits)
        return check_content(array, self.what, may_be_constant=True)

    def planes(self) -> list[slice]:
        """Return slices along the first axis that cut the frame into pieces of bounded size."""
        each = max(1, PIECE // max(1, math.prod(self.shape[1:])))
        return [slice(z, min(z + each, self.shape[0])) for z in range(0, self.shape[0], each)]

    def checked(self, check: Callable[[], None] = lambda: None) -> tuple[float, float]:
        """Return the lowest and the highest value of the frame after looking at all of it.

        Raises
        ------
        InputError
            See `check_content`.
        """
        low, high = np.inf, -np.inf
        for piece in self.planes():
            check()
            array = self.read(piece)
            low, high = min(low, float(array.min())), max(high, float(array.max()))
        if low == high:
            raise InputError(
                f"{self.what} is constant (every value is {low:g}), so there is nothing to see in it; "
                "check it or leave it out"
            )
        return low, high


def pieces_of(stack: ImageStack, spec: InputSpec, index: Mapping[str, int]) -> FramePieces:
    """Return the frame of `stack` at `index` (axis letter -> place along looped axes), to be read piece by piece."""
    looped = {a: index.get(a, 0) if stack.grid.size(a) > 1 else 0 for a in stack.grid.axes if a not in spec.axes}
    where = "".join(f" at {a.lower()}={i}" for a, i in looped.items() if stack.grid.size(a) > 1)
    return FramePieces(stack, spec.axes, {a.lower(): i for a, i in looped.items()}, f"{stack.name}{where}")
