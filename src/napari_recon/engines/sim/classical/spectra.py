"""Raw frames in Fourier space, on grids just fine enough for what is done with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_recon.engines.sim.classical.otf import Transfer
from napari_recon.engines.sim.params import Optics
from napari_recon.optics.support import next_smooth_size

#: Sampling rates of the grids in units of fc. In the search, products of frame and object reach up to 2 fc, and carriers
#: are looked for up to 1.2 fc: what wraps around from there overlaps with nothing but the weakest frequencies. In the
#: regression, what wraps around lands where the displaced object is unknown anyway.
SEARCH_RATE, REGRESSION_RATE = 2.4, 2.05
#: Raw pixels over which the frames are faded out towards their borders.
TAPER = 10
#: Raw pixels next to the borders that regression leaves out, and over which it fades in.
GUARD, FADE = 12, 20
#: Fourier pixels that the noise is estimated from, at most.
NOISE_SAMPLES = 40_000


@dataclass(frozen=True)
class Lattice:
    """A half plane of frequencies (real images have no more) and the places it is transformed from.

    Attributes
    ----------
    otf, radius : Tensor
        (Y, X // 2 + 1), transfer function and |f| / fc.
    count : Tensor
        (1, X // 2 + 1), how many frequencies of the whole plane each column stands for.
    fy, fx : Tensor
        (Y, 1) and (1, X // 2 + 1), cycles/um.
    y_um, x_um : Tensor
        (Y, 1) and (1, X), places of the samples, zero at raw pixel n // 2; float64.
    shape_yx : tuple of int
        Y, X.
    cutoff : float
        fc in cycles/um.
    """

    otf: Tensor
    radius: Tensor
    count: Tensor
    fy: Tensor
    fx: Tensor
    y_um: Tensor
    x_um: Tensor
    shape_yx: tuple[int, int]
    cutoff: float

    @classmethod
    def of(cls, raw_yx: tuple[int, int], optics: Optics, transfer: Transfer, rate: float, device: torch.device) -> Lattice:
        """Return the lattice with ``rate`` fc samples per um over a field of raw pixels."""
        size = (raw_yx[0] * optics.pixel_um[0], raw_yx[1] * optics.pixel_um[1])
        cutoff = optics.cutoff_per_um
        # multiples of 8 are fastest
        rows, columns = (8 * next_smooth_size(max(2, math.ceil(rate * cutoff * s / 8))) for s in size)
        fy = (torch.fft.fftfreq(rows, device=device) * (rows / size[0]))[:, None]
        fx = (torch.arange(columns // 2 + 1, device=device) / size[1])[None]
        count = torch.full((1, columns // 2 + 1), 2.0, device=device)
        count[0, 0] = 1
        y_um, x_um = (
            torch.arange(n, dtype=torch.float64, device=device) * (s / n) - (raw // 2) * p
            for n, s, raw, p in zip((rows, columns), size, raw_yx, optics.pixel_um, strict=True)
        )
        radius = torch.sqrt(fy * fy + fx * fx) / cutoff
        otf = transfer(fy, fx).to(torch.float32)
        return cls(otf, radius, count, fy, fx, y_um[:, None], x_um[None], (rows, columns), cutoff)

    @property
    def step_per_um(self) -> float:
        """Coarser one of the two frequency steps, cycles/um."""
        return max(float(self.fy[1, 0]), float(self.fx[0, 1]))

    def image(self, spectrum: Tensor) -> Tensor:
        """Return the image of a spectrum."""
        image: Tensor = torch.fft.irfft2(spectrum, s=self.shape_yx, norm="forward")
        return image

    def take(self, spectra: Tensor, shape_yx: tuple[int, int]) -> Tensor:
        """Return half-plane spectra of images of ``shape_yx`` samples on this lattice."""
        rows, columns = (min(a, b) for a, b in zip(shape_yx, self.shape_yx, strict=True))
        half, across = (rows - 1) // 2, (columns - 1) // 2 + 1
        taken = spectra.new_zeros((*spectra.shape[:-2], self.shape_yx[0], self.shape_yx[1] // 2 + 1))
        taken[..., : half + 1, :across] = spectra[..., : half + 1, :across]
        taken[..., self.shape_yx[0] - half :, :across] = spectra[..., shape_yx[0] - half :, :across]
        return taken


@dataclass(frozen=True)
class Spectra:
    """Spectra of frames, normalised by the number of pixels.

    Attributes
    ----------
    search, regression : Lattice
    d : Tensor
        (N, Y, X // 2 + 1) complex64 on the search lattice, of tapered frames.
    inner : Tensor
        The same on the regression lattice, of frames faded out further inside, where the tapered frames are the true ones.
    window : Tensor
        (Y, X) of the regression lattice, what ``inner`` is faded with.
    noise : float
        Power of one frame's noise in one frequency of ``d``.
    inner_noise : float
        The same of ``inner``.
    noise_power : float
        Variance of one frame's noise in one raw pixel, counts^2.
    """

    search: Lattice
    regression: Lattice
    d: Tensor
    inner: Tensor
    window: Tensor
    noise: float
    inner_noise: float
    noise_power: float


def spectra_of(frames: Tensor, optics: Optics, transfer: Transfer) -> Spectra:
    """Return the spectra of frames (N, Y, X), camera offset already subtracted."""
    raw_yx = (int(frames.shape[-2]), int(frames.shape[-1]))
    search, regression = (
        Lattice.of(raw_yx, optics, transfer, rate, frames.device) for rate in (SEARCH_RATE, REGRESSION_RATE)
    )
    whole, share, _ = _faded(frames, 0, TAPER)
    inside, inner_share, lines = _faded(frames, GUARD, FADE)
    noise = _noise(whole, raw_yx, optics)
    window = [_sampled(line, n) for line, n in zip(lines, regression.shape_yx, strict=True)]
    return Spectra(
        search=search,
        regression=regression,
        d=search.take(whole, raw_yx),
        inner=regression.take(inside, raw_yx),
        window=window[0][:, None] * window[1],
        noise=noise,
        inner_noise=noise * inner_share / share,
        noise_power=noise * raw_yx[0] * raw_yx[1] / share,
    )


def noise_variance(frames: Tensor, optics: Optics) -> float:
    """Return the variance of noise in one raw pixel (counts^2) of frames (N, Y, X): `Spectra.noise_power` alone."""
    raw_yx = (int(frames.shape[-2]), int(frames.shape[-1]))
    whole, share, _ = _faded(frames, 0, TAPER)
    return _noise(whole, raw_yx, optics) * raw_yx[0] * raw_yx[1] / share


def _faded(frames: Tensor, dark: int, fade: int) -> tuple[Tensor, float, list[Tensor]]:
    """Return the half spectra of frames seen through a window, the window's mean square, and its lines along y and x."""
    lines = [_window(n, dark, fade).to(frames) for n in frames.shape[-2:]]
    spectra = torch.fft.rfft2(frames * (lines[0][:, None] * lines[1]), norm="forward")
    return spectra, float(lines[0].square().mean() * lines[1].square().mean()), lines


def _window(size: int, dark: int, fade: int) -> Tensor:
    """Return a window that is 0 for ``dark`` pixels at both ends and rises to 1 as a squared sine over ``fade`` more."""
    dark, fade = min(dark, size // 12), min(fade, size // 6)
    ramp = torch.sin((torch.arange(fade) + 0.5) * (math.pi / 2 / max(1, fade))) ** 2
    end = torch.cat([torch.zeros(dark), ramp])
    return torch.cat([end, torch.ones(size - 2 * len(end)), end.flip(0)])


def _sampled(line: Tensor, number: int) -> Tensor:
    """Return a line's values at ``number`` places that start with its first sample and divide the period evenly."""
    at = torch.arange(number, device=line.device, dtype=torch.float64) * (len(line) / number)
    low = at.long()
    part = (at - low).to(line)
    return line[low] * (1 - part) + line[(low + 1) % len(line)] * part


def _noise(whole: Tensor, raw_yx: tuple[int, int], optics: Optics) -> float:
    """Return the noise power in the frequencies beyond the cut-off (there are always some, in the corners)."""
    fy = torch.fft.fftfreq(raw_yx[0], optics.pixel_um[0], device=whole.device)[:, None]
    fx = torch.fft.rfftfreq(raw_yx[1], optics.pixel_um[1], device=whole.device)[None]
    beyond = ((fy * fy + fx * fx) > (1.05 * optics.cutoff_per_um) ** 2).flatten().nonzero()[:, 0]
    stride = max(1, len(beyond) * len(whole) // NOISE_SAMPLES)
    values = whole.flatten(1)[:, beyond[::stride]]
    if not values.numel():
        return 0.0
    # the median of an exponential distribution is ln 2 of its mean; what leaks from the borders hardly moves it
    return float((values.real**2 + values.imag**2).median()) / math.log(2)
