"""A Fourier light-field microscope in numbers: what its lenses fix before any wave is computed (no torch).

The microlenses stand in a plane conjugate to the objective's pupil, so each sees the sample from its own direction and
forms one view behind itself. Lengths are micrometers unless a name says pixels or voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError

#: Sensor beyond what the lenses take: light that wraps around would otherwise come back into the outer views.
MARGIN = 1.3


@dataclass(frozen=True)
class FlfmMicroscope:
    """Optics of a Fourier light-field microscope with seven microlenses in a hexagon.

    Attributes
    ----------
    na, magnification : float
        Objective; its focal length is ``tube_um / magnification``.
    tube_um, fourier_um, microlens_um : float
        Focal lengths of tube lens, Fourier lens and microlenses; the sensor lies one microlens focal length behind them.
    pitch_um : float
        Distance of neighbouring microlenses, and their diameter.
    pixels_per_lens : int
        Sensor pixels on one pitch.
    wavelength_um, medium_index, air_index : float
        In vacuum; index at the sample; index between microlenses and sensor.
    sensor_pixels : int
        Sensor pixels per axis, odd; 0 takes what the microlenses fill and a margin.
    samples, field_um : int, float
        Grid on which the wave leaving the sample is sampled, as published: points per axis (odd) and side. With 0 points the
        wave in the pupil is computed directly.
    """

    na: float = 1.4
    magnification: float = 100.0
    tube_um: float = 180000.0
    fourier_um: float = 400000.0
    microlens_um: float = 120000.0
    pitch_um: float = 3250.0
    pixels_per_lens: int = 499
    wavelength_um: float = 0.51
    medium_index: float = 1.518
    air_index: float = 1.0
    sensor_pixels: int = 0
    samples: int = 0
    field_um: float = 200.0

    def __post_init__(self) -> None:
        if not self.sensor_pixels:
            needed = 2 * (np.abs(lens_offsets(self.pixels_per_lens)).max() + self.lens_pixels // 2)
            object.__setattr__(self, "sensor_pixels", _smooth_odd(MARGIN * needed + 1))
        for name, size in (("sensor_pixels", self.sensor_pixels), ("samples", self.samples)):
            if size and size % 2 == 0:
                raise InputError(
                    f"{name} should be odd, so that one point lies on the axis, found {size}; choose {size + 1}"
                )
        if self.na >= self.medium_index:
            raise InputError(
                f"na should be below the medium's index {self.medium_index:g}, found {self.na:g}; check both numbers"
            )
        finest = self.wavelength_um / (2 * self.na)
        if self.samples and self.field_um / self.samples > finest:
            raise InputError(
                f"samples should be at least {math.ceil(self.field_um / finest) | 1} to carry NA {self.na:g} over "
                f"{self.field_um:g} um, found {self.samples}; take more of them or a smaller field_um"
            )
        if self.samples and self.crop > self.samples // 2:
            raise InputError(
                f"the sensor should not reach beyond the computed pupil plane, found {2 * self.crop + 1} samples asked of "
                f"{self.samples}; choose fewer sensor_pixels, or more samples for the same field_um"
            )
        reach = int(np.abs(self.lens_centres - self.sensor_pixels // 2).max()) + self.lens_pixels // 2
        if reach > self.sensor_pixels // 2:
            raise InputError(
                f"the seven microlenses should fit on the sensor, {2 * reach + 1} pixels wide, found sensor_pixels "
                f"{self.sensor_pixels}; choose at least {2 * reach + 1}"
            )

    @property
    def objective_um(self) -> float:
        """Focal length of the objective."""
        return self.tube_um / self.magnification

    @property
    def pixel_um(self) -> float:
        """Pixel of the sensor."""
        return self.pitch_um / self.pixels_per_lens

    @property
    def total_magnification(self) -> float:
        """From the sample to the sensor."""
        return self.microlens_um * self.tube_um / (self.fourier_um * self.objective_um)

    @property
    def voxel_um(self) -> float:
        """Pixel of the sensor in the sample."""
        return self.pixel_um / self.total_magnification

    @property
    def field_radius_um(self) -> float:
        """Radius of the field of view in the sample, where neighbouring views begin to overlap."""
        return self.pitch_um / 2 * self.fourier_um / self.microlens_um * self.objective_um / self.tube_um

    @property
    def lens_na(self) -> float:
        """Numerical aperture of one view."""
        return min(self.pitch_um / 2 / self.relay / self.objective_um, self.na)

    @property
    def resolution_um(self) -> float:
        """Lateral resolution of a view: that of its aperture, or two pixels where these are coarser."""
        return max(self.wavelength_um / (2 * self.lens_na), 2 * self.voxel_um)

    @property
    def axial_resolution_um(self) -> float:
        """Distance of planes that the outermost view shows one resolution apart."""
        outermost = np.hypot(self._lens_offset_um[:, 0], self._lens_offset_um[:, 1]).max()
        seen = min(outermost, self.pupil_um * self.relay)
        return self.resolution_um / float(self._tangent(np.array([[0.0, seen]]))[0, 1])

    @property
    def depth_of_field_um(self) -> float:
        """Depth over which a view is sharp: diffraction and pixels together."""
        return self.medium_index * (self.wavelength_um / self.lens_na + self.voxel_um) / self.lens_na

    @property
    def pupil_um(self) -> float:
        """Radius of the objective's pupil."""
        return self.objective_um * self.na

    @property
    def relay(self) -> float:
        """Magnification from the objective's pupil to the microlenses."""
        return self.fourier_um / self.tube_um

    @property
    def pupil_side_um(self) -> float:
        """Side of the plane that one Fourier transform of the sampled wave covers."""
        return self.wavelength_um * self.objective_um * self.samples / self.field_um

    @property
    def crop(self) -> int:
        """Samples of that plane from the axis to the edge of the sensor."""
        edge = self.pixel_um * (self.sensor_pixels // 2)
        return round(edge / (self.relay * self.pupil_side_um / 2) * (self.samples + 1) / 2)

    @property
    def lens_pixels(self) -> int:
        """Pixels of one microlens, made odd."""
        return self.pixels_per_lens - 1 + self.pixels_per_lens % 2

    @property
    def lens_centres(self) -> NDArray[np.int64]:
        """(7, 2) row and column, from 0, of the pixel behind each microlens, in raster order."""
        return lens_offsets(self.pixels_per_lens) + self.sensor_pixels // 2

    def view_shift_um(self, depth_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where ray optics sees a point of each depth in each view: (7, planes, 2), y first, in the sample.

        The mean over the rays a microlens takes: the ray through a pupil point at distance r leaves the sample at
        ``sin = r / (f n)``, and carries light in proportion to ``1 / cos^2``.
        """
        across = (np.arange(49) - 24) / 24 * self.pitch_um / 2
        disc = np.stack(np.meshgrid(across, across, indexing="ij"), axis=-1).reshape(-1, 2)
        disc = disc[np.hypot(disc[:, 0], disc[:, 1]) < self.pitch_um / 2]
        rays = self._lens_offset_um[:, None] + disc
        seen = np.hypot(rays[..., 0], rays[..., 1]) < self.pupil_um * self.relay
        tangent = self._tangent(rays)
        weight = seen * (1 + (tangent**2).sum(axis=-1))
        mean = (tangent * weight[..., None]).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-12)[:, None]
        shift: NDArray[np.float64] = mean[:, None, :] * depth_um[None, :, None]
        return shift

    def reach_pixels(self, depth_um: NDArray[np.float64]) -> int:
        """Return how far, in voxels, the light of a point can lie from a view's middle: shift, defocus and diffraction."""
        deepest = float(np.abs(depth_um).max())
        radius = np.hypot(self._lens_offset_um[:, 0], self._lens_offset_um[:, 1]).max()
        outermost = min(radius + self.pitch_um / 2, self.pupil_um * self.relay)
        steepest = float(np.abs(self._tangent(np.array([[0.0, outermost]]))).max())
        lens_na = self.pitch_um / 2 / self.relay / self.objective_um
        return math.ceil((deepest * steepest + 2.0 * self.wavelength_um / lens_na) / self.voxel_um)

    @property
    def _lens_offset_um(self) -> NDArray[np.float64]:
        return np.asarray((self.lens_centres - self.sensor_pixels // 2) * self.pixel_um, dtype=np.float64)

    def _tangent(self, offset_um: NDArray[np.float64]) -> NDArray[np.float64]:
        sine = offset_um / (self.relay * self.objective_um * self.medium_index)
        length = np.minimum((sine**2).sum(axis=-1, keepdims=True), 0.999)
        tangent: NDArray[np.float64] = sine / np.sqrt(1 - length)
        return tangent


def lens_offsets(pixels_per_lens: int) -> NDArray[np.int64]:
    """Return (7, 2) rows and columns from the axis to the pixel behind each microlens, in raster order."""
    d = pixels_per_lens - 1 + pixels_per_lens % 2
    rows, half = math.ceil(math.sqrt(3) / 2 * d), math.ceil(d / 2)
    offsets = [(-rows, -half), (-rows, half), (0, -d), (0, 0), (0, d), (rows, -half), (rows, half)]
    return np.array(offsets, dtype=np.int64)


def _smooth_odd(least: float) -> int:
    """Return the next odd size without prime factors above 11, which transforms quickly."""
    size = math.ceil(least) | 1
    while True:
        rest = size
        for prime in (3, 5, 7, 11):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 2
