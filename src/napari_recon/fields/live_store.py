"""What is known of a field so far: evaluated blocks and tiles within a bound of memory, and the best guess from them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import product
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from napari_recon.fields.live_lattice import Bounds, Spans

Values = NDArray[np.float32]
Box = tuple[Bounds, ...]
TILE = 128
"""Samples along both axes of a tile of a plane."""
EDGES = {0: 1, 1: 4096, 2: TILE, 3: 32}
"""Edge of a tile by the number of axes that are seen; 16 for more."""
TIME, PLANE, COARSE, OUTSIDE = 1.0, 0.6, 0.02, 10.0
"""What makes a block a worse guess: frames and planes it is away, octaves it is coarser, data points it lacks outside."""


class Store:
    """Blocks and tiles, least recently used ones dropped first.

    A block is the values on a lattice of places; a tile is a piece of a level, so that what is seen after a shift is not
    computed again.

    Parameters
    ----------
    memory : int
        Bytes.
    time : int or None
        Which axis is time.
    """

    def __init__(self, memory: int, time: int | None) -> None:
        self._memory, self._time = memory, time
        self._blocks: OrderedDict[Spans, Values] = OrderedDict()
        self._tiles: OrderedDict[tuple[int, Box], Values] = OrderedDict()
        self._lock = RLock()
        self._of_blocks = self._of_tiles = 0

    @property
    def bytes(self) -> int:
        """What is kept."""
        return self._of_blocks + self._of_tiles

    def block(self, spans: Spans) -> Values | None:
        """Return the values at exactly these places, None when they are not known."""
        with self._lock:
            found = self._blocks.get(spans)
            if found is not None:
                self._blocks.move_to_end(spans)
            return found

    def put(self, spans: Spans, values: Values) -> None:
        """Keep a block."""
        with self._lock:
            old = self._blocks.pop(spans, None)
            self._of_blocks += values.nbytes - (old.nbytes if old is not None else 0)
            self._blocks[spans] = values
            while self._of_blocks > self._memory // 2 and len(self._blocks) > 1:
                self._of_blocks -= self._blocks.popitem(last=False)[1].nbytes

    def put_tiles(self, level: int, box: Box, values: Values, tiles: Sequence[Box]) -> None:
        """Keep those tiles of a level that lie in a box whose values these are."""
        with self._lock:
            for tile in tiles:
                if all(lo >= low and hi <= high for (lo, hi), (low, high) in zip(tile, box, strict=True)):
                    part = np.array(values[_inside(tile, box)])
                    old = self._tiles.pop((level, tile), None)
                    self._of_tiles += part.nbytes - (old.nbytes if old is not None else 0)
                    self._tiles[level, tile] = part
            while self._of_tiles > self._memory // 2 and len(self._tiles) > 1:
                self._of_tiles -= self._tiles.popitem(last=False)[1].nbytes

    def missing(self, level: int, tiles: Sequence[Box]) -> list[Box]:
        """Return the tiles that are not there."""
        with self._lock:
            return [tile for tile in tiles if (level, tile) not in self._tiles]

    def paint(self, level: int, box: Box, tiles: Sequence[Box], onto: Values) -> int:
        """Write the tiles of a box that are there onto values of the box, and return how many are not."""
        lacking = 0
        with self._lock:
            for tile in tiles:
                found = self._tiles.get((level, tile))
                if found is None:
                    lacking += 1
                    continue
                self._tiles.move_to_end((level, tile))
                common = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(tile, box, strict=True))
                onto[_inside(common, box)] = found[_inside(common, tile)]
        return lacking

    def guess(self, spans: Spans) -> Values | None:
        """Return the best guess at the values at places: those of the nearest places of the block that fits best."""
        with self._lock:
            costs = [(self.cost(block, spans), block) for block in self._blocks]
            cost, best = min(costs, key=lambda each: each[0], default=(math.inf, None))
            if best is None or cost == math.inf:
                return None
            self._blocks.move_to_end(best)
            values = self._blocks[best]
        for axis, (own, asked) in enumerate(zip(best, spans, strict=True)):
            if own != asked:
                values = values.take(own.nearest(asked), axis=axis)
        return values

    def cost(self, block: Spans, spans: Spans) -> float:
        """Return how bad a guess at some places a block is, infinite where it is none."""
        total = 0.0
        for axis, (own, asked) in enumerate(zip(block, spans, strict=True)):
            if asked.count > 1 and own.count == 1:
                return math.inf
            if asked.count > 1:
                total += COARSE * max(0.0, math.log2(own.step / asked.step)) + OUTSIDE * own.beyond(asked)
            else:
                index = min(max(round((asked.first - own.first) / own.step), 0), own.count - 1)
                nearest = own.first + own.step * index
                total += (TIME if axis == self._time else PLANE) * abs(nearest - asked.first)
        return total

    def forget_tiles(self) -> None:
        """Forget what belongs to levels."""
        with self._lock:
            self._tiles.clear()
            self._of_tiles = 0

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._blocks.clear()
            self._tiles.clear()
            self._of_blocks = self._of_tiles = 0


def tiles_of(box: Box, shape: Sequence[int]) -> list[Box]:
    """Return the tiles of a level of this shape that a box touches, those in its middle first."""
    wide = sum(stop - start > 1 for start, stop in box)
    edge = EDGES.get(wide, 16)
    along = []
    for (start, stop), size in zip(box, shape, strict=True):
        if stop - start == 1:
            along.append([(start, stop)])
        else:
            along.append([(at, min(at + edge, size)) for at in range(start // edge * edge, stop, edge)])
    return sorted(product(*along), key=lambda tile: _distance(tile, box))


def hull(boxes: Sequence[Box]) -> Box:
    """Return the smallest box around boxes."""
    return tuple((min(lo for lo, _ in ends), max(hi for _, hi in ends)) for ends in zip(*boxes, strict=True))


def size(box: Box) -> int:
    """Return the number of samples in a box."""
    return math.prod(stop - start for start, stop in box)


def batch(tiles: Sequence[Box], most: int) -> list[Box]:
    """Return the first of some tiles and, while they fill a box of at most `most` samples, others: all, or a row of them."""
    if size(hull(tiles)) <= most:
        return list(tiles)
    group = [tiles[0]]
    for tile in sorted(tiles[1:], key=lambda tile: _distance(tile, tiles[0])):
        in_row = sum(a != b for a, b in zip(tile, tiles[0], strict=True)) == 1
        around = size(hull([*group, tile]))
        if in_row and around <= most and around == sum(map(size, group)) + size(tile):
            group.append(tile)
    return group


def _distance(tile: Box, box: Box) -> float:
    return math.dist([sum(ends) / 2 for ends in tile], [sum(ends) / 2 for ends in box])


def _inside(part: Box, whole: Box) -> tuple[slice, ...]:
    return tuple(slice(lo - start, hi - start) for (lo, hi), (start, _) in zip(part, whole, strict=True))
