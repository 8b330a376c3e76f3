"""The lenslets that were found, as circles on the raw picture: seen, dragged where they should be, read back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_recon.engines.serenet.realigning.lenslets import LensletGrid, fitted
from napari_recon.viewer.placement import to_world
from napari_recon.viewer.selection import selection_kept

if TYPE_CHECKING:
    from napari.layers import Layer, Points

KEY = "lenslets"
COLOR = "#00e5ff"
#: A circle's width and the least drag that counts, in pitches.
WIDTH, MOVED = 0.94, 0.04


def show_lenslets(viewer: Any, raw: Layer, rows: Sequence[Mapping[str, float]]) -> Points | None:
    """Show circles on the layer `raw`, in the place of those shown before; None when there are none to show.

    Parameters
    ----------
    viewer : ViewerModel
    raw : Layer
        The picture they were found in.
    rows : sequence of mapping
        ``row``, ``column``, and the middle ``y``, ``x`` in pixels.
    """
    if len(rows) < 2:
        return None
    hide_lenslets(viewer, raw)
    places = np.array([(row["y"], row["x"]) for row in rows])
    matrix = to_world(raw)[np.ix_([-3, -2, -1], [-3, -2, -1])]
    geometry: dict[str, Any] = {"affine": matrix}
    if raw.ndim >= 2:
        geometry["units"] = tuple(raw.units[-2:])
        geometry["axis_labels"] = tuple(raw.axis_labels[-2:])
    with selection_kept(viewer):
        layer: Points = viewer.add_points(
            places,
            name=f"lenslets of {raw.name}",
            symbol="disc",
            size=WIDTH * grid_of_rows(rows).pitch_px,
            face_color="transparent",
            border_color=COLOR,
            border_width=0.06,
            opacity=0.8,
            features={name: [row[name] for row in rows] for name in ("row", "column")},
            metadata={KEY: {"raw": str(raw.unique_id), "rows": [dict(row) for row in rows]}},
            **geometry,
        )
    return layer


def hide_lenslets(viewer: Any, raw: Layer) -> None:
    """Remove the circles that are shown on a layer."""
    layer = lenslets_on(viewer, raw)
    if layer is not None:
        viewer.layers.remove(layer)


def lenslets_on(viewer: Any, raw: Layer | None) -> Points | None:
    """Return the circles that are shown on a layer."""
    known = str(raw.unique_id) if raw is not None else ""
    return next((layer for layer in viewer.layers if layer.metadata.get(KEY, {}).get("raw") == known), None)


def grid_of_rows(rows: Sequence[Mapping[str, float]]) -> LensletGrid:
    """Return the grid on which lenslets with known rows and columns lie (least squares)."""
    numbers = np.array([(row["row"], row["column"], 1.0) for row in rows], dtype=float)
    places = np.array([(row["y"], row["x"]) for row in rows])
    down, along, origin = np.linalg.lstsq(numbers, places, rcond=None)[0]
    lengths = [float(np.hypot(*step)) or float(np.hypot(*other)) for step, other in ((down, along), (along, down))]
    turn = math.degrees(math.atan2(along[0], along[1])) if np.hypot(*along) else math.degrees(math.atan2(-down[1], down[0]))
    y, x = origin.tolist()
    return LensletGrid(math.sqrt(lengths[0] * lengths[1]), turn, (y, x), lengths[1] / lengths[0])


def corrected(layer: Points) -> dict[str, Any]:
    """Return the parameters of `serenet.realign` that follow from the circles as they are now.

    Those that were dragged or added count, since the others only show what was found; one moves the whole grid, several
    also turn and scale it. When nothing was changed, the grid stays as it is.
    """
    rows = layer.metadata[KEY]["rows"]
    grid, found = grid_of_rows(rows), np.array([(row["y"], row["x"]) for row in rows])
    points = np.asarray(layer.data, dtype=float)[:, -2:]
    nearest = np.array([np.hypot(*(found - point).T).min() for point in points]) if len(points) else np.zeros(0)
    moved = points[nearest > MOVED * grid.pitch_px]
    if len(moved) > 1:
        grid = fitted(moved, grid)
    elif len(moved) == 1:
        y, x = moved[0].tolist()
        grid = LensletGrid(grid.pitch_px, grid.rotation_deg, (y, x), grid.stretch)
    middle = found.mean(axis=0)
    y, x = grid.around((float(middle[0]), float(middle[1]))).centre
    return {
        "pitch_px": round(grid.pitch_px, 5),
        "rotation_deg": round(grid.rotation_deg, 4),
        "centre": (round(y, 3), round(x, 3)),
    }
