"""Several views of one volume, each blurred by its own PSF, as a linear map with its exact transpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from napari_recon.engines.deconvolution.richardson_lucy import planes_at_once

Check = Callable[[], None]


def _no_check() -> None:
    """Never cancel."""


class VolumeViews:
    """Convolution of a volume with one PSF per view, in the Fourier domain.

    The volume covers more than the views on every side, since light from there is in the views. Beyond that it is periodic,
    at a size that is quick to transform.

    Parameters
    ----------
    psfs : sequence of Tensor
        One (z, y, x) per view, odd sizes, the middle voxel being its origin. A size of 1 leaves that axis alone.
    field_zyx : tuple of int
        Voxels of a view.
    gains : sequence of float
        What each view measures of the light, in the unit of the data.
    importances : sequence of float
        What each view counts in the transpose besides its gain; 1 for the exact one.
    margin : tuple of int, optional
        Voxels that the volume covers more, on both sides; the reach of the widest PSF when left out.
    device : torch.device or str
    """

    def __init__(
        self,
        psfs: Sequence[Tensor],
        field_zyx: tuple[int, int, int],
        gains: Sequence[float] = (),
        importances: Sequence[float] = (),
        margin: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.field = field_zyx
        widest = [max(psf.shape[axis] for psf in psfs) for axis in range(3)]
        self.margin = tuple(n // 2 for n in widest) if margin is None else tuple(margin)
        self.shape = tuple(
            n if k == 1 else quick_size(max(n + 2 * m, k), even=axis == 2)
            for axis, (n, m, k) in enumerate(zip(field_zyx, self.margin, widest, strict=True))
        )
        self.gains = tuple(gains) or (1.0,) * len(psfs)
        self._importances = tuple(importances) or (1.0,) * len(psfs)
        # an axis along which no PSF reaches is not transformed; one at least must be
        self._dim = tuple(axis for axis in range(3) if widest[axis] > 1) or (2,)
        self._inner = tuple(slice(m, m + n) for m, n in zip(self.margin, field_zyx, strict=True))
        self._transfer = [self._transfer_of(psf.to(device)) for psf in psfs]
        self._mirrored = [transfer.conj().resolve_conj() for transfer in self._transfer]
        self._padded = torch.zeros(self.shape, device=device)  # zero around the views, shared by all subsets

    def _transfer_of(self, psf: Tensor) -> Tensor:
        sizes = [self.shape[axis] for axis in self._dim]
        kernel = torch.zeros([self.shape[axis] if axis in self._dim else 1 for axis in range(3)], device=psf.device)
        kernel[tuple(slice(0, n) for n in psf.shape)] = psf
        kernel = kernel.roll([-(n // 2) for n in psf.shape], (0, 1, 2))
        transfer: Tensor = torch.fft.rfftn(kernel, s=sizes, dim=self._dim)
        return transfer

    @property
    def views(self) -> int:
        """Number of views."""
        return len(self._transfer)

    def subset(self, first: int, step: int, /) -> VolumeViews:
        """Return the projector of every `step`-th view from `first`; it shares memory with this one."""
        some = object.__new__(VolumeViews)
        some.__dict__.update(self.__dict__)
        for name in ("_transfer", "_mirrored", "gains", "_importances"):
            setattr(some, name, getattr(self, name)[first::step])
        return some

    def with_gains(self, gains: Sequence[float]) -> VolumeViews:
        """Return the same projector for views of other brightness."""
        other = self.subset(0, 1)
        other.gains = tuple(gains)
        return other

    def forward(self, volume_zyx: Tensor, check: Check = _no_check, /) -> Tensor:
        """Return the views (V, z, y, x) of a volume of `shape`."""
        # results of large transforms are new memory in any case: `out` would only add a copy
        spectrum = torch.fft.rfftn(volume_zyx, dim=self._dim)
        check()
        if self.views == 1:
            return self._seen(spectrum.mul_(self._transfer[0]), self.gains[0])[None]
        views = torch.empty((self.views, *self.field), dtype=volume_zyx.dtype, device=volume_zyx.device)
        product = torch.empty_like(spectrum)
        for number, (transfer, gain) in enumerate(zip(self._transfer, self.gains, strict=True)):
            views[number] = self._seen(torch.mul(spectrum, transfer, out=product), gain)
            check()
        return views

    def _seen(self, spectrum: Tensor, gain: float) -> Tensor:
        view: Tensor = self._back(spectrum)[self._inner]
        return view if gain == 1.0 else view.mul_(gain)

    def adjoint_planes(self, views_vzyx: Tensor, check: Check = _no_check, /) -> Iterator[tuple[slice, Tensor]]:
        """Yield the transpose applied to views, a few planes at a time: where they go, and the planes."""
        total: Tensor | None = None
        for number, (view, transfer) in enumerate(zip(views_vzyx, self._mirrored, strict=True)):
            self._padded[self._inner] = view
            scale = self.gains[number] * self._importances[number]
            if scale != 1.0:
                self._padded[self._inner].mul_(scale)
            spectrum = torch.fft.rfftn(self._padded, dim=self._dim)
            check()
            spectrum.mul_(transfer)
            total = spectrum if total is None else total.add_(spectrum)
            check()
        assert total is not None  # there is at least one view
        volume = self._back(total)
        check()
        planes = planes_at_once(volume)
        for first in range(0, len(volume), planes):
            place = slice(first, first + planes)
            yield place, volume[place]

    def inner(self, volume_zyx: Tensor) -> Tensor:
        """Return the part of a volume that the views cover."""
        part: Tensor = volume_zyx[self._inner]
        return part

    def _back(self, spectrum: Tensor) -> Tensor:
        sizes = [self.shape[axis] for axis in self._dim]
        volume: Tensor = torch.fft.irfftn(spectrum, s=sizes, dim=self._dim)
        return volume


def quick_size(least: int, even: bool = False) -> int:
    """Return the smallest size of factors 2, 3 and 5 (even for the axis that is halved) that is at least `least`."""
    size = least
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and (size % 2 == 0 or not even):
            return size
        size += 1
