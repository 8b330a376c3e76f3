"""A moving scene of filaments, beads and bubbles, drawn with soft edges so that sub-voxel motion is smooth.

Positions are (z, y, x) in fine pixels, isotropic, measured from the middle of the drawn volume; the depth planes
may be farther apart than the lateral pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
Vector = NDArray[np.float64]
Check = Callable[[], None]


@dataclass(frozen=True)
class Canvas:
    """The voxels a scene is drawn on.

    Attributes
    ----------
    shape_zyx : tuple of int
    plane_step : float
        Distance between planes in fine pixels.
    middle : tuple of float
        Position of the middle of the volume.
    """

    shape_zyx: tuple[int, int, int]
    plane_step: float
    middle: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def spacing(self) -> Vector:
        """Distance between neighbouring voxels per axis, in fine pixels."""
        return np.array([self.plane_step, 1.0, 1.0])

    def to_index(self, positions: Vector) -> Vector:
        """Return fractional voxel indices of positions (..., 3)."""
        return (positions - self.middle) / self.spacing + (np.array(self.shape_zyx) - 1) / 2

    def window(self, lower: Vector, upper: Vector) -> tuple[slice, slice, slice] | None:
        """Return the voxels between two corners, None when there are none."""
        start = np.maximum(np.floor(self.to_index(lower)).astype(int), 0)
        stop = np.minimum(np.ceil(self.to_index(upper)).astype(int) + 1, self.shape_zyx)
        if (stop <= start).any():
            return None
        z, y, x = (slice(int(lo), int(hi)) for lo, hi in zip(start, stop, strict=True))
        return z, y, x

    def positions(self, window: tuple[slice, slice, slice]) -> list[Vector]:
        """Return the voxel positions of `window` along z, y and x."""
        centre = (np.array(self.shape_zyx) - 1) / 2
        each = zip(window, centre, self.spacing, self.middle, strict=True)
        return [(np.arange(w.start, w.stop) - c) * s + m for w, c, s, m in each]

    @property
    def origin(self) -> Vector:
        """Position of the first voxel."""
        return self.middle - (np.array(self.shape_zyx) - 1) / 2 * self.spacing


class Structure(Protocol):
    """Something that can be drawn at any time."""

    def draw(self, volume: Volume, canvas: Canvas, time: float) -> None:
        """Add the structure at `time` (in frames) to `volume`."""
        ...


@dataclass(frozen=True)
class Path:
    """Straight motion that is reflected at the walls of a room.

    Attributes
    ----------
    start, velocity : numpy.ndarray
        (3,), fine pixels and fine pixels per frame.
    room : numpy.ndarray, optional
        (3,), half extents; positions stay within +-room. Without it the motion never turns.
    """

    start: Vector
    velocity: Vector
    room: Vector | None = None

    def at(self, time: float) -> Vector:
        """Return the position at `time`."""
        if self.room is None:
            return self.start + self.velocity * time
        room = np.maximum(self.room, 1e-9)
        phase = np.mod(self.start + self.velocity * time + room, 4 * room)
        position: Vector = np.where(phase <= 2 * room, phase, 4 * room - phase) - room
        return position


@dataclass(frozen=True)
class Ball:
    """A solid ball, or a shell of `wall` fine pixels when that is above zero.

    `height` is its extent along z over that across.
    """

    path: Path
    radius: float
    brightness: float
    wall: float = 0.0
    height: float = 1.0

    def draw(self, volume: Volume, canvas: Canvas, time: float) -> None:
        """See `Structure.draw`."""
        centre, reach = self.path.at(time), (self.radius + 1.0) * np.array([self.height, 1.0, 1.0])
        window = canvas.window(centre - reach, centre + reach)
        if window is None:
            return
        z, y, x = (p - c for p, c in zip(canvas.positions(window), centre, strict=True))
        distance = np.sqrt((z[:, None, None] / self.height) ** 2 + y[:, None] ** 2 + x**2)
        profile = _soft(self.radius, distance)
        if self.wall:
            profile -= _soft(self.radius - self.wall, distance)
        volume[window] += self.brightness * profile


@dataclass(frozen=True)
class Tube:
    """A quadratic Bezier curve with a round cross-section; its three control points move on their own."""

    controls: tuple[Path, Path, Path]
    radius: float
    brightness: float

    def draw(self, volume: Volume, canvas: Canvas, time: float) -> None:
        """See `Structure.draw`."""
        curve, reach = self.curve(time), self.radius + 1.0
        window = canvas.window(curve.min(axis=0) - reach, curve.max(axis=0) + reach)
        if window is None:
            return
        profile = np.zeros([w.stop - w.start for w in window], dtype=np.float32)
        self.cover(profile, curve, np.array([p[0] for p in canvas.positions(window)]), canvas.spacing)
        volume[window] += self.brightness * profile

    def curve(self, time: float) -> Vector:
        """Return points (n, 3) along the curve at `time`, half a fine pixel apart or less."""
        first, middle, last = (path.at(time) for path in self.controls)
        length = np.linalg.norm(middle - first) + np.linalg.norm(last - middle)
        t = np.linspace(0.0, 1.0, max(2, math.ceil(2 * length)))[:, None]
        curve: Vector = (1 - t) ** 2 * first + 2 * t * (1 - t) * middle + t**2 * last
        return curve

    def cover(self, volume: Volume, curve: Vector, origin: Vector, spacing: Vector, value: float = 1.0) -> None:
        """Raise voxels to `value` times what the tube around a curve covers of them.

        Parameters
        ----------
        volume : numpy.ndarray
            float32 (Z, Y, X), contiguous.
        curve : numpy.ndarray
            Positions (n, 3).
        origin, spacing : numpy.ndarray
            Position of the first voxel and distance of neighbours, per axis.
        value : float
        """
        shape, flat = np.array(volume.shape), volume.reshape(-1)
        nearest = np.round((curve - origin) / spacing).astype(int)
        half = np.ceil((self.radius + 1.0) / spacing).astype(int)
        for corner in np.ndindex(*(2 * half + 1)):
            offset = corner - half
            if np.linalg.norm(np.maximum(np.abs(offset) - 0.5, 0) * spacing) > self.radius + 0.5:
                continue
            voxel = nearest + offset
            inside = ((voxel >= 0) & (voxel < shape)).all(axis=1)
            distance = np.linalg.norm(origin + voxel[inside] * spacing - curve[inside], axis=1)
            place = np.ravel_multi_index(tuple(voxel[inside].T), tuple(shape))
            np.maximum.at(flat, place, np.float32(value) * _soft(self.radius, distance))


@dataclass(frozen=True)
class Scene:
    """Everything that moves."""

    structures: tuple[Structure, ...]

    def draw(self, canvas: Canvas, time: float, check: Check = lambda: None) -> Volume:
        """Return the scene at `time`: float32 (Z, Y, X).

        Parameters
        ----------
        canvas : Canvas
        time : float
            In frames.
        check : callable
            Called between structures; may raise to stop.
        """
        volume = np.zeros(canvas.shape_zyx, dtype=np.float32)
        for structure in self.structures:
            check()
            structure.draw(volume, canvas, time)
        return volume


def random_scene(
    room: Vector,
    seed: int,
    *,
    tubes: int,
    beads: int,
    bubbles: int,
    speed: float,
    tube_radius: float = 1.5,
    bead_radius: float = 2.5,
    bubble_radius: float = 12.0,
) -> Scene:
    """Return a scene whose structures move at up to `speed` fine pixels per frame inside +-`room`.

    The kinds and proportions follow the synthetic volumes light-field networks are trained on
    (doi 10.1038/s41592-025-02698-z): filaments bright and thin, bubbles large and dim.
    """
    rng = np.random.default_rng([seed, 0])

    def path(radius: float) -> Path:
        within = np.maximum(room - radius, 0.0)
        direction = rng.normal(size=3)
        velocity = direction / np.linalg.norm(direction) * speed * rng.uniform(0.5, 1.0)
        return Path(rng.uniform(-1, 1, 3) * within, velocity, within)

    structures: list[Structure] = []
    for _ in range(tubes):
        controls = path(tube_radius), path(tube_radius), path(tube_radius)
        structures.append(Tube(controls, tube_radius, rng.uniform(0.4, 1.0)))
    for _ in range(beads):
        radius = rng.uniform(0.4, 1.0) * bead_radius
        structures.append(Ball(path(radius), radius, rng.uniform(0.4, 1.0)))
    for number in range(bubbles):
        radius = rng.uniform(0.5, 1.0) * bubble_radius
        wall = 2.0 if number % 2 == 0 and radius > 4 else 0.0
        structures.append(Ball(path(radius), radius, rng.uniform(0.1, 0.3) if wall else rng.uniform(0.05, 0.15), wall))
    return Scene(tuple(structures))


def _soft(radius: float, distance: NDArray[np.floating]) -> Volume:
    """Return how much of a voxel at `distance` from the middle a ball of `radius` covers, along the line between."""
    covered: Volume = np.clip(radius + 0.5 - distance, 0.0, 1.0).astype(np.float32)
    return covered
