"""Planes of three orientations: brought upright, joined, and their brightness along depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.fusion.joint_wiener.transfer import ORIENTATIONS, Transfer, resized
from napari_recon.engines.fusion.joint_wiener.turning import middle, turn

Array = NDArray[np.floating]
Size = tuple[int, int]
PERCENTILE = 99.0
FULL_SCALE = 65535.0
_SMOOTHING = 11


def upright(views: Sequence[Array], size: Size, published: bool) -> Tensor:
    """Return three orientations (n, y, x) on one grid, (n, 3, H, W).

    Views of `size` are taken to be upright already, others to lie on the canvas that holds them turned by 60 or 120
    degrees. The published program works in double precision and cuts whole pixels.
    """
    dtype, found = "float64" if published else "float32", []
    for view, angle in zip(views, ORIENTATIONS, strict=True):
        canvas = view.shape[-2:]
        pivots = None if published else (middle(canvas), middle(size))
        found.append(np.asarray(view, dtype) if canvas == size else turn(canvas, -angle, size, dtype, pivots)(view))
    return torch.from_numpy(np.stack(found, 1))


def joined(transfer: Transfer, views: Tensor, widefield: Tensor, published: bool) -> Tensor:
    """Return joined planes (n, H, W), at or above zero, each with the mean of its first view.

    Parameters
    ----------
    views : Tensor
        (n, 3, H, W) upright.
    widefield : Tensor
        (n, y, x), coarser or not.
    published : bool
        Every view is scaled to 16 bits by its extremes, and the result by its own, as the published program does;
        otherwise views get the mean of the wide field.
    """
    means = views[:, 0].mean((-2, -1))[:, None, None]
    coarse = resized(widefield, transfer.size)
    if published:
        planes = unit_range(transfer.join(FULL_SCALE * unit_range(views), coarse).clamp_min(0))
    else:
        light = coarse.mean((-2, -1))[:, None, None, None] / _positive(views.mean((-2, -1), keepdim=True))
        planes = transfer.join(views * light, coarse).clamp_min(0)
    return planes * (means / _positive(planes.mean((-2, -1), keepdim=True)))


def unit_range(image: Tensor) -> Tensor:
    """Return planes (..., y, x), each scaled to 0..1 by its extremes."""
    low, high = image.amin((-2, -1), keepdim=True), image.amax((-2, -1), keepdim=True)
    return ((image - low) / (high - low + 1e-7)).clamp(0, 1)


def brightness(planes: Array, percentile: float = PERCENTILE) -> NDArray[np.float64]:
    """Return the mean of each plane's (z, y, x) pixels above its percentile, smoothed along z.

    The moving mean takes 11 planes, towards the ends as many (an odd number) as there are on both sides.
    """
    values = np.array([bright_mean(plane, percentile) for plane in planes])
    half = [min(_SMOOTHING // 2, i, len(values) - 1 - i) for i in range(len(values))]
    return np.array([values[i - h : i + h + 1].mean() for i, h in enumerate(half)])


def bright_mean(plane: Array, percentile: float = PERCENTILE) -> float:
    """Return the mean of the pixels above a percentile; 0 when there are none."""
    above = plane[plane > np.percentile(plane, percentile)]
    return float(above.mean()) if above.size else 0.0


def brightened(plane: Array, target: float, percentile: float = PERCENTILE) -> Array:
    """Return a plane whose bright pixels have `target` as their mean; a plane without any stays as it is."""
    mean = bright_mean(plane, percentile)
    return plane if mean <= 0 else plane * (target / mean)


def sixteen_bit(volume: Array) -> NDArray[np.uint16]:
    """Return a volume scaled by its extremes to 16 bits, cut off towards zero, as published."""
    low, high = volume.min(), volume.max()
    whole: NDArray[np.uint16] = (((volume - low) / (high - low + 1e-7)).clip(0, 1) * FULL_SCALE).astype(np.uint16)
    return whole


def _positive(values: Tensor) -> Tensor:
    return torch.where(values > 0, values, torch.inf)
