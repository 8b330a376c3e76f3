"""A light-field microscope with a microlens array in its image plane, in numbers (no torch).

Each sensor pixel behind a microlens sees one direction of the light, so the pixels (u, v) of all lenses together are a view.
Lengths are micrometers; those of views and PSFs are in the sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS

#: Microlenses by which PSFs of views that the pupil's edge cuts are larger, since a hard edge diffracts far.
TAIL = 3

#: Views beside the outermost one whose light is still computed: what a lens diffracts from farther away is left out.
BESIDE = 2.0


@dataclass(frozen=True)
class LfmMicroscope:
    """Optics of a conventional or scanning light-field microscope.

    Attributes
    ----------
    na, magnification : float
        Of the objective, up to the microlenses.
    medium_index, wavelength_um : float
        Index at the sample; wavelength in vacuum.
    pitch_um : float
        Side of a square microlens.
    nnum : int
        Sensor pixels behind a microlens per axis, odd.
    microlens_um : float
        Focal length of the microlenses; 0 takes the one with which the pupil's image just fills the pixels.
    """

    na: float = 1.4
    magnification: float = 63.0
    medium_index: float = 1.518
    wavelength_um: float = 0.525
    pitch_um: float = 100.0
    nnum: int = 13
    microlens_um: float = 0.0

    def __post_init__(self) -> None:
        if self.nnum % 2 == 0:
            raise InputError(
                f"nnum should be odd, so that one pixel is behind a lens' middle, found {self.nnum}; choose {self.nnum + 1}"
            )
        if self.na >= self.medium_index:
            raise InputError(
                f"na should be below the medium's index {self.medium_index:g}, found {self.na:g}; check both numbers"
            )

    @property
    def fine_pixel_um(self) -> float:
        """One nnum-th of a microlens in the sample: the lateral pitch of the PSF."""
        return self.pitch_um / self.nnum / self.magnification

    @property
    def lens_um(self) -> float:
        """A microlens in the sample."""
        return self.pitch_um / self.magnification

    @property
    def na_per_pixel(self) -> float:
        """Numerical aperture between neighbouring views."""
        focal = self.microlens_um or self.pitch_um * self.magnification / (2 * self.na)
        return self.pitch_um / self.nnum * self.magnification / focal

    @property
    def resolution_um(self) -> float:
        """Lateral resolution of a view: that of its aperture, or two fine pixels where these are coarser."""
        return max(self.wavelength_um / (2 * min(self.na_per_pixel, self.na)), 2 * self.fine_pixel_um)

    @property
    def axial_resolution_um(self) -> float:
        """Distance of planes that the outermost view shows one resolution apart."""
        return self.resolution_um / self._tangent(self.na - self.na_per_pixel / 2)

    @property
    def depth_of_field_um(self) -> float:
        """Depth over which `nnum` by `nnum` views add up sharply (Levoy et al. 2006, 10.1145/1141911.1141976)."""
        return (2 + self.nnum**2) * self.wavelength_um * self.medium_index / (2 * self.na**2)

    def pages(self, views: str) -> tuple[int, ...]:
        """Return the pages ``u nnum + v`` of the published order (``selected``, where there is one), or of all lit views."""
        if views == "selected" and self.nnum in VIEW_ORDERS:
            return VIEW_ORDERS[self.nnum]
        radius = np.hypot(*self.directions(range(self.nnum**2)).T)
        lit = radius <= self.na / self.na_per_pixel
        return tuple(int(page) for page in np.flatnonzero(lit)) if views == "selected" else tuple(range(self.nnum**2))

    def directions(self, pages: tuple[int, ...] | range) -> NDArray[np.float64]:
        """Return the angular position (views, 2), y first, of pages in steps of a pixel from the middle."""
        numbers = np.asarray(pages)
        return np.stack([numbers // self.nnum, numbers % self.nnum], axis=-1).astype(np.float64) - self.nnum // 2

    def widest_na(self, pages: tuple[int, ...]) -> float:
        """Return the numerical aperture up to which light is computed for `pages`."""
        radius = float(np.hypot(*self.directions(pages).T).max())
        return min(self.na, (radius + BESIDE) * self.na_per_pixel)

    def view_shift(self, pages: tuple[int, ...], depths_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where ray optics sees each depth in each view: (views, planes, 2) in fine pixels, y first.

        The mean over the rays of the pupil, weighted with what the pixel behind a microlens takes of each direction (its
        width, widened by diffraction at the lens) and with the light per direction.
        """
        widest = self.widest_na(pages)
        across = np.linspace(-widest, widest, 2 * math.ceil(4 * widest / self.na_per_pixel) + 1)
        square = across[:, None] ** 2 + across[None, :] ** 2
        inside = square <= widest**2
        cosine = np.sqrt(1 - np.where(inside, square, 0.0) / self.medium_index**2)
        slope = inside / cosine**2 / self.medium_index  # tangent over sine, times the light per direction
        shift = np.empty((len(pages), 2))
        for number, direction in enumerate(self.directions(pages) * self.na_per_pixel):
            along_y, along_x = (self._taken(across - middle) for middle in direction)
            taken = along_y[:, None] * along_x[None, :]
            light = float((taken * inside / cosine).sum())
            shift[number] = [(taken * slope * rays).sum() / light for rays in (across[:, None], across[None, :])]
        return shift[:, None, :] * (depths_um / self.fine_pixel_um)[None, :, None]

    def _taken(self, na: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what a pixel takes of light at a distance (along one axis, as numerical aperture) from its direction."""
        within = (np.arange(8) + 0.5) / 8 - 0.5
        lobes = np.sinc((na[:, None] - within * self.na_per_pixel) * self.lens_um / self.wavelength_um) ** 2
        taken: NDArray[np.float64] = lobes.mean(axis=1)
        return taken

    def reach_pixels(self, pages: tuple[int, ...], depths_um: NDArray[np.float64]) -> int:
        """Return how far, in fine pixels, the light of a point lies from the middle in any of the views."""
        shift = float(np.abs(self.view_shift(pages, depths_um)).max())
        spread = self._tangent(self.widest_na(pages)) - self._tangent(self.widest_na(pages) - BESIDE * self.na_per_pixel)
        deepest = float(np.abs(depths_um).max())
        tail = TAIL if self.cut_by_pupil(pages) else 0
        return math.ceil(shift + 0.5 * spread * deepest / self.fine_pixel_um + (1 + tail) * self.nnum)

    def domain_pixels(self, pages: tuple[int, ...], depths_um: NDArray[np.float64]) -> int:
        """Return the half size, in fine pixels, of the field in which no light of any depth wraps round."""
        steepest = self._tangent(self.widest_na(pages))
        deepest = float(np.abs(depths_um).max())
        tail = TAIL + 1 if self.cut_by_pupil(pages) else 0
        return math.ceil(deepest * steepest / self.fine_pixel_um + (2 + tail) * self.nnum)

    def cut_by_pupil(self, pages: tuple[int, ...]) -> bool:
        """Return whether the pupil's edge runs through the directions that the pixels of `pages` take."""
        radius = np.hypot(*self.directions(pages).T) * self.na_per_pixel
        return bool((np.abs(radius - self.na) < 0.75 * self.na_per_pixel).any())

    @property
    def directions_per_pixel(self) -> int:
        """Directions per axis with which the light of a pixel is summed exactly: no farther apart than a lens diffracts."""
        return max(2, math.ceil(self.na_per_pixel * self.lens_um / self.wavelength_um))

    def _tangent(self, na: float) -> float:
        sine = min(max(na, 0.0) / self.medium_index, 0.9995)
        return sine / math.sqrt(1 - sine**2)
