"""Tiles with halos, the central one first."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise, product

from napari_recon.core.grid import SPATIAL, Frozen, Grid
from napari_recon.core.region import Box


class Tile(Frozen):
    """One piece of work: `core` is what it delivers, `read` what it needs (core plus halo, clipped to the field)."""

    core: Box
    read: Box

    def trim(self) -> tuple[slice, ...]:
        """Return the slices that cut `core` out of an array of `read`'s shape, in ZYX order of the limited axes."""
        return self.core.within(self.read)


def cuts(start: int, stop: int, size: int, multiple: int = 1, phase: int = 0) -> list[tuple[int, int]]:
    """Cut ``start:stop`` into pieces of at most `size` (rounded down to `multiple`) on a fixed lattice.

    Inner borders lie at ``phase`` modulo the rounded size, counted from the origin of the *field*, not of the region:
    so a region is cut where the whole field would be.
    """
    step = max(multiple, size // multiple * multiple)
    first = start + (phase - start) % step
    edges = sorted({start, *range(first, stop, step), stop})
    return list(pairwise(edges))


def tiles(
    box: Box,
    grid: Grid,
    size: Mapping[str, int],
    halo: Mapping[str, int] | None = None,
    multiple: Mapping[str, int] | None = None,
    phase: Mapping[str, int] | None = None,
) -> list[Tile]:
    """Partition `box` into tiles, nearest to its centre first.

    Parameters
    ----------
    box : Box
        The region, in voxels of `grid`.
    grid : Grid
        The whole field; halos are clipped to it.
    size : mapping
        Largest tile size per axis letter; an axis that is not named is not cut.
    halo, multiple, phase : mapping, optional
        Per axis: voxels needed around the core; borders lie at multiples (plus phase) of the size, see `cuts`.

    Returns
    -------
    list of Tile
        Their cores are disjoint and cover `box` exactly.
    """
    multiple, phase = multiple or {}, phase or {}
    whole = dict(box.resolved(grid).items())
    pieces = [
        cuts(lo, hi, size[a], multiple.get(a, 1), phase.get(a, 0)) if a in size else [(lo, hi)]
        for a, (lo, hi) in whole.items()
    ]
    found = []
    for place in product(*pieces):
        core = Box.of(dict(zip(whole, place, strict=True)))
        found.append(Tile(core=core, read=core.expanded(halo or {}, grid)))
    return sorted(found, key=lambda tile: _distance(tile.core, box.resolved(grid)))


def _distance(core: Box, box: Box) -> float:
    middle = {a: (lo + hi) / 2 for a, (lo, hi) in box.items()}
    inner = {a: (lo + hi) / 2 for a, (lo, hi) in core.items()}
    return sum((inner[a] - middle[a]) ** 2 for a in SPATIAL if a in inner)
