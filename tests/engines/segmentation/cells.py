"""A drawn embryo: cells that fill an ellipsoid, their membranes as a microscope sees them, nuclei near their middles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from napari_recon.core.stack import ImageStack
from napari_recon.engines.segmentation.seeded import Seeded
from tests.contract.examples import Example

FINE = (48, 64, 72)
PLANES = 16


class Embryo(NamedTuple):
    """A stack (z, y, x) of coarse planes, the cells on its voxels and on isotropic ones, and one row per nucleus."""

    stack: np.ndarray
    labels: np.ndarray
    isotropic: np.ndarray
    rows: list[dict[str, Any]]


def embryo(
    seed: int = 0,
    count: int = 8,
    names: tuple[str, ...] = (),
    dividing: bool = False,
    photons: float = 30.0,
    fine: tuple[int, int, int] = FINE,
    planes: int = PLANES,
) -> Embryo:
    """Draw an embryo; with `dividing` the first cell has two nuclei, named as sisters."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in fine), indexing="ij"), -1).astype(float)
    middle, radii = (np.array(fine) - 1) / 2, 0.42 * np.array(fine)
    inside = (((grid - middle) / radii) ** 2).sum(-1) < 1
    centres = _spread(rng, count, middle, 0.62 * radii)
    bent = grid + 1.5 * np.sin(grid[..., [1, 2, 0]] / 7 + rng.uniform(0, 6, 3))
    distance = np.stack([((bent - c) ** 2).sum(-1) for c in centres], -1)
    cells = np.where(inside, distance.argmin(-1) + 1, 0)
    edge = np.zeros(fine, bool)
    for axis in range(3):
        a = np.moveaxis(cells, axis, 0)
        apart = a[1:] != a[:-1]
        e = np.moveaxis(edge, axis, 0)
        e[1:] |= apart
        e[:-1] |= apart
    strength = ndimage.gaussian_filter(rng.random(fine), 4)
    strength = 0.6 + 0.8 * (strength - strength.min()) / np.ptp(strength)
    light = ndimage.gaussian_filter(edge * strength, (2.5, 0.9, 0.9)) + 0.05 * inside + 0.02
    light *= np.linspace(1.0, 0.55, fine[0])[:, None, None]
    coarse = light.reshape(planes, fine[0] // planes, *fine[1:]).mean(1)
    stack = np.round(20 + 6 * rng.poisson(photons * coarse / coarse.max() * 4)).clip(0, 65535).astype(np.uint16)
    step = fine[0] // planes
    labels = cells[step // 2 :: step][:planes].astype(np.int32)
    names = names or tuple(f"N{i}" for i in range(count))
    rows = []
    for number, (name, centre) in enumerate(zip(names, centres, strict=True), 1):
        own = np.argwhere(cells == number)
        centre = own.mean(0)
        twins = [(name, centre)]
        if dividing and number == 1:
            along = own[np.argmax(((own - centre) ** 2).sum(1))] - centre
            twins = [(name + letter, centre + s * 0.45 * along) for letter, s in (("a", -1), ("p", 1))]
        for twin, (z, y, x) in twins:
            place = {"z": round((z + 0.5) / step - 0.5, 2), "y": round(y, 2), "x": round(x, 2)}
            rows.append({"cell": twin, "time": 1, **place})
    return Embryo(stack, labels, cells.astype(np.int32), rows)


def dice(found: np.ndarray, truth: np.ndarray, number: int, true_number: int) -> float:
    """Return the overlap of one cell."""
    a, b = found == number, truth == true_number
    return 2 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))


def example(frames: int = 1, **params: object) -> Example:
    drawn = embryo(fine=(24, 32, 36), planes=8, count=4)
    movie = np.stack([np.roll(drawn.stack, t, axis=2) for t in range(frames)])
    rows = [{**row, "time": 1 + t, "x": row["x"] + t} for t in range(frames) for row in drawn.rows]
    geometry: dict[str, Any] = {
        "scale": {"T": 60.0, "Z": 0.6, "Y": 0.2, "X": 0.2},
        "translate": {"Y": 3.0},
        "units": dict.fromkeys("ZYX", "micrometer"),
    }
    stack = ImageStack.of(movie, "TZYX", "membranes", **geometry)
    return Example(Seeded(), {"stack": stack}, params, others={"seeds": [rows]})


def _spread(rng: np.random.Generator, count: int, middle: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return places that keep apart: the best of many draws for each in turn."""
    places: list[np.ndarray] = []
    while len(places) < count:
        drawn = rng.standard_normal((200, 3))
        drawn *= (rng.random((200, 1)) ** (1 / 3)) / np.linalg.norm(drawn, axis=1, keepdims=True)
        drawn = middle + drawn * radii
        gaps = np.min([((drawn - p) ** 2).sum(1) for p in places], 0) if places else rng.random(200)
        places.append(drawn[np.argmax(gaps)])
    return np.array(places)
