"""Where results are collected: filled by the worker thread, looked at by layers. No Qt or napari here."""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.compute import free_memory
from napari_recon.core.events import BlockReady, PreviewReady
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.viewer.placement import displayed_grid

DISK_SHARE = 0.25
"""Outputs above this share of the free memory go to a temporary zarr."""
CHUNK = {"Z": 16, "Y": 128, "X": 128}
SAMPLES = 200_000
PERCENTILE = 99.8

Box = tuple[slice, ...]
Limits = tuple[float, float, float, float]


class OutputBuffer:
    """The voxels of one output: one array per channel, each shown by a layer of its own.

    The worker writes; the viewer asks `take` what changed and `limits` how bright it is.

    Parameters
    ----------
    spec : OutputSpec
    parent : Grid, optional
        The grid of the input it is made from; see `displayed_grid`.

    Attributes
    ----------
    grids : list of Grid
        One per channel: axes and place of `arrays`.
    arrays : list of array
        numpy, or zarr on disk when large.
    """

    def __init__(self, spec: OutputSpec, parent: Grid | None = None) -> None:
        self.spec = spec
        self.channels = spec.grid.size("C")
        self.grids = [displayed_grid(spec.grid, parent, c) for c in range(self.channels)]
        nbytes = math.prod(spec.grid.shape) * np.dtype(spec.dtype).itemsize
        self.on_disk = nbytes > DISK_SHARE * free_memory("cpu")
        self._folder = tempfile.mkdtemp(prefix="napari-recon-") if self.on_disk else ""
        if self.on_disk:
            weakref.finalize(self, shutil.rmtree, self._folder, True)
        self.arrays = [self._allocate(c, grid) for c, grid in enumerate(self.grids)]
        self.blocks = 0
        self._lock = threading.Lock()
        self._changed: list[list[Box]] = [[] for _ in self.arrays]
        self._limits: list[dict[tuple[tuple[int, int], ...], Limits]] = [{} for _ in self.arrays]

    def _allocate(self, channel: int, grid: Grid) -> Any:
        if not self.on_disk:
            return np.zeros(grid.shape, dtype=self.spec.dtype)
        import zarr

        return zarr.create_array(
            f"{self._folder}/{channel}.zarr",
            shape=grid.shape,
            chunks=tuple(min(n, CHUNK.get(a, 1)) for a, n in zip(grid.axes, grid.shape, strict=True)),
            dtype=self.spec.dtype,
            fill_value=0,
            compressors=None,
        )

    def write(self, event: BlockReady | PreviewReady) -> None:
        """Store a block (called in the worker thread)."""
        block = np.asarray(event.array, dtype=self.spec.dtype)
        axes = self.spec.grid.axes
        place = dict(zip(axes, event.slices, strict=True))
        if "C" not in axes:
            self._write(0, place, block)
            return
        for number, channel in enumerate(range(*place["C"].indices(self.channels))):
            self._write(channel, place, block.take(number, axis=axes.index("C")))

    def _write(self, channel: int, place: Mapping[str, slice], block: NDArray[Any]) -> None:
        grid = self.grids[channel]
        known = set(self.spec.grid.axes) - {"C"}
        where = tuple(
            slice(*place[a].indices(n)[:2]) if a in known else slice(0, 1)
            for a, n in zip(grid.axes, grid.shape, strict=True)
        )
        self.arrays[channel][where] = block.reshape(tuple(s.stop - s.start for s in where))
        limits = brightness(block, exact=True)
        with self._lock:
            self.blocks += 1
            self._changed[channel].append(where)
            # an estimate replaces the one before it, in brightness too
            self._limits[channel][tuple((s.start, s.stop) for s in where)] = limits

    def release(self, channel: int) -> None:
        """Remove what a channel keeps on disk; its layer is gone."""
        if self._folder:
            shutil.rmtree(f"{self._folder}/{channel}.zarr", ignore_errors=True)

    def take(self, channel: int) -> list[Box]:
        """Return the places written since the last call, and forget them."""
        with self._lock:
            changed, self._changed[channel] = self._changed[channel], []
        return changed

    def limits(self, channel: int, fresh: bool = False) -> Limits | None:
        """Return (low, high, min, max): contrast limits and range; None before there is anything to see.

        Parameters
        ----------
        channel : int
        fresh : bool
            Measure the whole array instead of joining what was measured block by block.
        """
        if fresh and not self.on_disk:
            found: Limits | None = brightness(self.arrays[channel])
        else:
            with self._lock:
                blocks = list(self._limits[channel].values())
            found = reduce(_wider, blocks) if blocks else None
        return found if found is not None and found[3] > found[2] else None


def brightness(block: NDArray[Any], exact: bool = False) -> Limits:
    """Return (low, high, min, max) of a sample of `block`; high leaves out the brightest two per mille.

    Parameters
    ----------
    block : array
    exact : bool
        Take min and max of every voxel.
    """
    stride = max(1, math.ceil((block.size / SAMPLES) ** (1 / max(1, block.ndim))))
    sample = block[(slice(None, None, stride),) * block.ndim]
    extent = block if exact else sample
    low, most = float(extent.min()), float(extent.max())
    high = float(np.percentile(sample, PERCENTILE)) if most > low else most
    return low, high if high > low else most, low, most


def _wider(a: Limits, b: Limits) -> Limits:
    return min(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3])
