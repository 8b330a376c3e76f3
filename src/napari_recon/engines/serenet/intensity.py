"""What every network is given of the data's intensities, always decided from the whole frame. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.plan import ModelRef

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
    relative : bool
        The network's result is in units of its own, which have nothing to do with the data's.
    usual : bool
        The scale is what the network was trained with, whatever the data's unit.
    """

    views_vyx: NDArray[np.float32]
    background: float
    bright: float
    scale: float
    relative: bool = False
    usual: bool = False

    def message(self) -> str:
        """Return what was done about the intensity, or nothing."""
        if self.scale == 1 or self.relative or self.usual:
            return ""
        return (
            f"the light field does not look like camera counts (its 99.9 percentile is {self.bright:.3g} above background), "
            f"so it was multiplied by {self.scale:.3g} for the network and the result divided by it again; "
            "intensity=counts switches this off"
        )

    def restored(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a volume in the data's unit; one in units of its own stays."""
        return volume if self.relative else volume / np.float32(self.scale)


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


def unit(views_vyx: NDArray[np.float32], intensity: str = "auto") -> Prepared:
    """Bring the 1 and 99.9 percentiles to 0 and 1, without clipping: SeReNet and F-SeReNet as `serenet.train` makes them."""
    background, bright = (float(q) for q in np.quantile(views_vyx, [BACKGROUND_QUANTILE, BRIGHT_QUANTILE]))
    bright = bright - background if bright > background else 1.0
    prepared = (views_vyx - np.float32(background)) / np.float32(bright)
    return Prepared(prepared, background, bright, 1 / bright, usual=True)


def brightest(views_vyx: NDArray[np.float32], intensity: str = "auto") -> Prepared:
    """Divide by the 99.99 percentile and clip to 0 to 1: RL-Net."""
    bright = abs(float(np.quantile(views_vyx, 0.9999))) + 1e-3
    return _relative(views_vyx, 0.0, bright)


def percentiles(views_vyx: NDArray[np.float32], intensity: str = "auto") -> Prepared:
    """Bring the 10 and 99.9 percentiles to 0 and 1 and clip: VCD-Net and HyLFM-Net."""
    low, high = (float(q) for q in np.quantile(views_vyx, [0.1, 0.999]))
    return _relative(views_vyx, low, max(high - low, float(np.finfo(np.float32).tiny)))


def _relative(views_vyx: NDArray[np.float32], background: float, bright: float) -> Prepared:
    scaled = (views_vyx - np.float32(background)) / np.float32(bright)
    return Prepared(np.clip(scaled, 0, 1, out=scaled), background, bright, 1 / bright, relative=True)


RULES: Mapping[str, Callable[[NDArray[np.float32], str], Prepared]] = {
    "serenet": prepare,
    "fserenet": prepare,
    "rlnet": brightest,
    "vcdnet": percentiles,
    "hylfmnet": percentiles,
}
"""Network -> what is done to the views it takes."""


def rule_of(model: ModelRef) -> Callable[[NDArray[np.float32], str], Prepared]:
    """Return what is done to the views a model takes: what its card says, or what its kind takes."""
    own = model.card.get("contract", {}).get("intensity") == "unit"
    return unit if own and model.architecture in ("serenet", "fserenet") else RULES[model.architecture]


def of_each_view(views_vyx: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring the 5 and 99 percentiles of each view to 0 and 1, negatives to 0: what TW-Net looks at."""
    low, high = np.quantile(views_vyx, [0.05, 0.99], axis=(1, 2), keepdims=True).astype(np.float32)
    scaled: NDArray[np.float32] = np.asarray((views_vyx - low) / np.maximum(high - low, np.float32(1e-6)), np.float32)
    return np.maximum(scaled, 0, out=scaled)
