"""The aberration that serenet.predao found, as a picture of the wavefront and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QLabel, QWidget

from napari_recon.core.provenance import KEY
from napari_recon.widgets.look import Line, describe

SIDE = 96
LEAST_UM = 0.02
"""Wavefronts flatter than that are drawn as flat."""


class AberrationPanel(QWidget):
    """A small picture and what it means; hidden until there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.picture, self.line = QLabel(), Line()
        describe(self.picture, "Wavefront", "The wavefront over the pupil: white is flat, green ahead, pink behind")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.picture)
        row.addWidget(self.line, 1)
        self.hide()

    def show_report(self, report: Mapping[str, Any]) -> None:
        """Say how large the aberration is and what it consists of."""
        parts = sorted(report.get("parts_um", {}).items(), key=lambda part: -abs(part[1]))
        largest = ", ".join(f"{name.replace('_', ' ')} {value:+.3f}" for name, value in parts[:2])
        verdict = str(report.get("verdict", "")).replace(" (root mean square)", "")
        size = f"Wavefront {report.get('wavefront_rms_um', 0):.3f} µm rms{f' ({largest})' if largest else ''}."
        self.line.say(f"{verdict[:1].upper()}{verdict[1:]}. {size}")
        self.show()

    def show_layer(self, layer: Any) -> None:
        """Draw a wavefront, and give its layer the same colours."""
        data = np.asarray(layer.data, dtype=float)
        data = data.reshape(-1, *data.shape[-2:])[0]
        limit = max(float(np.abs(data).max()), LEAST_UM)
        layer.colormap, layer.contrast_limits = "PiYG", (-limit, limit)
        rgb = coloured(data / limit)
        image = QImage(rgb.data, rgb.shape[1], rgb.shape[0], 3 * rgb.shape[1], QImage.Format.Format_RGB888)
        scaled = QPixmap.fromImage(image).scaled(SIDE, SIDE, Qt.AspectRatioMode.KeepAspectRatio)
        self.picture.setPixmap(scaled)
        self.show()


def coloured(signed: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return values from -1 to 1 as colours from pink over white to green."""
    pink, white, green = np.array([[0.56, 0.0, 0.32], [1.0, 1.0, 1.0], [0.15, 0.39, 0.1]])
    part = np.clip(np.abs(signed), 0, 1)[..., None]
    end = np.where((signed < 0)[..., None], pink, green)
    return np.ascontiguousarray(np.rint(255 * (white * (1 - part) + end * part)).astype(np.uint8))


def wavefront_of(layers: tuple[Any, ...]) -> Any:
    """Return the layer that holds a wavefront, None without one."""
    return next((layer for layer in layers if layer.metadata.get(KEY, {}).get("output") == "wavefront"), None)
