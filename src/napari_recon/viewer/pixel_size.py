"""The pixel size of a layer: whether it has one, and giving it one when somebody asks for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Layer


def lacks_pixel_size(layer: Layer, axes: str) -> bool:
    """Return whether y and x of the layer are in pixels."""
    if len(axes) != layer.ndim or not {"Y", "X"} <= set(axes):
        return False
    return any(str(layer.units[axes.index(a)]) == "pixel" for a in "YX")


def set_pixel_size(layer: Layer, axes: str, size_um: float) -> None:
    """Set scale and units of the layer along y and x."""
    scale, units = [float(s) for s in layer.scale], [str(u) for u in layer.units]
    for axis in "YX":
        scale[axes.index(axis)], units[axes.index(axis)] = size_um, "micrometer"
    layer.scale, layer.units = scale, units


def set_steps(layer: Layer, axes: str, steps: Mapping[str, float], units: Mapping[str, str]) -> None:
    """Set how far the places of a layer are apart along some axes, in their units, or in `units` where they have none."""
    scale, known = [float(s) for s in layer.scale], [str(u) for u in layer.units]
    for axis, step in steps.items():
        at = axes.index(axis)
        scale[at] = step
        if known[at] == "pixel":
            known[at] = units[axis]
    layer.scale, layer.units = scale, known
