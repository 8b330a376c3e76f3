"""First estimates for the iteration: flat, the refocused light field, or a volume from elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.engines.deconvolution.richardson_lucy import Projector
from napari_recon.optics.lightfield_grid import VolumeGrid

#: Part of its mean added to a given volume: Richardson-Lucy can't raise a voxel that is zero.
PEDESTAL = 0.02


def refocused(
    views_vyx: Tensor, psf_shift_vz2: Tensor, grid: VolumeGrid, background: float, check: Callable[[], None]
) -> Tensor:
    """Return the geometric mean of the refocused views on the solver's grid (Z, Y, X).

    Every view is sampled where a point of each plane appears in it; views that don't see the point are left out.
    """
    height, width = grid.field_yx
    coarse = VolumeGrid(grid.field_yx, grid.planes, 1.0, grid.upsampling, grid.margin)
    y, x = (coarse.centres(axis).to(torch.float32) for axis in (0, 1))
    floor = 0.01 * float((views_vyx - background).clamp_min(0).mean()) + 1e-6
    logarithm = views_vyx.new_zeros(coarse.shape)
    seen = views_vyx.new_zeros(coarse.shape)
    for view, shift in zip(views_vyx, psf_shift_vz2.to(torch.float32) / grid.upsampling, strict=True):
        rows = ((y + shift[:, :1]) * (2 / height) - 1)[:, :, None].expand(coarse.shape)
        columns = ((x + shift[:, 1:]) * (2 / width) - 1)[:, None, :].expand(coarse.shape)
        inside = ((rows.abs() <= 1) & (columns.abs() <= 1)).to(view.dtype).to(view.device)
        places = torch.stack([columns, rows], dim=-1).to(view.device)
        signal = (view - background).clamp_min(0)[None, None].expand(grid.planes, 1, height, width)
        sampled = F.grid_sample(signal, places, padding_mode="border", align_corners=False)[:, 0]
        logarithm += torch.log(sampled + floor) * inside
        seen += inside
        check()
    mean = torch.exp(logarithm / seen.clamp_min(1)) * (seen > 0)
    y_fine, x_fine = grid.centres(0), grid.centres(1)
    return coarse.sample(mean, y_fine, x_fine)


def prepared(
    volume_zyx: Tensor, seen: Tensor, projector: Projector, data: Tensor, background: float, check: Callable[[], None]
) -> Tensor:
    """Return a given volume made fit to start from: no zeros where something is seen, and the light of the data."""
    volume = volume_zyx.clamp_min(0)
    field = volume[volume > 0]
    level = field.mean() if field.numel() else volume.new_tensor(1.0)
    volume = (volume + PEDESTAL * level) * seen
    predicted = projector.forward(volume, check).sum()
    wanted = (data - background).sum().clamp_min(1e-6)
    scaled: Tensor = volume * (wanted / predicted.clamp_min(1e-12))
    return scaled
