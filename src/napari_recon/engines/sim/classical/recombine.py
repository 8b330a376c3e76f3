"""Recombination: separated bands go back to where they belong in Fourier space, as one fixed linear operator.

With C_s the separated band of order s (0 once per group, +k and -k per carrier), H the transfer function, g the
attenuation and v_s the band's weight, the result is

    R(f) = A(f) (1 + w^2 / S(0)) sum_s v_s g(f + s k) H(f + s k) C_s(f + s k) / (w^2 + S(f)),
    S(f) = sum_s v_s g(f + s k) H(f + s k)^2

on a grid twice as fine; the factor with S(0), taken without attenuation, keeps the brightness whatever w is.

Bands are demodulated on the raw grid, exp(-2 pi i k r) C_s(r), so that each one's transform is in place already: a sampled
band wraps around the spectrum of the raw grid, but its support never meets itself. No band is ever transformed on the fine
grid, and since raw frames are real, +k and -k share one complex transform.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.edges import Edges, continued, padded_size, wrapped
from napari_recon.engines.sim.classical.filters import Filters, apodisation, attenuation
from napari_recon.engines.sim.classical.otf import Transfer
from napari_recon.engines.sim.classical.separation import Band, separation


class _Window(NamedTuple):
    """Where one band's support lies: its centre in Fourier pixels, nearest to -k, and f + k in cycles/um around it."""

    centre_yx: tuple[int, int]
    fy: Tensor
    fx: Tensor


class Reconstructor:
    """The linear operator from raw frames to a super-resolved image, for one calibration and field.

    Parameters
    ----------
    calibration : Calibration
    shape_yx : tuple of int
        Raw pixels.
    transfer : callable
        The objective's transfer function.
    edges : {"mirror", "periodic"}
        Continue the field by its mirror images, or take it as periodic.
    weights : {"noise", "equal"}
        See `separation`.
    """

    def __init__(
        self,
        calibration: Calibration,
        shape_yx: tuple[int, int],
        transfer: Transfer,
        *,
        edges: Edges = "mirror",
        weights: Literal["noise", "equal"] = "noise",
        device: torch.device | str = "cpu",
    ) -> None:
        self.calibration, self.shape_yx, self.device = calibration, shape_yx, torch.device(device)
        self.orders = separation(calibration, weights)
        self.padded_yx = padded_size(shape_yx[0], edges), padded_size(shape_yx[1], edges)
        self._step = tuple(1.0 / (n * p) for n, p in zip(self.padded_yx, calibration.pixel_um, strict=True))
        cutoff = calibration.cutoff_per_um
        #: Half width of a band's support in Fourier pixels, (y, x).
        self._half = tuple(
            min(math.floor(cutoff / d) + 1, (n - 1) // 2) for d, n in zip(self._step, self.padded_yx, strict=True)
        )
        self._windows = [self._window(order) for order in self.orders]
        transfers = [transfer(w.fy[:, None], w.fx[None, :]) for w in self._windows]
        #: Transfer function in each band's window, H(f + k).
        self.transfers = torch.stack(transfers).float().to(self.device)
        self._mix, self._offset = self._mixing()
        self._turns = [self._demodulation(order) for order in self.orders]
        #: Kept frequencies of the result: rows -y..y, columns 0..x.
        self._reach = tuple(
            min(n - 1, h + max(abs(w.centre_yx[a]) for w in self._windows))
            for a, (n, h) in enumerate(zip(self.padded_yx, self._half, strict=True))
        )
        rows = torch.arange(-self._reach[0], self._reach[0] + 1, dtype=torch.float64) * self._step[0]
        columns = torch.arange(0, self._reach[1] + 1, dtype=torch.float64) * self._step[1]
        self._frequency = torch.hypot(rows[:, None], columns[None, :]).float().to(self.device)
        self._squared = torch.stack([w.fy[:, None] ** 2 + w.fx[None, :] ** 2 for w in self._windows]).float().to(self.device)
        # order 0 is its own mirror image, so half of it is laid down twice
        shares = [order.weight * (1.0 if number else 0.5) for number, order in enumerate(self.orders)]
        self._weights = torch.tensor(shares, device=self.device)[:, None, None]
        summed = torch.tensor([order.summed for order in self.orders], device=self.device)[:, None, None]
        self._power = self.transfers.square() * summed
        self._centre = float(self._sum(self._power, self._weights)[self._reach[0], 0])
        self._cached: tuple[Filters, Tensor] | None = None

    def __call__(self, frames: Tensor, filters: Filters) -> Tensor:
        """Return the image (2 Y, 2 X) of raw frames (N, Y, X)."""
        return self.combine(self.bands(frames), filters)

    def bands(self, frames: Tensor) -> Tensor:
        """Return the bands' spectra times the transfer function: all that `combine` needs of the frames.

        Parameters
        ----------
        frames : Tensor
            float32 (N, Y, X), angle-major, in counts with the camera's offset.

        Returns
        -------
        Tensor
            complex64 (1 + carriers, 2 hy + 1, 2 hx + 1), each around its own -k.
        """
        images = self._images(frames)
        return torch.stack([self._spectrum(number, images) for number in range(len(self.orders))])

    def renewed(self, bands: Tensor, frames: Tensor, position: int) -> Tensor:
        """Return the bands after raw frame ``position`` changed: those that it has no part in are kept."""
        images = self._images(frames)
        concerned = [bool(order.coefficients[position] != 0) for order in self.orders]
        return torch.stack([self._spectrum(n, images) if new else bands[n] for n, new in enumerate(concerned)])

    def combine(self, bands: Tensor, filters: Filters) -> Tensor:
        """Return the image (2 Y, 2 X), float32, of bands from `bands`."""
        return self._image(self.numerator(bands, filters) * self.response(filters))

    @property
    def padded(self) -> tuple[int, ...]:
        """Length of the period along each axis, in raw pixels."""
        return self.padded_yx

    def overlap(self, number: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return where band `number` and order 0 hold the same frequencies of the result: slices into either's array."""
        own, zero = [], []
        for centre, half in zip(self._windows[number].centre_yx, self._half, strict=True):
            low, high = max(-half, centre - half), min(half, centre + half) + 1
            own.append(slice(low - centre + half, high - centre + half))
            zero.append(slice(low + half, high + half))
        return (own[0], own[1]), (zero[0], zero[1])

    @property
    def noise_gain(self) -> float:
        """Power that noise of variance 1 per raw pixel has in one frequency of one separated order 0."""
        order = self.orders[0]
        return float(order.coefficients.abs().square().sum()) / order.summed * self.padded_yx[0] * self.padded_yx[1]

    def _images(self, frames: Tensor) -> Tensor:
        """Return the real images of the bands: order 0, then real and imaginary part for every carrier."""
        flat = frames.reshape(frames.shape[0], -1).to(self.device, torch.float32)
        return torch.addmm(self._offset, self._mix, flat).reshape(-1, *self.shape_yx)

    def _spectrum(self, number: int, images: Tensor) -> Tensor:
        """Return one band's windowed spectrum from the mixed images."""
        ey, ex = self._turns[number]
        if number == 0:
            band = torch.complex(images[0], torch.zeros_like(images[0]))
        else:
            band = torch.complex(images[2 * number - 1], images[2 * number]) * ey[:, None] * ex[None, :]
        band = continued(continued(band, self.padded_yx[0], 0), self.padded_yx[1], 1)
        (cy, cx), (hy, hx) = self._windows[number].centre_yx, self._half
        spectrum = wrapped(torch.fft.fft(band, dim=1), cx - hx, 2 * hx + 1, 1)
        spectrum = wrapped(torch.fft.fft(spectrum, dim=0), cy - hy, 2 * hy + 1, 0)
        windowed: Tensor = spectrum * self.transfers[number]
        return windowed

    def _sum(self, bands: Tensor, gains: Tensor) -> Tensor:
        """Return sum_s of the weighted bands on the half plane: +k in place, -k mirrored and conjugated."""
        total = torch.zeros(self._frequency.shape, dtype=bands.dtype, device=bands.device)
        (ry, _), (hy, hx) = self._reach, self._half
        for weighted, window in zip(bands * gains, self._windows, strict=True):
            for part, (cy, cx) in (
                (weighted, window.centre_yx),
                (weighted.flip((0, 1)).conj(), (-window.centre_yx[0], -window.centre_yx[1])),
            ):
                top, left = cy - hy + ry, cx - hx
                y0, y1 = max(top, 0), min(top + 2 * hy + 1, total.shape[0])
                x0, x1 = max(left, 0), min(left + 2 * hx + 1, total.shape[1])
                if x1 > x0 and y1 > y0:
                    total[y0:y1, x0:x1] += part[y0 - top : y1 - top, x0 - left : x1 - left]
        return total

    def _gain(self, filters: Filters) -> Tensor:
        """Return v_s g for every band (half of it for order 0)."""
        if filters.attenuation_strength == 0:
            return self._weights
        return self._weights * attenuation(self._squared, filters.attenuation_strength, filters.attenuation_fwhm)

    def numerator(self, bands: Tensor, filters: Filters) -> Tensor:
        """Return sum_s v_s g H C_s on the half plane."""
        return self._sum(bands, self._gain(filters))

    def support(self, filters: Filters) -> Tensor:
        """Return sum_s v_s g H^2 on the half plane."""
        return self._sum(self._power, self._gain(filters))

    def wanted(self, filters: Filters) -> Tensor:
        """Return the apodisation A on the half plane."""
        return apodisation(self._frequency, self.calibration.result_cutoff_per_um, filters.apodisation)

    def level(self, wiener: float) -> float:
        """Return 1 + w^2 / S(0), which keeps the brightness of an image whatever w is."""
        return 1.0 + wiener**2 / self._centre

    def response(self, filters: Filters) -> Tensor:
        """Return A (1 + w^2 / S(0)) / (w^2 + S)."""
        if self._cached is None or self._cached[0] != filters:
            below = (self.support(filters) + filters.wiener**2).clamp_min(1e-12)
            self._cached = filters, self.wanted(filters) * self.level(filters.wiener) / below
        return self._cached[1]

    def _image(self, half: Tensor) -> Tensor:
        """Return the fine image of a half-plane spectrum."""
        (ny, nx), ry = self.padded_yx, self._reach[0]
        full = half.new_zeros((2 * ny, half.shape[1]))
        full[: ry + 1], full[-ry:] = half[ry:], half[:ry]
        columns = torch.fft.ifft(full, dim=0, norm="forward")[: 2 * self.shape_yx[0]]
        image: Tensor = torch.fft.irfft(columns, n=2 * nx, dim=1, norm="forward")[:, : 2 * self.shape_yx[1]]
        return image / (ny * nx)

    def _window(self, order: Band) -> _Window:
        kx, ky = order.k_per_um
        centre = (-round(ky / self._step[0]), -round(kx / self._step[1]))
        fy, fx = (
            torch.arange(c - h, c + h + 1, dtype=torch.float64) * d + k
            for c, h, d, k in zip(centre, self._half, self._step, (ky, kx), strict=True)
        )
        return _Window(centre, fy, fx)

    def _mixing(self) -> tuple[Tensor, Tensor]:
        """Return the real matrix from frames to images (order 0, real and imaginary part per carrier) and its offset."""
        rows = [self.orders[0].coefficients.real]
        for order in self.orders[1:]:
            rows += [order.coefficients.real, order.coefficients.imag]
        mix = torch.stack(rows)
        offset = -self.calibration.camera_offset * mix.sum(dim=1, keepdim=True)
        return mix.float().to(self.device), offset.float().to(self.device)

    def _demodulation(self, order: Band) -> tuple[Tensor, Tensor]:
        kx, ky = order.k_per_um
        turns = []
        for k, size, pixel in zip((ky, kx), self.shape_yx, self.calibration.pixel_um, strict=True):
            angle = -2.0 * math.pi * k * pixel * (torch.arange(size, dtype=torch.float64) - size // 2)
            turns.append(torch.polar(torch.ones_like(angle), angle).to(torch.complex64).to(self.device))
        return turns[0], turns[1]
