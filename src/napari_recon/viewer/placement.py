"""Where a result lies in the viewer: exactly on the data it was made from, in units napari can reconcile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pint
from numpy.typing import NDArray

from napari_recon.core.grid import AXIS_NAMES, SPATIAL, Grid
from napari_recon.core.stack import ImageStack

if TYPE_CHECKING:
    from napari.layers import Layer

PLACEMENT = "placement"
"""Key of `ImageStack.metadata`: matrix from the stack's scaled, unrotated coordinates to the world."""


def to_world(layer: Layer) -> NDArray[np.float64]:
    """Return the (n+1, n+1) matrix from voxel indices of `layer` to world coordinates."""
    n = layer.ndim
    origin = np.asarray(layer.data_to_world(np.zeros(n)), dtype=float)
    matrix = np.eye(n + 1)
    matrix[:n, n] = origin
    for i, step in enumerate(np.eye(n)):
        matrix[:n, i] = np.asarray(layer.data_to_world(step), dtype=float) - origin
    return matrix


def is_plain(matrix: NDArray[np.float64]) -> bool:
    """Return whether the matrix only scales (without mirroring) and translates."""
    linear = matrix[:-1, :-1]
    steps = np.diag(linear)
    return bool((steps > 0).all() and np.allclose(linear, np.diag(steps), rtol=0, atol=1e-9 * np.abs(linear).max()))


def displayed_grid(grid: Grid, parent: Grid | None, channel: int = 0) -> Grid:
    """Return the grid of one channel's layer: without C, and with T as far left as in the data it is made from.

    napari lines layers up by their last axes, so a result TZYX beside data TCVYX gets a C axis of length one, and a result
    TYX of pages NYX an N axis: its one voxel covers all pages, so that it is seen whichever page is.
    """
    shown = grid.only(grid.axes.replace("C", ""))
    if parent is None or "T" not in shown.axes:
        return shown
    at = shown.axes.index("T")
    between = parent.axes[parent.axes.index("T") + 1 :] if "T" in parent.axes else parent.axes
    missing = len(between) + 1 - (len(shown.axes) - at)
    fillers = [a for a in between if a not in shown.axes][: max(0, missing)]
    if missing <= 0 or len(fillers) < missing:
        return shown
    filler = parent.only("".join(fillers)).resampled({a: 1 for a in fillers if a != "C"})
    if "C" in fillers:
        start = channel if "C" in grid.axes else 0
        filler = filler.cropped({"C": (start, start + 1)})
    return shown.only(shown.axes[: at + 1]).joined(filler).joined(shown.only(shown.axes[at + 1 :]))


def layer_geometry(grid: Grid, stack: ImageStack | None = None, layer: Layer | None = None) -> dict[str, Any]:
    """Return scale, translate, units, axis_labels (and affine) of a layer that shows `grid`.

    Parameters
    ----------
    grid : Grid
        As from `displayed_grid`, in the coordinates of `stack`.
    stack : ImageStack, optional
        The input it was made from; its ``metadata["placement"]`` is composed onto the result.
    layer : Layer, optional
        The layer `stack` was made from; napari wants the units of equal axes (counted from the last) to be of one kind.
    """
    grid = in_one_unit(grid)
    units = list(grid.units)
    if layer is not None:
        for k in range(1, min(len(units), layer.ndim) + 1):
            theirs = str(layer.units[-k])
            if _kind(theirs) != _kind(units[-k]):
                units[-k] = theirs
    geometry: dict[str, Any] = {
        "scale": grid.scale,
        "translate": grid.translate,
        "units": tuple(units),
        "axis_labels": tuple(AXIS_NAMES[a] for a in grid.axes),
    }
    if stack is not None and PLACEMENT in stack.metadata:
        geometry["affine"] = affine_on(grid.axes, stack.grid.axes, np.asarray(stack.metadata[PLACEMENT]))
    return geometry


def affine_on(axes: str, source_axes: str, placement: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `placement` (over `source_axes`) for a layer with `axes`; axes the source lacks are left alone."""
    affine = np.eye(len(axes) + 1)
    for i, a in enumerate(axes):
        if a not in source_axes:
            continue
        row = source_axes.index(a)
        affine[i, -1] = placement[row, -1]
        for j, b in enumerate(axes):
            if b in source_axes:
                affine[i, j] = placement[row, source_axes.index(b)]
    return affine


def in_one_unit(grid: Grid) -> Grid:
    """Return `grid` with its lengths in the unit of the last spatial axis, so that 3D proportions are right."""
    lengths = [a for a in grid.axes if a in SPATIAL and _kind(grid.unit(a)) == _kind("micrometer")]
    if len(lengths) < 2:
        return grid
    unit = grid.unit(lengths[-1])
    factors = [_factor(u, unit) if a in lengths else 1.0 for a, u in zip(grid.axes, grid.units, strict=True)]
    return grid.model_copy(
        update={
            "scale": tuple(s * f for s, f in zip(grid.scale, factors, strict=True)),
            "translate": tuple(t * f for t, f in zip(grid.translate, factors, strict=True)),
            "units": tuple(unit if a in lengths else u for a, u in zip(grid.axes, grid.units, strict=True)),
        }
    )


def _kind(unit: str) -> Any:
    return pint.get_application_registry().parse_units(unit).dimensionality  # type: ignore[no-untyped-call]


def _factor(unit: str, target: str) -> float:
    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    return float(registry.Quantity(1.0, unit).to(target).magnitude)
