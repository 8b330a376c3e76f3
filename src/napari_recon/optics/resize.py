"""Bilinear resize of an axis, for any part of it. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bounds = tuple[int, int]


@dataclass(frozen=True)
class Taps:
    """How output samples mix input samples: ``out[i] = in[low[i]] * (1 - weight[i]) + in[high[i]] * weight[i]``."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float32]

    @property
    def bounds(self) -> Bounds:
        """The input samples in use."""
        return int(self.low.min()), int(self.high.max()) + 1


def resize_taps(bounds: Bounds, size: int, source: int) -> Taps:
    """Return the taps of output samples `bounds` when `source` samples become `size` (outer edges aligned)."""
    position = np.maximum((np.arange(*bounds) + 0.5) * (source / size) - 0.5, 0.0)
    low = np.minimum(np.floor(position).astype(np.int64), source - 1)
    return Taps(low, np.minimum(low + 1, source - 1), (position - low).astype(np.float32))
