"""What is wrong with a point spread function from elsewhere, in words, and what can be mended. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError

#: Common displacement of views, in PSF pixels, above which the PSF is called off-centre.
OFF_CENTRE = 1.0


def mended_psf(psf_vzyx: NDArray[np.floating]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return a PSF without negative values, and sentences on what was found.

    Parameters
    ----------
    psf_vzyx : numpy.ndarray
        (views, planes, H, W).

    Returns
    -------
    psf : numpy.ndarray
        float32, negative values set to 0; its scale is left to who uses it.
    said : tuple of str
        Negative values, a sum that is none of the usual ones, a displacement that all views have in common.

    Raises
    ------
    InputError
        NaN or infinite values; nothing above zero.
    """
    psf, said = positive(psf_vzyx)
    if (scale := unusual_sum(psf)) is not None:
        said.append(
            f"the PSF's views and planes sum to {scale:.4g} on average, not to 1; it was scaled, so that the result is in "
            "the data's own unit"
        )
    offset = common_offset(psf)
    if np.abs(offset).max() > OFF_CENTRE:
        said.append(
            f"the PSF is off its centre by ({offset[0]:+.1f}, {offset[1]:+.1f}) pixels (y, x), mean of all views and "
            "planes; the result will be displaced by as much, so centre the PSF if its place matters"
        )
    return psf, tuple(said)


def positive(psf: NDArray[np.floating], what: str = "the PSF") -> tuple[NDArray[np.float32], list[str]]:
    """Return a PSF as float32 with negative values set to 0, and a sentence where there were any.

    Raises
    ------
    InputError
        NaN or infinite values; nothing above zero.
    """
    psf = np.asarray(psf, dtype=np.float32)
    if not np.isfinite(psf).all():
        raise InputError(f"{what} should hold finite numbers, found NaN or infinite ones; export it again")
    light = float(psf.sum(where=psf > 0, dtype=np.float64))
    if light <= 0:
        raise InputError(f"{what} should have values above zero, found none in the planes in use; check its sign")
    lost = -float(psf.sum(where=psf < 0, dtype=np.float64))
    if lost <= 0:
        return psf, []
    share = f"{100 * lost / (light + lost):.2g} %"
    return np.maximum(psf, np.float32(0)), [f"{what} has negative values, {share} of it; they were set to 0"]


def unusual_sum(psf_vzyx: NDArray[np.float32]) -> float | None:
    """Return the mean sum of a plane of a view if the PSF is normalised in none of the usual ways, else None.

    Usual are: planes of a view that sum to 1; planes that sum to 1 over all views; views that sum to 1 over all planes.
    """
    sums = psf_vzyx.sum(axis=(-2, -1), dtype=np.float64)
    views, planes = sums.shape
    mean = float(sums.mean())
    if any(abs(mean * count - 1) < 0.05 for count in (1, views, planes)):
        return None
    return mean


def common_offset(psf_vzyx: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return where the light of all views and planes lies on average, (y, x) in pixels from the middle."""
    total = psf_vzyx.sum(axis=(0, 1), dtype=np.float64)
    middle = [(np.arange(n) - (n - 1) / 2) @ total.sum(axis=1 - axis) for axis, n in enumerate(total.shape)]
    return np.array(middle) / max(float(total.sum()), 1e-30)


def odd_size(height: int, width: int) -> None:
    """Raise an InputError when a PSF sampled at the views' pixels has no middle pixel."""
    if height % 2 == 0 or width % 2 == 0:
        raise InputError(
            f"the PSF should have odd height and width, so that a pixel is its middle, found {height} x {width}: its "
            f"middle lies {_half(height)} pixel below and {_half(width)} pixel right of a pixel; crop a row or column, or "
            "resample it"
        )


def _half(size: int) -> str:
    return "half a" if size % 2 == 0 else "no"
