"""Rectangles on the data and a wireframe box in 3D: two views of one `core.region.Region`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_recon.core.grid import Grid
    from napari_recon.core.region import Box, Region


class RegionLayer(QObject):
    """Keeps a Shapes layer of rectangles and `region.box` alike, whichever of them changes.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Image
        The data the region is drawn on; boxes are in its voxels.
    region : Region
        `region.box` follows the rectangle drawn, changed or selected last (y and x; z is kept).
    axes : str
        Axis letters of `layer`.

    Notes
    -----
    Signals: ``availability_changed(bool, reason)`` when drawing becomes possible or not (other axes displayed, 3D view);
    ``boxes_changed(list of Box)``.
    """

    availability_changed = Signal(bool, str)
    boxes_changed = Signal(object)

    def __init__(self, viewer: ViewerModel, layer: Image, region: Region, axes: str, parent: QObject | None = None) -> None:
        super().__init__(parent)

    @property
    def reason(self) -> str:
        """Why drawing is impossible now; empty when it is possible."""
        raise NotImplementedError

    def draw(self) -> None:
        """Make (or show) the Shapes layer, select it and switch to its rectangle tool."""
        raise NotImplementedError

    def boxes(self) -> list[Box]:
        """Return one box per rectangle, z as in the region; empty for the whole field."""
        raise NotImplementedError

    def from_view(self) -> bool:
        """Set one rectangle to what the canvas shows; False when the data is out of sight or there is no canvas."""
        raise NotImplementedError

    def whole(self) -> None:
        """Remove every rectangle: the region is the whole field."""
        raise NotImplementedError

    def show_computed(self, grid: Grid | None, box: Box | None = None) -> None:
        """Show, in another colour and as a wireframe in 3D, the box that is really computed.

        Parameters
        ----------
        grid : Grid or None
            Whole-field grid of the planned output (``plan.whole[name]``); None hides the wireframe.
        box : Box, optional
            In voxels of `grid`; default all of it (``plan.selection.box``, or a snapped one).
        """
        raise NotImplementedError

    def close(self) -> None:
        """Remove the layers this object made and let go of the viewer."""
        raise NotImplementedError
