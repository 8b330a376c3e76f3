"""Phantoms by kind: the published mixture of beads, bubbles and tubes, thin lines, dense tissue. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from napari_recon.engines.simulate.phantom import COUNTED, Bundle, Contents, blurred, contents, scene
from napari_recon.engines.simulate.scene import Ball, Canvas, Path, Scene, Structure, Tube, Vector, Volume

Kind = Literal["bubtub", "lines", "tissue"]

MIXTURE = Contents(lines=60, bubbles=60, triples=4, beads=900, big_beads=4, line_radius=1.5, bubble_diameter=30.0, blur=1.0)
"""Something of everything, in numbers for the published size."""
CELL = 15.0
"""Radius of the cells of tissue in fine pixels: 1.8 um with the published pixels."""


@dataclass(frozen=True)
class Phantom:
    """A scene, the blur of its structures, and how fast all of it drifts.

    Attributes
    ----------
    scene : Scene
    blur : float
        In fine pixels; see `blurred`.
    drift : tuple of float
        (z, y, x) in fine pixels per frame.
    halfway : float
        Frame in which the drift is zero.
    """

    scene: Scene
    blur: float
    drift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    halfway: float = 0.0

    def draw(self, canvas: Canvas, time: float, check: Callable[[], None] = lambda: None) -> Volume:
        """Return the phantom at `time` (in frames): float32 (Z, Y, X), see `Scene.draw`."""
        z, y, x = (m - d * (time - self.halfway) for m, d in zip(canvas.middle, self.drift, strict=True))
        return blurred(self.scene.draw(replace(canvas, middle=(z, y, x)), time, check), self.blur, canvas.plane_step)


def phantom(
    kind: Kind,
    room: Vector,
    seed: int,
    *,
    entry: int = 0,
    own: Mapping[str, float] | None = None,
    density: float = 1.0,
    speed: float = 0.0,
    drift: tuple[float, float, float] = (0.0, 0.0, 0.0),
    frames: int = 1,
) -> Phantom:
    """Return a phantom that fills +-`room` in all its frames.

    Parameters
    ----------
    kind : str
    room : numpy.ndarray
        Half extents (z, y, x) in fine pixels.
    seed : int
    entry : int
        Of the published schedule, for bubtub; 0 for a mixture.
    own : dict, optional
        Numbers and sizes instead of the entry's, for bubtub; see `Contents`.
    density : float
        Factor on the numbers that follow from the size.
    speed : float
        Fastest motion of a structure on its own, fine pixels per frame.
    drift : tuple of float
        Motion of everything (z, y, x), fine pixels per frame.
    frames : int
        Over which the drift goes on.
    """
    wide = room + np.abs(drift) * (frames - 1) / 2
    rng = np.random.default_rng([seed, 0])
    if kind == "bubtub":
        made = mixture(room, entry, own or {}, density, float(np.prod(wide / room)))
        found, blur = scene(made, wide, rng, speed), made.blur
    elif kind == "lines":
        found, blur = Scene((Bundle(tuple(_thin_lines(wide, rng, density, speed))),)), 0.5
    else:
        found, blur = Scene(tuple(_cells(wide, rng, density, speed))), 1.0
    return Phantom(found, blur, drift, (frames - 1) / 2)


def mixture(room: Vector, entry: int, own: Mapping[str, float], density: float = 1.0, wider: float = 1.0) -> Contents:
    """Return what a phantom holds within +-`room`, in numbers for a volume that is `wider` times as large.

    Raises
    ------
    InputError
        Another entry; nothing to see.
    """
    base = contents(room, entry) if entry else MIXTURE.scaled(room)
    numbers = {name: own.get(name, getattr(base, name) * density) for name in COUNTED}
    made = replace(base, **{**own, **{name: math.ceil(round(n * wider, 6)) for name, n in numbers.items()}})
    return contents(room, 0, **asdict(made))


def structures_table(made: Phantom, pixel_um: float, interval: float) -> list[dict[str, Any]]:
    """Return a row per structure: kind, place in the first frame and velocity, in micrometers and seconds."""
    rows: list[dict[str, Any]] = []
    for structure in made.scene.structures:
        for part in structure.tubes if isinstance(structure, Bundle) else (structure,):
            paths = part.controls if isinstance(part, Tube) else (part.path,)  # type: ignore[attr-defined]
            shift = np.array(made.drift)
            place = np.mean([path.at(0.0) for path in paths], axis=0) - shift * made.halfway
            velocity = np.mean([path.velocity for path in paths], axis=0) + shift
            what = "tube" if isinstance(part, Tube) else "shell" if part.wall else "ball"  # type: ignore[attr-defined]
            numbers = [*(place * pixel_um), *(velocity * pixel_um / interval), part.radius * pixel_um]  # type: ignore[attr-defined]
            names = ("z_um", "y_um", "x_um", "vz_um_s", "vy_um_s", "vx_um_s", "radius_um")
            row = {name: round(float(number), 6) for name, number in zip(names, numbers, strict=True)}
            rows.append({"structure": len(rows), "kind": what, **row, "brightness": round(float(part.brightness), 3)})  # type: ignore[attr-defined]
    return rows


def _velocity(rng: np.random.Generator, speed: float) -> Vector:
    direction = rng.normal(size=3)
    velocity: Vector = direction / np.linalg.norm(direction) * speed * rng.uniform(0.5, 1.0)
    return velocity


def _thin_lines(room: Vector, rng: np.random.Generator, density: float, speed: float) -> Iterator[Tube]:
    """Yield straight lines through the whole volume, every second one with a neighbour at 3 to 10 fine pixels."""
    count = max(2, round(density * MIXTURE.scaled(room).lines))
    length = float(np.linalg.norm(room))
    for number in range(count):
        through = rng.uniform(-1, 1, 3) * room
        along = rng.normal(size=3) * np.array([min(1.0, room[0] / room[1:].min()), 1, 1])
        along *= length / np.linalg.norm(along)
        velocity, value = _velocity(rng, speed), 100 + 300 * rng.random()
        aside = np.cross(along, rng.normal(size=3))
        aside *= rng.uniform(3, 10) / np.linalg.norm(aside)
        for offset in (0.0, 1.0)[: 1 + number % 2]:
            first, middle, last = (Path(through + offset * aside + part * along, velocity) for part in (-2, 0, 2))
            yield Tube((first, middle, last), 1.0, value)


def _cells(room: Vector, rng: np.random.Generator, density: float, speed: float) -> Iterator[Structure]:
    """Yield close-packed cells, with membrane, dim inside and, in most, a bright nucleus, beyond the borders too."""
    pitch = 1.9 * CELL / density ** (1 / 3) * np.array([0.82, 1, 1])
    counts = np.ceil(room / pitch).astype(int)
    for k, j, i in np.ndindex(*(2 * counts + 1)):
        cell = (np.array([k, j, i]) - counts + np.array([0.0, 0.5, 0.5]) * (k % 2)) * pitch
        radius = CELL * rng.uniform(0.85, 1.1)
        velocity = _velocity(rng, speed)
        path = Path(cell + rng.uniform(-0.12, 0.12, 3) * pitch, velocity)
        yield Ball(path, radius, 40 * rng.uniform(0.6, 1.4), wall=1.5)
        yield Ball(path, radius, 12 * rng.uniform(0.6, 1.4))
        inside = path.start + rng.uniform(-0.25, 0.25, 3) * radius
        value, lit = 100 * rng.uniform(0.5, 1.5), rng.random() < 0.7
        if lit:
            yield Ball(Path(inside, velocity), 0.5 * radius, value)
