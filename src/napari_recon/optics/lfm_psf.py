"""Point spread functions of a light-field microscope's views, from the Debye integral of the objective.

The wave of a point in the image plane is the Debye integral; written over spatial frequencies instead of angles it is one
Fourier transform of the pupil with the defocus phase. A microlens cuts a square out of this wave and the pixel (u, v)
behind it measures one spatial frequency of the piece. So a view's PSF, as a function of the lens' place, is the squared
modulus of the wave convolved with the lens' aperture modulated to the pixel's frequency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from napari_recon.optics.lfm_microscope import LfmMicroscope
from napari_recon.optics.support import next_smooth_size

#: Complex samples transformed together.
BATCH = 1 << 21


def lfm_psf(
    microscope: LfmMicroscope,
    pages: tuple[int, ...],
    depths_um: Sequence[float],
    radius: int,
    *,
    subsamples: int = 0,
    device: torch.device | str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield number and PSF (views, 2 radius + 1, 2 radius + 1), float64, of each depth.

    Parameters
    ----------
    microscope : LfmMicroscope
    pages : tuple of int
        Views, as pages ``u nnum + v``.
    depths_um : sequence of float
        Positions of the point along the axis.
    radius : int
        Half size of the PSFs in fine pixels.
    subsamples : int
        Directions per axis in which the light of a pixel is summed; 0 takes `LfmMicroscope.directions_per_pixel`.
    device : torch.device or str
    check : callable
        Called between pieces of work; may raise to stop.

    Notes
    -----
    Values are the part of the light within `LfmMicroscope.widest_na` that a fine displacement of the point brings into a
    view; the light of a view is the same at all depths.
    """
    subsamples = subsamples or microscope.directions_per_pixel
    depths = np.asarray(depths_um, dtype=np.float64)
    reach = max(microscope.domain_pixels(pages, depths), radius)
    size = next_smooth_size(2 * reach + 1)
    widest = microscope.widest_na(pages)
    finer = max(1, math.ceil(2 * widest * microscope.fine_pixel_um / microscope.wavelength_um))
    samples, step = size * finer, microscope.fine_pixel_um / finer
    frequency = torch.fft.fftfreq(samples, step, dtype=torch.float64)
    square = frequency[:, None] ** 2 + frequency[None, :] ** 2
    pupil, height = _pupil(microscope, square, widest)
    energy = float((pupil**2).sum())
    # the light of all lens places and directions is that of the wave, times these
    share = microscope.na_per_pixel / microscope.wavelength_um * microscope.lens_um / subsamples
    scale = (share * samples) ** 2 / energy / finer**2
    windows = _windows(microscope, pages, frequency, subsamples)
    place = torch.arange(-radius, radius + 1) * finer % samples
    batch = max(1, BATCH // samples**2)
    for number, depth in enumerate(depths.tolist()):
        turn = height * (2 * math.pi * depth)
        wave = torch.complex(pupil * torch.cos(turn), pupil * torch.sin(turn)).to(torch.complex64).to(device)
        images = torch.zeros(len(pages), 2 * radius + 1, 2 * radius + 1, dtype=torch.float64, device=device)
        for first in range(0, len(windows), batch):
            part = windows[first : first + batch]
            along_y = torch.stack([y for _, y, _ in part]).to(torch.float32).to(device)
            along_x = torch.stack([x for _, _, x in part]).to(torch.float32).to(device)
            pieces = torch.fft.ifft2(wave * along_y[:, :, None] * along_x[:, None, :])
            pieces = pieces[:, place.to(device)][:, :, place.to(device)]
            light = (pieces.real.square() + pieces.imag.square()).double()
            images.index_add_(0, torch.tensor([view for view, _, _ in part], device=device), light)
            check()
        yield number, images * scale


def _pupil(microscope: LfmMicroscope, square: Tensor, widest: float) -> tuple[Tensor, Tensor]:
    """Return amplitude and axial frequency over the plane of squared spatial frequencies.

    An isotropic emitter and the sine condition give the amplitude ``1 / sqrt(cos)`` (the light per frequency is that per
    solid angle divided by the cosine).
    """
    inside = square <= (widest / microscope.wavelength_um) ** 2
    longest = (microscope.medium_index / microscope.wavelength_um) ** 2
    height = torch.sqrt(torch.where(inside, longest - square, longest))
    amplitude = torch.where(inside, (math.sqrt(longest) / height).sqrt(), 0.0)
    return amplitude, height


def _windows(
    microscope: LfmMicroscope, pages: tuple[int, ...], frequency: Tensor, subsamples: int
) -> list[tuple[int, Tensor, Tensor]]:
    """Return (view, window along y, window along x) of every direction that is summed."""
    middle = microscope.directions(pages)
    part = ((np.arange(subsamples) + 0.5) / subsamples - 0.5).tolist()
    centre = microscope.na_per_pixel / microscope.wavelength_um

    def window(direction: float) -> Tensor:
        along: Tensor = torch.special.sinc((frequency - direction * centre) * microscope.lens_um)
        return along

    return [
        (view, window(float(y) + dy), window(float(x) + dx))
        for view, (y, x) in enumerate(middle)
        for dy in part
        for dx in part
    ]
