"""What the raw frames of structured illumination look like: thumbnails by angle and phase, and their power spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.layout import Layout, arranged, fitting

THUMBNAIL = 48
SPECTRUM = 512


@dataclass(frozen=True, eq=False)
class Pages:
    """A raw stack and how its pages are read."""

    stack: ImageStack
    layout: Layout
    order: str

    @property
    def arranged(self) -> Grid | None:
        """The grid as engines see it: T, C, Z, N, Y, X; None when the pages do not fit."""
        try:
            return arranged(self.stack.grid, self.layout, self.order).grid
        except InputError:
            return None

    def at(self, index: Sequence[int]) -> dict[str, int]:
        """Return the time point, channel and plane (of the axes there are) of a place in the file's own axes.

        Parameters
        ----------
        index : sequence of int
            One per axis of the stack; only the outer ones count.
        """
        found = arranged(self.stack.grid, self.layout, self.order)
        outer = self.stack.grid.shape[:-2]
        inside = [min(max(i, 0), n - 1) for i, n in zip(index, outer, strict=False)]
        page = np.ravel_multi_index(inside, outer) if outer else 0
        place = np.argwhere(found.pages == page)[0]
        return {a: int(i) for a, i in zip(found.grid.axes, place, strict=False) if a in "TCZ"}

    def same(self, other: Pages | None) -> bool:
        """Return whether `other` reads the same pixels in the same way."""
        return (
            other is not None
            and self.stack.data is other.stack.data
            and (self.stack.grid, self.layout, self.order) == (other.stack.grid, other.layout, other.order)
        )

    def frames(self, size: int, index: Mapping[str, int] = {}) -> NDArray[np.float32]:
        """Return the centre (at most `size` pixels wide) of the frames of one image, angle-major (N, Y, X).

        Raises
        ------
        InputError
            The number of pages does not fit the layout.
        """
        stack = arranged(self.stack.grid, self.layout, self.order).of(self.stack)
        keys: dict[str, int | slice] = {a.lower(): min(index.get(a, 0), stack.grid.size(a) - 1) for a in "TCZ"}
        keys = {a: i for a, i in keys.items() if a.upper() in stack.grid.axes}
        for axis in "YX":
            n = stack.grid.size(axis)
            start = max(0, (n - size) // 2)
            keys[axis.lower()] = slice(start, start + min(size, n))
        return stack.read("NYX", **keys).astype(np.float32)


def thumbnails(pages: Pages, stripes: bool) -> NDArray[np.uint8]:
    """Return the frames' centres at full resolution, uint8 (angles, phases, y, x), so that the stripes can be seen.

    Parameters
    ----------
    pages : Pages
    stripes : bool
        Show what differs from the mean of the angle: a pattern that moves from phase to phase, or something else when
        the order is another one.
    """
    frames = pages.frames(THUMBNAIL)
    grid = frames.reshape(pages.layout.angles, pages.layout.phases, *frames.shape[1:])
    if stripes:
        grid = grid - grid.mean(axis=1, keepdims=True)
    low, high = np.percentile(grid, (0.5, 99.5))
    scaled = (grid - low) / (high - low) if high > low else np.zeros_like(grid)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def recognised(grid: Grid, layout: Layout, order: str) -> Layout | None:
    """Return the likely angles and phases when `layout` does not fit the stack; None when it does, or nothing would."""
    try:
        arranged(grid, layout, order)
    except InputError:
        if {"A", "P"} <= set(grid.axes):
            return Layout(grid.size("A"), grid.size("P"))
        if layout.pattern == "stripes" and (fits := fitting(grid.size("N"))) and "N" in grid.axes:
            return fits[0]
    return None


def power_spectrum(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log10 of the mean power spectrum of (N, Y, X), zero frequency at index n // 2, relative to its maximum.

    Frames fade out towards their edges, which would otherwise cross the whole spectrum.
    """
    y, x = (np.hanning(n + 2)[1:-1].astype(np.float32) for n in frames.shape[-2:])
    window = y[:, None] * x
    power = np.zeros(frames.shape[-2:])
    for frame in frames:
        frame = np.where(np.isfinite(frame), frame, 0)  # one bad pixel would leave nothing to see
        power += np.abs(np.fft.fft2((frame - frame.mean()) * window)) ** 2
    power = np.fft.fftshift(power)
    peak = power.max() or 1.0
    return np.log10(np.maximum(power / peak, 1e-9)).astype(np.float32)
