"""Arrays in files: pieces (pages, files) that are loaded when they are indexed, and maps that let go of what was read."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Load = Callable[[int, tuple[Any, ...]], NDArray[Any]]


class LazyArray:
    """What arrays that are read when they are indexed have in common."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]


class PieceArray(LazyArray):
    """Array of shape ``lead + piece``; indexing loads only the pieces it touches.

    Parameters
    ----------
    lead : tuple of int
        Shape of the leading dimensions; piece numbers count through them in C order.
    piece : tuple of int
        Shape of one piece.
    dtype : dtype
    load : callable
        ``load(number, key)`` returns ``piece[key]``.
    """

    def __init__(self, lead: tuple[int, ...], piece: tuple[int, ...], dtype: DTypeLike, load: Load) -> None:
        self.shape = (*lead, *piece)
        self.dtype = np.dtype(dtype)
        self._numbers = np.arange(math.prod(lead)).reshape(lead)
        self._load = load

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = list(key) if isinstance(key, tuple) else [key]
        if any(k is Ellipsis for k in keys):
            at = next(i for i, k in enumerate(keys) if k is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        outer = self._numbers.ndim
        numbers = np.asarray(self._numbers[tuple(keys[:outer])])
        inner = tuple(keys[outer:])
        if numbers.size == 0:
            empty = np.empty(self.shape[outer:], dtype=self.dtype)[inner]
            return np.empty(numbers.shape + empty.shape, dtype=self.dtype)
        first = np.asarray(self._load(int(numbers.flat[0]), inner))
        result = np.empty((numbers.size, *first.shape), dtype=self.dtype)
        result[0] = first
        for i, number in enumerate(numbers.flat[1:], 1):
            result[i] = self._load(int(number), inner)
        return result.reshape(numbers.shape + first.shape)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


class MappedArray(LazyArray):
    """A memory-mapped array that keeps none of what was read of it in memory; indexing copies, in the machine's byte order.

    What a process read of a map otherwise counts as its memory, until the system needs it for something else: a recording
    that is read frame by frame seems to be held whole, and a cluster ends the job for it.

    Parameters
    ----------
    pixels : numpy.memmap
    """

    def __init__(self, pixels: np.memmap[Any, Any]) -> None:
        self.shape, self.dtype = pixels.shape, pixels.dtype.newbyteorder("=")
        self._pixels = pixels

    def __getitem__(self, key: Any) -> NDArray[Any]:
        part = np.array(self._pixels[key], dtype=self.dtype)
        let_go(self._pixels)
        return part

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all of it without reading, where nothing has to change."""
        array = np.asarray(self._pixels, dtype=dtype or self.dtype)
        return np.array(array) if copy else array


def let_go(pixels: NDArray[Any]) -> None:
    """Let the system have the memory behind a map back, where it can be told so; what was written goes to the file."""
    found = getattr(pixels, "_mmap", None)
    if found is not None and hasattr(mmap, "MADV_DONTNEED"):
        found.madvise(mmap.MADV_DONTNEED)
