"""Small pictures of light-field views and of their PSF, and what is wrong with a PSF in words. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack

THUMBNAIL = 96
MOST_PICTURES = 64
"""Views beyond this number are not drawn: nobody looks at so many."""
SAME_PIXEL = 0.02
"""Pixel sizes that differ by less are one, as a fit sees it."""
GAMMA = 0.5
"""Shows what is dim beside the focus of a PSF."""


@dataclass(frozen=True)
class PsfLook:
    """What a PSF looks like.

    Attributes
    ----------
    pictures : ndarray
        uint8 (views, planes, y, x), reduced, each view to its own maximum.
    heights_um : tuple of float
        Of the planes; plain numbers when the unit is no length.
    said : tuple of str
        What was found wrong with it and is mended when it is used.
    error : str
        Why it can't be used; empty when it can.
    """

    pictures: NDArray[np.uint8]
    heights: tuple[float, ...]
    unit: str
    said: tuple[str, ...] = ()
    error: str = ""


def view_pictures(stack: ImageStack, frame: int) -> NDArray[np.uint8]:
    """Return the views of one time point, reduced, all in one contrast: uint8 (views, y, x)."""
    index = {a.lower(): min(frame, stack.grid.size(a) - 1) if a == "T" else 0 for a in stack.grid.axes if a not in "VYX"}
    stride = slice(None, MOST_PICTURES)
    views = np.asarray(stack.read("VYX", v=stride, **index), dtype=np.float32)
    step = max(1, -(-max(views.shape[1:]) // THUMBNAIL))
    small = views[:, ::step, ::step]
    finite = small[np.isfinite(small)]
    low, high = np.percentile(finite, (0.5, 99.7)) if finite.size else (0.0, 0.0)
    scaled = np.nan_to_num((small - low) / (high - low)) if high > low else np.zeros_like(small)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def look_at_psf(stack: ImageStack) -> PsfLook:
    """Return pictures of a PSF (VZYX) and what its checks say.

    Raises
    ------
    InputError
        Other axes.
    """
    from napari_recon.optics.psf_checks import mended_psf, odd_size

    if set(stack.grid.axes) != set("VZYX"):
        raise InputError(f"a PSF of every view (VZYX) is needed, found {stack.grid.axes}; cut it into views")
    psf = np.asarray(stack.read("VZYX"), dtype=np.float32)
    said: tuple[str, ...] = ()
    error = ""
    try:
        odd_size(*psf.shape[-2:])
        _, said = mended_psf(psf)
    except InputError as problem:
        error = str(problem)
    small = np.nan_to_num(reduced(psf[:MOST_PICTURES], THUMBNAIL // 2))
    brightest = small.max(axis=(1, 2, 3), keepdims=True)
    share = np.clip(small / np.where(brightest > 0, brightest, 1), 0, 1) ** GAMMA
    z = stack.grid.only("Z")
    heights = tuple(z.to_world("Z", n) for n in range(z.size("Z")))
    return PsfLook((share * 255).astype(np.uint8), heights, "µm" if z.unit("Z") == "micrometer" else "", said, error)


def mismatch(psf: Grid, views: Grid) -> str:
    """Return in words why a PSF is not one of these views; empty when it may be."""
    if psf.size("V") != views.size("V"):
        return f"This PSF has {psf.size('V')} views, the data {views.size('V')}: a fit needs the PSF of these views"
    for axis in "YX":
        known = psf.unit(axis) == views.unit(axis) == "micrometer"
        if known and abs(views.step(axis) / psf.step(axis) - 1) > SAME_PIXEL:
            return (
                f"This PSF has pixels of {psf.step(axis):.3g} µm along {axis.lower()}, the data {views.step(axis):.3g} µm: "
                "a fit needs one size; correct what is wrong, or make a PSF of these pixels"
            )
    return ""


def reduced(planes: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Return images (..., y, x) of at most `size` pixels: of those that fall together the brightest, so no point is lost."""
    for axis in (-2, -1):
        count = planes.shape[axis]
        if count > size:
            planes = np.maximum.reduceat(planes, np.arange(size) * count // size, axis=axis)
    return planes
