"""Figures of merit of one array against another of the same shape; everything is computed in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_recon.core.errors import InputError


def psnr(result: ArrayLike, reference: ArrayLike, peak: float | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB: ``10 log10(peak^2 / mean((result - reference)^2))``.

    Parameters
    ----------
    result, reference : array-like
        Same shape.
    peak : float, optional
        Default is the maximum of the reference.

    Returns
    -------
    float
        Infinite when both are equal.
    """
    a, g = _pair(result, reference)
    peak = float(g.max()) if peak is None else peak
    error = float(np.mean((a - g) ** 2))
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def nrmse(result: ArrayLike, reference: ArrayLike) -> float:
    """Return the root-mean-square error relative to the reference's root mean square."""
    a, g = _pair(result, reference)
    norm = float(np.linalg.norm(g))
    return float(np.linalg.norm(a - g)) / norm if norm else math.inf


def correlation(result: ArrayLike, reference: ArrayLike) -> float:
    """Return Pearson's correlation; 0 when one of them is constant."""
    a, g = _pair(result, reference)
    a, g = a - a.mean(), g - g.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(g))
    return float(np.vdot(a, g)) / norm if norm else 0.0


def ssim(result: ArrayLike, reference: ArrayLike, peak: float | None = None) -> float:
    """Return the mean structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861) over all dimensions.

    scikit-image's defaults: uniform window of 7 voxels (the largest odd number that fits where the image is thinner),
    sample covariance, K1 = 0.01, K2 = 0.03; `peak` is the data range (default: maximum of the reference).
    """
    from skimage.metrics import structural_similarity

    a, g = _pair(result, reference)
    window = min(7, (min(a.shape) - 1) // 2 * 2 + 1)
    if window < 3:
        a, g = a.squeeze(), g.squeeze()
        window = min(7, (min(a.shape, default=1) - 1) // 2 * 2 + 1)
    if window < 3:
        raise InputError(f"SSIM needs at least 3 voxels along every axis, found shape {a.shape}; compare a larger part")
    data_range = float(g.max()) if peak is None else peak
    return float(structural_similarity(g, a, data_range=data_range, win_size=window))


def scale_alignment(result: ArrayLike, reference: ArrayLike, offset: bool = False) -> tuple[float, float]:
    """Return (alpha, beta) that minimise ``|alpha * result + beta - reference|``; beta is 0 unless `offset`."""
    a, g = _pair(result, reference)
    if not offset:
        power = float(np.vdot(a, a))
        return (float(np.vdot(a, g)) / power if power else 0.0), 0.0
    centred = a - a.mean()
    power = float(np.vdot(centred, centred))
    alpha = float(np.vdot(centred, g)) / power if power else 0.0
    return alpha, float(g.mean() - alpha * a.mean())


def _pair(result: ArrayLike, reference: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    a, g = np.asarray(result, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != g.shape:
        raise InputError(
            f"result and reference should have the same shape, found {a.shape} and {g.shape}; crop or resample one of them"
        )
    return a, g
