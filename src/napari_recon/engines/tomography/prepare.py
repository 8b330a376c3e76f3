"""Projections made ready: what their values sum up, how noisy they are, and where the axis of rotation appears."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.engines.deconvolution.noise import counts_scale, estimate_dark, measured_read_variance
from napari_recon.engines.tomography.params import Signal
from napari_recon.optics.parallel_beam import ParallelBeam

Check = Callable[[], None]
#: Counts that a pixel's noise is at least of.
LEAST = 0.5
#: Values of a density this many times their noise below zero say that it has a sign.
SIGNED = 5.0
#: Densities whose mean is below this part of their spread have one, too.
BALANCED = 0.02
#: Densities whose mean is this many times their spread were recorded on top of something.
ON_TOP = 3.0
#: Transmissions below this part of the flat field are dark for the logarithm.
DARKEST = 1e-3
#: A sample that is this bright at the detector's ends, relative to its mean, goes on beyond them.
TRUNCATED = 0.25
#: Largest relative standard deviation of projections' sums that are those of one sample.
ALIKE = 0.03
#: Sizes to which projections are reduced to find the axis, and the part of the width within which it is sought.
COARSE, FINE, SLICES, VIEWS = 48, 128, 4, 60
REACH = 0.08


@dataclass(frozen=True)
class Lines:
    """Projections as sums along rays.

    Attributes
    ----------
    values : Tensor
        (v, y, x) in the data's unit (transmission: natural logarithms).
    variance : Tensor
        Of the values' noise, (v, y, x) or one number.
    nonnegative : bool
        Whether what is summed can't be below zero.
    decided : dict
        What was read off the data.
    said : list of str
        What the user must know.
    """

    values: Tensor
    variance: Tensor
    nonnegative: bool
    decided: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)


def lines_of(views_vyx: NDArray[np.float32], signal: Signal, flat: float | str, device: torch.device) -> Lines:
    """Return what projections sum up.

    Parameters
    ----------
    views_vyx : ndarray
        As recorded.
    signal : str
        ``emission``, ``transmission`` or ``density`` (see `TomographyParams`).
    flat : float or "auto"
        Light without sample.
    device : torch.device
    """
    views = np.ascontiguousarray(views_vyx, dtype=np.float32)
    if signal == "transmission":
        return _transmission(views, flat, device)
    return _emission(views, device) if signal == "emission" else _density(views, device)


def noise_of(views_vyx: NDArray[np.float32]) -> float:
    """Return the standard deviation of noise, from what is left of views after two second differences.

    References
    ----------
    J. Immerkaer, doi 10.1006/cviu.1996.0060, with the median in place of the mean.
    """
    rows = views_vyx[:, 2:] - 2 * views_vyx[:, 1:-1] + views_vyx[:, :-2] if views_vyx.shape[1] > 2 else views_vyx
    both = rows[..., 2:] - 2 * rows[..., 1:-1] + rows[..., :-2]
    norm = 6.0 if views_vyx.shape[1] > 2 else 6.0**0.5
    sampled = np.abs(both.ravel()[:: max(1, both.size // 10**6)])
    return float(np.median(sampled)) / 0.6745 / norm


def _emission(views: NDArray[np.float32], device: torch.device) -> Lines:
    dark, scale = estimate_dark(views), counts_scale(views)
    light = max(dark.level * scale, 0.0)
    read = measured_read_variance(type(dark)(dark.level * scale, dark.variance * scale**2), light)
    values = torch.from_numpy(views - np.float32(dark.level)).to(device)
    level = F.avg_pool2d(values[:, None], 5, stride=1, padding=2, count_include_pad=False)[
        :, 0
    ]  # not each pixel's own noise
    return Lines(values, ((level.clamp_min(0) * scale + light).clamp_min(LEAST) + read) / scale**2, True)


def _density(views: NDArray[np.float32], device: torch.device) -> Lines:
    noise = max(noise_of(views), 1e-6 * float(np.abs(views).max()))
    said, values = [], torch.from_numpy(views.copy()).to(device)
    level, spread = float(views.mean()), float(views.std())
    low = float(np.quantile(views.ravel()[:: max(1, views.size // 10**6)], 1e-3))
    signed = low < -SIGNED * noise or level < BALANCED * spread
    if level > ON_TOP * spread and low > 0.5 * level:
        values -= values.mean(dim=(1, 2), keepdim=True)
        signed = True
        said.append(
            f"the projections' mean ({level:.4g}) is far above their contrast ({spread:.4g}); each projection's mean was "
            "taken off, so densities count from their surroundings"
        )
    return Lines(values, torch.tensor(noise**2, device=device), not signed, said=said)


def _transmission(views: NDArray[np.float32], flat: float | str, device: torch.device) -> Lines:
    brightest = estimate_dark(-views)
    level = -brightest.level if isinstance(flat, str) else flat
    if level <= 0:
        raise InputError(f"transmission needs light without sample above zero, found {level:.4g}; set flat or signal")
    light = torch.from_numpy(views).to(device).clamp_min(DARKEST * level)
    variance = max(brightest.variance, 1e-12 * level**2) / (level * light)
    return Lines(-(light / level).log(), variance, True, {"flat": float(f"{level:.6g}")})


def deviance(residual: Tensor, variance: Tensor) -> float:
    """Return the mean of squared residuals in units of their variance: 1 when only noise is left."""
    return float((residual.square() / variance).mean())


def truncated(values: Tensor, axis: str) -> bool:
    """Return whether a sample goes on beyond the detector's ends across the axis."""
    across = values.abs().mean(dim=(0, 1) if axis == "y" else (0, 2))
    ends = max(1, len(across) // 32)
    return float(torch.minimum(across[:ends].mean(), across[-ends:].mean())) > TRUNCATED * float(across.mean())


def find_centre(values: Tensor, angles_deg: Sequence[float], axis: str, check: Check = lambda: None) -> float:
    """Return where the axis of rotation appears, in pixels from the middle of the detector.

    A sample that is seen whole from everywhere has the same sum in each projection, and their centres of mass follow a
    sinusoid around the axis. Otherwise the axis is where a volume explains reduced projections best, sought coarsely at
    first.
    """
    found = _mean_of_turning(values, angles_deg, axis)
    if found is not None:
        return round(found, 3)
    sums = values if axis == "y" else values.transpose(1, 2)  # (v, slices, pixels)
    sums = F.adaptive_avg_pool1d(sums.transpose(1, 2), min(SLICES, sums.shape[1])).transpose(1, 2).cpu()
    chosen = np.unique(np.linspace(0, len(angles_deg) - 1, min(VIEWS, len(angles_deg))).round().astype(int))
    sums, angles = sums[torch.from_numpy(chosen)], [angles_deg[int(n)] for n in chosen]
    width = sums.shape[-1]
    factor = max(1, math.ceil(width / COARSE))
    reach = max(2, round(REACH * width / factor))
    misfits = _misfits(sums, angles, factor, np.arange(-reach, reach + 1) * float(factor), check)
    best = _lowest(misfits)
    factor, step = max(1, math.ceil(width / FINE)), 0.5 * factor
    while step > 0.06:
        best = _lowest(_misfits(sums, angles, factor, best + step * np.arange(-2, 3), check))
        step /= 3
    return round(best, 3)


def _mean_of_turning(values: Tensor, angles_deg: Sequence[float], axis: str) -> float | None:
    """Return the place around which centres of mass turn; None for projections that are no sums of the same."""
    lines = values.double().sum(dim=1 if axis == "y" else 2).cpu().numpy()
    place = np.arange(lines.shape[1]) - (lines.shape[1] - 1) / 2
    masses, angles = lines.sum(axis=1), np.radians(np.asarray(angles_deg, dtype=float))
    if masses.mean() <= 0 or masses.std() > ALIKE * masses.mean():
        return None
    model = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)
    if np.linalg.cond(model) > 30:
        return None
    centres = lines @ place / masses
    solution = np.linalg.lstsq(model, centres, rcond=None)[0]
    wrong = float(np.abs(centres - model @ solution).max())
    inside = abs(solution[0]) < 2 * REACH * len(place) and np.hypot(*solution[1:]) < len(place) / 2
    return float(solution[0]) if inside and wrong < max(1.0, 0.02 * len(place)) else None


def _misfits(
    sums: Tensor, angles: Sequence[float], factor: int, centres: NDArray[np.floating[Any]], check: Check
) -> dict[float, float]:
    """Return how badly reduced projections are explained with the axis at each place (in whole pixels)."""
    _, slices, width = sums.shape
    small = F.avg_pool1d(sums, factor) if factor > 1 else sums
    count = small.shape[-1]
    lost = (width - count * factor) / 2  # the reduced detector's middle lies that much before the whole one's
    found = {}
    for centre in centres:
        check()
        beam = ParallelBeam(angles, (slices, count), count, centre=(float(centre) + lost) / factor)
        found[float(centre)] = _unexplained(beam, small, check)
    return found


def _unexplained(beam: ParallelBeam, views: Tensor, check: Check, iterations: int = 12) -> float:
    """Return the squared residual after some steps of conjugate gradients on least squares."""
    residual = views.clone()
    gradient = beam.adjoint(residual, check)
    direction, size = gradient, float(gradient.square().sum())
    for _ in range(iterations):
        step = beam.forward(direction, check)
        length = size / max(float(step.square().sum()), 1e-30)
        residual -= length * step
        gradient = beam.adjoint(residual, check)
        before, size = size, float(gradient.square().sum())
        direction = gradient + (size / max(before, 1e-30)) * direction
    return float(residual.square().sum())


def _lowest(misfits: dict[float, float]) -> float:
    """Return the place of the least misfit, between neighbours by a parabola."""
    places, values = list(misfits), list(misfits.values())
    best = int(np.argmin(values))
    if not 0 < best < len(values) - 1:
        return places[best]
    low, middle, high = values[best - 1 : best + 2]
    bend = low - 2 * middle + high
    shift = 0.5 * (low - high) / bend if bend > 0 else 0.0
    return float(places[best] + shift * (places[best + 1] - places[best]))
