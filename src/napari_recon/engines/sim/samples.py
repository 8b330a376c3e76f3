"""Raw sets that stand for a series; no more than one of them is in memory. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.frames import read_frame
from napari_recon.core.stack import ImageStack

Array = NDArray[np.float32]
#: Raw sets of a series that the pattern is found on.
SAMPLES = 8


class Samples(Sequence[Array]):
    """Raw sets (N, Y, X) of a series, read whenever they are looked at.

    Parameters
    ----------
    series : ImageStack
    spec : InputSpec
    places : sequence of mapping
        Axis letter -> index of each set.
    """

    def __init__(self, series: ImageStack, spec: InputSpec, places: Sequence[Mapping[str, int]]) -> None:
        self._series, self._spec, self._places = series, spec, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, number: int) -> Array: ...
    @overload
    def __getitem__(self, number: slice) -> Samples: ...
    def __getitem__(self, number: int | slice) -> Array | Samples:
        if isinstance(number, slice):
            return Samples(self._series, self._spec, self._places[number])
        return read_frame(self._series, self._spec, self._places[number])


def samples(series: ImageStack, spec: InputSpec, channel: int) -> Samples:
    """Return some raw sets of one channel, evenly spread over time and depth.

    Sets that hold nothing are left out (a dark plane, say), unless all do.
    """
    shape = series.grid.size("T"), series.grid.size("Z")
    total = shape[0] * shape[1]
    found, problem = [], None
    for number in np.unique(np.linspace(0, total - 1, min(SAMPLES, total)).round().astype(int)):
        t, z = np.unravel_index(number, shape)
        place = {"T": int(t), "Z": int(z), "C": channel}
        try:
            read_frame(series, spec, place)
            found.append(place)
        except InputError as error:
            problem = problem or error
    if not found and problem is not None:
        raise problem
    return Samples(series, spec, found)
