"""A drawn embryo with its truth: cells that fill an ellipsoid, membranes as a microscope sees them, nuclei inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """How well an embryo is seen.

    Attributes
    ----------
    photons : float
        Counted at the brightest voxel.
    blur : tuple of float
        Sigma (z, y, x) in fine voxels.
    strength : tuple of float
        Of the weakest and the strongest membrane.
    gaps : float
        Share of the membranes that is not seen at all, in patches.
    deepest : float
        Brightness of the last plane against the first.
    inside : float
        Light of the cells themselves, against a membrane's.
    noise : float
        Of the camera, in photons.
    """

    photons: float = 60.0
    blur: tuple[float, float, float] = (5.0, 1.6, 1.6)
    strength: tuple[float, float] = (0.6, 1.4)
    gaps: float = 0.0
    deepest: float = 0.55
    inside: float = 0.05
    noise: float = 1.0


class Embryo(NamedTuple):
    """What was drawn.

    Attributes
    ----------
    stack : ndarray
        (z, y, x) uint16, the membranes as they are seen.
    nuclei : ndarray
        Alike, the nuclei.
    labels : ndarray
        The cells on the stack's voxels, 0 is outside.
    isotropic : ndarray
        The cells on isotropic voxels twice as wide as the stack's pixels.
    rows : list of dict
        One per nucleus: cell, time, z, y, x in voxels of the stack.
    names : dict
        Cell -> its number.
    """

    stack: NDArray[np.uint16]
    nuclei: NDArray[np.uint16]
    labels: NDArray[np.int32]
    isotropic: NDArray[np.int32]
    rows: list[dict[str, Any]]
    names: dict[str, int]


@dataclass(frozen=True)
class Anatomy:
    """Where cells are, as a function of the place, so that any lattice can ask.

    Attributes
    ----------
    fine : tuple of int
        Voxels (z, y, x) the coordinates count.
    centres : ndarray
        (n, 3).
    sizes : ndarray
        (n,), added to the squared distance: larger is a smaller cell.
    bend : ndarray
        (3,) phases of the wave that bends all faces.
    """

    fine: Shape
    centres: NDArray[np.float64]
    sizes: NDArray[np.float64]
    bend: NDArray[np.float64]
    names: tuple[str, ...] = field(default=())

    def at(self, shape: Shape) -> NDArray[np.int32]:
        """Return the cells on `shape` voxels of the same extent: 1 to n, 0 outside."""
        z, y, x = (
            ((np.arange(n) + 0.5) * m / n - 0.5).reshape([-1 if k == axis else 1 for k in range(3)])
            for axis, (n, m) in enumerate(zip(shape, self.fine, strict=True))
        )
        wave, long = 0.025 * self.fine[2], 0.1 * self.fine[2]
        bent = (z + wave * np.sin(y / long + self.bend[0]), y + wave * np.sin(x / long + self.bend[1]), x + 0 * y)
        bent = (bent[0], bent[1], x + wave * np.sin(z / long + self.bend[2]))
        best = np.full(shape, np.inf)
        cells = np.zeros(shape, np.int32)
        for number, (centre, size) in enumerate(zip(self.centres, self.sizes, strict=True), 1):
            away = sum((b - c) ** 2 for b, c in zip(bent, centre, strict=True)) + size
            nearer = away < best
            best[nearer], cells[nearer] = away[nearer], number
        middle, radii = (np.array(self.fine) - 1) / 2, 0.42 * np.array(self.fine)
        cells[sum(((p - m) / r) ** 2 for p, m, r in zip((z, y, x), middle, radii, strict=True)) > 1] = 0
        return cells


def anatomy(rng: np.random.Generator, count: int, fine: Shape, names: Sequence[str] = (), sizes: float = 0.02) -> Anatomy:
    """Return `count` cells that keep apart; `sizes` is how much they differ."""
    middle, radii = (np.array(fine) - 1) / 2, 0.42 * np.array(fine)
    places: list[NDArray[np.float64]] = []
    while len(places) < count:
        drawn = rng.standard_normal((200, 3))
        drawn *= (rng.random((200, 1)) ** (1 / 3)) / np.linalg.norm(drawn, axis=1, keepdims=True)
        drawn = middle + drawn * 0.72 * radii
        gaps = np.min([((drawn - p) ** 2).sum(1) for p in places], 0) if places else rng.random(200)
        places.append(drawn[np.argmax(gaps)])
    spread = sizes * float((radii**2).mean()) * rng.standard_normal(count)
    kept = tuple(names) or tuple(f"N{i}" for i in range(count))
    return Anatomy(fine, np.array(places), spread, rng.uniform(0, 6, 3), kept)


def draw(
    body: Anatomy, planes: int, rng: np.random.Generator, look: Look = Look(), dividing: Sequence[str] = (), time: int = 1
) -> Embryo:
    """Return how an embryo looks in `planes` planes; each cell of `dividing` has two nuclei, named as its daughters."""
    fine = body.fine
    cells = body.at(fine)
    edge = np.zeros(fine, bool)
    for axis in range(3):
        a, e = np.moveaxis(cells, axis, 0), np.moveaxis(edge, axis, 0)
        apart = a[1:] != a[:-1]
        e[1:] |= apart
        e[:-1] |= apart
    light = _membranes(edge, cells, look, rng)
    raw = (planes, fine[1], fine[2])
    labels, rows, spots = body.at(raw), [], np.zeros(fine, np.float32)
    for number, name in enumerate(body.names, 1):
        own = np.argwhere(cells == number)
        if not len(own):
            continue
        centre = own.mean(0)
        twins = [(name, centre)]
        if name in dividing:
            along = own[np.argmax(((own - centre) ** 2).sum(1))] - centre
            twins = [(name + letter, centre + s * 0.45 * along) for letter, s in (("a", -1), ("p", 1))]
        for twin, place in twins:
            place = place + rng.normal(0, 0.01 * fine[2], 3)
            nearest = np.clip(np.rint(place).astype(int), 0, np.array(fine) - 1)
            spots[tuple(nearest)] = 1
            z, y, x = place
            z = (z + 0.5) * planes / fine[0] - 0.5
            rows.append(
                {"cell": twin, "time": time, "z": round(float(z), 2), "y": round(float(y), 2), "x": round(float(x), 2)}
            )
    width = 0.03 * fine[2]
    glow = ndimage.gaussian_filter(spots, (width + look.blur[0] / 2, width, width))
    names = {name: number for number, name in enumerate(body.names, 1)}
    iso = (fine[0] // 2, fine[1] // 2, fine[2] // 2)
    seen = [_seen(x, planes, look, rng) for x in (light, glow / max(float(glow.max()), 1e-9))]
    return Embryo(seen[0], seen[1], labels, body.at(iso), rows, names)


def _membranes(
    edge: NDArray[np.bool_], cells: NDArray[np.int32], look: Look, rng: np.random.Generator
) -> NDArray[np.float64]:
    width = 0.05 * edge.shape[2]
    strength = ndimage.gaussian_filter(rng.random(edge.shape), width)
    strength = (strength - strength.min()) / np.ptp(strength)
    strength = look.strength[0] + (look.strength[1] - look.strength[0]) * strength
    if look.gaps:
        holes = ndimage.gaussian_filter(rng.random(edge.shape), width / 2)
        strength = np.where(holes < np.quantile(holes[edge], look.gaps), 0, strength)
    light = ndimage.gaussian_filter(edge * strength, look.blur)
    light /= np.percentile(light[edge], 95)
    light = light + look.inside * (cells > 0) + 0.02
    return np.asarray(light * np.linspace(1.0, look.deepest, len(edge))[:, None, None])


def _seen(light: NDArray[np.floating], planes: int, look: Look, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return counted light at the middles of `planes` planes."""
    places = (np.arange(planes) + 0.5) * len(light) / planes - 0.5
    low = np.floor(places).astype(int).clip(0, len(light) - 2)
    share = (places - low)[:, None, None]
    sampled = light[low] * (1 - share) + light[low + 1] * share
    counted = rng.poisson(look.photons * sampled) + rng.normal(0, look.noise, sampled.shape)
    return np.asarray(np.round(20 + 6 * counted).clip(0, 65535), np.uint16)
