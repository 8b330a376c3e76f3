"""Find the grid of lenslets in a picture: peaks of its spectrum, then the phase of what they stand for. numpy and scipy.

The pictures of the pupil behind the lenslets are a periodic pattern whose harmonics stand out of any spectrum. A coarse
place of the first harmonics says pitch and rotation; demodulated with it, the picture turns slowly, and the frequency at
which it does not turn at all is the exact one. The phases that remain say where the lenslets' middles are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from napari_recon.core.errors import InputError
from napari_recon.engines.serenet.realigning.edges import outlined
from napari_recon.engines.serenet.realigning.lenslets import LensletGrid

Check = Callable[[], None]
Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

#: Lenslets per axis that a picture must show; the pitch (in pixels) below which pixels are too coarse.
LEAST_LENSLETS, LEAST_PITCH = 5, 4.0

#: Peak over surroundings (power, the weaker of two directions) from which lenslets are believed; noise stays below 12.
VISIBLE = 25.0

#: Harmonics (across rows, along rows) that pitch and rotation are read from.
HARMONICS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2))

#: Relative error of the pitch above which outlines are too few to say anything.
WORST_OUTLINES = 0.003

#: Grids that stand out at least this part of the strongest one are compared with it.
COMPARABLE = 0.1
#: Pitches between this part of the expected one and its inverse are looked at first.
USUAL = 0.72

_CANDIDATES, _LOOKED_AT = 40, 5
_SLOPE = 2  # samples of the coarse spectrum within which a peak is highest
_LONGEST_EDGE = 2048  # of the coarse spectrum; pitch and rotation come from the whole picture afterwards


@dataclass(frozen=True)
class Found:
    """A grid and how it was found.

    Attributes
    ----------
    grid : LensletGrid
    contrast : float
        Power of the lenslets' peaks over that of their surroundings, the weaker of the two directions.
    pitch_error, rotation_error_deg : float
        Standard errors, the first relative; 0 when they are not known.
    """

    grid: LensletGrid
    contrast: float
    pitch_error: float = 0.0
    rotation_error_deg: float = 0.0


def find_lenslets(picture: NDArray[np.floating], pitch_px: float, even: bool = False, check: Check = lambda: None) -> Found:
    """Return the grid of lenslets of a picture (Y, X), the lenslet nearest to its middle being the centre.

    Parameters
    ----------
    picture : ndarray
        Raw picture behind the lenslets.
    pitch_px : float
        What the pitch should be, to a factor of two.
    even : bool
        The picture shows something even (a white picture): then its pattern is that of the lenslets to the last digit, and
        a stretch can be told.
    check : callable
        Called now and then; may raise to stop.

    Raises
    ------
    InputError
        No lenslets are visible, they form a hexagonal grid, or the picture is too small.
    """
    if min(picture.shape) < LEAST_LENSLETS * LEAST_PITCH:
        raise InputError(
            f"the raw picture should show at least {LEAST_LENSLETS} x {LEAST_LENSLETS} lenslets, found "
            f"{picture.shape[0]} x {picture.shape[1]} pixels; give the whole picture"
        )
    flat = evened(picture, pitch_px)
    check()
    root = np.sqrt(np.clip(picture - np.percentile(picture, 20), 0, None))
    frequency, contrast = _coarse(flat, root, pitch_px, check)
    for _ in range(2):
        frequency = _refined(flat, frequency, check)
    grid = _grid_of(flat, frequency)
    outlines = outlined(picture, grid, check)
    middle = ((picture.shape[0] - 1) / 2, (picture.shape[1] - 1) / 2)
    if even:
        along, across = _separately(flat, frequency)
        centre = outlines.grid.around(middle).centre if outlines else grid.centre
        return Found(replace(grid, centre=centre, stretch=abs(across / along)), contrast)
    if outlines is None or outlines.pitch_error > WORST_OUTLINES:
        return Found(grid, contrast)
    return Found(outlines.grid.around(middle), contrast, outlines.pitch_error, outlines.rotation_error_deg)


def evened(picture: NDArray[np.floating], pitch_px: float) -> Floats:
    """Return a picture in which all lenslets are about equally bright and contrasty: roots, less and over what is around."""
    width = max(1.5 * pitch_px, 6.0)
    light = picture - np.percentile(picture, 0.1)
    root = np.sqrt(np.clip(light, 0, None))
    rest = root - ndimage.gaussian_filter(root, width, mode="nearest")
    power = ndimage.gaussian_filter(rest * rest, width, mode="nearest")
    floor = 0.3 * math.sqrt(float(power.mean())) + 1e-12
    result: Floats = rest / (np.sqrt(power) + floor)
    return result


def _coarse(even: Floats, root: Floats, pitch_px: float, check: Check) -> tuple[complex, float]:
    """Return the first harmonic along rows in cycles per pixel (x + i y), and its contrast."""
    middle = tuple(slice(max(0, (n - _LONGEST_EDGE) // 2), (n + _LONGEST_EDGE) // 2) for n in even.shape)
    part = even[middle]
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in part.shape))
    size = fft.next_fast_len(2 * max(part.shape), real=True)
    power = np.abs(fft.fftshift(fft.fft2(part * window, (size, size)))) ** 2
    check()
    centre, axis = size // 2, np.arange(size) - size // 2
    radius = np.hypot(axis[:, None], axis[None, :])
    longest = min(3.2 * pitch_px, min(part.shape) / (LEAST_LENSLETS - 1))
    if longest < pitch_px / USUAL:
        raise InputError(
            f"the raw picture should show at least {LEAST_LENSLETS} x {LEAST_LENSLETS} lenslets of about {pitch_px:.4g} "
            f"pixels, found {part.shape[0]} x {part.shape[1]} pixels; give the whole picture, or correct nnum"
        )
    rings = np.rint(radius / 4).astype(int)
    usual = ndimage.median(power, rings, np.arange(rings.max() + 1))
    stands = np.where(radius >= size / longest / 1.05, power / (usual[rings] + 1e-30), 0.0)
    wide = ndimage.maximum_filter(stands, 2 * round(size / max(part.shape)) + 1)  # partners need not fall on one sample
    peaks = (stands == wide) & (axis[None, :] >= 0)

    def standing(shortest: float, longest: float, order: int) -> list[tuple[float, complex]]:
        """Return contrasts and places of grids with so many directions and a pitch in the range, the strongest first."""
        at = np.argwhere(peaks & (radius >= size / longest) & (radius <= size / shortest))
        found = []
        for row, column in at[np.argsort(-stands[tuple(at.T)])][:_CANDIDATES]:
            place = complex(column - centre, row - centre)
            partners = [place * np.exp(2j * math.pi * turn / order) for turn in range(1, order // 2)]
            where = [(round(p.imag) + centre, round(p.real) + centre) for p in partners]
            least = min([stands[row, column], *(wide[r, c] for r, c in where if 0 <= r < size and 0 <= c < size)])
            found.append((float(least), place))
        return sorted(found, key=lambda one: -one[0]) or [(0.0, 0j)]

    def highest(place: complex) -> complex:
        """Return the highest place of a peak and its partner: what stands out most over a ring may lie on its slope."""
        step = np.arange(-_SLOPE, _SLOPE + 1)
        found, most = place, -1.0
        for moved in (place + step[:, None] + 1j * step[None, :]).ravel().tolist():
            height = 1.0
            for partner in (moved, moved * 1j):
                row, column = round(partner.imag) + centre, round(partner.real) + centre
                height *= float(power[row, column]) if 0 <= row < size and 0 <= column < size else 0.0
            if height > most:
                found, most = moved, height
        return found

    usual_range = max(LEAST_PITCH, pitch_px * USUAL), min(pitch_px / USUAL, longest)
    wide_range = max(LEAST_PITCH, pitch_px / 2.2), longest
    square, hexagonal = standing(*usual_range, 4), standing(*usual_range, 6)[0]
    if square[0][0] < VISIBLE and hexagonal[0] < VISIBLE:
        square, hexagonal = standing(*wide_range, 4), standing(*wide_range, 6)[0]
    if hexagonal[0] > max(VISIBLE, 2 * square[0][0]):
        raise InputError(
            "the lenslets should form a square grid, found a hexagonal one (pitch "
            f"{2 / math.sqrt(3) * size / abs(hexagonal[1]):.4g} pixels); hexagonal arrays can't be realigned here, "
            "choose a recording with a square array"
        )
    if square[0][0] < VISIBLE:
        raise InputError(
            f"no lenslets of about {pitch_px:.4g} pixels are visible in the picture (they "
            f"stand out {square[0][0]:.2g}-fold, expected {VISIBLE:g} or more); give a white picture as well, correct nnum, "
            "or state pitch_px, rotation_deg and centre"
        )
    others = [one for one in square[1:_LOOKED_AT] if one[0] >= max(VISIBLE, COMPARABLE * square[0][0])]
    slower_ones = [one[1] * factor for one in (square[0], *others) for factor in (0.5, 0.5 + 0.5j)]
    for slower in slower_ones:  # may one of them be the second harmonic, or the first one along the diagonal?
        near = [np.hypot(axis[:, None] - p.imag, axis[None, :] - p.real) < 2.5 for p in (slower, slower * 1j)]
        height = min(float(stands[ring].max()) for ring in near)
        if height > VISIBLE:
            others.append((height, slower if slower.real >= 0 else -slower))
    contrast, place = _darkest_between(even, root, [(one[0], highest(one[1])) for one in (square[0], *others)], size)
    # along rows: the partner whose direction is nearest to x, between -45 and 45 degrees
    if abs(place.imag) > place.real:
        place = place * (-1j if place.imag > 0 else 1j)
    return place / size, contrast


def _darkest_between(even: Floats, root: Floats, grids: list[tuple[float, complex]], size: int) -> tuple[float, complex]:
    """Return which of some grids leaves least light between its lenslets.

    A harmonic, or what was recorded, may stand out more than the lenslets do, but only between lenslets it is always dark.
    """
    best, least = grids[0], math.inf
    for one in grids:
        grid = _grid_of(even, one[1] / size)
        light = between(root, grid)
        if light < 0.97 * least:
            best, least = one, light
    return best


def between(root: Floats, grid: LensletGrid) -> float:
    """Return the light at the corners of lenslets over the mean light of a picture."""
    shape = np.array(root.shape)
    reach = math.ceil(np.hypot(*shape) / grid.pitch_px / 2) + 1
    number = np.arange(-reach, reach) + 0.5
    corners = grid.places(np.stack(np.meshgrid(number, number, indexing="ij"), axis=-1).reshape(-1, 2))
    inside = ((corners > 0) & (corners < shape - 1)).all(axis=1)
    if not inside.any():
        return math.inf
    return float(ndimage.map_coordinates(root, corners[inside].T, order=1).mean() / (root.mean() + 1e-30))


def _places(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return y and x from the middle of the picture."""
    y, x = (np.arange(n, dtype=np.float64) - (n - 1) / 2 for n in shape)
    return y, x


def _turning(frequency: complex, harmonic: tuple[int, int]) -> complex:
    """Return a harmonic (across, along rows) of the grid whose first one along rows is `frequency`, as x + i y."""
    across, along = harmonic
    return frequency * (along + 1j * across)


def _demodulated(even: Floats, place: complex, width: int) -> tuple[Complex, Floats, Floats]:
    """Return the windowed picture turned back by a frequency, summed over squares, and the squares' y and x."""
    y, x = _places(even.shape)
    fall_y, fall_x = (np.hanning(n + 2)[1:-1] for n in even.shape)
    rows = fall_y * np.exp(-2j * math.pi * place.imag * y)
    columns = fall_x * np.exp(-2j * math.pi * place.real * x)
    starts = [np.arange(0, n, width) for n in even.shape]
    sums = np.add.reduceat(np.add.reduceat(even * columns, starts[1], axis=1) * rows[:, None], starts[0], axis=0)
    middles: list[Floats] = [
        np.add.reduceat(p, s) / np.add.reduceat(np.ones_like(p), s) for p, s in zip((y, x), starts, strict=True)
    ]
    return np.asarray(sums, np.complex128), middles[0], middles[1]


def _refined(even: Floats, frequency: complex, check: Check) -> complex:
    """Return the frequency at which the harmonics together are strongest (Newton's method on a coarse map)."""
    width = max(2, round(0.5 / abs(frequency)))
    maps: list[tuple[complex, Complex, Floats, Floats]] = []
    for harmonic in HARMONICS:
        maps.append((complex(harmonic[1], harmonic[0]), *_demodulated(even, _turning(frequency, harmonic), width)))
        check()
    noise = float(np.mean([np.median(np.abs(sums) ** 2) * sums.size for _, sums, _, _ in maps]))
    offset = 0j
    for _ in range(12):
        gradient, curve = np.zeros(2), np.zeros((2, 2))
        for factor, sums, y, x in maps:
            k = offset * factor
            turned = sums * np.exp(-2j * math.pi * (k.imag * y[:, None] + k.real * x[None, :]))
            total = turned.sum()
            along_y, along_x = (turned.sum(axis=1) @ y, turned.sum(axis=0) @ x)
            yy, xx = turned.sum(axis=1) @ (y * y), turned.sum(axis=0) @ (x * x)
            yx = y @ turned @ x
            first = np.array([along_x, along_y]) * (-2j * math.pi)
            second = np.array([[xx, yx], [yx, yy]]) * (-4 * math.pi**2)
            g = 2 * np.real(np.conj(total) * first)
            h = 2 * np.real(np.conj(total) * second + np.outer(np.conj(first), first))
            # d(k_x, k_y) / d(offset_x, offset_y): multiplication by the factor
            turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
            weight = 1 / (np.abs(sums).sum() ** 2 + noise)
            gradient, curve = gradient + weight * turn.T @ g, curve + weight * turn.T @ h @ turn
        if np.linalg.eigvalsh(curve).max() >= 0:
            break  # not near a maximum: stay with what the spectrum said
        step = -np.linalg.solve(curve, gradient)
        longest = 0.5 / max(even.shape)
        step *= min(1.0, longest / (np.linalg.norm(step) + 1e-300))
        offset += complex(step[0], step[1])
        if np.linalg.norm(step) < 1e-9:
            break
    return frequency + offset


def _separately(even: Floats, frequency: complex) -> tuple[complex, complex]:
    """Return the first harmonics along and across rows, each with its own maximum."""
    found = []
    for harmonic in ((0, 1), (1, 0)):
        place = _turning(frequency, harmonic)
        sums, y, x = _demodulated(even, place, max(2, round(0.5 / abs(frequency))))
        for _ in range(3):
            total, weight = sums.sum(), np.abs(sums)
            # the phase of squares against that of the whole, a plane through it by weighted least squares
            phase = np.angle(sums * np.conj(total))
            design = np.stack([np.ones(sums.size), np.repeat(y, x.size), np.tile(x, y.size)], axis=1)
            w = weight.ravel() * (np.abs(phase.ravel()) < 1.5)
            tilt = np.linalg.lstsq(design * w[:, None], phase.ravel() * w, rcond=None)[0]
            turn = complex(tilt[2], tilt[1]) / (2 * math.pi)
            place += turn
            sums = sums * np.exp(-2j * math.pi * (turn.imag * y[:, None] + turn.real * x[None, :]))
        found.append(place)
    return found[0], found[1]


def _grid_of(even: Floats, frequency: complex) -> LensletGrid:
    """Return the grid of a frequency; lenslets are bright in the middle, so that there the first harmonics are positive."""
    pitch, turn = 1 / abs(frequency), float(np.angle(frequency))
    phases = []
    for harmonic in ((1, 0), (0, 1)):
        sums, _, _ = _demodulated(even, _turning(frequency, harmonic), even.size)
        phases.append(-float(np.angle(sums.sum())) / (2 * math.pi))  # lenslets from the picture's middle
    grid = LensletGrid(pitch, math.degrees(turn), ((even.shape[0] - 1) / 2, (even.shape[1] - 1) / 2))
    y, x = grid.places(np.array(phases)).tolist()
    return LensletGrid(pitch, grid.rotation_deg, (y, x)).around(grid.centre)
