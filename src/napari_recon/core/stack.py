"""ImageStack: any array with named axes and a place in the world, read piece by piece."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid


class ArrayLike(Protocol):
    """What numpy, dask, zarr and memory-mapped arrays have in common."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> Any: ...  # noqa: D102
    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class ImageStack:
    """An image with axes, units and world position; pixels are read on demand.

    Attributes
    ----------
    data : array-like
        Shape as `grid.shape`; numpy, dask, zarr or memory map.
    grid : Grid
    name : str
        Shown to people and used in layer and file names.
    uri : str
        ``path``, ``path::key`` or ``layer:ID``; empty for arrays made in memory.
    metadata : dict
        What the file or layer said about itself; ``"optics"`` is what `InputRef.optics` takes over.
    """

    data: ArrayLike
    grid: Grid
    name: str = "image"
    uri: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(self.data.shape) != self.grid.shape:
            raise InputError(
                f"{self.name} has shape {tuple(self.data.shape)} but its grid says {self.grid.shape}; pass both alike"
            )

    @classmethod
    def of(cls, array: ArrayLike, axes: str, name: str = "image", **geometry: Mapping[str, Any]) -> ImageStack:
        """Return a stack around `array`; `geometry` is passed to `Grid.of` (scale, translate, units)."""
        return cls(array, Grid.of(axes, array.shape, **geometry), name)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type on disk or in memory."""
        found: np.dtype[Any] = np.dtype(self.data.dtype)
        return found

    def read(self, axes: str | None = None, **index: int | slice) -> NDArray[Any]:
        """Read a part into memory.

        Parameters
        ----------
        axes : str, optional
            Order of the axes of the result; default is the stack's own order without integer-indexed axes.
        **index : int or slice
            Per axis letter in lower case: ``read(t=3, y=slice(0, 64))``.

        Returns
        -------
        numpy.ndarray
            In the stack's dtype.
        """
        keys = tuple(index.get(a.lower(), slice(None)) for a in self.grid.axes)
        part = np.asarray(self.data[keys])
        left = "".join(a for a, k in zip(self.grid.axes, keys, strict=True) if isinstance(k, slice))
        return part if axes is None or axes == left else np.transpose(part, [left.index(a) for a in axes])

    def fingerprint(self) -> str:
        """Return a short digest of shape, dtype and up to 64 evenly spread pieces of the content."""
        digest = hashlib.sha256(f"{self.grid.axes}{self.grid.shape}{self.dtype.str}".encode())
        outer = self.grid.shape[0] if self.grid.shape else 1
        for i in sorted({round(f * (outer - 1) / 63) for f in range(64)}):
            piece = np.asarray(self.data[i]).reshape(-1)
            digest.update(np.ascontiguousarray(piece[:: max(1, piece.size // 65536)]).tobytes())
        return f"array:{digest.hexdigest()[:16]}"


def check_content(array: NDArray[Any], what: str, may_be_constant: bool = False) -> NDArray[np.float32]:
    """Return `array` as float32 after checking that it holds intensities to reconstruct from.

    Parameters
    ----------
    array : numpy.ndarray
        Any shape.
    what : str
        Its name in messages.
    may_be_constant : bool
        For what is not looked at itself, such as a background.

    Raises
    ------
    InputError
        Boolean, complex or text data; NaN or infinite values; a constant image.
    """
    if array.dtype.kind not in "uif":
        raise InputError(f"{what} should hold intensities (integers or floats), found {array.dtype}; convert it first")
    result = np.asarray(array, dtype=np.float32)
    low, high = float(result.min()), float(result.max())
    if not np.isfinite([low, high]).all():
        bad = int(result.size - np.isfinite(result).sum())
        raise InputError(f"{what} should hold finite numbers, found {bad} NaN or infinite values; replace or crop them")
    if low == high and not may_be_constant:
        raise InputError(
            f"{what} is constant (every value is {low:g}), so there is nothing to see in it; check it or leave it out"
        )
    return result


def check_labels(array: NDArray[Any], what: str) -> NDArray[np.int32]:
    """Return `array` as int32 after checking that it holds whole numbers (InputError otherwise)."""
    if array.dtype.kind not in "bui":
        raise InputError(f"{what} should hold labels (whole numbers), found {array.dtype}; convert or round it first")
    return np.asarray(array, dtype=np.int32)
