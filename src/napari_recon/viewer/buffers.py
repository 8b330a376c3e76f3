"""Where results are collected: filled by the worker thread, looked at by layers. No Qt or napari here."""

from __future__ import annotations

import math
import shutil
import threading
import weakref
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.compute import free_memory
from napari_recon.core.events import BlockReady, PreviewReady
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.io.omezarr import ZarrOutput
from napari_recon.io.output import check_writable, partial_path, stored_axes
from napari_recon.viewer.placement import displayed_grid
from napari_recon.viewer.stored import Read, StoredImage

DISK_SHARE = 0.25
"""Outputs above this share of the free memory are written to a file."""
SAMPLES = 200_000
PERCENTILE = 99.8

Box = tuple[slice, ...]
Limits = tuple[float, float, float, float]


def too_large(spec: OutputSpec, memory_bytes: int = 0) -> bool:
    """Return whether an output belongs on disk; `memory_bytes` is what the user lets a run have (0: nobody said)."""
    nbytes = math.prod(spec.grid.shape) * np.dtype(spec.dtype).itemsize
    return nbytes > min(DISK_SHARE * free_memory("cpu"), memory_bytes or math.inf)


class OutputBuffer:
    """The voxels of one output: one array per channel, each shown by a layer of its own.

    The worker writes; the viewer asks `take` what changed and `limits` how bright it is.

    Parameters
    ----------
    spec : OutputSpec
    parent : Grid, optional
        The grid of the input it is made from; see `displayed_grid`.
    path : Path, optional
        The OME-Zarr to be written instead of memory.
    kept : bool
        That file stays; otherwise its folder goes when its layers do.

    Attributes
    ----------
    grids : list of Grid
        One per channel: axes and place of `arrays`.
    arrays : list of array, or of lists of them
        numpy; of a file its levels, finest first.
    path : Path or None
        The finished file.
    """

    def __init__(self, spec: OutputSpec, parent: Grid | None = None, path: Path | None = None, kept: bool = True) -> None:
        self.spec = spec
        self.channels = spec.grid.size("C")
        self.grids = [displayed_grid(spec.grid, parent, c) for c in range(self.channels)]
        self.path: Path | None = None
        self.kept = kept
        self._file: ZarrOutput | None = None
        self._stored: StoredImage | None = None
        if path is None:
            self.arrays: list[Any] = [np.zeros(grid.shape, dtype=spec.dtype) for grid in self.grids]
        else:
            self._file = ZarrOutput(check_writable(path), spec)
            if not kept:
                weakref.finalize(self, shutil.rmtree, path.parent, True)
            self._stored = StoredImage(stored_axes(spec.grid), self.grids, self._file.place)
            self.arrays = [self._stored.data(c) for c in range(self.channels)]
        self.blocks = 0
        self._lock = threading.Lock()
        self._unsettled: list[tuple[int, Box]] = []
        self._changed: list[list[Box]] = [[] for _ in self.arrays]
        self._limits: list[dict[tuple[tuple[int, int], ...], Limits]] = [{} for _ in self.arrays]

    @property
    def on_disk(self) -> bool:
        """Whether the arrays are read from a file."""
        return self._stored is not None

    @property
    def uri(self) -> str:
        """The file, when it will stay and says the same as the layer; empty otherwise."""
        same = self.grids[0].axes == stored_axes(self.spec.grid)
        return str(self.path) if self.path is not None and self.kept and same else ""

    @property
    def where(self) -> str:
        """In words where the result is that is not in memory; empty when it is."""
        if not self.on_disk:
            return ""
        place = self.path or (self._file.path if self._file is not None else "")
        return f"in {place}" if self.kept else "on disk until its layers are removed; save it, or give Preferences a folder"

    def write(self, event: BlockReady | PreviewReady) -> None:
        """Store a block (called in the worker thread)."""
        block = np.asarray(event.array, dtype=self.spec.dtype)
        axes = self.spec.grid.axes
        place = dict(zip(axes, event.slices, strict=True))
        if self._file is not None:
            self._file.write(event.slices, block)
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
        if self._file is None:
            self.arrays[channel][where] = block.reshape(tuple(s.stop - s.start for s in where))
        limits = brightness(block, exact=True)
        with self._lock:
            self.blocks += 1
            self._unsettled.append((channel, where))
            if self._file is None or self._file.settled:  # coarser levels may be what is looked at
                self._tell()
            # an estimate replaces the one before it, in brightness too
            self._limits[channel][tuple((s.start, s.stop) for s in where)] = limits

    def end(self, provenance: Mapping[str, Any], partial: bool) -> None:
        """Finish the file, if there is one (called in the worker thread); what is partial gets a name that says so.

        Raises
        ------
        InputError, DiskFull
        """
        file, self._file = self._file, None
        if file is None:
            return
        if partial and not self.blocks:
            file.discard()
            return
        if partial:
            file.path = partial_path(file.path)
        try:
            path = file.finish(provenance)
        except BaseException:
            file.discard()
            raise
        assert self._stored is not None  # as long as there is a file
        self._stored.moved(path)
        self.path = path
        with self._lock:
            self._tell()

    def read(self, channel: int) -> Read:
        """Read again what a layer of a file asked for last (in a worker)."""
        return self._stored.read(channel) if self._stored is not None else []

    def give(self, channel: int, found: Read) -> None:
        """Let a layer have what `read` found, until nothing is given."""
        if self._stored is not None:
            self._stored.give(channel, found)

    def _tell(self) -> None:
        for channel, where in self._unsettled:
            self._changed[channel].append(where)
        self._unsettled.clear()

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
            found = reduce(wider, blocks) if blocks else None
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


def wider(a: Limits, b: Limits) -> Limits:
    """Return limits that hold for both."""
    return min(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), max(a[3], b[3])
