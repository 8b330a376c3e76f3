"""The time points of a sequence, read one by one. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Frames(Sequence[Array]):
    """Arrays of a run's time points; the last one that was read is kept.

    Parameters
    ----------
    read : Callable
        Returns the array of a time point of the run, from 0.
    count : int
    """

    def __init__(self, read: Callable[[int], Any], count: int) -> None:
        self._read, self._count = read, count
        self._kept: tuple[int, Array] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Array: ...
    @overload
    def __getitem__(self, number: slice) -> list[Array]: ...
    def __getitem__(self, number: int | slice) -> Array | list[Array]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(self._count))]
        if not 0 <= number < self._count:
            raise IndexError(number)
        if self._kept is None or self._kept[0] != number:
            self._kept = None  # not two at once
            self._kept = number, self._read(number)
        return self._kept[1]
