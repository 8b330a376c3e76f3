"""A picture of several results beside each other: projections along z and y, a title above and numbers below each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QFont, QImage, QPainter

SIDE, GAP, LINE = 260, 12, 17
BRIGHTEST = 99.8
"""Percentile of a result that is drawn white."""


def save_picture(shown: Sequence[tuple[str, Any, Sequence[str]]], path: str | Path) -> None:
    """Write a PNG of (title, layer, numbers in words).

    Raises
    ------
    OSError
        The file can't be written.
    """
    pictures = [projections(layer) for _, layer, _ in shown]
    scales = [SIDE / picture.shape[1] for picture in pictures]
    heights = [round(picture.shape[0] * scale) for picture, scale in zip(pictures, scales, strict=True)]
    lines = max((len(words) for *_, words in shown), default=0)
    image = QImage(
        max(1, len(shown)) * (SIDE + GAP) + GAP,
        max(heights, default=0) + (lines + 1) * LINE + 3 * GAP,
        QImage.Format.Format_RGB32,
    )
    image.fill(QColor("white"))
    painter = QPainter(image)
    font = QFont()
    font.setPixelSize(13)
    painter.setFont(font)
    for at, ((title, _, words), picture, height) in enumerate(zip(shown, pictures, heights, strict=True)):
        left = GAP + at * (SIDE + GAP)
        elided = painter.fontMetrics().elidedText(title, Qt.TextElideMode.ElideMiddle, SIDE)
        painter.drawText(QRectF(left, GAP, SIDE, LINE), elided)
        gray = QImage(picture.data, picture.shape[1], picture.shape[0], picture.shape[1], QImage.Format.Format_Grayscale8)
        top = GAP + LINE + 4
        painter.drawImage(QRectF(left, top, SIDE, height), gray)
        for number, text in enumerate(words):
            painter.drawText(QRectF(left, top + height + 4 + number * LINE, SIDE, LINE), text)
    painter.end()
    if not image.save(str(path), "PNG"):
        raise OSError(0, "no picture could be written there", str(path))


def projections(layer: Any) -> NDArray[np.uint8]:
    """Return a result as gray values: brightest along z, and along y below where it has depth, in its proportions."""
    data = np.asarray(layer.data, dtype=np.float32)
    depth = data.ndim > 2 and data.shape[-3] > 1
    zyx = data.reshape(-1, *data.shape[-3 if depth else -2 :])[0]
    zyx = zyx if depth else zyx[None]
    parts = [zyx.max(axis=0)]
    if depth:
        side = zyx.max(axis=1)
        rows = max(1, round(len(side) * abs(float(layer.scale[-3]) / float(layer.scale[-1]))))
        parts += [np.zeros((2, zyx.shape[2]), np.float32), side[np.linspace(0, len(side) - 1, rows).round().astype(int)]]
    top = max(float(np.percentile(parts[0], BRIGHTEST)), 1e-30)
    picture = np.concatenate([np.clip(part / top, 0, 1) for part in parts])
    return np.ascontiguousarray((255 * picture).astype(np.uint8))
