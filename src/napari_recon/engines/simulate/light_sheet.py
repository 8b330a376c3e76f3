"""How light-sheet recordings form: a phantom, its blurred views, the skewed planes of a stage scan, a camera. numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_recon.engines.simulate.light_sheet_params import LlsmParams, SceneParams
from napari_recon.engines.simulate.scene import Canvas, Scene, random_scene

Volume = NDArray[np.float32]
Check = Callable[[], None]

#: Part of the mirror line's brightness that the haze around it has.
HAZE = 0.1


def scene_of(params: SceneParams, shape_zyx: tuple[int, int, int], seed: int) -> Scene:
    """Return the phantom of a volume: its structures stay a few voxels inside."""
    room = np.array([max(n / 2 - 4, n / 4) for n in shape_zyx])
    sizes = {"tube_radius": 0.9, "bead_radius": 1.6, "bubble_radius": min(8.0, min(shape_zyx) / 4)}
    return random_scene(
        room, seed, tubes=params.tubes, beads=params.beads, bubbles=params.bubbles, speed=params.speed, **sizes
    )


def drawn(scene: Scene, shape_zyx: tuple[int, int, int], time: float, check: Check) -> Volume:
    """Return the phantom at a time, on cubic voxels."""
    return scene.draw(Canvas(shape_zyx, 1.0), time, check)


def seen(volume_zyx: Volume, psf_zyx: Volume) -> Volume:
    """Return a volume through a PSF, dark around it."""
    from scipy.signal import fftconvolve

    blurred: Volume = np.maximum(fftconvolve(volume_zyx, psf_zyx, mode="same"), 0).astype(np.float32)
    return blurred


def displaced(volume_zyx: Volume, offset_voxels: tuple[float, ...]) -> Volume:
    """Return a volume moved by a part of a voxel or many."""
    from scipy.ndimage import shift

    moved: Volume = np.maximum(shift(volume_zyx, offset_voxels, order=3), 0)
    return moved


class SkewedScan:
    """Where the pixels of a stage scan lie in the frame of the coverslip.

    There, v (z) runs across the coverslip and u (x) along the stage's way, both from the middle of the raw stack; a pixel of
    raw plane k and column x lies at ``v = direction x sin(angle)``, ``u = x cos(angle) - direction k step``. So a mirror
    parallel to the stage's way is a line of constant x.

    Attributes
    ----------
    depth : int
        Voxels of the object in front of the mirror (across all of it without one).
    along : int
        Voxels of the object along the stage's way.
    mirror_um : float
        v of the mirror; the object lies at smaller v, its mirror image at larger.
    """

    def __init__(self, params: LlsmParams) -> None:
        self._params = params
        tilt = math.radians(params.angle_deg)
        self._cos, self._sin = math.cos(tilt), math.sin(tilt)
        pixel, half = params.pixel_um, params.width * self._sin / 2
        place = params.mirror_at if params.mirror else 1.0
        self.depth = math.ceil(round(2 * half * place, 9))
        self.mirror_um = (2 * place - 1) * half * pixel
        self.along = math.ceil(round(params.width * self._cos + params.planes * params.step_um / pixel, 9))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the object (z, y, x)."""
        return self.depth, self._params.height, self.along

    @property
    def first_um(self) -> tuple[float, float]:
        """Place (v, u) of the object's first voxel."""
        pixel = self._params.pixel_um
        return self.mirror_um - (self.depth - 0.5) * pixel, -(self.along - 1) / 2 * pixel

    def world(self, object_zyx: Volume) -> Volume:
        """Return the object and behind it, with a mirror, its image."""
        return np.concatenate([object_zyx, object_zyx[::-1]]) if self._params.mirror else object_zyx

    def planes(self, world_zyx: Volume, check: Check) -> Volume:
        """Return the raw planes (plane, y, x) that cut through a volume that starts where the object does."""
        from scipy.ndimage import map_coordinates

        params = self._params
        column = (np.arange(params.width) - (params.width - 1) / 2) * params.pixel_um
        way = (np.arange(params.planes) - (params.planes - 1) / 2)[:, None] * params.step_um
        v = np.broadcast_to(params.direction * column * self._sin, (params.planes, params.width))
        u = column * self._cos - params.direction * way
        first_v, first_u = self.first_um
        places = [(v - first_v) / params.pixel_um, (u - first_u) / params.pixel_um]
        raw = np.empty((params.planes, params.height, params.width), np.float32)
        for row in range(params.height):
            check()
            raw[:, row] = map_coordinates(world_zyx[:, row], places, order=3, mode="grid-constant")
        return np.maximum(raw, 0)

    def line(self) -> Volume:
        """Return the light of the mirror (x), 1 at its brightest but for the haze around it."""
        params = self._params
        column = (np.arange(params.width) - (params.width - 1) / 2) * params.pixel_um
        off = (column - params.direction * self.mirror_um / self._sin) / (params.line_um / 2.3548)
        light: Volume = (np.exp(-0.5 * off**2) + HAZE * np.exp(-0.5 * (off / 10) ** 2)).astype(np.float32)
        return light
