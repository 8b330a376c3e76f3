"""Small pictures of results for the report."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import ReconError
from napari_recon.io import open_stack

SIDE = 160
PLANES = 64


def thumbnail(path: str) -> str:
    """Return a PNG (base64) of a result: its middle frame, brightest along z; empty when it can't be read.

    Parameters
    ----------
    path : str
        Volumes of many planes are looked at in up to 64 of them, so it costs little whatever the size.
    """
    from imagecodecs import png_encode

    try:
        stack = open_stack(path)
    except ReconError:
        return ""
    grid = stack.grid
    if not {"Y", "X"} <= set(grid.axes):
        return ""
    step = {a: max(1, -(-grid.size(a) // (PLANES if a == "Z" else 2 * SIDE))) for a in "ZYX"}
    index: dict[str, Any] = {a.lower(): grid.size(a) // 2 if a == "T" else 0 for a in grid.axes if a not in "ZYX"}
    index |= {a.lower(): slice(None, None, step[a]) for a in "ZYX" if a in grid.axes}
    array = stack.read(**index).astype(np.float32)
    picture = array.max(axis=0) if array.ndim == 3 else array
    every = max(1, -(-max(picture.shape) // SIDE))
    return base64.b64encode(png_encode(_grey(picture[::every, ::every]))).decode()


def _grey(yx: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(yx, (1, 99.8))
    grey: NDArray[np.uint8] = (255 * np.clip((yx - low) / max(high - low, 1e-12), 0, 1)).astype(np.uint8)
    return grey
