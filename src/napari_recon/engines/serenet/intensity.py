"""Background and intensity of a light field, always from the whole frame. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BACKGROUND_QUANTILE = 0.01
BRIGHT_QUANTILE = 0.999
COUNTS = (30.0, 20_000.0)
"""Bright signal in this range is taken for camera counts; the published training data lie well inside."""
TYPICAL = 500.0


@dataclass(frozen=True)
class Prepared:
    """A light field as the networks expect it.

    Attributes
    ----------
    views_vyx : numpy.ndarray
        float32, background subtracted (values below stay negative) and multiplied by `scale`.
    background, bright, scale : float
        In the data's own unit: the subtracted value, the 99.9 percentile above it; the factor.
    """

    views_vyx: NDArray[np.float32]
    background: float
    bright: float
    scale: float

    def message(self) -> str:
        """Return what was done about the intensity, or nothing."""
        if self.scale == 1:
            return ""
        return (
            f"the light field does not look like camera counts (its 99.9 percentile is {self.bright:.3g} above background), "
            f"so it was multiplied by {self.scale:.3g} for the network and the result divided by it again; "
            "intensity=counts switches this off"
        )


def prepare(views_vyx: NDArray[np.float32], intensity: str = "auto") -> Prepared:
    """Subtract the 1 % quantile and, for ``intensity="auto"``, bring other units than counts to count-like values.

    Parameters
    ----------
    views_vyx : numpy.ndarray
        The selected views of one whole frame, float32.
    intensity : str
        ``"auto"`` or ``"counts"``.
    """
    background, bright = (float(q) for q in np.quantile(views_vyx, [BACKGROUND_QUANTILE, BRIGHT_QUANTILE]))
    bright -= background
    scale = TYPICAL / bright if intensity == "auto" and bright > 0 and not COUNTS[0] <= bright <= COUNTS[1] else 1.0
    prepared = views_vyx - np.float32(background)
    if scale != 1:
        prepared *= np.float32(scale)
    return Prepared(prepared, background, bright, scale)
