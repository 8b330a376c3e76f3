"""Comparing a result with a reference: alignment of intensities, crop, and the figures of volume and projection."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.metrics.images import correlation, nrmse, psnr, scale_alignment, ssim

_RANGE = re.compile(r"([zyx])=(-?\d*):(-?\d*)", re.IGNORECASE)


def compare(
    result: ImageStack | NDArray[Any],
    reference: ImageStack | NDArray[Any],
    align: Literal["none", "scale", "affine"] = "none",
    crop: str | None = None,
    peak: str | float = "max",
) -> dict[str, Any]:
    """Return how close a result is to a reference.

    Parameters
    ----------
    result, reference : ImageStack or numpy.ndarray
        Same shape (axes of length one aside); bare arrays are ...ZYX. Leading axes (T, C) are frames: SSIM is their
        mean, the other figures are taken over all of them.
    align : {"none", "scale", "affine"}
        Least-squares fit of the result's intensities to the reference inside the crop, by a factor or a factor and an
        offset; fitted again on the projections.
    crop : str, optional
        ``"z=20:-20,y=50:-50,x=50:-50"``: Python slices, negative numbers count from the end.
    peak : {"max", "range"} or float
        Peak of PSNR and data range of SSIM: maximum, or maximum minus minimum, of the reference inside the crop.

    Returns
    -------
    dict
        ``psnr ssim nrmse corr alpha`` (``beta`` for affine) and, for volumes, ``mip: {psnr, corr}`` of the maximum
        projection along z.

    Raises
    ------
    InputError
        Different shapes, values that are not finite, a constant reference, an empty crop, an unknown option.
    """
    if align not in ("none", "scale", "affine"):
        raise InputError(f"align should be none, scale or affine, found {align!r}; choose one of them")
    a, g, axes = _matched(result, reference)
    cut = parse_crop(crop, axes, a.shape) if crop else (slice(None),) * a.ndim
    a, g = a[cut], g[cut]
    for array, what in ((a, "the result"), (g, "the reference")):
        if not np.isfinite(array).all():
            raise InputError(f"{what} should hold finite numbers, found NaN or infinite values; mend it or crop them away")
    if g.min() == g.max():
        raise InputError("the reference is constant inside the crop, so nothing can be measured; choose another crop")
    alpha, beta = _fit(a, g, align)
    aligned = alpha * a + beta
    top = _peak(g, peak)
    found: dict[str, Any] = {
        "psnr": psnr(aligned, g, top),
        "ssim": _mean_ssim(aligned, g, axes, top),
        "nrmse": nrmse(aligned, g),
        "corr": correlation(a, g),
        "alpha": alpha,
    }
    if align == "affine":
        found["beta"] = beta
    if "Z" in axes and a.shape[axes.index("Z")] > 1:
        mip_a, mip_g = (array.max(axis=axes.index("Z")) for array in (a, g))
        factor, offset = _fit(mip_a, mip_g, align)
        found["mip"] = {
            "psnr": psnr(factor * mip_a + offset, mip_g, _peak(mip_g, peak)),
            "corr": correlation(mip_a, mip_g),
        }
    return found


def parse_crop(text: str, axes: str, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the slices of ``"z=20:-20,y=50:-50"`` for an array with `axes`.

    Raises
    ------
    InputError
        Unreadable text, an axis the array lacks, or nothing left.
    """
    cut = [slice(None)] * len(axes)
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = _RANGE.fullmatch(part.replace(" ", ""))
        if match is None:
            raise InputError(f"a crop should look like z=20:-20,y=50:-50,x=50:-50, found {text!r}; mend {part!r}")
        axis = match[1].upper()
        if axis not in axes:
            raise InputError(f"the crop limits {match[1].lower()}, but the images have axes {axes}; leave it out")
        cut[axes.index(axis)] = slice(*(int(n) if n else None for n in match.groups()[1:]))
    if any(len(range(*s.indices(n))) == 0 for s, n in zip(cut, shape, strict=True)):
        raise InputError(f"the crop {text} leaves nothing of an image of shape {shape}; make it smaller")
    return tuple(cut)


def _matched(
    result: ImageStack | NDArray[Any], reference: ImageStack | NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    (a, axes_a), (g, axes_g) = (_squeezed(thing) for thing in (result, reference))
    if axes_a and axes_g and axes_a != axes_g and sorted(axes_a) == sorted(axes_g):
        a = a.transpose([axes_a.index(axis) for axis in axes_g])
    if a.shape != g.shape:
        raise InputError(
            f"result and reference should have the same shape, found {a.shape}{f' {axes_a}' if axes_a else ''} and "
            f"{g.shape}{f' {axes_g}' if axes_g else ''}; crop or resample one of them"
        )
    return a, g, axes_g or axes_a or "TCZYX"[5 - a.ndim :]


def _squeezed(thing: ImageStack | NDArray[Any]) -> tuple[NDArray[np.float64], str]:
    array = np.asarray(thing.data if isinstance(thing, ImageStack) else thing)
    if array.dtype.kind not in "buif" or not 1 <= array.ndim <= 5:
        raise InputError(
            f"images of 1 to 5 dimensions should be compared, found {array.dtype} of shape {array.shape}; convert them first"
        )
    axes = thing.grid.axes if isinstance(thing, ImageStack) else ""
    kept = "".join(a for a, n in zip(axes, array.shape, strict=True) if n > 1) if axes else ""
    return np.asarray(array.squeeze(), dtype=np.float64), kept


def _fit(a: NDArray[Any], g: NDArray[Any], align: str) -> tuple[float, float]:
    return (1.0, 0.0) if align == "none" else scale_alignment(a, g, offset=align == "affine")


def _peak(reference: NDArray[Any], peak: str | float) -> float:
    high, low = float(reference.max()), float(reference.min())
    if peak in ("max", "range"):
        value = high if peak == "max" else high - low
    else:
        try:
            value = float(peak)
        except ValueError:
            value = 0.0
    if not value > 0:
        raise InputError(f"peak should be max, range or a number above 0, found {peak!r} (maximum {high:g}); choose another")
    return value


def _mean_ssim(a: NDArray[Any], g: NDArray[Any], axes: str, peak: float) -> float:
    frames = len([axis for axis in axes if axis not in "ZYX"])
    lead = a.shape[:frames] if set(axes[:frames]).isdisjoint("ZYX") else ()
    return float(np.mean([ssim(a[i], g[i], peak) for i in np.ndindex(*lead)]))
