"""Raw frames in Fourier space, on a grid just fine enough for products of two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_recon.engines.sim.classical.otf import Transfer
from napari_recon.engines.sim.params import Optics
from napari_recon.optics.support import next_smooth_size

#: Sampling rate of the working grid in units of fc. A frame and the object estimate reach up to fc each, and carriers are
#: searched up to 1.2 fc: what wraps around from 2.7 fc on overlaps with nothing but the weakest frequencies.
RATE = 2.7
#: Raw pixels over which the frames are faded out towards their borders.
TAPER = 10
#: Raw pixels next to the borders that regression leaves out, and over which it fades in.
GUARD, FADE = 12, 20


@dataclass
class Spectra:
    """Spectra of tapered frames within the cut-off, half plane (the frames are real).

    Attributes
    ----------
    d : Tensor
        (N, Yw, Xw // 2 + 1) complex64, normalised by the number of pixels; zero beyond the cut-off.
    inner : Tensor
        Like ``d``, of frames faded out further inside, where the tapered frames are the true ones.
    window : Tensor
        (Yw, Xw), what they are faded with.
    otf : Tensor
        (Yw, Xw // 2 + 1), H at the same frequencies.
    radius : Tensor
        (Yw, Xw // 2 + 1), |f| / fc.
    count : Tensor
        (1, Xw // 2 + 1), how many frequencies of the whole plane each column stands for.
    fy, fx : Tensor
        (Yw, 1) and (1, Xw // 2 + 1), cycles/um.
    y_um, x_um : Tensor
        (Yw, 1) and (1, Xw), places of the working grid's samples, zero at raw pixel n // 2; float64.
    shape_yx : tuple of int
        Yw, Xw.
    noise : float
        Power of one frame's noise in one frequency of ``d``.
    noise_power : float
        Variance of one frame's noise in one raw pixel, counts^2.
    cutoff : float
        fc in cycles/um.
    """

    d: Tensor
    inner: Tensor
    window: Tensor
    otf: Tensor
    radius: Tensor
    count: Tensor
    fy: Tensor
    fx: Tensor
    y_um: Tensor
    x_um: Tensor
    shape_yx: tuple[int, int]
    noise: float
    noise_power: float
    cutoff: float

    @property
    def step_per_um(self) -> float:
        """Coarser one of the two frequency steps, cycles/um."""
        return max(float(self.fy[1, 0]), float(self.fx[0, 1]))


def spectra_of(frames: Tensor, optics: Optics, transfer: Transfer) -> Spectra:
    """Return the spectra of frames (N, Y, X), camera offset already subtracted."""
    height, width = frames.shape[-2:]
    fade, inside = (
        (_window(height, *ends).to(frames)[:, None] * _window(width, *ends).to(frames)[None])
        for ends in ((0, TAPER), (GUARD, FADE))
    )
    whole = torch.fft.rfft2(frames * fade, norm="forward")
    size = (height * optics.pixel_um[0], width * optics.pixel_um[1])
    cutoff = optics.cutoff_per_um
    power = _power_beyond(whole, size, cutoff)
    rows, columns = (2 * next_smooth_size(max(8, math.ceil(RATE * cutoff * s / 2))) for s in size)
    d = _resampled(whole, (height, width), (rows, columns))
    fy = (torch.fft.fftfreq(rows, device=d.device) * rows / size[0])[:, None]
    fx = (torch.arange(columns // 2 + 1, device=d.device) / size[1])[None]
    otf = transfer(fy, fx).to(torch.float32)
    radius = torch.sqrt(fy * fy + fx * fx) / cutoff
    d *= radius < 1
    inner = _resampled(torch.fft.rfft2(frames * inside, norm="forward"), (height, width), (rows, columns)).mul_(radius < 1)
    window = _sampled(inside[:, width // 2], rows)[:, None] * _sampled(inside[height // 2], columns)[None]
    count = torch.full((1, columns // 2 + 1), 2.0, device=d.device)
    count[0, 0] = 1
    places = [
        torch.arange(n, dtype=torch.float64, device=d.device) * (s / n) - (raw // 2) * p
        for n, s, raw, p in zip((rows, columns), size, (height, width), optics.pixel_um, strict=True)
    ]
    return Spectra(
        d=d, inner=inner, window=window, otf=otf,
        radius=radius, count=count, fy=fy, fx=fx, y_um=places[0][:, None], x_um=places[1][None],
        shape_yx=(rows, columns), noise=power, noise_power=power * height * width / float((fade * fade).mean()),
        cutoff=cutoff,
    )  # fmt: skip


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


def _power_beyond(whole: Tensor, size: tuple[float, float], cutoff: float) -> float:
    """Return the noise power in the frequencies beyond the cut-off (there are always some, in the corners)."""
    rows, columns = whole.shape[-2:]
    fy = torch.fft.fftfreq(rows, device=whole.device)[:, None] * rows / size[0]
    fx = torch.arange(columns, device=whole.device)[None] / size[1]
    beyond = (fy * fy + fx * fx) > (1.05 * cutoff) ** 2
    values = whole[:, beyond]
    if not values.numel():
        return 0.0
    # the median of an exponential distribution is ln 2 of its mean; what leaks from the borders hardly moves it
    return float((values.real**2 + values.imag**2).median()) / math.log(2)


def _resampled(whole: Tensor, raw_yx: tuple[int, int], shape_yx: tuple[int, int]) -> Tensor:
    """Return the half-plane spectra cut or padded to another grid; the raw grid's Nyquist lines are left out."""
    rows, columns = (min(a, b) for a, b in zip(raw_yx, shape_yx, strict=True))
    half = (rows - 1) // 2
    across = (columns - 1) // 2 + 1
    d = whole.new_zeros((whole.shape[0], shape_yx[0], shape_yx[1] // 2 + 1))
    d[:, : half + 1, :across] = whole[:, : half + 1, :across]
    d[:, shape_yx[0] - half :, :across] = whole[:, raw_yx[0] - half :, :across]
    return d
