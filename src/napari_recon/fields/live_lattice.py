"""Lattices a field is looked at on: levels finer than its data for looking closely, a bounded volume for looking in 3-D.

A viewer with resolution levels lays level `l` over level 0 edge to edge: sample ``i`` of ``n_l`` is where ``(i + 0.5) n_0 /
n_l - 0.5`` of ``n_0`` is. Since a field has values anywhere, levels may have any sizes; each is evaluated exactly there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.grid import Grid

VOLUME = 1 << 21
"""Voxels of the coarsest level, which viewers show in 3-D, at most."""
FINEST = 8
"""Samples per voxel along y and x of the finest level, at most."""
WIDEST = 1 << 15
"""Samples along an axis, at most (unless the data have more)."""
MOST_PLANES = 6
"""Samples per plane along z, at most."""


@dataclass(frozen=True)
class Span:
    """Evenly spaced places along an axis, counted in data points."""

    first: float
    step: float
    count: int

    def places(self) -> NDArray[np.float64]:
        """Return the places."""
        return np.asarray(self.first + np.arange(self.count) * self.step, np.float64)

    def part(self, start: int, stop: int) -> Span:
        """Return the places ``start ... stop - 1``."""
        return Span(self.first + start * self.step, self.step, stop - start)

    def thinned(self, count: int) -> Span:
        """Return fewer places over the same field of view."""
        count = max(1, min(count, self.count))
        step = self.step * self.count / count
        return Span(self.first - self.step / 2 + step / 2, step, count)

    def nearest(self, other: Span) -> NDArray[np.intp]:
        """Return for each place of another span the index of the nearest of these."""
        index = np.rint((other.places() - self.first) / self.step)
        return np.clip(index, 0, self.count - 1).astype(np.intp)

    def beyond(self, other: Span) -> float:
        """Return how far another span reaches out of this one, in data points."""
        low, high = self.first - self.step, self.first + self.count * self.step
        return max(low - other.first, other.first + (other.count - 1) * other.step - high, 0.0)


Spans = tuple[Span, ...]
Bounds = tuple[int, int]


class Levels:
    """Sizes and places of every level, finest first.

    Time and z go from the first to the last data point, y and x over the field of view, edges included. Time and z are
    equally fine on all levels but the last, which may be thinned along z, y and x.

    Parameters
    ----------
    data : Grid
        Of what the field stands for: (T)ZYX.
    time_steps : int
        Samples per time point.
    z_steps : int
        Samples per plane; 0 makes them about as near as pixels.
    finest : int
    volume : int

    Attributes
    ----------
    grid : Grid
        Of level 0, in the world of the data.
    shapes : tuple of tuple of int
    """

    def __init__(
        self, data: Grid, time_steps: int = 1, z_steps: int = 0, finest: int = FINEST, volume: int = VOLUME
    ) -> None:
        self.data, self.time_steps = data, time_steps
        self.z_steps = z_steps or _planes(data)
        densest = {"T": time_steps, "Z": self.z_steps}
        while finest > 1 and max(data.size("Y"), data.size("X")) * finest > WIDEST:
            finest //= 2
        self.finest = finest
        spans, sizes = [], []
        for axis, n in zip(data.axes, data.shape, strict=True):
            if axis in densest:
                k = densest[axis]
                spans.append(Span(0.0, 1 / k, (n - 1) * k + 1))
            else:
                spans.append(Span((1 / finest - 1) / 2, 1 / finest, n * finest))
            sizes.append(spans[-1].count)
        self._spans: Spans = tuple(spans)
        self.shapes = tuple(self._shapes(sizes, volume))
        self.grid = Grid(
            axes=data.axes,
            shape=self.shapes[0],
            scale=tuple(data.step(a) * span.step for a, span in zip(data.axes, spans, strict=True)),
            translate=tuple(data.to_world(a, span.first) for a, span in zip(data.axes, spans, strict=True)),
            units=data.units,
        )

    def _shapes(self, finest: Sequence[int], volume: int) -> list[tuple[int, ...]]:
        axes = self.data.axes
        z, *plane = (axes.index(a) for a in "ZYX")
        cap = _cap([self.data.shape[i] for i in (z, *plane)], volume)
        last = list(finest)
        for i in (z, *plane):
            last[i] = min(self.data.shape[i], cap)
        last[z] = max(last[z], min(finest[z], volume // math.prod(last[i] for i in plane)))
        shapes, factor = [], 1
        while factor <= self.finest or all(finest[i] // factor > 1.5 * last[i] for i in plane):
            shapes.append(tuple(n // factor if i in plane else n for i, n in enumerate(finest)))
            factor *= 2
        return shapes if shapes[-1] == tuple(last) else [*shapes, tuple(last)]

    def density(self, level: int) -> dict[str, float]:
        """Return the samples per data point of a level along each axis."""
        return {a: 1 / self.span(level, i).step for i, a in enumerate(self.data.axes)}

    def span(self, level: int, axis: int, start: int = 0, stop: int | None = None) -> Span:
        """Return where the samples ``start ... stop - 1`` of a level lie along an axis."""
        whole, count = self._spans[axis], self.shapes[level][axis]
        stop = count if stop is None else stop
        if count != whole.count:
            ratio = whole.count / count
            whole = Span(whole.first + whole.step * (ratio - 1) / 2, whole.step * ratio, count)
        return whole.part(start, stop)

    def spans(self, level: int, box: Sequence[Bounds]) -> Spans:
        """Return where a box of a level lies."""
        return tuple(self.span(level, axis, *bounds) for axis, bounds in enumerate(box))


def by_axis(data: Grid, spans: Spans) -> Mapping[str, Span]:
    """Return spans by axis letter."""
    return dict(zip(data.axes, spans, strict=True))


def _planes(data: Grid) -> int:
    """Return how many samples per plane make planes about as near as pixels; two where lengths are not known."""
    if data.size("Z") < 2 or data.unit("Z") == "pixel":
        return 2 if data.size("Z") > 1 else 1
    return max(2, min(MOST_PLANES, round(abs(data.step("Z") / data.step("X")))))


def _cap(shape: Sequence[int], volume: int) -> int:
    """Return the largest number to which sizes must be cut so that their product stays within `volume`."""
    low, high = 1, max(shape)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if math.prod(min(n, middle) for n in shape) <= volume else (low, middle - 1)
    return low
