"""The order in which a scanning light-field microscope visits the positions between lenslets. numpy only.

A scan of s x s positions moves the picture by one s-th of a lenslet from frame to frame; its frames, put side by side in the
right cells, are one light field with s times as many samples per axis. Cells are counted along rows, ``row * s + column``.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError

PATHS = ("raster", "snake", "spiral")
TURNS = ("", "-up", "-left", "-up-left", "-columns", "-columns-up", "-columns-left", "-columns-up-left")
#: How much rougher than the best order one must be to be called wrong, of what of its roughness noise can't explain.
CLEARLY = 1.3


class Judged(NamedTuple):
    """Roughness of the views under an order, and the smoothest order there is."""

    roughness: float
    best: str
    best_roughness: float

    @property
    def wrong(self) -> bool:
        """Whether another order is clearly smoother."""
        return self.roughness > CLEARLY * self.best_roughness


def cells_of(order: str, scanning: int) -> tuple[int, ...]:
    """Return the cell of each frame of a scan.

    Parameters
    ----------
    order : str
        ``raster`` (rows from the top, each from the left), ``snake`` (every other row backwards) or ``spiral`` (from the
        lower left corner along the bottom, inwards, ending in the middle), with ``-columns`` (rows and columns exchanged),
        ``-up`` (rows from the bottom up, a spiral from the top) and ``-left`` (from the right) appended; or the cells
        themselves, ``"6,7,8,5,2,1,0,3,4"``.
    scanning : int
        Positions per axis.

    Raises
    ------
    InputError
        An unknown word, or numbers that do not name each cell once.
    """
    text = re.sub(r"[\s\[\]()]", "", order.lower())
    if re.fullmatch(r"\d+(,\d+)*", text):
        numbers = tuple(int(word) for word in text.split(","))
        if sorted(numbers) != list(range(scanning**2)):
            raise InputError(
                f"scan_order should name each of the cells 0 to {scanning**2 - 1} once, found {order}; count them along rows"
            )
        return numbers
    path, *turns = text.split("-")
    if path not in PATHS or not set(turns) <= {"columns", "up", "left"}:
        raise InputError(
            f"scan_order should be auto, {', '.join(PATHS)} (with -columns, -up, -left appended) or numbers of cells, found "
            f"{order!r}; choose one of them"
        )
    cells = np.arange(scanning**2).reshape(scanning, scanning)
    cells = cells.T if "columns" in turns else cells
    cells = cells[::-1] if "up" in turns else cells
    cells = cells[:, ::-1] if "left" in turns else cells
    return tuple(int(n) for n in _path(cells, path))


def _path(cells: NDArray[np.int64], path: str) -> list[int]:
    if path == "raster":
        return [int(n) for n in cells.ravel()]
    if path == "snake":
        return [int(n) for number, row in enumerate(cells) for n in (row[::-1] if number % 2 else row)]
    found: list[int] = []
    while cells.size:  # the bottom row, then what is left turned so that its right column becomes the bottom row
        found += cells[-1].tolist()
        cells = np.rot90(cells[:-1], -1)
    return found


def usual_orders(scanning: int) -> dict[tuple[int, ...], str]:
    """Return every path that has a name, the plainest name of each."""
    found: dict[tuple[int, ...], str] = {}
    for turn, path in itertools.product(TURNS, PATHS):
        found.setdefault(cells_of(path + turn, scanning), path + turn)
    return found


def interleaved(views: NDArray[np.floating], order: tuple[int, ...], scanning: int) -> NDArray[np.float32]:
    """Return views (V, s Y, s X) from those of each position (N, V, Y, X) in the order of the scan."""
    count, height, width = views.shape[1:]
    result = np.empty((count, height, scanning, width, scanning), np.float32)
    for frame, cell in zip(views, order, strict=True):
        result[:, :, cell // scanning, :, cell % scanning] = frame
    return result.reshape(count, height * scanning, width * scanning)


class Continuity:
    """How well the views of a scan's frames continue one another, for any order.

    Parameters
    ----------
    views : ndarray
        (N, V, Y, X): some sharp views (those near the middle) of each frame, in the order of the scan.
    """

    def __init__(self, views: NDArray[np.floating]) -> None:
        self.scanning = round(views.shape[0] ** 0.5)
        frames = np.asarray(views, dtype=np.float64)
        root = np.sqrt(np.clip(frames, 0, None))  # so that a few bright places do not decide alone
        inner = root[..., :-1, :-1]
        here = inner.reshape(len(root), -1)
        down = root[..., 1:, :-1].reshape(len(root), -1)
        right = root[..., :-1, 1:].reshape(len(root), -1)
        self._within: NDArray[np.float64] = _distances(here, here)
        self._down, self._right = _distances(here, down), _distances(here, right)

    def roughness(self, order: tuple[int, ...]) -> float:
        """Return the mean squared step between neighbouring samples of the interleaved views."""
        s = self.scanning
        frame = np.empty(s * s, dtype=int)
        frame[list(order)] = np.arange(s * s)
        at = frame.reshape(s, s)
        steps = (
            self._within[at[:-1], at[1:]],
            self._within[at[:, :-1], at[:, 1:]],
            self._down[at[-1], at[0]],
            self._right[at[:, -1], at[:, 0]],
        )
        return sum([float(np.sum(part)) for part in steps]) / float(2 * s * s)

    def judged(self, order: str) -> Judged:
        """Return how an order fares against all that have names; noise, which every order has alike, is taken off."""
        known = usual_orders(self.scanning)
        found = {cells: self.roughness(cells) for cells in known}
        best = min(found, key=lambda cells: found[cells])
        own = self.roughness(cells_of(order, self.scanning))
        floor = min(0.95 * found[best], self._noise())
        return Judged(own - floor, known[best], found[best] - floor)

    def _noise(self) -> float:
        """Return what two frames of the same would differ by, from the nearest pair."""
        pairs = self._within[np.triu_indices(len(self._within), 1)]
        return 0.9 * float(pairs.min())


def _distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean squared difference of every row of `a` from every row of `b`."""
    square = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
    result: NDArray[np.float64] = np.maximum(square, 0) / a.shape[1]
    return result
