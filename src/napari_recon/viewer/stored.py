"""An OME-Zarr as layers show it while it is being written: all levels, read beside the viewer. No Qt or napari here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.grid import Grid
from napari_recon.io.omezarr import read_levels

Key = tuple[Any, ...]
Read = list[dict[Any, NDArray[Any]]]
KEPT = 2
"""A layer asks the coarsest level for what is seen and for its thumbnail."""


class StoredLevel:
    """One level of one channel of a store, indexed along the axes of its layer.

    Every index reads what is there now. Whoever knows that something was written gives what `read` found in another thread
    to `given`, so that the next index with the same key need not read.

    Parameters
    ----------
    axes : str
        Of the layer. Those that the store lacks have length one.
    stored : str
        Axes of the store.
    channel : int
        Which C of the store.
    source : zarr.Array
    """

    def __init__(self, axes: str, stored: str, channel: int, source: Any) -> None:
        self._axes, self._stored, self._channel = axes, stored, channel
        self.source = source
        self._asked: list[Key] = []
        self.given: dict[Any, NDArray[Any]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Along the axes of the layer, as the store is now."""
        return tuple(self.source.shape[self._stored.index(a)] if a in self._own else 1 for a in self._axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the store."""
        return np.dtype(self.source.dtype)

    @property
    def ndim(self) -> int:
        """Of the layer."""
        return len(self._axes)

    @property
    def size(self) -> int:
        """How many voxels a channel has."""
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> NDArray[Any]:
        whole = self._whole(key)
        named = tuple((k.start, k.stop, k.step) if isinstance(k, slice) else k for k in whole)
        if (found := self.given.get(named)) is not None:
            return found
        self._asked = [*(k for k in self._asked if k != named), named][-KEPT:]
        return self._read(whole)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)

    def read(self) -> dict[Any, NDArray[Any]]:
        """Read again what was asked for last (in any thread)."""
        return {named: self._read([slice(*k) if isinstance(k, tuple) else k for k in named]) for named in self._asked}

    @property
    def _own(self) -> str:
        return "".join(a for a in self._axes if a in self._stored and a != "C")

    def _whole(self, key: Any) -> list[Any]:
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(k is Ellipsis for k in keys):
            at = next(i for i, k in enumerate(keys) if k is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        return [slice(*k.indices(n)) if isinstance(k, slice) else int(k) % n for k, n in zip(keys, self.shape, strict=True)]

    def _read(self, keys: Sequence[Any]) -> NDArray[Any]:
        wanted = dict(zip(self._axes, keys, strict=True))
        ranges = {a: k if isinstance(k, slice) else slice(k, k + 1) for a, k in wanted.items()}
        have = [a for a in self._stored if a in self._own]
        rest = {"C": self._channel} if "C" in self._stored else {}
        block = np.asarray(self.source[tuple(rest[a] if a in rest else ranges[a] for a in self._stored)])
        block = block.transpose([have.index(a) for a in self._own])
        block = block[tuple(slice(None) if a in self._own else None for a in self._axes)]
        fillers = tuple(ranges[a] if a not in self._own else slice(None) for a in self._axes)
        return block[fillers][tuple(slice(None) if isinstance(k, slice) else 0 for k in keys)]


class StoredImage:
    """The levels of a store: ``levels[channel]`` is what a layer shows.

    Parameters
    ----------
    stored : str
        Axes of the store.
    grids : sequence of Grid
        Of the layers, one per channel.
    place : Path
    """

    def __init__(self, stored: str, grids: Sequence[Grid], place: Path) -> None:
        arrays = read_levels(place)
        self.levels = [[StoredLevel(g.axes, stored, c, array) for array in arrays] for c, g in enumerate(grids)]

    def moved(self, place: Path) -> None:
        """Read from another place (or from the same one, whose shape has changed) from now on."""
        arrays = read_levels(place)
        for levels in self.levels:
            for level, array in zip(levels, arrays, strict=True):
                level.source = array

    def data(self, channel: int) -> Any:
        """Return what a layer takes as its data."""
        levels = self.levels[channel]
        return levels if len(levels) > 1 else levels[0]

    def read(self, channel: int) -> Read:
        """Read again what a layer asked for last (in a worker)."""
        return [level.read() for level in self.levels[channel]]

    def give(self, channel: int, found: Sequence[Mapping[Any, NDArray[Any]]]) -> None:
        """Answer the same questions with what `read` found, until nothing is given."""
        for level, answers in zip(self.levels[channel], found or [{} for _ in self.levels[channel]], strict=True):
            level.given = dict(answers)
