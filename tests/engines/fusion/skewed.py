"""Skewed stacks of a known volume of blobs."""

from __future__ import annotations

import math

import numpy as np

from napari_recon.core.stack import ImageStack

UM = dict.fromkeys("ZYX", "micrometer")
STEP, PIXEL, ANGLE = 0.3, 0.1, 30.8


def blobs(seed: int = 0, count: int = 12, span_um: tuple[float, float, float] = (3.0, 2.0, 5.0)) -> np.ndarray:
    """Return (count, 4): z, y, x in micrometers around the middle, and brightness."""
    rng = np.random.default_rng(seed)
    places = (rng.random((count, 3)) - 0.5) * np.array(span_um)
    return np.column_stack([places, 500 + 1500 * rng.random(count)])


def bright(
    points: np.ndarray, z: np.ndarray, y: np.ndarray, x: np.ndarray, widths: tuple[float, float] = (0.35, 0.2)
) -> np.ndarray:
    """Return the sum of blobs at places in micrometers (broadcast)."""
    total = np.zeros(np.broadcast(z, y, x).shape)
    for at_z, at_y, at_x, height in points:
        far = ((z - at_z) / widths[0]) ** 2 + ((y - at_y) ** 2 + (x - at_x) ** 2) / widths[1] ** 2
        total += height * np.exp(-far / 2)
    return total


def stack(
    direction: int = 1,
    shape: tuple[int, int, int] = (24, 22, 60),
    seed: int = 0,
    noise: float = 3.0,
    offset: float = 0.0,
    skew_axis: str = "x",
    frames: int = 0,
) -> ImageStack:
    """Return a raw stack (with T in front when `frames` are asked for) whose planes cut through the blobs."""
    points, rng = blobs(seed), np.random.default_rng(seed + 1)
    planes, rows, columns = shape
    cos, sin = math.cos(math.radians(ANGLE)), math.sin(math.radians(ANGLE))
    away = (np.arange(planes) - (planes - 1) / 2)[:, None, None] * STEP
    y = (np.arange(rows) - (rows - 1) / 2)[None, :, None] * PIXEL
    x = (np.arange(columns) - (columns - 1) / 2)[None, None] * PIXEL

    def frame(number: int) -> np.ndarray:
        moved = points + np.array([0, 0, 0.15 * number, 0])
        raw = bright(moved, away * sin, y, x - direction * away * cos) + offset
        raw = np.clip(np.round(raw + noise * rng.standard_normal(raw.shape) + 5), 0, 65535).astype(np.uint16)
        return raw if skew_axis == "x" else raw.transpose(0, 2, 1)

    made = np.stack([frame(t) for t in range(frames)]) if frames else frame(0)
    return ImageStack.of(
        np.ascontiguousarray(made), "TZYX" if frames else "ZYX", "raw", scale={"Z": STEP, "Y": PIXEL, "X": PIXEL}, units=UM
    )
