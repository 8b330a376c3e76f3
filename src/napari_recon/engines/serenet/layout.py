"""Which part of the light field a part of the volume needs, and how a volume is cut into tiles. No torch.

Three lateral grids: light-field pixels; the network's buffer, an integer factor finer; the volume, into which the buffer
is resized bilinearly. Axis bounds are half-open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from napari_recon.core.region import Box
from napari_recon.optics.resize import Bounds, Taps, resize_taps

HALO_YX = {"serenet": 9, "fserenet": 12, "rlnet": 6, "vcdnet": 12, "hylfmnet": 7}
"""Light-field pixels around a tile that its network looks at."""
HALO_Z = {"serenet": 9, "fserenet": 24, "rlnet": 20, "vcdnet": 0, "hylfmnet": 7}
"""Planes around a slab that its network looks at."""
LARGEST_READ = 160
"""Edge of an automatic tile with halo, in light-field pixels: beyond it layers leave the cache and blocks arrive late."""
_FLOATS_PER_PIXEL = {"serenet": 1500, "fserenet": 1500, "rlnet": 1100, "vcdnet": 230, "hylfmnet": 700}
"""Measured; per light-field pixel and plane in flight."""
_FLOATS_KEPT = {"serenet": 0, "fserenet": 14_000, "rlnet": 0, "vcdnet": 40_000, "hylfmnet": 5_000}
_FIXED_BYTES = 60_000_000
_OPERATIONS = {"serenet": 5.3e5, "fserenet": 6.7e5, "rlnet": 3.7e5, "vcdnet": 3.0e6, "hylfmnet": 8.5e5}
_ALL_PLANES = ("rlnet", "vcdnet", "hylfmnet")
"""Networks whose planes go through together."""
_STEP = {"vcdnet": 2}
"""Light-field pixels that one sample of the network's coarsest level covers; tiles begin at multiples of it."""


@dataclass(frozen=True)
class NetworkField:
    """A light field, its volume, and the network between them.

    Attributes
    ----------
    architecture : str
        Name of the network.
    factor : int
        Buffer samples per light-field pixel (0: the network works on the fine grid itself).
    planes : int
    field_yx, volume_yx : (int, int)
        Light-field pixels and fine pixels of the whole field.
    device : str
    threads : int
        What the network runs on; they decide the size of a piece of work, not the result.
    """

    architecture: str
    factor: int
    planes: int
    field_yx: tuple[int, int]
    volume_yx: tuple[int, int]
    device: str = "cpu"
    threads: int = 1

    def taps(self, axis: int, bounds: Bounds) -> Taps:
        """Return the final resize of volume samples `bounds` along lateral axis 0 (y) or 1 (x)."""
        return resize_taps(bounds, self.volume_yx[axis], self.field_yx[axis] * (self.factor or 1))

    def read(self, axis: int, bounds: Bounds) -> Bounds:
        """Return the light-field pixels to compute for volume samples `bounds`, halo included."""
        factor, halo, step = self.factor or 1, HALO_YX[self.architecture], _STEP.get(self.architecture, 1)
        low, high = self.taps(axis, bounds).bounds
        first, last = (low // factor - halo) // step * step, -(-(-(-high // factor) + halo) // step) * step
        return max(0, first), min(self.field_yx[axis], last)

    def read_z(self, bounds: Bounds) -> tuple[Bounds, Bounds]:
        """Return the planes to compute for planes `bounds`, and the zero planes in front and behind (for pooling)."""
        halo = HALO_Z[self.architecture]
        first, last = max(0, bounds[0] - halo), min(self.planes, bounds[1] + halo)
        if self.architecture != "fserenet":
            return (first, last), (0, 0)
        front, behind = depth_pads(self.planes)
        first = max(0, (first + front) // 4 * 4 - front)
        last = min(self.planes, -(-(last + front) // 4) * 4 - front)
        return (first, last), (front if first == 0 else 0, behind if last == self.planes else 0)

    def work(self, box: Box) -> float:
        """Return the floating-point operations of one block."""
        z, y, x = bounds_of(box)
        depth = self.read_z(z)[0]
        pixels = math.prod(hi - lo for lo, hi in (self.read(0, y), self.read(1, x)))
        return _OPERATIONS[self.architecture] * pixels * (depth[1] - depth[0])

    def planes_at_once(self, pixels: int) -> int:
        """Return how many planes of `pixels` light-field pixels go through the network together.

        A CPU is fastest while they fit its caches; a GPU wants enough work per call.
        """
        if self.device.startswith("cuda"):
            return int(np.clip(200_000 // pixels, 4, 64))
        return int(np.clip(8000 * self.threads // pixels, 1, 8))

    def memory(self, read_y: int, read_x: int) -> int:
        """Return the bytes that one block of ``read_y x read_x`` light-field pixels occupies while it is computed."""
        pixels = read_y * read_x
        together = self.planes if self.architecture in _ALL_PLANES else self.planes_at_once(pixels) + 2
        floats = _FLOATS_PER_PIXEL[self.architecture] * together + _FLOATS_KEPT[self.architecture]
        return 4 * pixels * floats + _FIXED_BYTES

    def tile(self, tile_size: int, memory_bytes: int) -> int:
        """Return the edge of a tile in light-field pixels; `tile_size` 0 chooses it."""
        halo = HALO_YX[self.architecture]
        if tile_size:
            return tile_size
        edge = LARGEST_READ - 2 * halo
        while edge > 9 and self.memory(edge + 2 * halo, edge + 2 * halo) > memory_bytes:
            edge -= 3
        return edge


def working_device(device: str) -> str:
    """Return the device the networks run on: Apple GPUs lack some of the operations, so the CPU stands in for them."""
    return "cpu" if device == "mps" else device


def bounds_of(box: Box) -> tuple[Bounds, Bounds, Bounds]:
    """Return the z, y and x bounds of a box in which all three are filled."""
    found: dict[str, Any] = dict(box.items())
    return found["Z"], found["Y"], found["X"]


def tiles_of(box: Box, edge: int, upsampling: float) -> list[Box]:
    """Cut a box of the volume into even tiles of at most `edge` light-field pixels, the central one first."""
    z, y, x = bounds_of(box)
    step = max(1, round(edge * upsampling))
    pieces = [Box(z=z, y=a, x=b) for a in even(y, step) for b in even(x, step)]
    return sorted(pieces, key=lambda piece: _distance(piece, box))


def first_look(box: Box, upsampling: float) -> Box:
    """Return a small block in the middle of a box, to be shown before large tiles are done."""
    z, y, x = bounds_of(box)
    edge = round(21 * upsampling)
    return Box(z=_middle(z, 17), y=_middle(y, edge), x=_middle(x, edge))


def even(bounds: Bounds, step: int) -> list[Bounds]:
    """Cut bounds into parts of at most `step`, as even as whole numbers can be."""
    low, high = bounds
    count = -(-(high - low) // step)
    edges = [low + (high - low) * n // count for n in range(count + 1)]
    return list(pairwise(edges))


def _middle(bounds: Bounds, size: int) -> Bounds:
    low, high = bounds
    if high - low <= size:
        return bounds
    start = (low + high - size) // 2
    return start, start + size


def _distance(piece: Box, box: Box) -> float:
    return sum((sum(a) - sum(b)) ** 2 for a, b in zip(bounds_of(piece), bounds_of(box), strict=True))


def depth_pads(planes: int) -> tuple[int, int]:
    """Return the zero planes the U-Net puts in front and behind to reach a multiple of four."""
    missing = -planes % 4
    return missing // 2, missing - missing // 2
