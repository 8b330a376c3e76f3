"""Bicubic resizing of an axis as a matrix: Keys' kernel (a = -1/2), pixel areas aligned, edges mirrored. numpy only."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def cubic_kernel(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Keys' cubic convolution kernel with a = -1/2 (doi 10.1109/TASSP.1981.1163711)."""
    x = np.abs(distance)
    inner = (1.5 * x - 2.5) * x**2 + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def cubic_matrix(source: int, size: int) -> NDArray[np.float64]:
    """Return the matrix (size, source) that resizes an axis; the kernel is widened (antialiased) when shrinking."""
    scale = size / source
    stretch = min(scale, 1.0)
    width = 4.0 / stretch
    centre = (np.arange(size) + 0.5) / scale - 0.5
    first = np.floor(centre - width / 2).astype(np.int64)
    taps = first[:, None] + np.arange(math.ceil(width) + 2)
    weight = cubic_kernel((centre[:, None] - taps) * stretch)
    weight /= weight.sum(axis=1, keepdims=True)
    period = np.concatenate([np.arange(source), np.arange(source)[::-1]])
    matrix = np.zeros((size, source))
    np.add.at(matrix, (np.arange(size)[:, None], period[taps % (2 * source)]), weight)
    return matrix
