"""Three-beam structured illumination of stacks: five bands per angle, put in place in three dimensions.

A pattern of three beams that stays in focus while the object moves through it is

    1 + m_1 cos(2 pi k r + phi) cos(2 pi kz z) + m_2 cos(2 (2 pi k r + phi)),

so the bands are C_j(f) = q_j O(f - j k) H_j(f), j = -2 .. 2, with H_0 = H_2 = H, and H_1 that of a point spread function
times cos(2 pi kz z), which fills the missing cone. q_j, modulation and phase, follows from where a band and order 0 know the
same frequencies. Recombination is that of `recombine` with a third axis.
"""

from __future__ import annotations

import cmath
import math

import torch
from torch import Tensor

from napari_recon.engines.sim.calibration import Calibration, Group
from napari_recon.engines.sim.classical.edges import continued, padded_size, wrapped
from napari_recon.engines.sim.classical.filters import Filters, apodisation, attenuation
from napari_recon.engines.sim.classical.otf3d import TransferTable
from napari_recon.engines.sim.classical.volume_optics import VolumeOptics

#: Overlaps count where the product of the transfer functions is at least this.
LEAST_PRODUCT = 1e-3
#: And where both are this share of the cut-off away from their centres.
CENTRE = 0.15
#: A band weaker than this is left out.
LEAST_AMPLITUDE = 0.01


def first_order(group: Group) -> tuple[tuple[float, float], Tensor]:
    """Return k of the first order and the matrix (3, P) that separates orders 0, 1 and 2 with q_j = 1, for even steps.

    The carrier that was found is the second order when its phases step by about 2 / P of a turn, else the first. The steps
    themselves are taken as even: each order would blur those that are measured on the other.
    """
    carrier, count = group.carriers[0], len(group.frames)
    even = 2 * math.pi / count
    steps = zip(carrier.phases_rad, carrier.phases_rad[1:] + carrier.phases_rad[:1], strict=True)
    mean = cmath.phase(sum(cmath.exp(1j * (b - a)) for a, b in steps))
    second = abs(abs(mean) - 2 * even) < abs(abs(mean) - even)
    k = carrier.k_per_um if not second else (carrier.k_per_um[0] / 2, carrier.k_per_um[1] / 2)
    phases = math.copysign(even, mean) * torch.arange(count, dtype=torch.float64)
    turns = torch.polar(torch.ones_like(phases), phases)
    columns = [turns**0, turns, turns.conj(), turns**2, turns.conj() ** 2]
    inverse = torch.linalg.pinv(torch.stack(columns, dim=1))
    return k, inverse[[0, 1, 3]]


class VolumeReconstructor:
    """The linear operator from raw stacks (N, Z, Y, X) to a volume (Z, 2 Y, 2 X).

    Parameters
    ----------
    calibration : Calibration
        One carrier per angle, of the second or the first order.
    optics : VolumeOptics
    shape_zyx : tuple of int
    """

    def __init__(
        self,
        calibration: Calibration,
        optics: VolumeOptics,
        shape_zyx: tuple[int, int, int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.calibration, self.optics, self.shape = calibration, optics, shape_zyx
        self.device = torch.device(device)
        self.padded = tuple(padded_size(n) for n in shape_zyx)
        self._step = tuple(1 / (n * p) for n, p in zip(self.padded, optics.pixel_um, strict=True))
        self._half = tuple(
            min(math.floor(optics.cutoff_per_um / d) + 1, (n - 1) // 2)
            for d, n in zip(self._step[1:], self.padded[1:], strict=True)
        )
        found = [first_order(group) for group in calibration.groups]
        self._ks = [(0.0, 0.0)] + [(j * k[0], j * k[1]) for k, _ in found for j in (1, 2)]
        self._rows = self._coefficients([rows for _, rows in found])
        table, self.transfers = TransferTable(optics, self.padded[0]), []
        for number, k in enumerate(self._ks):
            first = number % 2 == 1
            kz = optics.axial_shift_per_um(math.hypot(*k)) if first else 0.0
            fy, fx = self._frequencies(k)
            self.transfers.append(table(torch.hypot(fy[:, None], fx[None]), kz).to(self.device))
        self._reach = tuple(
            min(n - 1, h + max(abs(self._centre(k)[a]) for k in self._ks))
            for a, (n, h) in enumerate(zip(self.padded[1:], self._half, strict=True))
        )
        #: Complex modulation q_j of each band; 1 for order 0, else set by `measure`.
        self.amplitudes = [1.0 + 0j] * len(self._ks)
        self._centre_support: float | None = None

    def measure(self, bands: Tensor, noise_power: float) -> None:
        """Set the amplitudes from the overlap of each band with order 0.

        Parameters
        ----------
        bands : Tensor
            From `bands`.
        noise_power : float
            Noise variance of a raw voxel.
        """
        self._centre_support = None
        noise = noise_power * float(self._rows[0].abs().square().sum()) * math.prod(self.padded)
        for number in range(1, len(self._ks)):
            own, zero = self._overlap(number)
            h, h0 = self.transfers[number][own], self.transfers[0][zero]
            seen = ((h * h0).abs() > LEAST_PRODUCT) & self._away_from_centres(number)
            # both are O h^2 h0^2, the one times q_j
            expected, found = bands[0][zero] * h**2 / self._angles, bands[number][own] * h0**2
            power = (expected.abs().square() - noise / self._angles**2 * (h0 * h**2).square()) * seen
            product = (expected.conj() * found * seen).sum()
            self.amplitudes[number] = complex(product) / max(float(power.sum()), 1e-30)

    @property
    def _angles(self) -> int:
        return len(self.calibration.groups)

    def bands(self, frames: Tensor) -> Tensor:
        """Return the spectra of all bands, times their transfer function, each around its own -j k.

        Parameters
        ----------
        frames : Tensor
            float32 (N, Z, Y, X), angle-major, counts.

        Returns
        -------
        Tensor
            complex64 (1 + 2 angles, padded Z, 2 hy + 1, 2 hx + 1).
        """
        gains = torch.tensor(self.calibration.gains or (1.0,) * self.calibration.frames)
        light = ((frames - self.calibration.camera_offset) / gains[:, None, None, None]).to(self.device)
        return torch.stack([self._spectrum(number, light) for number in range(len(self._ks))])

    def combine(self, bands: Tensor, filters: Filters) -> Tensor:
        """Return the volume (Z, 2 Y, 2 X), float32."""
        response = self.wanted(filters) * self.level(filters.wiener) / (self.support(filters) + filters.wiener**2)
        return self._image(self.numerator(bands, filters) * response)

    def numerator(self, bands: Tensor, filters: Filters) -> Tensor:
        """Return sum_s v_s g H_s C_s on the half space fx >= 0."""
        factors = [complex(w / q) for w, q in zip(self._weights(), self.amplitudes, strict=True)]
        return self._sum([band * f * g for band, f, g in zip(bands, factors, self._gains(filters), strict=True)])

    def support(self, filters: Filters) -> Tensor:
        """Return S = sum_s v_s g H_s^2 on the half space."""
        weights = [w * (self._angles if number == 0 else 1) for number, w in enumerate(self._weights())]
        gains = self._gains(filters)
        return self._sum([t.square() * w * g for t, w, g in zip(self.transfers, weights, gains, strict=True)])

    def wanted(self, filters: Filters) -> Tensor:
        """Return the apodisation, over an ellipsoid as wide as the lateral and the axial cut-off of the result."""
        optics, first = self.optics, self._ks[1::2]
        kz = sum(optics.axial_shift_per_um(math.hypot(*k)) for k in first) / len(first)
        lateral = self.calibration.cutoff_per_um + 2 * sum(math.hypot(*k) for k in first) / len(first)
        fz, fy, fx = self._lattice()
        radius = torch.sqrt((torch.hypot(fy, fx) / lateral).square() + (fz / (optics.axial_cutoff_per_um + kz)).square())
        return apodisation(radius.float().to(self.device), 1.0, filters.apodisation)

    def level(self, wiener: float) -> float:
        """Return 1 + w^2 / S(0), which keeps the brightness."""
        if self._centre_support is None:
            self._centre_support = float(self.support(Filters())[0, self._reach[0], 0])
        return 1.0 + wiener**2 / self._centre_support

    @property
    def noise_gain(self) -> float:
        """Power that noise of variance 1 per raw voxel has in one frequency of one separated order 0."""
        return float(self._rows[0].abs().square().sum()) / self._angles * math.prod(self.padded)

    def _weights(self) -> list[float]:
        """Return v_s: the inverse noise of each band relative to one order 0, half of it for order 0 (laid down twice)."""
        noise = [float(row.abs().square().sum()) for row in self._rows]
        one = noise[0] / self._angles
        sides = [
            one / n * abs(q) ** 2 if abs(q) > LEAST_AMPLITUDE else 0.0
            for n, q in zip(noise[1:], self.amplitudes[1:], strict=True)
        ]
        return [0.5, *sides]

    def _gains(self, filters: Filters) -> list[Tensor | float]:
        if filters.attenuation_strength == 0:
            return [1.0] * len(self._ks)
        found: list[Tensor | float] = []
        for k in self._ks:
            fy, fx = self._frequencies(k)
            squared = (fy[:, None].square() + fx[None].square()).float().to(self.device)
            found.append(attenuation(squared, filters.attenuation_strength, filters.attenuation_fwhm))
        return found

    def _coefficients(self, groups: list[Tensor]) -> list[Tensor]:
        """Return for each band the coefficients (N,) of the raw frames; order 0 is the sum over the angles."""
        zero = torch.zeros(self.calibration.frames, dtype=torch.complex128)
        sides = []
        for group, rows in zip(self.calibration.groups, groups, strict=True):
            frames = list(group.frames)
            zero[frames] = rows[0]
            for order in (1, 2):
                row = torch.zeros_like(zero)
                row[frames] = rows[order]
                sides.append(row)
        return [zero, *sides]

    def _spectrum(self, number: int, light: Tensor) -> Tensor:
        row = self._rows[number].to(self.device)
        used = row.abs() > 0
        real, imaginary = (
            torch.tensordot(part[used].float(), light[used.to(light.device)], dims=1) for part in (row.real, row.imag)
        )
        band = torch.complex(real, imaginary)
        k = self._ks[number]
        for axis, (frequency, pixel) in enumerate(zip(k[::-1], self.optics.pixel_um[1:], strict=True)):
            size = self.shape[1 + axis]
            angle = -2 * math.pi * frequency * pixel * (torch.arange(size, dtype=torch.float64) - size // 2)
            turn = torch.polar(torch.ones_like(angle), angle).to(self.device, torch.complex64)
            band = band * (turn[:, None] if axis == 0 else turn)
        for axis in range(3):
            band = continued(band, self.padded[axis], axis)
        (cy, cx), (hy, hx) = self._centre(k), self._half
        spectrum = wrapped(torch.fft.fft(band, dim=2), cx - hx, 2 * hx + 1, 2)
        spectrum = wrapped(torch.fft.fft(spectrum, dim=1), cy - hy, 2 * hy + 1, 1)
        windowed: Tensor = torch.fft.fft(spectrum, dim=0) * self.transfers[number]
        return windowed

    def _sum(self, parts: list[Tensor]) -> Tensor:
        """Return all parts laid down where they belong, and their mirror images for the orders -1 and -2."""
        (ry, rx), (hy, hx) = self._reach, self._half
        total = torch.zeros((self.padded[0], 2 * ry + 1, rx + 1), dtype=parts[0].dtype, device=self.device)
        for part, k in zip(parts, self._ks, strict=True):
            cy, cx = self._centre(k)
            mirrored = part.flip((0, 1, 2)).roll(1, 0).conj()  # z is in the order of the transform, y and x are centred
            for piece, top, left in ((part, cy - hy + ry, cx - hx), (mirrored, -cy - hy + ry, -cx - hx)):
                y0, y1 = max(top, 0), min(top + 2 * hy + 1, total.shape[1])
                x0, x1 = max(left, 0), min(left + 2 * hx + 1, total.shape[2])
                if x1 > x0 and y1 > y0:
                    total[:, y0:y1, x0:x1] += piece[:, y0 - top : y1 - top, x0 - left : x1 - left]
        return total

    def _image(self, half: Tensor) -> Tensor:
        (nz, ny, nx), ry = self.padded, self._reach[0]
        planes = torch.fft.ifft(half, dim=0, norm="forward")[: self.shape[0]]
        full = planes.new_zeros((self.shape[0], 2 * ny, half.shape[2]))
        full[:, : ry + 1], full[:, -ry:] = planes[:, ry:], planes[:, :ry]
        rows = torch.fft.ifft(full, dim=1, norm="forward")[:, : 2 * self.shape[1]]
        image: Tensor = torch.fft.irfft(rows, n=2 * nx, dim=2, norm="forward")[:, :, : 2 * self.shape[2]]
        return image / (nz * ny * nx)

    def _overlap(self, number: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        own, zero = [slice(None)], [slice(None)]
        for centre, half in zip(self._centre(self._ks[number]), self._half, strict=True):
            low, high = max(-half, centre - half), min(half, centre + half) + 1
            own.append(slice(low - centre + half, high - centre + half))
            zero.append(slice(low + half, high + half))
        return tuple(own), tuple(zero)

    def _away_from_centres(self, number: int) -> Tensor:
        """Return where the overlap of a band with order 0 is far from both centres, full of light from outside the stack."""
        own, zero = self._overlap(number)
        inner = CENTRE * self.optics.cutoff_per_um
        far = []
        for k, part in ((self._ks[number], own), ((0.0, 0.0), zero)):
            fy, fx = self._frequencies(k)
            far.append(torch.hypot(fy[part[1], None], fx[None, part[2]]) > inner)
        return (far[0] & far[1]).to(self.device)

    def _centre(self, k: tuple[float, float]) -> tuple[int, int]:
        """Return -k in Fourier pixels (y, x)."""
        return -round(k[1] / self._step[1]), -round(k[0] / self._step[2])

    def _frequencies(self, k: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Return f + k along y and x in the window around -k."""
        fy, fx = (
            torch.arange(c - h, c + h + 1, dtype=torch.float64) * d + q
            for c, h, d, q in zip(self._centre(k), self._half, self._step[1:], k[::-1], strict=True)
        )
        return fy, fx

    def _lattice(self) -> tuple[Tensor, Tensor, Tensor]:
        fz = torch.fft.fftfreq(self.padded[0], self.optics.pixel_um[0], dtype=torch.float64)
        fy = torch.arange(-self._reach[0], self._reach[0] + 1, dtype=torch.float64) * self._step[1]
        fx = torch.arange(0, self._reach[1] + 1, dtype=torch.float64) * self._step[2]
        return fz[:, None, None], fy[None, :, None], fx[None, None, :]
