"""The demo's picture: what the camera saw, what was reconstructed, what was there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
BACKGROUND, GAP, SIDE = 18, 12, 390
# magma at eight stops, interpolated in between
_STOPS = np.array(
    [
        (0, 0, 4),
        (32, 17, 75),
        (87, 21, 126),
        (143, 42, 129),
        (200, 62, 115),
        (244, 105, 92),
        (254, 176, 120),
        (252, 253, 191),
    ]
)


def side_by_side(views_vyx: Any, volume_zyx: Any, truth_zyx: Any, aspect: float) -> RGB:
    """Return an RGB picture of three columns; volumes as maximum projections along z (above) and y (below).

    Parameters
    ----------
    views_vyx : array
        One frame, the centre view first.
    volume_zyx, truth_zyx : array
    aspect : float
        z step over y step.
    """
    depth = max(1, round(SIDE * aspect * volume_zyx.shape[0] / volume_zyx.shape[2]))
    views = np.asarray(views_vyx)
    columns = [_stacked(_fitted(views[0], SIDE, SIDE), _contact_sheet(views, min(depth, SIDE)), depth, gray=True)]
    for zyx in (np.asarray(volume_zyx, np.float32), np.asarray(truth_zyx, np.float32)):
        columns.append(_stacked(_fitted(zyx.max(0), SIDE, SIDE), _fitted(zyx.max(1), depth, SIDE), depth))
    picture = np.full((SIDE + depth + 3 * GAP, GAP + (SIDE + GAP) * len(columns), 3), BACKGROUND, np.uint8)
    for n, column in enumerate(columns):
        left = GAP + n * (SIDE + GAP)
        picture[GAP:-GAP, left : left + SIDE] = column
    return picture


def _stacked(above: NDArray[Any], below: NDArray[Any], depth: int, gray: bool = False) -> RGB:
    """Return one column: `above`, a gap, and `below` centred in `depth` rows."""
    column = np.full((SIDE + GAP + depth, SIDE, 3), BACKGROUND, np.uint8)
    column[:SIDE] = _coloured(above, gray)
    left, top = (SIDE - below.shape[1]) // 2, SIDE + GAP + (depth - below.shape[0]) // 2
    column[top : top + below.shape[0], left : left + below.shape[1]] = _coloured(below, gray)
    return column


def _coloured(yx: NDArray[Any], gray: bool) -> RGB:
    low, high = float(yx.min()), float(np.percentile(yx, 99.8))
    shade = np.clip((yx - low) / max(high - low, 1e-9), 0, 1) ** 0.7
    if gray:
        return np.repeat((255 * shade[..., None]).astype(np.uint8), 3, axis=2)
    at = np.linspace(0, 1, len(_STOPS))
    return np.stack([np.interp(shade, at, _STOPS[:, c]) for c in range(3)], axis=-1).astype(np.uint8)


def _fitted(yx: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return the image resampled to the nearest pixels."""
    rows = (np.arange(height) * yx.shape[0] / height).astype(int)
    columns = (np.arange(width) * yx.shape[1] / width).astype(int)
    fitted: NDArray[Any] = np.asarray(yx, np.float32)[rows[:, None], columns[None]]
    return fitted


def _contact_sheet(vyx: NDArray[Any], side: int) -> NDArray[Any]:
    """Return the views in reading order on one square sheet."""
    per_row = int(np.ceil(np.sqrt(len(vyx))))
    height, width = vyx.shape[1:]
    sheet = np.full((per_row * height, per_row * width), vyx.min(), np.float32)
    for n, yx in enumerate(vyx):
        top, left = n // per_row * height, n % per_row * width
        sheet[top : top + height, left : left + width] = yx
    return _fitted(sheet, side, side)
