"""Digital refocus: every view shifted to every depth, for any part of the field (torch).

``refocused[c, z](y, x) = view_c(y + psf_shift[c, z, 0] / S, x + psf_shift[c, z, 1] / S)``, bilinear and zero outside the
field: the "depth decomposition" of Lu, Jin, Chen et al., Nature Methods 2025, doi 10.1038/s41592-025-02698-z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from napari_recon.optics.resize import Taps, resize_taps

_STEPS_PER_PIXEL = 2**14
"""Shifts are rounded to this grid (3e-5 px). Together with crops of power-of-two size it makes sampling coordinates exact
in float32, so a part of the field has the same values whatever part it was computed in."""


def shift_of(psf_shift_vz2: torch.Tensor, upsampling: float) -> torch.Tensor:
    """Return a psf_shift (fine pixels) in light-field pixels, on the grid of exact coordinates, float64."""
    pixels = psf_shift_vz2.to(torch.float64) / upsampling
    return torch.round(pixels * _STEPS_PER_PIXEL) / _STEPS_PER_PIXEL


class Refocuser:
    """Refocuses parts of one light field.

    Parameters
    ----------
    views_vyx : torch.Tensor
        float32, shape (views, h, w), on the device to work on.
    psf_shift_vz2 : torch.Tensor
        Shape (views, planes, 2), (y, x) in fine pixels.
    upsampling : float
        Fine pixels per light-field pixel.
    """

    def __init__(self, views_vyx: torch.Tensor, psf_shift_vz2: torch.Tensor, upsampling: float) -> None:
        self._views = views_vyx
        self._shift = shift_of(psf_shift_vz2, upsampling)
        low = self._shift.amin(dim=(0, 1)).floor().to(torch.int64).tolist()
        high = self._shift.amax(dim=(0, 1)).floor().to(torch.int64).tolist()
        self._reach = tuple((int(a), int(b) + 1) for a, b in zip(low, high, strict=True))

    @property
    def field_yx(self) -> tuple[int, int]:
        """Light-field pixels of the whole field."""
        return self._views.shape[-2], self._views.shape[-1]

    def part(self, z: tuple[int, int], y: tuple[int, int], x: tuple[int, int]) -> torch.Tensor:
        """Return the refocused planes ``z`` of the light-field pixels ``y``, ``x`` (half-open; may leave the field).

        Returns
        -------
        torch.Tensor
            float32, shape (1, views, planes, height, width), contiguous as channels_last_3d.
        """
        planes, height, width = z[1] - z[0], y[1] - y[0], x[1] - x[0]
        source = self._source(y, x)
        shift = self._shift[:, z[0] : z[1]]
        rows = self._coordinates(shift[..., 0], height, self._reach[0][0], source.shape[-2])
        columns = self._coordinates(shift[..., 1], width, self._reach[1][0], source.shape[-1])
        views = source.shape[0]
        grid = torch.empty((views, planes, height, width, 2), device=source.device)
        grid[..., 0] = columns.to(source.device)[:, :, None, :]
        grid[..., 1] = rows.to(source.device)[:, :, :, None]
        sampled = F.grid_sample(
            source, grid.view(views, planes * height, width, 2), mode="bilinear", padding_mode="zeros", align_corners=False
        )
        stacked = sampled.view(1, views, planes, height, width)
        return stacked.contiguous(memory_format=torch.channels_last_3d)

    def _source(self, y: tuple[int, int], x: tuple[int, int]) -> torch.Tensor:
        """Return the views around ``y``, ``x``, zero outside the field, padded to powers of two: (views, 1, H, W)."""
        starts, sizes = [], []
        for (lo, hi), (first, last) in zip((y, x), self._reach, strict=True):
            starts.append(lo + first)
            sizes.append(1 << math.ceil(math.log2(hi + last + 1 - (lo + first))))
        source = torch.zeros((self._views.shape[0], 1, *sizes), dtype=torch.float32, device=self._views.device)
        inside: list[Sequence[int]] = []
        for start, size, extent in zip(starts, sizes, self._views.shape[-2:], strict=True):
            lo, hi = max(start, 0), max(min(start + size, extent), max(start, 0))
            inside.append((lo, hi, lo - start, hi - start))
        (y0, y1, ty0, ty1), (x0, x1, tx0, tx1) = inside
        source[:, 0, ty0:ty1, tx0:tx1] = self._views[:, y0:y1, x0:x1]
        return source

    @staticmethod
    def _coordinates(shift_vz: torch.Tensor, count: int, first: int, size: int) -> torch.Tensor:
        """Return normalised grid_sample coordinates, shape (views, planes, count), float32."""
        index = torch.arange(count, dtype=torch.float64) - first
        position = shift_vz[..., None] + index
        return ((2 * position + 1) / size - 1).to(torch.float32)


@torch.inference_mode()
def combined(
    refocuser: Refocuser,
    z: tuple[int, int],
    y: tuple[int, int],
    x: tuple[int, int],
    volume_yx: tuple[int, int],
    method: str = "mean",
) -> torch.Tensor:
    """Return refocused planes with the views combined, resized bilinearly to the fine grid.

    Parameters
    ----------
    refocuser : Refocuser
    z, y, x : (int, int)
        Part of the volume, half-open.
    volume_yx : (int, int)
        Lateral size of the whole volume.
    method : str
        ``"mean"``, or ``"geometric"``: ``exp(mean(log(max(view, 0) + 0.001)))``.

    Returns
    -------
    torch.Tensor
        float32, shape (z1 - z0, y1 - y0, x1 - x0).
    """
    sizes = refocuser.field_yx
    taps = [resize_taps(bounds, size, n) for bounds, size, n in zip((y, x), volume_yx, sizes, strict=True)]
    reads = [t.bounds for t in taps]
    views = refocuser.part(z, reads[0], reads[1])[0]
    planes = views.mean(dim=0) if method == "mean" else views.clamp(min=0).add_(1e-3).log_().mean(dim=0).exp_()
    for dim, tap, read in zip((1, 2), taps, reads, strict=True):
        planes = resized(planes, dim, tap, read[0])
    return planes


def resized(planes: torch.Tensor, dim: int, taps: Taps, offset: int = 0) -> torch.Tensor:
    """Resize one axis of (z, y, x); `offset` is the sample number of the first one present."""
    shape = [1, 1, 1]
    shape[dim] = -1
    low, high = (torch.from_numpy(index - offset).to(planes.device) for index in (taps.low, taps.high))
    weight = torch.from_numpy(taps.weight).to(planes.device).view(shape)
    return torch.lerp(planes.index_select(dim, low), planes.index_select(dim, high), weight)
