"""Names and shapes of VSI-SR's parameters; no torch."""

from __future__ import annotations

import math

PER_BLOCK = 8
"""Tensors of a block: two convolutions and the two layers of its attention, a weight and a bias each."""
REDUCTION = 16
WIDE = 256
SCALE = 1.5
"""Pixels of the result per pixel of the data, along y and x."""


def generator_shapes(blocks: int, features: int, slices_in: int, slices_out: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of the generator, in order."""
    n, few = features, max(1, features // REDUCTION)
    block: list[tuple[int, ...]] = [(n, n, 3, 3), (n,), (n, n, 3, 3), (n,), (few, n, 1, 1), (few,), (n, few, 1, 1), (n,)]
    ends: list[tuple[int, ...]] = [(WIDE, n, 3, 3), (WIDE,), (slices_out, WIDE, 3, 3), (slices_out,)]
    return {f"vars.{i}": shape for i, shape in enumerate([(n, slices_in, 3, 3), (n,), *block * blocks, *ends])}


def finer_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the network's planes: an odd number of pixels loses half a pixel at its far end."""
    return math.floor(SCALE * size[0]), math.floor(SCALE * size[1])
