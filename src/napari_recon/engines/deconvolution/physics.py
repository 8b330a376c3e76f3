"""The optics of one light field as torch tensors, and the projectors made from them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.deconvolution.setup import RESPONSE_BYTES, Setup
from napari_recon.engines.deconvolution.view_positions import Scale
from napari_recon.optics.lightfield_projector import FREQUENCY_CUT, projector_from_shift
from napari_recon.optics.psf_checks import mended_psf
from napari_recon.optics.psf_projector import (
    ViewProjector,
    normalised_psf,
    projector_from_psf,
    psf_shift_of,
    psf_support,
)


class Physics:
    """Makes projectors for windows of a light field.

    Parameters
    ----------
    setup : Setup
    psf_vzyx : ndarray or None
        The PSF stack, all planes; used instead of the set-up's psf_shift.
    device : str
    cache_bytes : int
        Largest size of kept response matrices (psf_shift only; those of a PSF stack are always kept).

    Attributes
    ----------
    said : tuple of str
        What had to be mended of the PSF.
    """

    def __init__(
        self, setup: Setup, psf_vzyx: NDArray[np.float32] | None, device: str, cache_bytes: int = RESPONSE_BYTES
    ) -> None:
        self.setup, self.device, self._cache_bytes = setup, torch.device(device), cache_bytes
        self._psf: Tensor | None = None
        self.said: tuple[str, ...] = ()
        if psf_vzyx is not None:
            first, last = setup.psf_planes
            psf, self.said = mended_psf(psf_vzyx[:, first:last])
            self._psf = normalised_psf(torch.from_numpy(np.array(psf, order="C")))
            self.psf_shift_vz2 = psf_shift_of(self._psf)
            self.halo = min(setup.halo, psf_support(self._psf, setup.upsampling) + setup.wander)
        else:
            self.psf_shift_vz2 = torch.from_numpy(np.asarray(setup.psf_shift, dtype=np.float64))
            self.halo = setup.halo

    @property
    def slope_v2(self) -> Tensor:
        """Displacement (views, 2) per plane in light-field pixels, fitted over all planes."""
        planes = self.psf_shift_vz2.shape[1]
        place = torch.arange(planes, dtype=torch.float64) - (planes - 1) / 2
        energy = float((place * place).sum()) or 1.0
        return torch.einsum("vzc,z->vc", self.psf_shift_vz2, place) / energy / self.setup.upsampling

    def projector(self, field_yx: tuple[int, int], voxels_per_pixel: float, scale: Scale | None = None) -> ViewProjector:
        """Return the projector of a window of ``field_yx`` pixels; ``scale`` adds blur and cuts frequencies."""
        setup = self.setup
        blur = scale.blur * setup.upsampling if scale else 0.0
        cut = scale.frequency_cut if scale else FREQUENCY_CUT
        if self._psf is not None:
            return projector_from_psf(
                self._psf,
                field_yx,
                upsampling=setup.upsampling,
                voxels_per_pixel=voxels_per_pixel,
                margin=self.halo,
                extra_sigma_fine=blur,
                frequency_cut=cut,
                device=self.device,
            )
        return projector_from_shift(
            self.psf_shift_vz2,
            field_yx,
            upsampling=setup.upsampling,
            sigma_fine=math.hypot(setup.sigma_fine, blur),
            voxels_per_pixel=voxels_per_pixel,
            margin=self.halo,
            cache_bytes=self._cache_bytes,
            frequency_cut=cut,
            device=self.device,
        )
