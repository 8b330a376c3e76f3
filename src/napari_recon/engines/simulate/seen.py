"""What the views of a light field see of a volume: by displaced planes, or through a whole PSF (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.simulate.geometry import Rig
from napari_recon.engines.simulate.lightfield import Imaging, pieces_of
from napari_recon.optics.psf_projector import projector_from_psf

Check = Callable[[], None]
Image = NDArray[np.float32]


class Sight(Protocol):
    """Optics of a light field: a volume on the rig's canvas in, noise-free views out."""

    def centre(self, volume_zyx: Tensor, check: Check) -> Image:
        """Return the centre view (Y, X)."""

    def views(self, volume_zyx: Tensor, check: Check) -> Iterator[Image]:
        """Yield the lit views in the order of the rig's pages."""


class ShiftSight:
    """Every view sums the planes, each displaced by the view's shift at its depth; see `Imaging`."""

    def __init__(self, rig: Rig, psf_sigma: float) -> None:
        self._rig = rig
        self._imaging = Imaging(rig.canvas_zyx, rig.geometry.upsampling, psf_sigma, rig.margin)

    def centre(self, volume_zyx: Tensor, check: Check) -> Image:
        """See `Sight.centre`."""
        shift = self._rig.shift_vz2[self._rig.centre]
        return np.asarray(self._imaging.view(pieces_of(volume_zyx, check), shift, check).numpy())

    def views(self, volume_zyx: Tensor, check: Check) -> Iterator[Image]:
        """See `Sight.views`."""
        pieces = pieces_of(volume_zyx, check)
        for shift in self._rig.shift_vz2:
            check()
            yield self._imaging.view(pieces, shift, check).numpy()


class PsfSight:
    """Every view sums the planes, each convolved with the view's PSF at its depth and reduced to the view's pixels.

    Parameters
    ----------
    rig : Rig
    psf_vzyx : Tensor
        float32 (views, planes, H, W), without negative values; a mean view that sums to 1 keeps the light.
    field_yx : tuple of int
        Light-field pixels.
    device : str
    """

    def __init__(self, rig: Rig, psf_vzyx: Tensor, field_yx: tuple[int, int], device: str = "cpu") -> None:
        self._rig, self._device = rig, device
        scale = rig.geometry.upsampling
        self._projector = projector_from_psf(
            psf_vzyx, field_yx, upsampling=scale, voxels_per_pixel=scale, margin=rig.margin, device=device
        )

    def centre(self, volume_zyx: Tensor, check: Check) -> Image:
        """See `Sight.centre`."""
        return list(self.views(volume_zyx, check))[self._rig.centre]

    def views(self, volume_zyx: Tensor, check: Check) -> Iterator[Image]:
        """See `Sight.views`."""
        _, height, width = self._projector.grid.shape  # rounded up for fast transforms
        whole = F.pad(volume_zyx.to(self._device), (0, width - volume_zyx.shape[2], 0, height - volume_zyx.shape[1]))
        yield from self._projector.forward(whole, check).clamp_min(0).cpu().numpy()
