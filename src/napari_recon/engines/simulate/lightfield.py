"""How a light field forms: every view sums the depth planes, each displaced by that view's shift at that depth.

A view is the sum over planes of the bilinearly displaced plane, blurred by a Gaussian and reduced to light-field
pixels by antialiased bicubic resampling: the formula of the simulated light fields networks are checked on
(doi 10.1038/s41592-025-02698-z), with geometry instead of wave optics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Check = Callable[[], None]
_CUBIC = -0.5  # sharpness of the antialiased bicubic kernel, R. Keys 1981, doi 10.1109/TASSP.1981.1163711


class Imaging:
    """The optics of one light field: volume in, views out.

    Parameters
    ----------
    volume_shape_zyx : tuple of int
        Shape of the volumes, margins included.
    upsampling : float
        Fine pixels per light-field pixel, S.
    psf_sigma : float
        Blur in fine pixels.
    margin : int
        Light-field pixels around the field on each side that the volume covers; ``margin * upsampling`` is whole.
    """

    def __init__(
        self, volume_shape_zyx: tuple[int, int, int], upsampling: float, psf_sigma: float = 2.0, margin: int = 0
    ) -> None:
        _, size_y, size_x = volume_shape_zyx
        self._rows = torch.from_numpy(_sampling_matrix(size_y, upsampling, psf_sigma, margin))
        self._columns = torch.from_numpy(_sampling_matrix(size_x, upsampling, psf_sigma, margin))
        self.view_shape = (self._rows.shape[0], self._columns.shape[0])

    def view(self, volume_zyx: Tensor, shift_z2: NDArray[np.floating], check: Check = lambda: None) -> Tensor:
        """Return one view (Y, X) of `volume_zyx`.

        Parameters
        ----------
        volume_zyx : Tensor
            float32 (Z, Y, X) on the fine grid.
        shift_z2 : numpy.ndarray
            (Z, 2) displacement (y, x) in fine pixels: a point at (y, x) appears at (y, x) + shift.
        check : callable
            Called now and then; may raise to stop.
        """
        total = torch.zeros_like(volume_zyx[0])
        for number, (plane, (shift_y, shift_x)) in enumerate(zip(volume_zyx, shift_z2.tolist(), strict=True)):
            if number % 16 == 0:
                check()
            _add_displaced(total, plane, shift_y, shift_x)
        return self._rows @ total @ self._columns.T


def simulate_views(
    volume_zyx: NDArray[np.floating] | Tensor,
    psf_shift_vz2: NDArray[np.floating] | Tensor,
    *,
    upsampling: float,
    psf_sigma: float = 2.0,
    margin: int = 0,
    check: Check = lambda: None,
) -> NDArray[np.float32]:
    """Return the noise-free views (V, Y, X) of a volume.

    Parameters
    ----------
    volume_zyx : array
        (Z, Y, X) on the fine grid, `margin` light-field pixels larger than the field on each side.
    psf_shift_vz2 : array
        (V, Z, 2) displacement (y, x) in fine pixels: a point at (y, x) appears in the view at (y, x) + shift.
    upsampling : float
        Fine pixels per light-field pixel (13/3 for 13 pixels per microlens and 3x3 scanning).
    psf_sigma : float
        Gaussian blur in fine pixels.
    margin : int
        Light-field pixels; ``margin * upsampling`` must be whole.

    Returns
    -------
    numpy.ndarray
        float32; a light-field pixel holds the mean of the fine pixels it covers, so the sum of a view times
        ``upsampling ** 2`` is the sum of what it sees.
    """
    volume = torch.as_tensor(volume_zyx, dtype=torch.float32)
    shift = np.asarray(psf_shift_vz2, dtype=np.float64)
    depth, size_y, size_x = volume.shape
    imaging = Imaging((depth, size_y, size_x), upsampling, psf_sigma, margin)
    return np.stack([imaging.view(volume, one, check).numpy() for one in shift])


def record(
    clean_yx: NDArray[np.floating],
    rng: np.random.Generator,
    *,
    photon_noise: bool = True,
    gain: float = 1.0,
    background: float = 0.0,
    read_noise: float = 3.0,
) -> NDArray[np.uint16]:
    """Return what a camera records of an image given in photons, as uint16 counts."""
    photons = np.maximum(clean_yx, 0.0).astype(np.float64)
    counts = gain * (rng.poisson(photons) if photon_noise else photons) + background
    if read_noise:
        counts = counts + rng.normal(0.0, read_noise, photons.shape)
    recorded: NDArray[np.uint16] = np.clip(np.round(counts), 0, 65535).astype(np.uint16)
    return recorded


def _add_displaced(total: Tensor, plane: Tensor, shift_y: float, shift_x: float) -> None:
    """Add `plane` displaced by a fractional shift to `total`; what leaves the canvas is lost."""
    whole_y, whole_x = math.floor(shift_y), math.floor(shift_x)
    part_y, part_x = shift_y - whole_y, shift_x - whole_x
    for (step_y, weight_y), (step_x, weight_x) in _products(part_y, part_x):
        to_y, from_y = _overlap(whole_y + step_y, plane.shape[0])
        to_x, from_x = _overlap(whole_x + step_x, plane.shape[1])
        total[to_y, to_x].add_(plane[from_y, from_x], alpha=weight_y * weight_x)


def _products(part_y: float, part_x: float) -> Iterator[tuple[tuple[int, float], tuple[int, float]]]:
    for y in ((0, 1 - part_y), (1, part_y)):
        for x in ((0, 1 - part_x), (1, part_x)):
            if y[1] and x[1]:
                yield y, x


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    start, stop = min(max(shift, 0), size), max(min(size + shift, size), 0)
    stop = max(stop, start)
    return slice(start, stop), slice(start - shift, stop - shift) if stop > start else slice(0, 0)


def _sampling_matrix(size: int, upsampling: float, sigma: float, margin: int) -> NDArray[np.float32]:
    """Return blur and reduction along one axis as a matrix (light-field pixels of the field, fine pixels)."""
    count = round(size / upsampling) - 2 * margin
    fine = np.arange(size)
    centres = (np.arange(count) + margin + 0.5) * upsampling - 0.5
    reduce = _bicubic((fine - centres[:, None]) / upsampling)
    reduce /= reduce.sum(axis=1, keepdims=True)
    if sigma > 0:
        distance = fine - fine[:, None]
        blur = np.where(np.abs(distance) <= 4 * sigma + 0.5, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
        kernel = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
        reduce = reduce @ (blur / np.exp(-0.5 * (kernel / sigma) ** 2).sum())
    return reduce.astype(np.float32)


def _bicubic(position: NDArray[np.floating]) -> NDArray[np.float64]:
    t = np.abs(position)
    inner = ((_CUBIC + 2) * t - (_CUBIC + 3)) * t**2 + 1
    outer = ((_CUBIC * t - 5 * _CUBIC) * t + 8 * _CUBIC) * t - 4 * _CUBIC
    return np.where(t < 1, inner, np.where(t < 2, outer, 0.0))
