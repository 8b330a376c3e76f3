"""Projection of a volume to views by convolution with one PSF per view and plane, where voxels are as large as pixels.

``view[v] = sum over z of volume[z] * psf[v, z]``, a true convolution. The volume is transformed once, multiplied by cached
transfer functions, summed over depth in the Fourier domain, and every view is transformed back once: with N views and D
planes D + N transforms instead of the 3 N D of separate convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.optics.fourier import gaussian_transfer
from napari_recon.optics.lightfield_grid import VolumeGrid
from napari_recon.optics.psf_checks import odd_size
from napari_recon.optics.support import next_smooth_size

#: Samples of planes transformed together, and frequencies multiplied together on a processor: what fits into its caches.
PLANE_SAMPLES = 1 << 20
FREQUENCY_BLOCK = 16384

#: Largest size of kept transfer functions; above it they are rebuilt, a few planes at a time, at each pass.
TRANSFER_BYTES = 3 << 30

Check = Callable[[], None]


def _no_check() -> None:
    return None


class PsfProjector:
    """Views of a volume, and the exact transpose, for PSFs sampled at the views' own pixels.

    Parameters
    ----------
    psf_vzyx : Tensor
        (views, planes, H, W) of odd height and width, the point at the middle pixel; used as it is.
    field_yx : tuple of int
        Pixels of a view.
    margin_yx : tuple of int
        Voxels of the volume above and to the left of the views' first pixel.
    volume_yx : tuple of int, optional
        Lateral voxels; by default the field with its margin on all sides. The volume is zero outside.
    blur : float
        Additional Gaussian blur, standard deviation in pixels.
    dtype, device
        Of volumes and views.
    cache_bytes : int
        Largest size of kept transfer functions.

    Notes
    -----
    ``same(psf, size)`` and ``valid(psf, size)`` are the two usual geometries. Everything accepts leading batch axes, and
    gradients flow through `forward`, `adjoint` and their derivatives.
    """

    def __init__(
        self,
        psf_vzyx: Tensor,
        field_yx: tuple[int, int],
        *,
        margin_yx: tuple[int, int] = (0, 0),
        volume_yx: tuple[int, int] | None = None,
        blur: float = 0.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        cache_bytes: int = TRANSFER_BYTES,
    ) -> None:
        height, width = psf_vzyx.shape[-2:]
        odd_size(height, width)
        self.dtype, self.device = dtype, torch.device(device)
        self._reach = height // 2, width // 2
        self._field, self._margin = (int(field_yx[0]), int(field_yx[1])), margin_yx
        self._volume = volume_yx or (field_yx[0] + 2 * margin_yx[0], field_yx[1] + 2 * margin_yx[1])
        self._views, self._planes = int(psf_vzyx.shape[0]), int(psf_vzyx.shape[1])
        self._length = self._fast_lengths()
        self._half = self._length[0], self._length[1] // 2 + 1
        self._complex = torch.complex128 if dtype == torch.float64 else torch.complex64
        # made in double precision where the device has it: the rounding of a transfer function stays in every result
        self._exact = dtype if self.device.type == "mps" else torch.float64
        self._sums = torch.complex64 if self.device.type == "mps" else torch.complex128
        self._frequencies = (
            torch.fft.fftfreq(self._length[0], dtype=torch.float64),
            torch.fft.rfftfreq(self._length[1], dtype=torch.float64),
        )
        y, x = self._frequencies
        self._blur = (
            (gaussian_transfer(y, blur)[:, None] * gaussian_transfer(x, blur)[None, :]).to(self._exact).to(self.device)
        )
        self._along = tuple((2j * math.pi * f).to(self._complex).to(self.device) for f in (y[:, None], x[None, :]))
        twice = torch.full((self._half[1],), 2.0, dtype=dtype)
        twice[0] = 1.0
        if self._length[1] % 2 == 0:
            twice[-1] = 1.0
        self._multiplicity = twice.to(self.device)
        self._offset_factor: Tensor | None = None
        self.last_view_spectrum: Tensor | None = None
        self._psf: Tensor | None = psf_vzyx.to(dtype).to(self.device)
        self._transfer: Tensor | None = None
        size = self._views * self._planes * self._half[0] * self._half[1] * self._complex.itemsize
        if size <= cache_bytes:
            self._transfer = torch.empty(
                self._views, self._planes, math.prod(self._half), dtype=self._complex, device=device
            )
            for place in self._plane_blocks():
                self._transfer[:, place] = self._made(place)
            self._psf = None

    @classmethod
    def same(cls, psf_vzyx: Tensor, size_yx: tuple[int, int], **options: Any) -> PsfProjector:
        """Return the projector whose views are as large as the volume."""
        return cls(psf_vzyx, size_yx, **options)

    @classmethod
    def valid(cls, psf_vzyx: Tensor, volume_yx: tuple[int, int], **options: Any) -> PsfProjector:
        """Return the projector whose views are where the whole PSF lies on the volume: smaller by its size less one."""
        reach = int(psf_vzyx.shape[-2]) // 2, int(psf_vzyx.shape[-1]) // 2
        field = volume_yx[0] - 2 * reach[0], volume_yx[1] - 2 * reach[1]
        if min(field) < 1:
            raise InputError(
                f"the volume should be larger than the PSF ({2 * reach[0] + 1} x {2 * reach[1] + 1}), found "
                f"{volume_yx[0]} x {volume_yx[1]}; crop the PSF or take a larger region"
            )
        return cls(psf_vzyx, field, margin_yx=reach, volume_yx=volume_yx, **options)

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Shape (planes, y, x) of volumes."""
        return (self._planes, *self._volume)

    @property
    def views_shape(self) -> tuple[int, int, int]:
        """Shape (views, y, x) of what `forward` returns."""
        return (self._views, *self._field)

    @property
    def grid(self) -> VolumeGrid:
        """The volume's grid around the field, as reconstruction windows use it (margins alike)."""
        return VolumeGrid(self._field, self._planes, 1.0, 1.0, self._margin[0])

    def displace_views(self, offset_v2_pixels: Tensor | None) -> None:
        """Displace every view by an offset (views, 2) in pixels, y first; gradients flow to it; None for none."""
        if offset_v2_pixels is None:
            self._offset_factor = None
            return
        offset = offset_v2_pixels.to(self.dtype).to(self.device)
        along_y, along_x = (-along for along in self._along)
        self._offset_factor = torch.exp(offset[:, 0, None, None] * along_y + offset[:, 1, None, None] * along_x)

    def subset(self, start: int, step: int) -> PsfProjector:
        """Return the projector of every `step`-th view from `start`; it shares the transfer functions."""
        part = object.__new__(PsfProjector)
        part.__dict__.update(self.__dict__)
        views = slice(start, None, step)
        part._transfer = None if self._transfer is None else self._transfer[views]
        part._psf = None if self._psf is None else self._psf[views]
        part._offset_factor = None if self._offset_factor is None else self._offset_factor[views]
        part._views = len(range(start, self._views, step))
        return part

    def forward(self, volume_zyx: Tensor, check: Check = _no_check) -> Tensor:
        """Return the views (..., V, y, x) of a volume (..., Z, Y, X)."""
        spectrum = self.view_spectrum(volume_zyx, check)
        self.last_view_spectrum = spectrum.detach()
        return self.sample_views(spectrum)

    def view_spectrum(self, volume_zyx: Tensor, check: Check = _no_check) -> Tensor:
        """Return the spectra (..., V, ky, kx) of the views of a volume (..., Z, Y, X)."""
        spectrum: Tensor = _ToSpectrum.apply(volume_zyx, self, check)  # type: ignore[no-untyped-call]
        spectrum = spectrum.reshape(*spectrum.shape[:-1], *self._half)
        return spectrum if self._offset_factor is None else spectrum * self._offset_factor

    def sample_views(self, spectrum: Tensor) -> Tensor:
        """Return the views (..., V, y, x) with that spectrum."""
        (top, left), (height, width) = self._margin, self._field
        whole: Tensor = torch.fft.irfft2(spectrum, s=self._length)
        return whole[..., top : top + height, left : left + width]

    def sample_gradients(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Return the y and x derivatives, per pixel, of the views with that spectrum."""
        return self.sample_views(spectrum * self._along[0]), self.sample_views(spectrum * self._along[1])

    def adjoint(self, views_vyx: Tensor, check: Check = _no_check) -> Tensor:
        """Return the transpose of `forward` applied to views (..., V, y, x): a volume (..., Z, Y, X)."""
        volume: Tensor = _ToVolume.apply(self._views_to_spectrum(views_vyx), self, check)  # type: ignore[no-untyped-call]
        return volume

    def adjoint_planes(self, views_vyx: Tensor, check: Check = _no_check) -> Iterator[tuple[slice, Tensor]]:
        """Yield `adjoint` of views (V, y, x) a few planes at a time: where they go in z, and the planes."""
        for place, planes in self.planes_of_spectrum(self._views_to_spectrum(views_vyx)[None], check):
            yield place, planes[0]

    def _views_to_spectrum(self, views: Tensor) -> Tensor:
        """Return the flat spectra that `sample_views` is transposed to, times the conjugate displacement."""
        (top, left), (height, width) = self._margin, self._field
        bottom, right = self._length[0] - top - height, self._length[1] - left - width
        padded = F.pad(views.to(self.dtype), (left, right, top, bottom))
        spectrum = torch.fft.rfft2(padded) * (self._multiplicity / math.prod(self._length))
        if self._offset_factor is not None:
            spectrum = spectrum * self._offset_factor.conj()
        flat: Tensor = spectrum.flatten(-2)
        return flat

    def spectrum_of_volume(self, volumes: Tensor, check: Check) -> Tensor:
        """Return the flat spectra (n, V, k) of the undisplaced views of volumes (n, Z, Y, X)."""
        total: Tensor | None = None
        light: Any = 0.0
        for place in self._plane_blocks():
            planes = torch.fft.rfft2(volumes[:, place], s=self._length).flatten(-2)
            transfer = self._of(place)
            # the sum of a view is its largest number: rounded in single precision it would be the largest error, too
            light = light + torch.matmul(planes[..., 0].to(self._sums), transfer[:, :, 0].T.to(self._sums))
            if total is None:
                total = planes.new_zeros(volumes.shape[0], self._views, planes.shape[-1])
            for part in self._frequency_blocks():
                sums, factors, values = total[..., part], transfer[..., part].unbind(1), planes[:, None, :, part].unbind(2)
                for factor, value in zip(factors, values, strict=True):
                    sums.addcmul_(factor, value)
            check()
        assert total is not None
        total[..., 0] = light
        return total

    def planes_of_spectrum(self, spectrum: Tensor, check: Check) -> Iterator[tuple[slice, Tensor]]:
        """Yield the planes (n, z, Y, X), a few at a time, that flat view spectra (n, V, k) are transposed to."""
        conjugate = torch.conj_physical(spectrum).div_(self._multiplicity.repeat(self._half[0]))
        height, width = self._volume
        for place in self._plane_blocks():
            transfer = self._of(place)
            total = conjugate.new_zeros(spectrum.shape[0], transfer.shape[1], spectrum.shape[-1])
            for part in self._frequency_blocks():
                sums, factors, values = (
                    total[..., part],
                    transfer[..., part].unbind(0),
                    conjugate[:, None, :, part].unbind(2),
                )
                for factor, value in zip(factors, values, strict=True):
                    sums.addcmul_(factor, value)
            whole = torch.fft.irfft2(
                total.conj_physical_().reshape(*total.shape[:-1], *self._half), s=self._length, norm="forward"
            )
            check()
            yield place, whole[..., :height, :width]

    def _plane_blocks(self) -> Iterator[slice]:
        step = max(1, PLANE_SAMPLES // math.prod(self._length))
        for first in range(0, self._planes, step):
            yield slice(first, min(first + step, self._planes))

    def _frequency_blocks(self) -> Iterator[slice]:
        count = math.prod(self._half)
        step = FREQUENCY_BLOCK if self.device.type == "cpu" else count
        for first in range(0, count, step):
            yield slice(first, min(first + step, count))

    def _of(self, place: slice) -> Tensor:
        return self._made(place) if self._transfer is None else self._transfer[:, place]

    def _made(self, place: slice) -> Tensor:
        """Return the transfer functions (V, z, k) of a few planes; the PSF's middle is the origin."""
        assert self._psf is not None
        psf = self._psf[:, place].to(self._exact)
        folded = psf.new_zeros(*psf.shape[:2], *self._length)
        index = [
            (torch.arange(size, device=psf.device) - size // 2) % length
            for size, length in zip(psf.shape[-2:], self._length, strict=True)
        ]
        # a PSF longer than the transform wraps round: its far ends meet pixels that are cut off
        flat = (index[0][:, None] * self._length[1] + index[1][None, :]).reshape(-1)
        folded.flatten(-2).index_add_(2, flat, psf.flatten(-2))
        transfer: Tensor = (torch.fft.rfft2(folded) * self._blur).flatten(-2).to(self._complex)
        return transfer

    def _fast_lengths(self) -> tuple[int, int]:
        """Return transform lengths at which what wraps round reaches none of the pixels that are kept."""
        lengths = []
        for field, margin, volume, reach in zip(self._field, self._margin, self._volume, self._reach, strict=True):
            below = volume + reach - margin  # light of the last voxel ends before the first pixel of the next period
            above = margin + field + reach  # light of the first voxel of the next period starts behind the last pixel
            lengths.append(next_smooth_size(max(volume, margin + field, below, above)))
        return lengths[0], lengths[1]


class _ToSpectrum(torch.autograd.Function):
    """Volume to flat view spectrum; its transpose is `_ToVolume`."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor, projector: PsfProjector, check: Check) -> Tensor:
        ctx.projector = projector
        batch = volume.shape[:-3]
        spectrum = projector.spectrum_of_volume(volume.detach().reshape(-1, *volume.shape[-3:]), check)
        return spectrum.reshape(*batch, *spectrum.shape[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _ToVolume.apply(grads[0], ctx.projector, _no_check), None, None  # type: ignore[no-untyped-call]


class _ToVolume(torch.autograd.Function):
    """Flat view spectrum to volume; its transpose is `_ToSpectrum`."""

    @staticmethod
    def forward(ctx: Any, spectrum: Tensor, projector: PsfProjector, check: Check) -> Tensor:
        ctx.projector = projector
        batch = spectrum.shape[:-2]
        pieces = projector.planes_of_spectrum(spectrum.detach().reshape(-1, *spectrum.shape[-2:]), check)
        volume = torch.cat([planes for _, planes in pieces], dim=1)
        return volume.reshape(*batch, *volume.shape[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _ToSpectrum.apply(grads[0], ctx.projector, _no_check), None, None  # type: ignore[no-untyped-call]
