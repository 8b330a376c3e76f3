"""The simulator ML-SIM's networks were trained with, as its authors published it (compat=upstream).

A scalar aperture on a periodic grid, patterns counted in periods across the image, noise in percent, everything
normalised to 8 bits. All random numbers come from one legacy generator in a fixed order, so a seed repeats the
authors' own stacks. Their oddities are kept where they show in the data (a pattern that is clipped at 1, phase errors
that follow the shuffled position) and not where they only stop the program (non-square images work here).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal, special

Array = NDArray[np.float64]
Shape = Literal["cosine", "half-rectified", "square", "third"]
Draws = Literal["fixed", "default", "20230703", "notebook"]

_SHAPES: dict[str, Callable[[Array], Array]] = {
    "cosine": np.cos,
    "half-rectified": lambda turn: np.clip(np.cos(turn), 0, 1),
    "square": lambda turn: np.heaviside(np.cos(turn), 0),
    "third": lambda turn: 2 * (np.heaviside(np.cos(turn) - math.cos(math.pi / 3), 0) - 1 / 3),
}


@dataclass(frozen=True)
class Settings:
    """One stack's settings, named by what they are.

    Attributes
    ----------
    angles, shifts : int
        Orientations and phases.
    otf_scale : float
        Aperture: the cut-off is ``otf_scale / pi`` cycles per pixel.
    mean, amplitude : float
        Of the illumination; their sum above 1 is clipped.
    alpha, angle_error : float
        First orientation and an error common to all, radian.
    phase_error : tuple of tuple of float
        (angles, shifts) radian, empty for none; belongs to the place in the shuffled order.
    periods : float
        Stripes across the width of the image (the authors' k2).
    noise : float
        Percent of a frame's standard deviation, or, for Poisson noise, photons (raised to a power of two).
    """

    angles: int = 3
    shifts: int = 3
    otf_scale: float = 0.6
    mean: float = 1.0
    amplitude: float = 0.5
    alpha: float = 0.0
    angle_error: float = 0.0
    phase_error: tuple[tuple[float, ...], ...] = ()
    periods: float = 130.0
    shuffle: bool = True
    stripes: bool = True
    shape: Shape = "cosine"
    noise: float = 8.0
    poisson: bool = False
    convolve: bool = False


def drawn(settings: Settings, draws: Draws, random: np.random.RandomState, periods_spread: float = 15.0) -> Settings:
    """Return settings with the authors' random parameters, drawn in their order.

    Parameters
    ----------
    settings : Settings
        `periods` is the centre of its range; the rest of the drawn values is replaced.
    draws : str
        ``fixed`` draws nothing; ``default``, ``20230703`` and ``notebook`` are the three published sets of ranges.
    random : numpy.random.RandomState
    periods_spread : float
        Full width of the range of `periods`.
    """
    if draws == "fixed":
        return settings

    def around(centre: float, width: float) -> float:
        return centre + width * (random.rand() - 0.5)

    default, notebook = draws == "default", draws == "notebook"
    depth = 0.5 if default else around(0.8 if notebook else 0.5, 0.3)
    wide = 0.33 * math.pi if notebook else 0.15 * math.pi
    alpha = around(0.0, wide)
    angle_error = around(0.0, math.radians(10 if notebook else 5))
    phase_error = wide * (0.5 - random.rand(settings.angles, settings.shifts))
    periods = around(settings.periods, periods_spread)
    scale = 0.6 if default else around(0.9, 0.1) if notebook else around(0.6, 0.2)
    means = {"default": (1.0, depth), "20230703": (1 - depth, depth), "notebook": (0.5, 0.5 * depth)}
    return replace(
        settings,
        mean=means[draws][0],
        amplitude=means[draws][1],
        alpha=alpha,
        angle_error=angle_error,
        phase_error=tuple(tuple(map(float, row)) for row in phase_error),
        periods=periods,
        otf_scale=scale,
        noise=around(8.0, 8.0),
        shape="half-rectified" if draws == "20230703" else "cosine",
    )


def psf_and_otf(shape_yx: tuple[int, int], otf_scale: float) -> tuple[Array, Array]:
    """Return point spread and transfer function (Y, X), their peaks at index 0 (roll by half the size to centre)."""
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape_yx)
    at = otf_scale * np.hypot(y[:, None], x[None]) + np.finfo(float).eps
    psf: Array = np.abs(2 * special.j1(at) / at) ** 2
    transfer: Array = np.abs(fft.fft2(psf))
    return psf, transfer / transfer.max()


def object_of(image: NDArray[np.generic], shape_yx: tuple[int, int]) -> Array:
    """Return an image (Y, X), its values over 255, resized as the authors do (cubic, anti-aliased)."""
    from skimage.transform import resize

    resized: Array = resize(np.asarray(image, np.float64) / 255, shape_yx, order=3, anti_aliasing=True)
    return resized


def frames(
    light: Array, settings: Settings, random: np.random.RandomState, check: Callable[[], None] = lambda: None
) -> Iterator[Array]:
    """Yield the frames (Y, X), angle by angle in the shuffled order, float64 between 0 and 1."""
    psf, transfer = psf_and_otf(light.shape, settings.otf_scale)
    directions = [a * math.pi / settings.angles + settings.alpha + settings.angle_error for a in range(settings.angles)]
    if settings.shuffle:
        random.shuffle(directions)
    height, width = light.shape
    y, x = np.arange(height)[:, None] - height / 2, np.arange(width)[None] - width / 2
    errors = np.array(settings.phase_error) if settings.phase_error else np.zeros((settings.angles, settings.shifts))
    for place, direction in enumerate(directions):
        k = 2 * math.pi * settings.periods / width
        for shift in range(settings.shifts):
            check()
            turn = k * (math.cos(direction) * x + math.sin(direction) * y)
            turn = turn + 2 * math.pi * shift / settings.shifts + errors[place, shift]
            pattern = settings.mean + settings.amplitude * _SHAPES[settings.shape](turn) if settings.stripes else 1.0
            yield _noisy(_seen(light * pattern, psf, transfer, settings.convolve), settings, random)


def eight_bit(picture: Array) -> NDArray[np.uint8]:
    """Return values stretched to 0 ... 255 and truncated; a constant picture becomes 0."""
    above = picture - picture.min()
    top = above.max()
    stretched: NDArray[np.uint8] = (above / top * 255 if top > 0 else above).astype(np.uint8)
    return stretched


def quadrants(truth: NDArray[np.uint8], shape_yx: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a truth of twice the size as four pages: top left, bottom left, top right, bottom right; else as one."""
    height, width = shape_yx
    if truth.shape == shape_yx:
        return truth[None]
    return np.stack([truth[y : y + height, x : x + width] for x in (0, width) for y in (0, height)])


def _seen(lit: Array, psf: Array, transfer: Array, convolve: bool) -> Array:
    if not convolve:
        blurred: Array = fft.ifft2(fft.fft2(lit) * transfer).real
        return blurred
    # the authors centre the PSF at index n // 2 and divide by both numbers of pixels; borders see darkness
    height, width = lit.shape
    centred = np.roll(psf, (height // 2, width // 2), (0, 1))
    full: Array = signal.fftconvolve(lit, centred) / lit.size**2
    return full[height // 2 : height // 2 + height, width // 2 : width // 2 + width]


def _noisy(frame: Array, settings: Settings, random: np.random.RandomState) -> Array:
    if settings.poisson and settings.noise > 0:
        photons = 2 ** math.ceil(math.log2(settings.noise))
        frame = random.poisson(np.maximum(frame, 0) * photons) / photons
    elif not settings.poisson:
        frame = frame + random.normal(0, settings.noise / 100 * frame.std(ddof=1), frame.shape)
    clipped: Array = np.clip(frame, 0, 1)
    return clipped
