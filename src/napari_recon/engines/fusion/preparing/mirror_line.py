"""The bright line of the mirror in a raw reflective light-sheet stack: where it lies, how it drifts, and its mask.

Images are (rows, columns), rows along the skew axis. Numbers of rows count from 0 here; the published ones from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

#: The canvas on which the line may turn, relative to the picture.
CANVAS = 1.2
ROUNDS = 3
ANGLE_STEP, LARGEST_TURN = 0.1, 1.0
#: Rows beyond which a group's line is no drift but a mistake.
LARGEST_DRIFT = 50


class Preset(NamedTuple):
    """What a kind of sample needs.

    Attributes
    ----------
    window, factor : float
        Standard deviation of the narrow line, in pixels, and how many times wider the broad one is.
    narrow : float
        Weight of the narrow line against the broad one.
    kept : float
        How much of the light stays where the line is brightest, halved.
    group : int
        Slices averaged to see the drift.
    """

    window: float
    factor: float
    narrow: float
    kept: float
    group: int


PRESETS = {
    "ER": Preset(15, 5, 1.0, 0.2, 21),
    "Lifeact": Preset(30, 2, 1.0, 0.2, 21),
    "Lyso": Preset(21, 5, 0.2, 0.2, 15),
    "MT": Preset(15, 5, 1.0, 0.3, 21),
    "SKL": Preset(11, 3, 0.5, 0.3, 15),
}


class Line(NamedTuple):
    """The mirror's line on its canvas.

    Attributes
    ----------
    narrow, broad, step : Tensor
        Profiles around the line, and 1 on its far side, (canvas rows, canvas columns) float64.
    shift, angle_deg : float
        By how much it lies off the middle, and its tilt (counter-clockwise is positive).
    """

    narrow: Tensor
    broad: Tensor
    step: Tensor
    shift: int
    angle_deg: float


def half_up(value: float) -> int:
    """Return `value` rounded with halves away from zero."""
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def scaled(image: Tensor) -> Tensor:
    """Return `image` from 0 to 1."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp_min(1e-30)


def middle(image: Tensor, rows: int, columns: int) -> Tensor:
    """Return the central part of an image."""
    places = []
    for size, asked in zip(image.shape[-2:], (rows, columns), strict=True):
        start = half_up(size / 2) - asked // 2 + (0 if asked % 2 == 0 else -1)
        places.append(slice(start, start + asked))
    return image[..., places[0], places[1]]


def blurred_rows(image: Tensor, sigma: float) -> Tensor:
    """Return the image blurred along rows by a Gaussian of ten sigmas, an even number of samples: half a row early."""
    length = round(10 * sigma)
    at = torch.arange(length, dtype=torch.float64, device=image.device) - (length - 1) / 2
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = torch.where(kernel < torch.finfo(torch.float64).eps * kernel.max(), 0.0, kernel)
    kernel = kernel / kernel.sum()
    columns = image.T[:, None]
    before = (length + 1) // 2 - 1
    padded = torch.nn.functional.pad(columns, (before, length - 1 - before))
    return torch.nn.functional.conv1d(padded, kernel[None, None])[:, 0].T


def turned(image: Tensor, angle_deg: float) -> Tensor:
    """Return the image turned counter-clockwise about its middle, of the same size: bilinear, 0 outside."""
    rows, columns = image.shape
    angle = math.radians(angle_deg)
    y = torch.arange(rows, dtype=torch.float64, device=image.device)[:, None] - (rows - 1) / 2
    x = torch.arange(columns, dtype=torch.float64, device=image.device)[None] - (columns - 1) / 2
    from_y = math.cos(angle) * y + math.sin(angle) * x + (rows - 1) / 2
    from_x = -math.sin(angle) * y + math.cos(angle) * x + (columns - 1) / 2
    inside = (from_y >= 0) & (from_y <= rows - 1) & (from_x >= 0) & (from_x <= columns - 1)
    low_y, low_x = (f.floor().clamp(0, n - 2).long() for f, n in ((from_y, rows), (from_x, columns)))
    part_y, part_x = from_y - low_y, from_x - low_x
    top = image[low_y, low_x] * (1 - part_x) + image[low_y, low_x + 1] * part_x
    bottom = image[low_y + 1, low_x] * (1 - part_x) + image[low_y + 1, low_x + 1] * part_x
    return torch.where(inside, top * (1 - part_y) + bottom * part_y, 0.0)


def rolled(image: Tensor, rows: int) -> Tensor:
    """Return the image moved down by whole rows, cyclically."""
    return torch.roll(image, rows, dims=-2)


def find_line(picture: Tensor, preset: Preset, published: bool = False, check: Callable[[], None] = lambda: None) -> Line:
    """Return the mirror's line in the mean over z.

    Parameters
    ----------
    picture : Tensor
        (rows, columns) float64.
    preset : Preset
    published : bool
        Scores are means of products, whatever the line covers; and where the search ends at the largest turn, the narrow
        line alone turns one step further, by a slip.
    check : Callable
        Called now and then; may raise.
    """
    rows, columns = picture.shape
    canvas = torch.zeros(half_up(CANVAS * rows), half_up(CANVAS * columns), dtype=torch.float64, device=picture.device)
    at = math.ceil(canvas.shape[0] / 2) - 1
    line, step = canvas.clone(), canvas.clone()
    line[at], step[at:] = 1.0, 1.0
    narrow, broad = (scaled(blurred_rows(line, preset.window * f)) for f in (1.0, preset.factor))
    lag = int(torch.argmax(row_correlation(picture, middle(narrow, rows, columns)))) + 1 - (half_up(rows / 2) + 1)
    narrow, broad, step = (rolled(image, -lag) for image in (narrow, broad, step))
    shift, angle = -lag, 0.0

    def score(image: Tensor) -> float:
        check()
        weight = middle(image, rows, columns)
        # a turned line covers a little more of the picture, which alone would raise the product
        return float((picture * (weight if published else weight - weight.mean())).mean())

    for _ in range(ROUNDS):
        moved = 0
        for sign in (1, -1):
            best = score(rolled(narrow, moved))
            while abs(moved + sign) <= rows and (now := score(rolled(narrow, moved + sign))) >= best:
                moved, best = moved + sign, now
        narrow, broad, step = (rolled(image, moved) for image in (narrow, broad, step))
        tilt = 0.0
        for sign in (1, -1):
            best = score(turned(narrow, tilt)) if tilt else score(narrow)
            while abs(trial := tilt + sign * ANGLE_STEP) <= LARGEST_TURN and (now := score(turned(narrow, trial))) >= best:
                tilt, best = trial, now
        if tilt:
            further = published and abs(tilt) + ANGLE_STEP > LARGEST_TURN
            narrow = turned(narrow, tilt + math.copysign(ANGLE_STEP, tilt) if further else tilt)
            broad, step = turned(broad, tilt), turned(step, tilt)
        shift, angle = shift + moved, angle + tilt
        if not moved and not tilt:
            break
    return Line(narrow, broad, step, shift, angle)


def row_correlation(picture: Tensor, mask: Tensor, mask_is_transformed: bool = False) -> Tensor:
    """Return the circular cross-correlation over rows and columns, summed over columns; the middle is no shift.

    `mask_is_transformed` multiplies by the mask itself, as the published drift estimate does by a slip.
    """
    other = mask if mask_is_transformed else torch.fft.fft2(mask)
    found: Tensor = torch.fft.fftshift(torch.fft.ifft2(torch.fft.fft2(picture).conj() * other)).abs()
    return found.sum(dim=1)


def published_drift(groups: list[Tensor], line: Line, group: int, slices: int) -> list[int]:
    """Return the drift of every slice in rows, as published: the mask is used without its Fourier transform."""
    rows, columns = groups[0].shape if groups else (0, 0)
    places, centres = [], []
    for number, picture in enumerate(groups):
        y = int(torch.argmax(row_correlation(picture, middle(line.narrow, rows, columns), mask_is_transformed=True)))
        y -= rows if y > half_up(rows / 2) else 0
        if abs(y) < LARGEST_DRIFT:
            places.append(y)
            centres.append((group + 1) / 2 + group * number)
    if len(places) < 2:
        return [0] * slices
    slope, start = _straight(centres, [float(y) for y in places])
    fitted = [half_up(start + slope * z) for z in range(1, slices + 1)]
    return [s - fitted[half_up(slices / 2) - 1] for s in fitted]


def measured_drift(groups: list[Tensor], line: Line, group: int, slices: int) -> list[int]:
    """Return the drift of every slice in rows, from where the line correlates best with each group of slices.

    A positive number says that the mask must move up by so many rows. Groups whose best place is further off than
    `LARGEST_DRIFT` rows are left out; the slope is the median of those between all pairs, so that single groups don't count.
    """
    if len(groups) < 2:
        return [0] * slices
    rows, columns = groups[0].shape
    mask = middle(line.narrow, rows, columns)
    places, centres = [], []
    for number, picture in enumerate(groups):
        found = row_correlation(picture - picture.mean(), mask - mask.mean())
        lag = (_peak(found) - rows // 2 + rows / 2) % rows - rows / 2
        if abs(lag) < min(LARGEST_DRIFT, rows / 4):
            places.append(lag)
            centres.append(group * number + (group - 1) / 2)
    if len(places) < 2:
        return [0] * slices
    slopes = sorted(
        (places[b] - places[a]) / (centres[b] - centres[a]) for a in range(len(places)) for b in range(a + 1, len(places))
    )
    slope = (slopes[(len(slopes) - 1) // 2] + slopes[len(slopes) // 2]) / 2
    return [half_up(slope * (z - (slices - 1) / 2)) for z in range(slices)]


def masks(line: Line, preset: Preset) -> tuple[Tensor, Tensor]:
    """Return what is taken away (0 to 1 - 2 kept) and the far side of the mirror (0 to 1), on the canvas."""
    taken = scaled(scaled(line.narrow) * preset.narrow + scaled(line.broad)) * (1 - 2 * preset.kept)
    return taken, scaled(blurred_rows(line.step, preset.window))


def _peak(curve: Tensor) -> float:
    """Return the place of the maximum between samples, by a parabola."""
    at = int(torch.argmax(curve))
    before, here, after = (float(curve[(at + n) % len(curve)]) for n in (-1, 0, 1))
    bend = before - 2 * here + after
    return at + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _straight(x: list[float], y: list[float]) -> tuple[float, float]:
    """Return slope and value at 0 of the least-squares line."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    return slope, mean_y - slope * mean_x
