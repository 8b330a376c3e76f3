"""The power spectrum of the raw frames over the field, the OTF's circle and the carriers: layers that follow settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_recon.viewer.selection import selection_kept
from napari_recon.viewer.sim_diagnosis import Diagnosis

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

CIRCLE = "#56b4e9"
GOOD, DOUBTFUL = "#009e73", "#d98200"
RING = 0.045
LINE = 0.004


class SpectrumLayers(QObject):
    """Three layers: the spectrum, the OTF's edge, one ring per carrier. They lie over the field they belong to.

    The overlays' data are frequencies in cycles/um; a scale brings them onto the field.

    Notes
    -----
    ``removed()`` fires when somebody deletes one of the layers; the others go too.
    """

    removed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.spectrum: Any = None
        self.circle: Any = None
        self.carriers: Any = None
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that are there."""
        return tuple(layer for layer in (self.spectrum, self.circle, self.carriers) if layer is not None)

    def show(self, diagnosis: Diagnosis, layer: Layer) -> None:
        """Show (or move) everything over the field of the raw `layer`."""
        geometry, per_um, scale = _geometry(diagnosis, layer)
        self._show_spectrum(diagnosis, layer.name, geometry, scale)
        if diagnosis.optics is None:
            self._remove("circle", "carriers")
            return
        width = _width(diagnosis)
        overlay = {**geometry, "scale": per_um}
        self._show_circle(diagnosis.optics.cutoff_per_um, width, overlay)
        self._show_carriers(diagnosis, width, overlay)

    def hide(self) -> None:
        """Remove the layers."""
        self._remove("spectrum", "circle", "carriers")

    def close(self) -> None:
        """Remove the layers and let go of the viewer."""
        self.hide()
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def _show_spectrum(self, diagnosis: Diagnosis, name: str, geometry: dict[str, Any], scale: Any) -> None:
        data = diagnosis.spectrum
        place = {**geometry, "scale": scale, "translate": geometry["translate"] - np.array(data.shape) // 2 * scale}
        if self.spectrum is None:
            limits = (float(np.percentile(data, 20)), 0.7 * float(np.percentile(data, 99.9)))
            with selection_kept(self._viewer):
                self.spectrum = self._viewer.add_image(
                    data, name=f"spectrum of {name}", colormap="inferno", contrast_limits=limits, **place
                )
            return
        self.spectrum.data = data
        self.spectrum.scale, self.spectrum.translate = place["scale"], place["translate"]

    def _show_circle(self, radius: float, width: float, overlay: dict[str, Any]) -> None:
        corners = radius * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)], dtype=float)
        if self.circle is not None:
            self.circle.data = [(corners, "ellipse")]
            self.circle.scale, self.circle.translate = overlay["scale"], overlay["translate"]
            return
        with selection_kept(self._viewer):
            self.circle = self._viewer.add_shapes(
                [corners],
                shape_type="ellipse",
                name="OTF cut-off",
                face_color="transparent",
                edge_color=CIRCLE,
                edge_width=LINE * width,
                **overlay,
            )

    def _show_carriers(self, diagnosis: Diagnosis, width: float, overlay: dict[str, Any]) -> None:
        found = diagnosis.calibration
        groups = found.groups if found is not None else ()
        rows = [
            (sign * k[1], sign * k[0], str(number + 1), GOOD if carrier.verdict.startswith("clear") else DOUBTFUL)
            for number, group in enumerate(groups)
            for carrier in group.carriers
            for k in [carrier.k_per_um]
            for sign in (1, -1)
        ]
        self._remove("carriers")
        if not rows:
            return
        with selection_kept(self._viewer):
            self.carriers = self._viewer.add_points(
                np.array([row[:2] for row in rows]),
                name="carriers",
                symbol="disc",
                size=RING * width,
                face_color="transparent",
                border_color=[row[3] for row in rows],
                border_width=0.12,
                features={"angle": [row[2] for row in rows]},
                text={"string": "{angle}", "color": "white", "anchor": "upper_left", "size": 10},
                **overlay,
            )

    def _remove(self, *names: str) -> None:
        for name in names:
            layer = getattr(self, name)
            setattr(self, name, None)
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _on_removed(self, event: Any) -> None:
        if any(event.value is layer for layer in self.layers):
            self.hide()
            self.removed.emit()


def _width(diagnosis: Diagnosis) -> float:
    """Return the width of the whole spectrum: cycles/um, or 1 while the pixel size is unknown."""
    return 1 / min(diagnosis.optics.pixel_um) if diagnosis.optics is not None else 1.0


def _geometry(diagnosis: Diagnosis, layer: Layer) -> tuple[dict[str, Any], Any, Any]:
    """Return the place of frequency zero, and world units per frequency and per pixel of the spectrum along y and x.

    The spectrum covers the largest square in the middle of the field, whatever the shape of its pixels.
    """
    low, high = (np.asarray(edge)[-2:] for edge in layer.extent.world)
    side = float((high - low + np.asarray(layer.scale)[-2:]).min())  # the extent ends in the middle of pixels
    shape = np.array(diagnosis.spectrum.shape)
    pixel = diagnosis.optics.pixel_um if diagnosis.optics is not None else (1.0, 1.0)
    per_um = np.full(2, side / _width(diagnosis))
    scale = per_um / (shape * pixel)
    zero = (low + high) / 2 + (shape // 2 - (shape - 1) / 2) * scale
    return {"translate": zero, "units": layer.units[-2:], "axis_labels": ("y", "x")}, per_um, scale
