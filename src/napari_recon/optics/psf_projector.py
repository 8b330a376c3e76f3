"""Light-field projection from a measured or computed PSF stack: the same operator, with responses read off the PSF."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from napari_recon.optics.fourier import SpectrumWindow, bicubic_transfer, gaussian_transfer
from napari_recon.optics.lightfield_grid import VolumeGrid
from napari_recon.optics.lightfield_projector import FREQUENCY_CUT, FourierProjector
from napari_recon.optics.psf_convolution import PsfProjector
from napari_recon.optics.view_pairs import ViewPairs

_SUPPORT_ENERGY = 0.995

#: What a light field's optics become: responses per frequency, or convolution where PSF and views share their pixels.
ViewProjector = FourierProjector | PsfProjector


def normalised_psf(psf_vzyx: Tensor) -> Tensor:
    """Return the PSF without negative values, scaled so that views and planes sum to one on average."""
    psf = psf_vzyx.clamp_min(0)
    return psf / psf.sum(dim=(-2, -1)).mean().clamp_min(1e-30)


def psf_shift_of(psf_vzyx: Tensor) -> Tensor:
    """Return the centre of mass (views, planes, 2), y first, in PSF pixels from the centre ((n - 1) / 2)."""
    total = psf_vzyx.sum(dim=(-2, -1)).double().clamp_min(1e-30)
    moments = []
    for axis, other in ((-2, -1), (-1, -2)):
        count = psf_vzyx.shape[axis]
        place = torch.arange(count, dtype=torch.float64) - (count - 1) / 2
        moments.append((psf_vzyx.sum(dim=other).double().cpu() * place).sum(dim=-1) / total.cpu())
    return torch.stack(moments, dim=-1)


def psf_support(psf_vzyx: Tensor, upsampling: float) -> int:
    """Return how far, in light-field pixels, the PSF of any view and plane holds all but half a percent of its light."""
    farthest = 0.0
    for other in (-1, -2):
        profile = psf_vzyx.sum(dim=other).double()
        count = profile.shape[-1]
        share = profile / profile.sum(dim=-1, keepdim=True).clamp_min(1e-30)
        distance = (torch.arange(count, dtype=torch.float64, device=profile.device) - (count - 1) / 2).abs()
        order = torch.argsort(distance)
        reached = share[..., order].cumsum(dim=-1) >= _SUPPORT_ENERGY
        first = reached.double().argmax(dim=-1)
        farthest = max(farthest, float(distance[order][first].max()))
    return math.ceil(farthest / upsampling + 2.0)


def projector_from_psf(
    psf_vzyx: Tensor,
    field_yx: tuple[int, int],
    *,
    upsampling: float,
    voxels_per_pixel: float = 2.0,
    margin: int | None = None,
    extra_sigma_fine: float = 0.0,
    frequency_cut: float = FREQUENCY_CUT,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> ViewProjector:
    """Build the projector of a light field whose PSF is known for every view and plane.

    A PSF sampled at the views' own pixels (``upsampling`` 1) is used as it is; a finer one is first reduced to them.

    Parameters
    ----------
    psf_vzyx : Tensor
        (views, planes, H, W) non-negative, sampled in fine pixels, the point at ((H - 1) / 2, (W - 1) / 2); its values
        are used as they are (see :func:`normalised_psf`).
    field_yx : tuple of int
        Light-field pixels (y, x).
    upsampling : float
        Fine voxels per light-field pixel, S.
    voxels_per_pixel : float
        Solver grid, lateral voxels per light-field pixel.
    margin : int, optional
        Light-field pixels around the field; by default the PSF's support.
    extra_sigma_fine : float
        Additional Gaussian blur, in fine pixels.
    frequency_cut : float
        Highest frequency kept, cycles per light-field pixel.

    Returns
    -------
    FourierProjector or PsfProjector
        Keeps its responses, ``frequencies x views x planes`` complex numbers, in memory.
    """
    device = torch.device(device)
    views, planes = int(psf_vzyx.shape[0]), int(psf_vzyx.shape[1])
    if margin is None:
        margin = psf_support(psf_vzyx, upsampling)
    grid = VolumeGrid((int(field_yx[0]), int(field_yx[1])), planes, voxels_per_pixel, upsampling, margin)
    if upsampling == 1.0 == voxels_per_pixel:
        return PsfProjector(
            psf_vzyx,
            grid.field_yx,
            margin_yx=(margin, margin),
            volume_yx=grid.size_yx,
            blur=extra_sigma_fine,
            dtype=dtype,
            device=device,
        )
    window = SpectrumWindow.below(grid.size_yx, grid.length_yx, frequency_cut)
    response = psf_response(psf_vzyx.to(dtype), window, upsampling).to(device)

    def transfer(frequency: Tensor) -> Tensor:
        return gaussian_transfer(frequency, extra_sigma_fine / upsampling) * bicubic_transfer(frequency)

    def blocks(first_row: int, last_row: int, columns: int) -> Tensor:
        return response[first_row:last_row, :columns].flatten(0, 1).clone()

    transfers = transfer(window.frequencies_y()), transfer(window.frequencies_x())
    projector = FourierProjector(grid, ViewPairs.none(views), window, transfers, blocks, True, dtype, device)
    projector.keep_responses()
    return projector


def psf_response(psf_vzyx: Tensor, window: SpectrumWindow, upsampling: float) -> Tensor:
    """Return the Fourier sum of a PSF at the window's frequencies.

    Returns
    -------
    Tensor
        Real (ky, kx, 2 views, planes): the real parts, then minus the imaginary parts.
    """
    views, planes, height, width = psf_vzyx.shape
    dtype = psf_vzyx.dtype
    angle_y, angle_x = (
        2 * math.pi * frequency[:, None] * (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) / upsampling
        for frequency, n in ((window.frequencies_y(), height), (window.frequencies_x(), width))
    )
    columns = torch.cat([torch.cos(angle_x), torch.sin(angle_x)]).T.to(dtype).to(psf_vzyx.device)
    cos_y, sin_y = (part.to(dtype).to(psf_vzyx.device) for part in (torch.cos(angle_y), torch.sin(angle_y)))
    count_x = window.shape[1]
    response = psf_vzyx.new_empty((*window.shape, 2 * views, planes))
    for view in range(views):
        along_x = torch.matmul(psf_vzyx[view], columns)
        cosine, sine = along_x[..., :count_x], along_x[..., count_x:]
        real = torch.matmul(cos_y, cosine) - torch.matmul(sin_y, sine)
        minus_imaginary = torch.matmul(sin_y, cosine) + torch.matmul(cos_y, sine)
        response[:, :, view] = real.permute(1, 2, 0)
        response[:, :, views + view] = minus_imaginary.permute(1, 2, 0)
    return response
