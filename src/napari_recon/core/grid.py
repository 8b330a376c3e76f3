"""Axes, units and where voxels lie in the world."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from napari_recon.core.errors import InputError

AXIS_NAMES = {
    "T": "time",
    "C": "channel",
    "V": "view",
    "A": "angle",
    "P": "phase",
    "N": "raw frame",
    "Z": "z",
    "Y": "y",
    "X": "x",
}
SPATIAL = "ZYX"


class Frozen(BaseModel):
    """Immutable, strict about unknown keys, JSON- and pickle-serialisable."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


def check_axes(axes: str, ndim: int, what: str = "the image") -> str:
    """Return `axes` in upper case after checking that they can label `ndim` dimensions.

    Raises
    ------
    InputError
        Unknown or repeated letters, or the wrong number of them.
    """
    axes = axes.upper()
    unknown = sorted(set(axes) - set(AXIS_NAMES))
    if unknown or len(set(axes)) != len(axes):
        raise InputError(
            f"axes should be distinct letters of {''.join(AXIS_NAMES)}, found {axes!r} for {what}; "
            "name one letter per dimension, for example TVYX"
        )
    if len(axes) != ndim:
        raise InputError(
            f"{len(axes)} axes ({axes}) were named for {what}, which has {ndim} dimensions; "
            "name exactly one letter per dimension (--axes)"
        )
    return axes


class Grid(Frozen):
    """A labelled, regularly spaced voxel grid in world coordinates.

    Attributes
    ----------
    axes : str
        One letter per dimension, outermost first, e.g. ``"TZYX"``.
    shape : tuple of int
    scale : tuple of float
        World distance between neighbouring voxel centres.
    translate : tuple of float
        World position of the *centre* of voxel 0.
    units : tuple of str
        Pint unit names per axis (``"micrometer"``, ``"pixel"``, ``"second"``).
    """

    axes: str
    shape: tuple[int, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    units: tuple[str, ...]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        check_axes(self.axes, len(self.shape))
        if not len(self.axes) == len(self.scale) == len(self.translate) == len(self.units):
            raise ValueError("axes, shape, scale, translate and units must have the same length")
        if any(not math.isfinite(s) or s == 0 for s in self.scale):
            raise ValueError(f"scale must be finite and non-zero, found {self.scale}")
        return self

    @classmethod
    def of(
        cls,
        axes: str,
        shape: Sequence[int],
        scale: Mapping[str, float] | None = None,
        translate: Mapping[str, float] | None = None,
        units: Mapping[str, str] | None = None,
    ) -> Grid:
        """Return a grid from per-axis mappings; what is not named is 1, 0 and ``"pixel"``."""
        scale, translate, units = scale or {}, translate or {}, units or {}
        return cls(
            axes=axes,
            shape=tuple(int(n) for n in shape),
            scale=tuple(float(scale.get(a, 1.0)) for a in axes),
            translate=tuple(float(translate.get(a, 0.0)) for a in axes),
            units=tuple(units.get(a, "pixel") for a in axes),
        )

    def size(self, axis: str) -> int:
        """Return the number of voxels along `axis` (1 when the grid lacks it)."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    def step(self, axis: str) -> float:
        """Return the voxel spacing along `axis`."""
        return self.scale[self.axes.index(axis)]

    def origin(self, axis: str) -> float:
        """Return the world position of the centre of voxel 0 along `axis`."""
        return self.translate[self.axes.index(axis)]

    def unit(self, axis: str) -> str:
        """Return the unit of `axis`."""
        return self.units[self.axes.index(axis)]

    def only(self, axes: str) -> Grid:
        """Return this grid restricted to, and ordered as, `axes`."""
        at = [self.axes.index(a) for a in axes]
        return Grid(
            axes=axes,
            shape=tuple(self.shape[i] for i in at),
            scale=tuple(self.scale[i] for i in at),
            translate=tuple(self.translate[i] for i in at),
            units=tuple(self.units[i] for i in at),
        )

    def joined(self, inner: Grid) -> Grid:
        """Return a grid with this one's axes outermost, then `inner`'s."""
        return Grid(
            axes=self.axes + inner.axes,
            shape=self.shape + inner.shape,
            scale=self.scale + inner.scale,
            translate=self.translate + inner.translate,
            units=self.units + inner.units,
        )

    def cropped(self, bounds: Mapping[str, tuple[int, int]]) -> Grid:
        """Return the sub-grid of half-open index `bounds` per axis, at its place in the world."""
        shape, translate = list(self.shape), list(self.translate)
        for axis, (start, stop) in bounds.items():
            i = self.axes.index(axis)
            shape[i] = stop - start
            translate[i] += start * self.scale[i]
        return self.model_copy(update={"shape": tuple(shape), "translate": tuple(translate)})

    def resampled(self, sizes: Mapping[str, int]) -> Grid:
        """Return a grid of `sizes` voxels per axis that covers exactly the same world extent.

        The outer *edges* of the first and last voxel stay where they are, so centres move by half a voxel:
        ``translate' = translate - scale / 2 + scale' / 2``.
        """
        shape, scale, translate = list(self.shape), list(self.scale), list(self.translate)
        for axis, size in sizes.items():
            i = self.axes.index(axis)
            new = scale[i] * shape[i] / size
            translate[i] += (new - scale[i]) / 2
            shape[i], scale[i] = size, new
        return self.model_copy(update={"shape": tuple(shape), "scale": tuple(scale), "translate": tuple(translate)})

    def finer(self, factor: int, axes: str = "YX") -> Grid:
        """Return a grid with `factor` times the samples along `axes`, whose index ``factor * j`` lies on this one's `j`."""
        shape = tuple(n * factor if a in axes else n for a, n in zip(self.axes, self.shape, strict=True))
        scale = tuple(s / factor if a in axes else s for a, s in zip(self.axes, self.scale, strict=True))
        return self.model_copy(update={"shape": shape, "scale": scale})

    def alike(self, other: Grid) -> bool:
        """Return whether another grid has the same voxels, to within rounding."""
        pairs = zip((*self.scale, *self.translate), (*other.scale, *other.translate), strict=True)
        return self.shape == other.shape and all(abs(a - b) <= 1e-6 * max(abs(a), abs(b), 1e-3) for a, b in pairs)

    def to_world(self, axis: str, index: float) -> float:
        """Return the world position of (fractional) voxel `index` along `axis`."""
        return self.origin(axis) + index * self.step(axis)

    def to_index(self, axis: str, world: float) -> float:
        """Return the fractional voxel index of `world` along `axis`."""
        return (world - self.origin(axis)) / self.step(axis)
