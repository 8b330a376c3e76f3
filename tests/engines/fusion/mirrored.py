"""Volumes that see blobs twice: directly and in a mirror, both through one blur along the optical axis."""

from __future__ import annotations

import numpy as np

from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.registration.split_transform import SplitTransform

UM = dict.fromkeys("ZYX", "micrometer")
VOXEL = (0.0926, 0.0617333, 0.0617333)


def truth(
    shape: tuple[int, int, int] = (48, 64, 96),
    angle_y: float = 30.8,
    angle_x: float = 0.0,
    mirror: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    voxel: tuple[float, float, float] = VOXEL,
) -> SplitTransform:
    """Return the transform of a scene; `mirror` and `shift` in voxels of x."""
    return SplitTransform(
        angle_y_deg=angle_y, angle_x_deg=angle_x, mirror_um=mirror * voxel[2],
        shift_um=(shift[0] * voxel[2], shift[1] * voxel[2]), voxel_um=voxel, shape_zyx=shape,
    )  # fmt: skip


def volume(
    transform: SplitTransform,
    count: int = 60,
    seed: int = 0,
    noise: bool = True,
    blur: tuple[float, float] = (1.2, 2.8),
    depth: float = 24.0,
    views: tuple[bool, bool] = (True, True),
) -> np.ndarray:
    """Return a (z, y, x) uint16 volume of blobs in front of the mirror and of their images.

    `blur` is (lateral, axial) in voxels of x along the volume's own axes; `depth` the reach from the mirror, in voxels of x.
    """
    rng = np.random.default_rng(seed)
    shape, voxel = transform.shape_zyx, transform.voxel_um
    pitch = voxel[2]
    half = np.array([shape[2] * voxel[2], shape[1] * voxel[1]]) / 2
    place = np.column_stack([
        (rng.random(count) * 2 - 1) * half[0], (rng.random(count) * 2 - 1) * half[1],
        transform.mirror_um - (rng.random(count) * depth + 1.0) * pitch,
    ])  # fmt: skip
    there = place @ transform.turn  # turned -> volume: transpose of turn, from the right
    height = 400 + 1600 * rng.random(count)
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, voxel, strict=True)]
    total = np.full(shape, 20.0)
    widths = np.array([blur[1], blur[0], blur[0]]) * pitch
    for shown, points in zip(views, (there, transform.image_of(there)), strict=True):
        for (x, y, z), h in zip(points if shown else (), height, strict=False):
            parts = [np.exp(-((a - c) ** 2) / (2 * w**2)) for a, c, w in zip(axes, (z, y, x), widths, strict=True)]
            total += h * parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None]
    return (rng.poisson(total) if noise else np.round(total)).astype(np.uint16)


def stack(array: np.ndarray, voxel: tuple[float, float, float] = VOXEL) -> ImageStack:
    """Return the volume (or series) as an input."""
    return ImageStack.of(array, "TZYX"[-array.ndim :], "volume", scale=dict(zip("ZYX", voxel, strict=True)), units=UM)


def error(found: SplitTransform, true: SplitTransform) -> float:
    """Return how far, in voxels, the found images of the volume's places lie off the true ones (root mean square)."""
    rng = np.random.default_rng(0)
    half = np.array([n * s / 2 for n, s in zip(true.shape_zyx[::-1], true.voxel_um[::-1], strict=True)])
    turned = (rng.random((400, 3)) * 2 - 1) * half
    turned[:, 2] = true.mirror_um - np.abs(turned[:, 2])
    places = turned @ true.turn
    off = found.image_of(places) - true.image_of(places)
    return float(np.sqrt((off**2).sum(axis=1).mean())) / true.voxel_um[2]
