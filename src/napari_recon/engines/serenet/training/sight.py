"""What the views see of a volume, with gradients: through the geometry or the full PSF, and as published (torch)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.optics.lightfield_projector import projector_from_shift
from napari_recon.optics.psf_projector import ViewProjector, projector_from_psf, psf_support
from napari_recon.optics.support import operator_support

_CACHE_BYTES = 1 << 30


class Sight:
    """Views of volumes whose lateral extent is the views' own, or `margin` light-field pixels more on each side.

    Parameters
    ----------
    projector : FourierProjector or PsfProjector
        On the fine grid; its own margin keeps light that leaves one edge from coming back at the other.
    margin : int
        Light-field pixels that volumes are larger than the views on each side, at most the projector's.
    reach_vz2 : Tensor
        (views, planes, 2) displacement (y, x) in light-field pixels, which says what pixels see only the volume.
    blur : float
        Light-field pixels that a point is blurred by on each side.
    """

    def __init__(self, projector: ViewProjector, margin: int, reach_vz2: Tensor, blur: float) -> None:
        grid = projector.grid
        self._projector = projector
        self._corner = round((grid.margin - margin) * grid.voxels_per_pixel)
        self._size = grid.size_yx
        self.explained = _explained(grid.field_yx, reach_vz2, blur - margin)

    @property
    def views_shape(self) -> tuple[int, int, int]:
        """Views, y, x."""
        return self._projector.views_shape

    def __call__(self, volume: Tensor) -> Tensor:
        """Return the views (..., V, Y, X) of volumes (..., Z, Y, X) on the fine grid."""
        pads = [n for size, own in zip(reversed(self._size), reversed(volume.shape[-2:]), strict=True)
                for n in (self._corner, size - own - self._corner)]  # fmt: skip
        return self._projector.forward(F.pad(volume, pads))

    @classmethod
    def of_shift(
        cls,
        psf_shift_vz2: Tensor,
        field_yx: tuple[int, int],
        *,
        upsampling: float,
        scanning: int,
        sigma_fine: float,
        margin: int = 0,
        device: torch.device | str = "cpu",
    ) -> Sight:
        """Return what a microscope of rays sees: every plane displaced as `psf_shift_vz2` says, blurred by a Gaussian."""
        reach = operator_support(float(psf_shift_vz2.abs().max()), upsampling, sigma_fine)
        around = -(-max(margin, margin + reach // 2 + 1) // scanning) * scanning
        projector = projector_from_shift(
            psf_shift_vz2, field_yx, upsampling=upsampling, sigma_fine=sigma_fine, voxels_per_pixel=upsampling,
            margin=around, cache_bytes=_CACHE_BYTES, device=device,
        )  # fmt: skip
        return cls(projector, margin, psf_shift_vz2.double() / upsampling, 1 + 2 * sigma_fine / upsampling)

    @classmethod
    def of_psf(
        cls,
        psf_vzyx: Tensor,
        psf_shift_vz2: Tensor,
        field_yx: tuple[int, int],
        *,
        upsampling: float,
        scanning: int,
        margin: int = 0,
        device: torch.device | str = "cpu",
    ) -> Sight:
        """Return what a microscope with that PSF, sampled in fine pixels, sees."""
        around = -(-(margin + psf_support(psf_vzyx, upsampling) // 2 + 1) // scanning) * scanning
        projector = projector_from_psf(
            psf_vzyx, field_yx, upsampling=upsampling, voxels_per_pixel=upsampling, margin=around, device=device
        )
        return cls(projector, margin, psf_shift_vz2.double() / upsampling, 2.0)


def published_views(volume: Tensor, psf_vzyx: Tensor, field_yx: tuple[int, int]) -> Tensor:
    """Return views (B, V, *field_yx) of volumes (B, Z, Y, X) as the published training makes them.

    Planes are convolved with the PSF ("same", zeros outside), summed, and resized bilinearly.
    """
    return F.interpolate(convolved_sum(volume, psf_vzyx), size=field_yx, mode="bilinear", align_corners=False)


def convolved_sum(volume: Tensor, psf_vzyx: Tensor) -> Tensor:
    """Return the sum over planes of each plane's linear convolution with a view's PSF: (B, V, Y, X)."""
    size, kernel = volume.shape[-2:], psf_vzyx.shape[-2:]
    full = [n + k - 1 for n, k in zip(size, kernel, strict=True)]
    # the published order pads even volumes to odd ones behind, so the middle of even PSFs rounds the same way
    start = [k // 2 for k in kernel]
    planes = torch.fft.rfft2(volume, full)
    views = [torch.fft.irfft2((planes * torch.fft.rfft2(psf, full)).sum(dim=1), full) for psf in psf_vzyx]
    cut = tuple(slice(at, at + n) for at, n in zip(start, size, strict=True))
    return torch.stack([view[:, cut[0], cut[1]] for view in views], dim=1)


def _explained(field_yx: tuple[int, int], reach_vz2: Tensor, blur: float) -> Tensor:
    """Return which pixels (views, Y, X) see nothing beyond the volume, whatever the depth."""
    inside = []
    for axis, size in enumerate(field_yx):
        place = torch.arange(size, dtype=torch.float64) + 0.5
        low = reach_vz2[..., axis].amax(dim=1).clamp_min(0)[:, None] + blur
        high = size + reach_vz2[..., axis].amin(dim=1).clamp_max(0)[:, None] - blur
        inside.append((place >= low) & (place <= high))
    return inside[0][:, :, None] & inside[1][:, None, :]
