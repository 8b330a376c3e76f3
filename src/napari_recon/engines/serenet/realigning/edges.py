"""Correct a grid of lenslets by the outlines of the pupil's pictures, which stay where they are whatever is recorded.

Something out of focus lights only a part of the pupil behind each lenslet, and the part changes from lenslet to lenslet: as
a periodic pattern it has another pitch than the lenslets. But no light falls beside the pupil. So towards the four corners
of every lenslet, where the pictures of neighbours are farthest apart, the place is measured at which light ends; these
places lie within the pupil's outline, and many of them on it. The grid is the one for whose lenslets a high quantile of
them is on a circle: quantile regression, which what ends early does not disturb. numpy and scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_recon.engines.serenet.realigning.lenslets import LensletGrid

#: Part of the ends of light that lie within the outline.
QUANTILE = 0.85
#: Directions towards a lenslet's corners, (row, column).
CORNERS = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)]) / math.sqrt(2)
#: Where light is looked for, in pitches from a lenslet's middle; a corner is at 0.71.
NEAR, FAR = 0.08, 0.66
#: Light over its noise from which a lenslet's corner is used; how many must be, per unknown of the grid.
LEAST_SIGNAL, LEAST_CORNERS = 3.0, 12
STEP = 0.25
#: Distance, in pitches, within which an end counts as on the outline.
SMALLEST = 0.02
#: Where light just inside the outline is taken, and how far around it light may end, in pitches.
INSIDE, WITHIN = (0.18, 0.1), 0.09
#: How often outlines are looked for where the grid so far says they are, in the second half near the outline only.
ROUNDS = 6


@dataclass(frozen=True)
class Outlines:
    """A grid from outlines, and how sure it is: standard errors of pitch (relative) and rotation."""

    grid: LensletGrid
    pitch_error: float
    rotation_error_deg: float
    used: int
    radius: float


def outlined(picture: NDArray[np.floating], grid: LensletGrid, check: Callable[[], None] = lambda: None) -> Outlines | None:
    """Return the grid that the outlines of pupils give, None when there are too few of them.

    Parameters
    ----------
    picture : ndarray
        Raw picture (Y, X).
    grid : LensletGrid
        A grid to within about a quarter of a lenslet everywhere.
    check : callable
        Called now and then; may raise to stop.
    """
    smooth = max(0.4, 0.035 * grid.pitch_px)
    light = ndimage.gaussian_filter(np.asarray(picture, dtype=np.float64), smooth, mode="nearest")
    light -= np.percentile(light, 0.5)
    noise = _noise(picture, smooth)
    found: Outlines | None = None
    for number in range(ROUNDS):
        check()
        radius = found.radius if found is not None and number >= ROUNDS // 2 else None
        lenslets, corner, ends, weight = _ends(light, grid, noise, radius)
        if len(ends) < LEAST_CORNERS * 5:
            return found
        found = _fit(grid, lenslets, corner, ends, weight, QUANTILE if radius is None else 0.5)
        grid = found.grid
    return found


def _noise(picture: NDArray[np.floating], smooth: float) -> float:
    """Return the noise of the dark parts after smoothing: from differences of neighbours, of the darkest fifth."""
    value = np.asarray(picture, dtype=np.float64)
    step = (value[:, 1:] - value[:, :-1]) / math.sqrt(2)
    dark = value[:, 1:] <= np.percentile(value, 20)
    sigma = 1.4826 * float(np.median(np.abs(step[dark]))) if dark.any() else 0.0
    return sigma / (2 * math.sqrt(math.pi) * smooth) + 1e-9


def _profiles(light: NDArray[np.float64], grid: LensletGrid) -> tuple[NDArray[Any], ...]:
    """Return lenslets (N, 2), directions (N), distances (S) and light (N, S) towards the corners of all lenslets."""
    shape = np.array(light.shape)
    bounds = grid.lenslets(np.array([(y, x) for y in (0, shape[0]) for x in (0, shape[1])], dtype=float))
    rows, columns = (np.arange(math.floor(a), math.ceil(b) + 1) for a, b in zip(bounds.min(0), bounds.max(0), strict=True))
    lenslets = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2).astype(float)
    middles = grid.places(lenslets)
    room = grid.pitch_px * 0.6
    inside = ((middles > room) & (middles < shape - 1 - room)).all(axis=1)
    lenslets, middles = lenslets[inside], middles[inside]
    steps = np.arange(NEAR * grid.pitch_px, FAR * grid.pitch_px, STEP)
    side = np.array([-0.1, 0.0, 0.1]) * grid.pitch_px
    values = []
    for turned in CORNERS @ (grid.axes / grid.pitch_px):
        across = np.array([-turned[1], turned[0]])
        at = middles[:, None, None] + steps[:, None, None] * turned + side[:, None] * across
        values.append(ndimage.map_coordinates(light, np.moveaxis(at, -1, 0), order=1, mode="nearest").mean(axis=-1))
    which = np.repeat(np.arange(len(CORNERS)), len(lenslets))
    return np.tile(lenslets, (len(CORNERS), 1)), which, steps, np.concatenate(values)


def _ends(light: NDArray[np.float64], grid: LensletGrid, noise: float, radius: float | None) -> tuple[NDArray[Any], ...]:
    """Return lenslets (N, 2), direction (N) and where light ends (N, in pixels), of all corners bright enough.

    Light ends where it falls to half: of the corner's brightest place, or, when the outline's `radius` is about known, of
    what the light just inside it, continued in a straight line, is there.
    """
    lenslets, corner, steps, values = _profiles(light, grid)
    number = np.arange(len(values))
    if radius is None:
        height = values.max(axis=1)
        lit = height > LEAST_SIGNAL * noise
        beyond = values >= 0.5 * height[:, None]
        last = values.shape[1] - 1 - np.argmax(beyond[:, ::-1], axis=1)
        level = 0.5 * height
    else:
        inner, outer = (np.abs(steps - (radius - d * grid.pitch_px)) < 0.035 * grid.pitch_px for d in INSIDE)
        far, near = values[:, inner].mean(axis=1), values[:, outer].mean(axis=1)
        edge = near + (near - far) * INSIDE[1] / (INSIDE[0] - INSIDE[1])
        around = np.abs(steps - radius) < WITHIN * grid.pitch_px
        lit = (near > LEAST_SIGNAL * noise) & (edge > 0.4 * near) & (edge < 1.6 * near)
        level = 0.5 * edge
        down = (values[:, :-1] >= level[:, None]) & (values[:, 1:] < level[:, None]) & around[:-1]
        lit &= down.sum(axis=1) == 1
        last = np.argmax(down, axis=1)
    lit &= last < values.shape[1] - 1  # light up to the very corner is no outline
    number, last, level = number[lit], last[lit], level[lit]
    if not len(number):
        return lenslets[:0], corner[:0], steps[:0], steps[:0]
    here, there = values[number, last], values[number, last + 1]
    ends = steps[last] + STEP * np.clip((here - level) / np.maximum(here - there, 1e-12), 0, 1)
    weight = level / (level + np.percentile(level, 90))  # counting light, brighter ends are surer
    return lenslets[lit], corner[lit], ends, weight


def _fit(
    grid: LensletGrid,
    lenslets: NDArray[np.float64],
    corner: NDArray[np.float64],
    ends: NDArray[np.float64],
    weight: NDArray[np.float64],
    quantile: float,
) -> Outlines:
    """Return the grid changed so that a quantile of the ends (0.5: their robust mean) lies on one circle."""
    turned = (CORNERS @ (grid.axes / grid.pitch_px))[corner]
    arms = lenslets @ grid.axes
    # a lenslet moves by shift + scale * arm + turn * (arm turned by 90 degrees); light ends radius beyond it
    quarter = np.stack([arms[:, 1], -arms[:, 0]], axis=1)
    moves = [turned[:, 0], turned[:, 1], (turned * arms).sum(1), (turned * quarter).sum(1)]
    design = np.stack([*moves, np.ones(len(ends))], axis=1)
    sizes = np.abs(design).max(axis=0)
    design = design / sizes
    solution = np.linalg.lstsq(design * weight[:, None], ends * weight, rcond=None)[0]
    for _ in range(40):
        rest = ends - design @ solution
        usual = SMALLEST * grid.pitch_px
        if quantile == 0.5:
            usual = max(0.25 * usual, 1.5 * float(np.median(np.abs(rest))))
        pull = weight * np.where(rest > 0, quantile, 1 - quantile) / np.maximum(np.abs(rest), usual)
        normal = design.T @ (design * pull[:, None])
        step = np.linalg.solve(normal, design.T @ (pull * ends)) - solution
        solution = solution + step
        if np.abs(step).max() < 1e-5:
            break
    rest = ends - design @ solution
    inverse = np.linalg.pinv(design.T @ (design * weight[:, None]))
    spread = math.sqrt(float(np.sum(weight * np.minimum(np.abs(rest), 2 * usual) ** 2)) / max(1, len(ends) - 5))
    errors = spread * np.sqrt(np.diag(inverse)) / sizes
    y, x, scale, turn, radius = (solution / sizes).tolist()
    made = LensletGrid(
        grid.pitch_px * math.hypot(1 + scale, turn),
        grid.rotation_deg + math.degrees(math.atan2(turn, 1 + scale)),
        (grid.centre[0] + y, grid.centre[1] + x),
        grid.stretch,
    )
    return Outlines(made, float(errors[2]), math.degrees(float(errors[3])), len(ends), radius)
