"""Views and PSF of one scene made ready for a fit: counts, noise, projectors."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.deconvolution.noise import Dark, counts_scale, estimate_dark, measured_read_variance
from napari_recon.engines.deconvolution.setup import REFINED_VIEWS_HALO
from napari_recon.engines.deconvolution.view_positions import Scale
from napari_recon.engines.lightfield_inr.fast.psf_width import sharpest_variance, widened_psf
from napari_recon.engines.lightfield_inr.fast.pupil import Pupil
from napari_recon.optics.lightfield_projector import FREQUENCY_CUT
from napari_recon.optics.psf_convolution import PsfProjector
from napari_recon.optics.psf_projector import normalised_psf, projector_from_psf, psf_shift_of, psf_support


@dataclass(frozen=True)
class Counts:
    """Views as photon counts.

    Attributes
    ----------
    views : Tensor
        (v, y, x) without the camera's offset.
    scale : float
        Counts per unit of the data.
    background, read_variance : float
        Light that no voxel explains; variance besides that of light. Counts, squared counts.
    offset : float
        What the camera added, in counts.
    """

    views: Tensor
    scale: float
    background: float
    read_variance: float
    offset: float = 0.0

    @classmethod
    def of(cls, views_vyx: NDArray[np.float32], device: torch.device) -> Counts:
        """Judge scale, offset and noise from the views' darkest places."""
        views = np.ascontiguousarray(views_vyx, dtype=np.float32)
        dark = estimate_dark(views)
        scale = counts_scale(views - np.float32(min(dark.level, 0.0)))
        dark = Dark(dark.level * scale, dark.variance * scale**2)
        offset, light = dark.split(dark.level)
        counts = torch.from_numpy(views * np.float32(scale) - np.float32(offset)).to(device)
        return cls(counts, scale, light, measured_read_variance(dark, light), offset)


class Optics:
    """Makes projectors whose volume reaches as far around the field as its light does.

    Parameters
    ----------
    psf_vzyx : ndarray
        Mended, see `psf_checks.mended_psf`.
    field_yx : tuple of int
    device : torch.device
    moving : bool
        Leave room for views that lie elsewhere than the PSF says.

    Attributes
    ----------
    width : float
        Of the PSF, relative to the one that was given.
    waves : Tensor or None
        Aberrations (views, 3) besides those of the PSF that was given, see `Pupil`.
    """

    width = 1.0
    waves: Tensor | None = None
    _pupil: Pupil | None = None

    def __init__(
        self, psf_vzyx: NDArray[np.float32], field_yx: tuple[int, int], device: torch.device, moving: bool = False
    ) -> None:
        self._psf = normalised_psf(torch.from_numpy(np.array(psf_vzyx, order="C")))
        self._field, self._device = field_yx, device
        self.margin = psf_support(self._psf, 1.0) + (REFINED_VIEWS_HALO if moving else 0)
        self.shift_vz2 = psf_shift_of(self._psf)

    def widened(self, width: float, offset_v2: Tensor | None = None) -> Optics:
        """Return optics of the same volume with a PSF whose sharpest planes are so many times as wide; once only.

        All views and planes get the same Gaussian more, or less; `offset_v2` also displaces the views.
        """
        other = copy(self)
        other.width, other._pupil = width, None
        other._psf = widened_psf(self._psf, sharpest_variance(self._psf) * (width**2 - 1), offset_v2)
        return other

    @property
    def pupil(self) -> Pupil:
        """The parts of a pupil that the PSF without `waves` looks like."""
        if self._pupil is None:
            self._pupil = Pupil(self._psf)
        return self._pupil

    def aberrated(self, waves_v3: Tensor) -> Optics:
        """Return optics of the same volume whose views have these aberrations, instead of any others."""
        other, pupil = copy(self), self.pupil
        other.waves, other._pupil, other._psf = waves_v3, pupil, pupil.aberrated(waves_v3)
        return other

    def slopes(self, waves_v3: Tensor) -> Iterator[PsfProjector]:
        """Yield projectors to what the views change by per wave of each kind of aberration."""
        for psf in self.pupil.slopes(waves_v3):
            yield self._projector_of(psf)

    @property
    def brightness_v(self) -> Tensor:
        """Sum of each view's PSF over planes and pixels."""
        return self._psf.sum(dim=(-3, -2, -1))

    @property
    def slope_v2(self) -> Tensor:
        """Displacement (views, 2) per plane in pixels, fitted over all planes."""
        planes = self.shift_vz2.shape[1]
        place = torch.arange(planes, dtype=torch.float64) - (planes - 1) / 2
        return torch.einsum("vzc,z->vc", self.shift_vz2, place) / max(float(place.square().sum()), 1.0)

    def projector(self, views: list[int] | None = None, scale: Scale | None = None) -> PsfProjector:
        """Return the projector to all views or some; `scale` adds blur."""
        return self._projector_of(self._psf if views is None else self._psf[views], scale)

    def _projector_of(self, psf_vzyx: Tensor, scale: Scale | None = None) -> PsfProjector:
        made = projector_from_psf(
            psf_vzyx,
            self._field,
            upsampling=1.0,
            voxels_per_pixel=1.0,
            margin=self.margin,
            extra_sigma_fine=scale.blur if scale else 0.0,
            frequency_cut=scale.frequency_cut if scale else FREQUENCY_CUT,
            device=self._device,
        )
        assert isinstance(made, PsfProjector)
        return made

    def inner(self, volume: Tensor) -> Tensor:
        """Return the part (z, y, x) of a volume that lies on the field."""
        m, (height, width) = self.margin, self._field
        return volume[:, m : m + height, m : m + width]
