"""Where a query samples a recording: any number of samples per data point along every axis. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid

AXES = "TZYX"
Sampled = Literal["points", "area", "upstream"]
LARGEST = 64.0
"""Largest number of samples per data point."""


@dataclass(frozen=True)
class Sampling:
    """Samples along one axis.

    Attributes
    ----------
    count : int
        Data points.
    scale : float
        Samples per data point.
    kind : {"points", "area", "upstream"}
        From the first to the last data point; over the field of view; or as published, ``int(count * scale)`` samples
        between the first and the last data point, both included.
    """

    count: int
    scale: float
    kind: Sampled

    @property
    def size(self) -> int:
        """Number of samples."""
        if self.kind == "points":
            return math.floor((self.count - 1) * self.scale + 1e-6) + 1
        if self.kind == "upstream":
            return max(1, int(self.count * self.scale))
        return max(1, math.floor(self.count * self.scale + 1e-6))

    @property
    def step(self) -> float:
        """Distance of samples, in data points."""
        if self.kind == "points":
            return 1 / self.scale
        if self.kind == "upstream":
            return max(self.count - 1, 1) / max(self.size - 1, 1)
        return self.count / self.size

    @property
    def first(self) -> float:
        """Place of the first sample, in data points."""
        return (self.step - 1) / 2 if self.kind == "area" else 0.0

    def places(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the places, in data points, of the samples ``start ... stop - 1``."""
        return np.asarray(self.first + np.arange(start, stop) * self.step, np.float64)

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of samples that belong to the data points ``start ... stop - 1``; it may be empty."""
        edge = 0.5 if self.kind == "area" else 0.0
        places = self.places(0, self.size)
        inside = np.flatnonzero((places >= start - edge - 1e-6) & (places <= stop - 1 + edge + 1e-6))
        return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


def samplings(data: Grid, factors: Mapping[str, float], kind: Sampled) -> dict[str, Sampling]:
    """Return the sampling of every axis of a recording (TZYX)."""
    return {axis: Sampling(data.size(axis), factors.get(axis.lower(), 1.0), kind) for axis in AXES}


def sampled_grid(data: Grid, along: Mapping[str, Sampling]) -> Grid:
    """Return the grid of a query in the recording's world."""
    return Grid(
        axes=AXES,
        shape=tuple(along[a].size for a in AXES),
        scale=tuple(data.step(a) * along[a].step for a in AXES),
        translate=tuple(data.to_world(a, along[a].first) for a in AXES),
        units=tuple(data.unit(a) for a in AXES),
    )


def factors_of(value: Any) -> dict[str, float]:
    """Return samples per data point by axis of ``"t=2,z=1.5"``, a mapping, or one number for z, y and x.

    Raises
    ------
    InputError
        Another axis, or a number that is not above 0.
    """
    parts: Mapping[Any, Any]
    if isinstance(value, Mapping):
        parts = value
    elif "=" not in str(value):
        parts = dict.fromkeys("zyx", value) if str(value).strip() else {}
    else:
        pieces = [part.partition("=") for part in str(value).split(",") if part.strip()]
        parts = {name.strip(): number for name, _, number in pieces}
        if len(parts) < len(pieces):
            raise InputError(f"scale should name every axis once, found {value}; write for example t=2,z=2,y=1.5,x=1.5")
    found: dict[str, float] = {}
    for name, number in parts.items():
        axis = str(name).lower()
        try:
            factor = float(number)
        except (TypeError, ValueError):
            factor = math.nan
        if axis not in list(AXES.lower()) or not 0 < factor <= LARGEST:
            raise InputError(
                f"scale should give samples per data point, above 0 and at most {LARGEST:g}, for t, z, y or x, found "
                f"{name}={number}; write for example t=2,z=2,y=1.5,x=1.5"
            )
        found[axis] = factor
    return found


def spelled(factors: Mapping[str, float]) -> str:
    """Return factors as they are written."""
    return ",".join(f"{axis}={factors[axis]:g}" for axis in AXES.lower() if axis in factors)
