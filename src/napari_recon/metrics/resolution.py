"""Fourier ring (2D) and shell (3D) correlation of two independent measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_recon.core.errors import InputError


@dataclass(frozen=True)
class FourierCorrelation:
    """A correlation curve.

    Attributes
    ----------
    frequency : ndarray
        Middle of each ring, in cycles per unit of the spacing.
    correlation : ndarray
        Correlation of the two transforms on each ring, -1 to 1.
    threshold : float
    resolution : float
        1 / frequency of the first crossing of the threshold, in the unit of the spacing; infinite when the curve starts
        below it, and the finest sampled period when it never crosses.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    threshold: float
    resolution: float


def fourier_ring_correlation(
    first: ArrayLike,
    second: ArrayLike,
    spacing: float | Sequence[float] = 1.0,
    threshold: float = 1 / 7,
    planes: bool = False,
) -> FourierCorrelation:
    """Return the Fourier ring correlation of two images, or the shell correlation of two volumes.

    Parameters
    ----------
    first, second : array-like
        Two independent measurements of one object, (y, x) or (z, y, x), same shape. A Hann window is applied.
    spacing : float or sequence of float
        Voxel size per axis; rings are round in physical frequency, up to the coarsest axis' Nyquist frequency.
    threshold : float
        Fixed threshold (1/7; Rosenthal and Henderson 2003, doi:10.1016/j.jmb.2003.07.013).
    planes : bool
        Take volumes as stacks of planes: rings along y and x, those of all planes together (`spacing` is theirs).

    Raises
    ------
    InputError
        Different shapes, or other than 2 or 3 dimensions of at least 8 voxels.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    axes = (-2, -1) if planes else tuple(range(-a.ndim, 0))
    ringed = a.shape[-len(axes) :]
    if a.shape != b.shape or a.ndim not in (2, 3) or min(ringed) < 8:
        raise InputError(
            f"two images or volumes of one shape with at least 8 voxels per axis were expected, found {a.shape} and "
            f"{b.shape}; crop them alike"
        )
    steps = np.broadcast_to(np.asarray(spacing, dtype=np.float64), (len(axes),))
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise InputError(f"the voxel size should be above 0 along every axis, found {tuple(steps)}; give it in um")
    window = _hann(ringed)
    fa, fb = (np.fft.fftn((x - x.mean(axis=axes, keepdims=True)) * window, axes=axes) for x in (a, b))
    grids = np.meshgrid(*(np.fft.fftfreq(n, d) for n, d in zip(ringed, steps, strict=True)), indexing="ij", sparse=True)
    radius = np.sqrt(sum(g**2 for g in grids))
    nyquist = 0.5 / steps.max()
    # Rings as wide as the coarsest frequency step hold at least one sample each.
    width = max(1 / (n * d) for n, d in zip(ringed, steps, strict=True))
    rings = max(1, int(nyquist / width))
    number = np.broadcast_to(np.minimum((radius / width + 0.5).astype(int), rings + 1), a.shape).ravel()

    def summed(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(number, values.ravel(), rings + 2)[1 : rings + 1], dtype=np.float64)

    power = np.sqrt(summed(np.abs(fa) ** 2) * summed(np.abs(fb) ** 2))
    shared = summed((fa * fb.conj()).real)
    curve = np.divide(shared, power, out=np.zeros_like(shared), where=power > 0)
    frequency = np.arange(1, rings + 1) * width
    return FourierCorrelation(frequency, curve, threshold, _crossing(frequency, curve, threshold))


def _crossing(frequency: NDArray[np.float64], curve: NDArray[np.float64], threshold: float) -> float:
    below = np.flatnonzero(curve < threshold)
    if not below.size:
        return float(1 / frequency[-1])
    i = int(below[0])
    if i == 0:
        return float("inf")
    part = (curve[i - 1] - threshold) / (curve[i - 1] - curve[i])
    return float(1 / (frequency[i - 1] + part * (frequency[i] - frequency[i - 1])))


def _hann(shape: tuple[int, ...]) -> NDArray[np.float64]:
    window = np.ones(())
    for n in shape:
        window = np.multiply.outer(window, np.hanning(n + 2)[1:-1])
    return window
