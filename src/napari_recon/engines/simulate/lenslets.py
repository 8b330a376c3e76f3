"""The camera behind a microlens array: from views to the raw picture, and the order in which a scan takes them. numpy only.

Places are (y, x) in camera pixels, whole numbers being the middles of pixels; a rotation turns the rows of lenslets from the
x axis towards the y axis.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Points per axis at which a camera pixel is sampled: lenslets' edges need not lie between pixels.
SUBPIXELS = 2


def scan_order(scanning: int) -> tuple[int, ...]:
    """Return the cells ``row scanning + column`` of a scan in the order in which they are taken.

    The published order of 3 x 3 (6 7 8 5 2 1 0 3 4), a spiral from the lower left corner into the middle, for any size.
    """
    order: list[int] = []
    grid = np.arange(scanning * scanning).reshape(scanning, scanning)
    while grid.size:
        order += grid[-1].tolist()
        grid = np.rot90(grid[:-1], -1)
    return tuple(order)


def raw_lenslet(
    views_vyx: NDArray[np.floating],
    nnum: int,
    *,
    shape_yx: tuple[int, int] | None = None,
    pitch_px: float | None = None,
    rotation_deg: float = 0.0,
    centre: tuple[float, float] | None = None,
    offset_px: tuple[float, float] = (0.0, 0.0),
    vignetting: float = 0.0,
) -> NDArray[np.float32]:
    """Return what a camera sees behind the lenslets: float32 (Y, X), noise-free.

    Parameters
    ----------
    views_vyx : numpy.ndarray
        (nnum * nnum, lenslet rows, lenslet columns): page ``u nnum + v`` is what pixel (u, v) behind every lenslet sees.
    nnum : int
        Odd.
    shape_yx : tuple of int, optional
        Camera pixels; default: what the lenslets fill.
    pitch_px : float, optional
        Distance of neighbouring lenslets in camera pixels, default nnum; light per pixel follows from it.
    rotation_deg : float
        Turn of the rows.
    centre : tuple of float, optional
        Place (y, x) of the middle of lenslet (rows // 2, columns // 2); default: the block of lenslets lies in the middle of
        the camera.
    offset_px : tuple of float
        Added to `centre`.
    vignetting : float
        Loss of light in the corners of the camera, quadratic from its middle.

    Notes
    -----
    With pitch `nnum` and lenslets that lie on pixels, pixel ``(nnum i + u, nnum j + v)`` is ``views[u nnum + v, i, j]``.
    Elsewhere the light is interpolated between directions, never between lenslets; there is none beside the block.
    """
    views = np.asarray(views_vyx, dtype=np.float32)
    _, rows, columns = views.shape
    pitch = float(pitch_px or nnum)
    shape = shape_yx or (math.ceil(rows * pitch), math.ceil(columns * pitch))
    if centre is None:
        at = [n // 2 - (n - 1) / 2 for n in (rows, columns)]
        middle = _turned(np.array(at), rotation_deg) * pitch
        centre = ((shape[0] - 1) / 2 + float(middle[0]), (shape[1] - 1) / 2 + float(middle[1]))
    centre = (centre[0] + offset_px[0], centre[1] + offset_px[1])
    aligned = pitch == nnum and not rotation_deg and all((c - nnum // 2) % 1 == 0 for c in centre)
    subpixels = 1 if aligned else SUBPIXELS
    light = views.reshape(nnum, nnum, rows, columns)
    raw = np.zeros(shape, np.float32)
    for sub_y in range(subpixels):
        for sub_x in range(subpixels):
            y, x = (np.arange(n) + (s + 0.5) / subpixels - 0.5 for n, s in zip(shape, (sub_y, sub_x), strict=True))
            away = np.stack(np.broadcast_arrays(y[:, None] - centre[0], x[None, :] - centre[1]), axis=-1)
            raw += _behind(light, _turned(away, -rotation_deg) / pitch)
    raw *= np.float32((nnum / pitch) ** 2 / subpixels**2)
    if vignetting:
        far = [((np.arange(n) - (n - 1) / 2) / max((n - 1) / 2, 0.5)) ** 2 / 2 for n in shape]
        raw *= (1 - vignetting * (far[0][:, None] + far[1][None, :])).astype(np.float32)
    return raw


def scanned_lenslets(views_vyx: NDArray[np.floating], scanning: int, step: int) -> NDArray[np.float32]:
    """Return the part (V, rows, columns) of interleaved views (V, Y, X) that exposure `step` of a scan sees."""
    row, column = divmod(scan_order(scanning)[step], scanning)
    return np.asarray(views_vyx[:, row::scanning, column::scanning], dtype=np.float32)


def _turned(yx: NDArray[np.floating], degrees: float) -> NDArray[np.float64]:
    """Return offsets (..., 2) turned from the x axis towards the y axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    y, x = yx[..., 0], yx[..., 1]
    return np.stack([y * cosine + x * sine, x * cosine - y * sine], axis=-1)


def _behind(light_uvyx: NDArray[np.float32], lenslet: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the light at places given as (row, column) of lenslets from lenslet (rows // 2, columns // 2)."""
    nnum, rows, columns = light_uvyx.shape[0], light_uvyx.shape[2], light_uvyx.shape[3]
    nearest = np.rint(lenslet)
    inside = (lenslet - nearest) * nnum + nnum // 2
    low = np.clip(np.floor(inside + 1e-9), 0, nnum - 2).astype(np.int64)
    part = np.clip(inside - low, 0.0, 1.0).astype(np.float32)
    number = nearest.astype(np.int64) + np.array([rows // 2, columns // 2])
    seen = ((number >= 0) & (number < [rows, columns])).all(axis=-1)
    i, j = (np.where(seen, number[..., axis], 0) for axis in (0, 1))
    total = np.zeros(seen.shape, np.float32)
    for u in (0, 1):
        for v in (0, 1):
            weight = (part[..., 0] if u else 1 - part[..., 0]) * (part[..., 1] if v else 1 - part[..., 1])
            total += weight * light_uvyx[low[..., 0] + u, low[..., 1] + v, i, j]
    return np.where(seen, total, np.float32(0))
