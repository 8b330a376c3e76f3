"""The box that is really computed: its outline in 2D, its wireframe in 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_recon.core.grid import Grid
from napari_recon.core.region import Box
from napari_recon.core.stack import ImageStack
from napari_recon.viewer.placement import layer_geometry

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer, Points

COLOR = "cyan"


class Wireframe:
    """The bounding box of an invisible Points layer with two opposite corners; napari has no 3D box.

    Parameters
    ----------
    viewer : ViewerModel
    name : str
        Of the layer.
    """

    def __init__(self, viewer: ViewerModel, name: str) -> None:
        self._viewer, self._name = viewer, name
        self.layer: Points | None = None

    def show(self, grid: Grid, box: Box, stack: ImageStack, parent: Layer, axes: str) -> None:
        """Outline `box` (voxels of `grid`) along `axes` (ZYX in 3D, YX in 2D)."""
        corners = np.array([[box.bounds(a, grid.size(a))[end] - 0.5 for a in axes] for end in (0, 1)])
        geometry = layer_geometry(grid.only(axes), stack, parent)
        if self.layer is not None and self.layer.ndim != len(axes):
            self.hide()
        if self.layer is None:
            self.layer = self._add(corners, geometry)
            return
        self.layer.data = corners
        for name, value in geometry.items():
            if name != "axis_labels":
                setattr(self.layer, name, value)

    def hide(self) -> None:
        """Remove the outline."""
        layer, self.layer = self.layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def forget(self, layer: Any) -> bool:
        """Take note that somebody removed `layer`; return whether it was the outline."""
        if layer is None or layer is not self.layer:
            return False
        self.layer = None
        return True

    def _add(self, corners: np.ndarray, geometry: dict[str, Any]) -> Points:
        selection = self._viewer.layers.selection
        before, active = set(selection), selection.active
        layer = self._viewer.add_points(corners, ndim=corners.shape[1], size=0.01, opacity=0, name=self._name, **geometry)
        frame = layer.bounding_box
        frame.points, frame.lines, frame.line_color, frame.line_thickness = False, True, COLOR, 2
        frame.opacity, frame.visible = 1, True
        layer.editable = False
        if before:
            selection.intersection_update(before)
            selection.update(before)
            selection.active = active
        return layer
