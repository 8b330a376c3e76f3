"""Light-field projection and its transpose, shared by every engine that needs the physics of a light field.

A view is the sum over depth planes of the plane displaced by that view's shift at that depth, blurred and sampled
at the view's pixels. All of it is convolution with sub-pixel displacements, so it is done per frequency: the low
frequencies of every plane, a small (views x planes) matrix per frequency, and a direct Fourier sum at the view
pixel centres. Lengths inside this module are light-field pixels; the origin is the field's corner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.optics.fourier import (
    SpectrumWindow,
    bicubic_transfer,
    direct_phase,
    gaussian_transfer,
    triangle_transfer,
)
from napari_recon.optics.lightfield_grid import VolumeGrid
from napari_recon.optics.support import operator_support
from napari_recon.optics.view_pairs import ViewPairs

#: Highest spatial frequency kept in any direction, cycles per light-field pixel. The views' Nyquist frequency is 0.5; the
#: aliased band above it still passes the sampling kernel and carries information (0.7 dB at 40 iterations). The corners of
#: the square beyond it do not (less than 0.01 dB).
FREQUENCY_CUT = 2.0 / 3.0

#: Frequencies handled together: bounds the working set and the time between two looks at the cancel token.
FREQUENCY_BLOCK = 1024
PLANE_BLOCK = 8

Check = Callable[[], None]


def _no_check() -> None:
    return None


def _no_blocks(first: int, last: int, columns: int) -> Tensor:
    raise RuntimeError(f"response matrices {first}:{last} (of {columns} columns) should have been kept")


class LightFieldProjector(Protocol):
    """A linear map from a volume (Z, Y, X) to views (V, Y, X) with its exact transpose.

    Both accept leading batch axes. ``check`` is called between blocks of work and may raise to stop.
    """

    @property
    def grid(self) -> VolumeGrid:
        """Volume grid; volumes have its shape."""

    @property
    def views_shape(self) -> tuple[int, int, int]:
        """Views, y, x."""

    def forward(self, volume_zyx: Tensor, check: Check = ...) -> Tensor:
        """Return the views of a volume."""

    def adjoint(self, views_vyx: Tensor, check: Check = ...) -> Tensor:
        """Return the transpose applied to views."""


class FourierProjector:
    """Light-field projector with one small (views x planes) matrix per frequency.

    Build it with :func:`projector_from_shift` or ``psf_projector.projector_from_psf``.

    Parameters
    ----------
    grid : VolumeGrid
        Volume grid.
    pairs : ViewPairs
        Which views share responses.
    window : SpectrumWindow
        Frequencies kept.
    transfer_yx : tuple of Tensor
        Separable real transfer along the kept y and x frequencies, common to all views and planes.
    blocks : Callable
        ``blocks(first, last, columns)`` returns the response matrices of the y frequencies first..last and the first
        x frequencies as real (k, views, 2 planes): first the real part, then minus the imaginary part.
    cache : bool
        Keep the matrices (fast) or rebuild them at each pass (bounded memory).
    """

    def __init__(
        self,
        grid: VolumeGrid,
        pairs: ViewPairs,
        window: SpectrumWindow,
        transfer_yx: tuple[Tensor, Tensor],
        blocks: Callable[[int, int, int], Tensor],
        cache: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._grid, self._pairs, self.window = grid, pairs, window
        self._views = pairs.views
        self.dtype, self.device = dtype, device
        self._blocks, self._cached = blocks, cache
        self._cache: dict[int, Tensor] = {}
        self.last_view_spectrum: Tensor | None = None
        complex_dtype = torch.complex128 if dtype == torch.float64 else torch.complex64

        def constant(values: Tensor) -> Tensor:
            return values.to(complex_dtype).to(device)

        # constants are made in double precision on the host: not every device has it
        self._frequencies = window.frequencies_y(), window.frequencies_x()
        to_spectrum, to_views = [], []
        for axis, frequencies in enumerate(self._frequencies):
            to_views.append(direct_phase(frequencies, torch.arange(grid.field_yx[axis]) + 0.5))
            phase = direct_phase(frequencies, -grid.centres(axis)[:1])[0]
            to_spectrum.append(phase * transfer_yx[axis] / grid.size_yx[axis])
        multiplicity = torch.full((window.shape[1],), 2.0, dtype=torch.float64)
        multiplicity[0] = 1.0
        # what all planes have in common is applied to the views, which are fewer
        self._spectrum_factor = to_spectrum[0][:, None] * to_spectrum[1][None, :]
        self._view_factor = constant(self._spectrum_factor)
        self._to_rows = constant(to_views[0])
        self._to_columns = constant((to_views[1] * multiplicity).T.contiguous())
        self._from_rows = constant(to_views[0].conj().T.resolve_conj().contiguous())
        self._from_columns = constant(to_views[1].conj().resolve_conj())
        self._along_y = constant(2j * math.pi * self._frequencies[0][:, None])
        self._along_x = constant(2j * math.pi * self._frequencies[1][None, :])

    @property
    def grid(self) -> VolumeGrid:
        """Volume grid this projector works on."""
        return self._grid

    @property
    def views_shape(self) -> tuple[int, int, int]:
        """Shape (views, y, x) of what :meth:`forward` returns."""
        return (self._views, *self._grid.field_yx)

    def keep_responses(self) -> None:
        """Make all response matrices now and let go of what they are made from."""
        self._cached = True
        for _ in self._each_block():
            pass
        self._blocks = _no_blocks

    def displace_views(self, offset_v2_pixels: Tensor | None) -> None:
        """Displace every view by a constant offset (views, 2) in light-field pixels, y first; None for none."""
        factor = self._spectrum_factor
        if offset_v2_pixels is not None:
            offset = offset_v2_pixels.detach().cpu().double()
            angle = (
                offset[:, 0, None, None] * self._frequencies[0][None, :, None]
                + offset[:, 1, None, None] * self._frequencies[1][None, None, :]
            )
            factor = factor * torch.exp(-2j * math.pi * angle)
        self._view_factor = factor.to(self._view_factor.dtype).to(self.device)

    def forward(self, volume_zyx: Tensor, check: Check = _no_check) -> Tensor:
        """Project a volume (..., Z, Y, X) in density units to views (..., V, Y, X)."""
        spectrum = self.view_spectrum(volume_zyx, check)
        self.last_view_spectrum = spectrum.detach()
        return self.sample_views(spectrum)

    def view_spectrum(self, volume_zyx: Tensor, check: Check = _no_check) -> Tensor:
        """Return the kept spectra (..., V, ky, kx) of the views of a volume (..., Z, Y, X)."""
        batch = volume_zyx.shape[:-3]
        volumes = volume_zyx.reshape(-1, *volume_zyx.shape[-3:])
        pieces = []
        for start in range(0, volumes.shape[1], PLANE_BLOCK):
            kept = self.window.take(volumes[:, start : start + PLANE_BLOCK])
            pieces.append(kept.flatten(-2).permute(2, 0, 1))
            check()
        spectrum = torch.cat(pieces, dim=2)
        rows = torch.cat([spectrum.real, spectrum.imag], dim=1)
        both = self._through(rows, False, check)
        count, first = volumes.shape[0], self._pairs.count
        real, imaginary = both[:, :, :count], both[:, :, count:]
        cosine, sine = torch.complex(real[..., :first], imaginary[..., :first]), (real[..., first:], imaginary[..., first:])
        turned = torch.complex(sine[1], -sine[0])
        views = torch.cat([cosine + turned, cosine - turned], dim=-1)[..., self._pairs.slots.to(self.device)]
        views = views.permute(2, 3, 0, 1)
        return views.reshape(*batch, self._views, *self.window.shape) * self._view_factor

    def sample_views(self, spectrum: Tensor) -> Tensor:
        """Evaluate view spectra (..., V, ky, kx) at the view pixel centres: (..., V, Y, X)."""
        return torch.matmul(torch.matmul(self._to_rows, spectrum), self._to_columns).real

    def sample_gradients(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Return the y and x derivatives (per light-field pixel) of the views with that spectrum."""
        return self.sample_views(spectrum * self._along_y), self.sample_views(spectrum * self._along_x)

    def adjoint(self, views_vyx: Tensor, check: Check = _no_check) -> Tensor:
        """Return the transpose of :meth:`forward` applied to views (..., V, Y, X): volume (..., Z, Y, X)."""
        batch = views_vyx.shape[:-3]
        kept = self._plane_spectrum(views_vyx.reshape(-1, *views_vyx.shape[-3:]), check)
        pieces = [planes for _, planes in self._planes(kept, check)]
        return torch.cat(pieces, dim=1).reshape(*batch, *self._grid.shape)

    def adjoint_planes(self, views_vyx: Tensor, check: Check = _no_check) -> Iterator[tuple[slice, Tensor]]:
        """Yield :meth:`adjoint` of views (V, Y, X) a few planes at a time: where they go in z, and the planes."""
        for place, planes in self._planes(self._plane_spectrum(views_vyx[None], check), check):
            yield place, planes[0]

    def _plane_spectrum(self, views: Tensor, check: Check) -> Tensor:
        """Return the kept plane spectra (n, Z, ky, kx) that views (n, V, Y, X) are transposed to."""
        spectrum = torch.matmul(self._from_rows, torch.matmul(views.to(self._to_rows.dtype), self._from_columns))
        spectrum = spectrum * self._view_factor.conj()
        none = spectrum.new_zeros((spectrum.shape[0], 1, *self.window.shape))
        padded = torch.cat([spectrum, none], dim=1)
        first, second = (padded[:, index.to(self.device)] for index in (self._pairs.first, self._pairs.second))
        together, apart = first + second, first - second
        real = torch.cat([together.real, -apart.imag], dim=1)
        imaginary = torch.cat([together.imag, apart.real], dim=1)
        rows = torch.cat([real, imaginary]).flatten(-2).permute(2, 0, 1)
        both = self._through(rows, True, check)
        count = views.shape[0]
        return torch.complex(both[:, :, :count], both[:, :, count:]).permute(2, 3, 0, 1)

    def _through(self, rows: Tensor, transposed: bool, check: Check) -> Tensor:
        """Multiply rows (frequencies, n, planes or 2 pairs) by the responses or their transposes: (ky, kx, n, m)."""
        rows = rows.reshape(*self.window.shape, *rows.shape[1:])
        outputs = []
        for block, matrix in self._each_block():
            part = rows[block].flatten(0, 1)
            # of the equivalent orders of factors, these are the fast ones
            product = torch.bmm(part, matrix) if transposed else torch.bmm(matrix, part.transpose(1, 2)).transpose(1, 2)
            outputs.append(self._widened(product, block))
            check()
        return torch.cat(outputs)

    def _planes(self, spectrum: Tensor, check: Check) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, self._grid.planes, PLANE_BLOCK):
            place = slice(start, min(start + PLANE_BLOCK, self._grid.planes))
            yield place, self.window.put(spectrum[:, place])
            check()

    def _each_block(self) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
        """Yield the (ky, kx) ranges that together hold every frequency below the cut, and their matrices."""
        rows, columns = self.window.shape
        step = max(1, FREQUENCY_BLOCK // columns)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            limit = self.window.columns(first, last)
            matrix = self._cache.get(first)
            if matrix is None:
                matrix = self._blocks(first, last, limit)
                if self._cached:
                    self._cache[first] = matrix
            yield (slice(first, last), slice(0, limit)), matrix

    def _widened(self, values: Tensor, block: tuple[slice, slice]) -> Tensor:
        """Return values (frequencies of a block, n, m) as (ky, all kx, n, m), zero beyond the cut."""
        rows, limit = block[0].stop - block[0].start, block[1].stop
        return F.pad(values.reshape(rows, limit, *values.shape[1:]), (0, 0, 0, 0, 0, self.window.shape[1] - limit))


def common_transfer(
    window: SpectrumWindow,
    *,
    sigma: float,
    upsampling: float,
    voxel: float,
) -> tuple[Tensor, Tensor]:
    """Return the separable transfer of blur, interpolation and view sampling along y and x.

    Parameters
    ----------
    window : SpectrumWindow
        Frequencies, in cycles per light-field pixel.
    sigma : float
        Gaussian blur in light-field pixels.
    upsampling : float
        Fine voxels per light-field pixel.
    voxel : float
        Solver voxel in light-field pixels, whose values stand for a bilinear surface; 0 for plain samples.
    """

    def along(frequency: Tensor) -> Tensor:
        transfer = gaussian_transfer(frequency, sigma) * bicubic_transfer(frequency)
        transfer = transfer * triangle_transfer(frequency, 1.0 / upsampling)
        return transfer * triangle_transfer(frequency, voxel) if voxel else transfer

    return along(window.frequencies_y()), along(window.frequencies_x())


def projector_from_shift(
    psf_shift_vz2: Tensor,
    field_yx: tuple[int, int],
    *,
    upsampling: float,
    sigma_fine: float = 2.0,
    voxels_per_pixel: float = 2.0,
    margin: int | None = None,
    cache_bytes: int = 1 << 30,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    interpolated: bool = False,
    frequency_cut: float = FREQUENCY_CUT,
) -> FourierProjector:
    """Build the projector of a light field known by its per-view, per-depth displacements.

    Parameters
    ----------
    psf_shift_vz2 : Tensor
        (views, planes, 2) displacement (y, x) in fine voxels: a point at (y, x) appears in the view at + shift.
    field_yx : tuple of int
        Light-field pixels (y, x).
    upsampling : float
        Fine voxels per light-field pixel, S.
    sigma_fine : float
        Gaussian blur of the imaging, in fine voxels.
    voxels_per_pixel : float
        Solver grid, lateral voxels per light-field pixel.
    margin : int, optional
        Light-field pixels around the field; by default one operator support.
    cache_bytes : int
        Largest size of the kept response matrices; above it they are rebuilt at each pass.
    interpolated : bool
        Voxel values stand for a bilinear surface (its transfer is then part of the model) instead of for samples.
    frequency_cut : float
        Highest frequency kept, cycles per light-field pixel.

    Returns
    -------
    FourierProjector
    """
    device = torch.device(device)
    shift = psf_shift_vz2.detach().cpu().double() / upsampling
    planes = int(shift.shape[1])
    pairs = ViewPairs.of(psf_shift_vz2.detach().cpu().double())
    if margin is None:
        margin = operator_support(float(psf_shift_vz2.abs().max()), upsampling, sigma_fine)
    grid = VolumeGrid((int(field_yx[0]), int(field_yx[1])), planes, voxels_per_pixel, upsampling, margin)
    window = SpectrumWindow.below(grid.size_yx, grid.length_yx, frequency_cut)
    transfer = common_transfer(
        window,
        sigma=sigma_fine / upsampling,
        upsampling=upsampling,
        voxel=1.0 / voxels_per_pixel if interpolated else 0.0,
    )
    shift = pairs.shift(shift)
    angle_y = 2 * math.pi * window.frequencies_y()[:, None, None] * shift[..., 0]
    angle_x = 2 * math.pi * window.frequencies_x()[:, None, None] * shift[..., 1]
    cos_y, sin_y = (part.to(dtype).to(device)[:, None] for part in (torch.cos(angle_y), torch.sin(angle_y)))
    cos_x, sin_x = (part.to(dtype).to(device)[None] for part in (torch.cos(angle_x), torch.sin(angle_x)))

    def blocks(first_row: int, last_row: int, columns: int) -> Tensor:
        rows = slice(first_row, last_row)
        matrix = cos_y.new_empty((last_row - first_row, columns, 2 * pairs.count, planes))
        torch.mul(cos_y[rows], cos_x[:, :columns], out=matrix[:, :, : pairs.count]).addcmul_(
            sin_y[rows], sin_x[:, :columns], value=-1
        )
        torch.mul(sin_y[rows], cos_x[:, :columns], out=matrix[:, :, pairs.count :]).addcmul_(cos_y[rows], sin_x[:, :columns])
        return matrix.flatten(0, 1)

    cache = response_bytes(window, pairs.count, planes, dtype) <= cache_bytes
    return FourierProjector(grid, pairs, window, transfer, blocks, cache, dtype, device)


def response_bytes(window: SpectrumWindow, pairs: int, planes: int, dtype: torch.dtype = torch.float32) -> int:
    """Return the bytes of all response matrices of a window of frequencies."""
    return window.count * pairs * 2 * planes * dtype.itemsize
