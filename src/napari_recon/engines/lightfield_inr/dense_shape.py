"""Sizes of the published field of Fourier ptychography, without torch."""

from __future__ import annotations

from collections.abc import Sequence

RATIOS = (0.6, 0.6, 0.5)
"""Table entries per lattice point along its axes (height, width, planes)."""
CROP = 20
"""Lattice points left out at both ends of height and width."""
UNITS = 12


def lattice_of(table: Sequence[int]) -> tuple[int, int, int]:
    """Return height, width, planes of the lattice that a table (height, width, planes, features) is stretched to."""
    height, width, planes = (round(n / ratio) for n, ratio in zip(table[:3], RATIOS, strict=True))
    return height, width, planes


def output_zyx(table: Sequence[int]) -> tuple[int, int, int]:
    """Return the shape of the volume: the lattice without its borders, planes first."""
    height, width, planes = lattice_of(table)
    return planes, height - 2 * CROP, width - 2 * CROP


def shapes(table: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return parameter name -> shape."""
    features = table[-1]
    inputs = (features, UNITS, UNITS, UNITS + features)
    found: dict[str, tuple[int, ...]] = {"table": tuple(table)}
    for i, count in enumerate(inputs):
        found |= {f"net_real.{i}.linear.weight": (UNITS, count), f"net_real.{i}.linear.bias": (UNITS,)}
    return found | {"output_layer_real.weight": (1, UNITS), "output_layer_real.bias": (1,)}
