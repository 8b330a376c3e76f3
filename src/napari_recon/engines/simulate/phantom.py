"""Phantoms of beads, bubbles and tubes, after the synthetic volumes that light-field networks are trained on. No torch.

The statistics are those of the "bubtub" volumes of Lu, Jin, Chen et al. (Nature Methods 2025,
doi 10.1038/s41592-025-02698-z), stated there for 101 planes of 1989 x 1989. Here they hold for any size: as much of
everything per volume, structures of the same sizes, margins in proportion. Edges are soft, so that structures may lie and
move between voxels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_recon.core.errors import InputError
from napari_recon.engines.simulate.scene import Ball, Canvas, Path, Scene, Structure, Tube, Vector, Volume

PLANE_STEP = 0.2 * 63 * 13 / 100
"""Distance of the published planes in fine pixels: 0.2 um, at 63x with 13 pixels on a 100 um microlens."""
PUBLISHED = (101, 1989, 1989)
"""Voxels of the published volumes, which the schedule's numbers are for."""
COUNTED = ("lines", "bubbles", "triples", "beads", "big_beads")
_BEND = math.tan(math.pi / 6) / 2
_GROUPS = 9


@dataclass(frozen=True)
class Contents:
    """What a phantom holds.

    Attributes
    ----------
    lines, bubbles, triples, beads, big_beads : int
        Numbers of curved tubes; of balls of about `bubble_diameter`, every third hollow; of threes of hollow balls that
        stand close together; of small balls; of wide flat balls.
    line_radius, bubble_diameter, blur : float
        In fine pixels; `blur` is the lateral sigma of the Gaussian (half as many planes along z).
    """

    lines: int = 0
    bubbles: int = 0
    triples: int = 0
    beads: int = 0
    big_beads: int = 0
    line_radius: float = 2.0
    bubble_diameter: float = 35.0
    blur: float = 1.0

    def scaled(self, room: Vector) -> Contents:
        """Return as much per volume within +-`room` as in `PUBLISHED`; what there was stays at least one."""
        depth = float(2 * room[0] / (PUBLISHED[0] * PLANE_STEP))
        area = float(4 * room[1] * room[2] / (PUBLISHED[1] * PUBLISHED[2]))
        # tubes are as long as the field is wide: fewer of them fill a wider field
        shares = {**dict.fromkeys(COUNTED, depth * area), "lines": depth * math.sqrt(area)}
        counts = {name: getattr(self, name) for name in shares}
        return replace(self, **{name: max(1, round(n * shares[name])) if n else 0 for name, n in counts.items()})


def _schedule() -> tuple[Contents, ...]:
    blurs = [*np.linspace(0.5, 3, 6), *np.linspace(0.5, 1.5, 3), *np.linspace(0.5, 3, 6)]
    numbers = zip(range(100, 79, -4), (1, 1, 2, 2, 3, 3), strict=True)
    lines = [Contents(lines=number, line_radius=radius) for number, radius in numbers]
    bubbles = [Contents(bubbles=n, triples=20, bubble_diameter=d) for n, d in ((200, 20), (150, 35), (100, 50))]
    beads = [Contents(beads=n) for n in (5000, 4000, 3000, 2000, 1000)]
    entries = [*lines, *bubbles, *beads, Contents(big_beads=50)]
    return tuple(replace(entry, blur=float(blur)) for entry, blur in zip(entries, blurs, strict=True))


SCHEDULE = _schedule()
"""The fifteen published kinds of volume, in their order: six of tubes, three of bubbles, five of beads, one of big beads."""


def contents(
    room: Vector,
    entry: int = 0,
    *,
    lines: int | None = None,
    bubbles: int | None = None,
    triples: int | None = None,
    beads: int | None = None,
    big_beads: int | None = None,
    line_radius: float | None = None,
    bubble_diameter: float | None = None,
    blur: float | None = None,
) -> Contents:
    """Return an entry of the schedule (1 to 15) for a volume within +-`room`, or nothing (0), changed by what is given.

    Raises
    ------
    InputError
        Another entry; nothing to see.
    """
    if not 0 <= entry <= len(SCHEDULE):
        raise InputError(f"entry should be 1 to {len(SCHEDULE)}, or 0 for numbers of one's own, found {entry}; choose one")
    base = SCHEDULE[entry - 1].scaled(room) if entry else Contents()
    own: dict[str, Any] = {
        "lines": lines,
        "bubbles": bubbles,
        "triples": triples,
        "beads": beads,
        "big_beads": big_beads,
        "line_radius": line_radius,
        "bubble_diameter": bubble_diameter,
        "blur": blur,
    }
    made = replace(base, **{name: value for name, value in own.items() if value is not None})
    if not any(getattr(made, name) for name in COUNTED):
        raise InputError("a phantom needs something to see, found no structures; set entry, lines, bubbles or beads")
    return made


def bubtub(
    shape_zyx: tuple[int, int, int],
    rng: np.random.Generator,
    *,
    entry: int | None = None,
    plane_step: float = PLANE_STEP,
    check: Callable[[], None] = lambda: None,
    **own: float | None,
) -> Volume:
    """Return a phantom, float32 (Z, Y, X), in camera counts per voxel as published (up to some hundreds).

    Parameters
    ----------
    shape_zyx : tuple of int
        Any size.
    rng : numpy.random.Generator
        The phantom follows from its state.
    entry : int, optional
        Of the published schedule, 1 to 15; 0 for what `own` says alone; by default a random one, unless `own` holds numbers.
    plane_step : float
        Distance of planes in fine pixels.
    check : callable
        Called between structures; may raise to stop.
    **own
        `lines`, `bubbles`, `triples`, `beads`, `big_beads`, `line_radius`, `bubble_diameter`, `blur`: instead of the
        entry's; see `Contents`.

    Examples
    --------
    >>> volume = bubtub((9, 64, 64), np.random.default_rng(0), lines=3, line_radius=1)
    >>> volume.shape
    (9, 64, 64)
    """
    if entry is None:
        entry = 0 if set(COUNTED) & own.keys() else int(rng.integers(1, len(SCHEDULE) + 1))
    room = room_of(shape_zyx, plane_step)
    made = contents(room, entry, **own)  # type: ignore[arg-type]
    return blurred(scene(made, room, rng).draw(Canvas(shape_zyx, plane_step), 0.0, check), made.blur, plane_step)


def room_of(shape_zyx: tuple[int, int, int], plane_step: float) -> Vector:
    """Return half extents (z, y, x) of a volume in fine pixels."""
    room: Vector = np.array(shape_zyx) / 2 * np.array([plane_step, 1.0, 1.0])
    return room


def scene(made: Contents, room: Vector, rng: np.random.Generator, speed: float = 0.0) -> Scene:
    """Return the structures within +-`room`; each moves on its own at up to `speed` fine pixels per frame."""
    place = _Places(room, rng, speed)
    structures: list[Structure] = []
    lines = tuple(_lines(made, place))
    if lines:
        structures.append(Bundle(lines))
    structures += [*_triples(made, place), *_bubbles(made, place), *_beads(made, place), *_big_beads(made, place)]
    return Scene(tuple(structures))


def blurred(volume_zyx: Volume, sigma: float, plane_step: float = PLANE_STEP) -> Volume:
    """Return a volume blurred by `sigma` fine pixels across and half as many (published) planes along z, dark around it."""
    from scipy.ndimage import gaussian_filter1d

    if sigma <= 0:
        return volume_zyx
    along = sigma / 2 * PLANE_STEP / plane_step
    reach = max(1, math.ceil(3 * sigma)), max(1, round(3 * PLANE_STEP / plane_step))
    for axis, width, radius in ((0, along, reach[1]), (1, sigma, reach[0]), (2, sigma, reach[0])):
        volume_zyx = gaussian_filter1d(volume_zyx, width, axis=axis, mode="constant", radius=radius)
    return volume_zyx


@dataclass(frozen=True)
class Bundle:
    """Tubes that do not add up where they cross: the brightest is seen."""

    tubes: tuple[Tube, ...]

    def draw(self, volume: Volume, canvas: Canvas, time: float) -> None:
        """See `Structure.draw`."""
        own = np.zeros(canvas.shape_zyx, np.float32)
        for tube in self.tubes:
            tube.cover(own, tube.curve(time), canvas.origin, canvas.spacing, tube.brightness)
        volume += own


class _Places:
    """Draws places and motions at random."""

    def __init__(self, room: Vector, rng: np.random.Generator, speed: float) -> None:
        self.room, self.rng, self._speed = room, rng, speed

    def path(self, start: Vector) -> Path:
        """Return the way of what starts there."""
        direction = self.rng.normal(size=3)
        velocity = direction / np.linalg.norm(direction) * self._speed * self.rng.uniform(0.5, 1.0)
        return Path(start, velocity, self.room) if self._speed else Path(start, np.zeros(3))

    def within(self, margins: tuple[float, float]) -> Vector:
        """Return a place that keeps to parts of the extent from the borders: along z and across."""
        z, yx = margins
        place: Vector = self.rng.uniform(-1, 1, 3) * self.room * (1 - 2 * np.array([z, yx, yx]))
        return place

    def value(self, least: float, span: float) -> float:
        """Return a brightness."""
        return least + span * float(self.rng.random())


def _lines(made: Contents, place: _Places) -> Iterator[Tube]:
    for _ in range(made.lines):
        ends = [place.within((0.0, 100 / 1989)) for _ in range(2)]
        bias = float(np.linalg.norm(ends[1] - ends[0])) * _BEND * place.rng.uniform(-1, 1)
        middle = np.clip((ends[0] + ends[1]) / 2 + bias, -place.room, place.room)
        first, second, third = (place.path(point) for point in (ends[0], middle, ends[1]))
        yield Tube((first, second, third), made.line_radius, place.value(20, 500))


def _triples(made: Contents, place: _Places) -> Iterator[Ball]:
    for number in range(made.triples):
        radius = max((made.bubble_diameter + (number % 20 + 1) / 2 - 5) / 2, 1.0)
        middle = place.within((0.0, 100 / 1989)) * [0.04, 1, 1]
        up, aside = np.array([1.5 * radius, 0, 0]), np.array([0, 0, 1.5 * math.sqrt(3) * radius])
        for centre in (middle - up, middle + up, middle + aside):
            yield _shell(place.path(centre), radius, place.value(20, 200))


def _bubbles(made: Contents, place: _Places) -> Iterator[Ball]:
    depths = np.linspace(-1, 1, max(made.bubbles, 1)) * place.room[0] * (1 - 2 * 20 / 101)
    for number, depth in enumerate(place.rng.permutation(depths)[: made.bubbles]):
        radius = max((made.bubble_diameter + number % _GROUPS - 4) / 2, 1.0)
        centre = place.within((0.0, 100 / 1989))
        centre[0] = depth + place.rng.uniform(-4, 4) * place.room[0] * 2 / 101
        path, value = place.path(centre), place.value(20, 200)
        yield _shell(path, radius, value) if number % 3 == 2 else Ball(path, radius, value)


def _beads(made: Contents, place: _Places) -> Iterator[Ball]:
    for number in range(made.beads):
        yield Ball(place.path(place.within((10 / 101, 0.0))), 1.0 + number % 5, place.value(40, 200))


def _big_beads(made: Contents, place: _Places) -> Iterator[Ball]:
    for number in range(made.big_beads):
        radius = 8.0 * (1 + number % _GROUPS)
        yield Ball(place.path(place.within((30 / 101, 150 / 1989))), radius, place.value(10, 100), height=PLANE_STEP / 8)


def _shell(path: Path, radius: float, value: float) -> Ball:
    """Return the hollow ball between the published parts, 0.9 and 1.13, of its squared radius."""
    outer, inner = radius * math.sqrt(1.13), radius * math.sqrt(0.9)
    return Ball(path, outer, value, wall=outer - inner)
