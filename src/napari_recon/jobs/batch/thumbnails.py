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
#: Of the first channels, as viewers mix them: green, magenta, cyan, yellow.
COLOURS = ((0, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 0))


def thumbnail(path: str) -> str:
    """Return a PNG (base64) of a result: its middle frame, brightest along z, channels in colours; empty when unreadable.

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
    lateral = max(1, -(-max(grid.size("Y"), grid.size("X")) // SIDE))
    step = {"Z": max(1, -(-grid.size("Z") // PLANES)), "Y": lateral, "X": lateral}
    index: dict[str, Any] = {a.lower(): grid.size(a) // 2 if a == "T" else 0 for a in grid.axes if a not in "CZYX"}
    index |= {a.lower(): slice(None, None, step[a]) for a in "ZYX" if a in grid.axes}
    channels = range(min(grid.size("C"), len(COLOURS))) if "C" in grid.axes else [0]
    pictures = []
    for channel in channels:
        array = stack.read(**({**index, "c": channel} if "C" in grid.axes else index)).astype(np.float32)
        pictures.append(_grey(array.max(axis=0) if array.ndim == 3 else array))
    if len(pictures) == 1:
        return base64.b64encode(png_encode(pictures[0])).decode()
    mixed = sum(picture[..., None] * np.asarray(colour) for picture, colour in zip(pictures, COLOURS, strict=False))
    return base64.b64encode(png_encode(np.minimum(mixed, 255).astype(np.uint8))).decode()


def _grey(yx: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(yx, (1, 99.8))
    grey: NDArray[np.uint8] = (255 * np.clip((yx - low) / max(high - low, 1e-12), 0, 1)).astype(np.uint8)
    return grey
