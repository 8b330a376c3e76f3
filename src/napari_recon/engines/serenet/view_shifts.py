"""How far every view of a light field lies from the others (torch).

Where content lies further right or down than in the reference, the shift is positive.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Array = NDArray[np.float64]
Check = Callable[[], None]
_ROUNDS = 3
_STEPS = 16
"""Parts of a pixel that the correlation is looked at before a parabola."""


def highest_points(views: torch.Tensor, check: Check) -> Array:
    """Return shifts (views, 2) in whole fine pixels: the highest point of the correlation with view 0, as published.

    The fine grid is always 13/3 and the width stands for the height too, as in the authors' script.
    """
    size = [round(n / 3 * 13) for n in views.shape[-2:]]
    first: torch.Tensor | None = None
    found = []
    for view in views:
        check()
        fine = F.interpolate(view[None, None], size=size, mode="bicubic", align_corners=False)[0, 0]
        spectrum = torch.fft.fft2(fine)
        first = spectrum if first is None else first
        peak = torch.fft.fftshift(torch.fft.ifft2(spectrum.conj() * first).real)
        row, column = int(peak.amax(dim=1).argmax()), int(peak.amax(dim=0).argmax())
        found.append((size[1] // 2 - row, size[1] // 2 - column))
    return np.asarray(found, dtype=np.float64)


@torch.inference_mode()
def found_shifts(views: torch.Tensor, centre: int, check: Check) -> tuple[Array, Array]:
    """Return shifts (views, 2) in parts of light-field pixels, and how well each view agrees with the others (0 to 1).

    First against the centre view, then against the mean of all views moved back: it has less noise, and what lies at
    other depths is blurred in it. Slow variations and the grain of single pixels are left out, edges fade, and pictures
    are padded so that what leaves on one side does not come back on the other.
    """
    height, width = views.shape[-2:]
    size = [2 * height, 2 * width]
    window = _fading(height)[:, None] * _fading(width)[None]
    light = (views - views.mean(dim=(1, 2), keepdim=True)) * window.to(views.device)
    ky, kx = torch.fft.fftfreq(size[0]), torch.fft.rfftfreq(size[1])
    radius = torch.sqrt(ky[:, None] ** 2 + kx[None] ** 2)
    band = (torch.exp(-((radius / 0.3) ** 2)) * (1 - torch.exp(-((radius / 0.03) ** 2)))).to(views.device)
    spectra = torch.fft.rfft2(light, s=size) * band
    spectra = spectra / spectra.abs().square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-12)
    reference = spectra[centre]
    shifts, confidence = np.zeros((len(views), 2)), np.zeros(len(views))
    for turn in range(_ROUNDS):
        for number, spectrum in enumerate(spectra):
            check()
            shifts[number], confidence[number] = _peak(spectrum, reference, size, ky, kx)
        shifts -= shifts[centre]
        if turn < _ROUNDS - 1:
            back = torch.from_numpy(shifts).float()
            phase = back[:, 0, None, None] * ky[None, :, None] + back[:, 1, None, None] * kx[None, None]
            weight = torch.from_numpy(confidence).float().view(-1, 1, 1).to(views.device)
            turned = spectra * torch.polar(torch.ones_like(phase), 2 * np.pi * phase).to(views.device)
            reference = (turned * weight).sum(dim=0) / weight.sum()
            reference = reference / reference.abs().square().mean().sqrt().clamp(min=1e-12)
    return shifts, confidence


def _peak(
    spectrum: torch.Tensor, reference: torch.Tensor, size: list[int], ky: torch.Tensor, kx: torch.Tensor
) -> tuple[Array, float]:
    """Return the place (y, x) of the highest correlation and its height."""
    product = spectrum * reference.conj()
    plain = torch.fft.irfft2(product, s=size)
    at = int(plain.argmax())
    whole = [_signed(at // size[1], size[0]), _signed(at % size[1], size[1])]
    offsets = torch.arange(-_STEPS, _STEPS + 1) / _STEPS
    rows = torch.polar(torch.ones(1), 2 * torch.pi * (whole[0] + offsets)[:, None] * ky[None]).to(product.device)
    columns = torch.polar(torch.ones(1), 2 * torch.pi * (whole[1] + offsets)[:, None] * kx[None]).to(product.device)
    folded = torch.full((len(kx),), 2.0)
    folded[0] = 1.0
    folded[-1] = 1.0
    near = (rows @ (product * folded.to(product.device)) @ columns.T).real / (size[0] * size[1])
    best = int(near.argmax())
    row, column = divmod(best, len(offsets))
    values = near.cpu().numpy()
    fine = [_vertex(values[:, column], row), _vertex(values[row], column)]
    place = np.array([whole[0] + (fine[0] - _STEPS) / _STEPS, whole[1] + (fine[1] - _STEPS) / _STEPS])
    power = float((spectrum.abs().square() * folded.to(product.device)).sum() / (size[0] * size[1]))
    return place, max(0.0, float(near.max()) / max(power, 1e-12))


def _vertex(values: NDArray[np.float32], at: int) -> float:
    """Return where the parabola through a maximum and its neighbours is highest."""
    if not 0 < at < len(values) - 1:
        return float(at)
    left, middle, right = (float(v) for v in values[at - 1 : at + 2])
    bend = left - 2 * middle + right
    return at + 0.5 * (left - right) / bend if bend < 0 else float(at)


def _signed(index: int, size: int) -> int:
    return index - size if index >= size // 2 else index


def _fading(size: int) -> torch.Tensor:
    """Return a window that is 1 inside and fades to 0 over an eighth of the length at both ends."""
    edge = torch.minimum(torch.arange(size), torch.arange(size).flip(0)) + 0.5
    return torch.sin(torch.pi / 2 * (edge / max(size / 8, 1)).clamp(max=1)) ** 2
