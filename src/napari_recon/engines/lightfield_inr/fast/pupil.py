"""PSFs of views that each see through a round part of a pupil: how low aberrations of single views change them.

A pupil is fitted to the given PSF: the radius of its parts, and the defocus that a plane brings. What an aberration of a
view changes of that model's PSF is then added to the given one: details that the model lacks stay.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.optics.psf_projector import psf_shift_of
from napari_recon.optics.support import next_smooth_size

#: Pixels by which a PSF with aberrations is larger on every side.
MORE = 3
#: Planes that a pupil is fitted to at most, and where the fit starts: radii of the parts (cycles per pixel; above a quarter
#: pixels are too large to tell), radians of defocus per plane at their edge.
JUDGED = 9
RADII, CURVATURES = (0.08, 0.12, 0.16, 0.2, 0.24), (0.02, 0.1, 0.25, 0.5, 0.9)
LARGEST = 0.26


class Pupil:
    """Round parts of a pupil through which the views of a light field see.

    Parameters
    ----------
    psf_vzyx : Tensor
        To which the pupil is fitted.

    Attributes
    ----------
    radius, curvature, focus : float
        Of the parts, cycles per pixel; radians of defocus that a plane brings at their edge; plane without, from the middle.
    miss : float
        Energy of the transfer functions' moduli that the model does not explain, relative to all.
    """

    def __init__(self, psf_vzyx: Tensor) -> None:
        self._psf = F.pad(psf_vzyx, (MORE, MORE, MORE, MORE)).double()
        self._light = self._psf.sum(dim=(-2, -1), keepdim=True)
        self._shift = psf_shift_of(psf_vzyx).double()
        self._size = next_smooth_size(max(self._psf.shape[-2:]))
        planes = psf_vzyx.shape[1]
        self._depth = torch.arange(planes, dtype=torch.float64) - (planes - 1) / 2
        (self.radius, self.curvature, self.focus), self.miss = self._fitted()

    def aberrated(self, waves_v3: Tensor) -> Tensor:
        """Return the PSF (v, z, y, x) with aberrations of each view, every plane with its light.

        Parameters
        ----------
        waves_v3 : Tensor
            Defocus, astigmatism along y and x, and between them, of each view: waves at the edge of its part.
        """
        changed = self._psf.clone()
        for view, waves in enumerate(waves_v3.double().cpu()):
            more = self._placed(view, self._image(waves) - self._image(torch.zeros(3, dtype=torch.float64)))
            whole = (changed[view] + self._light[view] * more).clamp_min_(0)
            changed[view] = whole * (self._light[view] / whole.sum(dim=(-2, -1), keepdim=True).clamp_min(1e-30))
        return changed.float()

    def slopes(self, waves_v3: Tensor) -> Iterator[Tensor]:
        """Yield by how much the PSF (v, z, y, x) changes per wave of each kind of aberration."""
        for kind in range(3):
            change = torch.empty_like(self._psf)
            for view, waves in enumerate(waves_v3.double().cpu()):
                change[view] = self._light[view] * self._placed(view, self._image(waves, kind))
            yield change.float()

    def _fitted(self) -> tuple[tuple[float, float, float], float]:
        every = math.ceil(len(self._depth) / JUDGED)
        depth, size = self._depth[::every], self._size
        moduli = (
            torch.fft.rfft2(self._psf[:, ::every] / self._light[:, ::every].clamp_min(1e-30), s=(size, size))
            .abs()
            .mean(dim=0)
        )
        still, energy = torch.zeros(3, dtype=torch.float64), float(moduli.square().sum())

        def miss(pupil: tuple[float, float, float]) -> float:
            if not 0.02 < pupil[0] < LARGEST:
                return math.inf
            model = torch.fft.rfft2(_image(*pupil, depth, still, size)).abs()
            return float((model - moduli).square().sum()) / energy

        found = min(((radius, curvature, 0.0) for radius, curvature in itertools.product(RADII, CURVATURES)), key=miss)
        least, step = miss(found), [0.02, 0.1, 1.0]
        while step[0] > 1e-3:
            beside = [
                (
                    found[0] + sign * step[0] * (axis == 0),
                    found[1] + sign * step[1] * (axis == 1),
                    found[2] + sign * step[2] * (axis == 2),
                )
                for axis in range(3)
                for sign in (1, -1)
            ]
            nearer = min(beside, key=miss)
            if miss(nearer) < least:
                found, least = nearer, miss(nearer)
            else:
                step = [each / 2 for each in step]
        return found, least

    def _image(self, waves: Tensor, kind: int | None = None) -> Tensor:
        return _image(self.radius, self.curvature, self.focus, self._depth, waves, self._size, kind)

    def _placed(self, view: int, image_zyx: Tensor) -> Tensor:
        """Return an image around the first pixel moved to where the PSF of a view is, as large as that."""
        size, (height, width) = self._size, self._psf.shape[-2:]
        y, x = torch.fft.fftfreq(size, dtype=torch.float64)[:, None], torch.fft.rfftfreq(size, dtype=torch.float64)
        down, right = (self._shift[view, :, axis, None, None] + (height, width)[axis] // 2 for axis in range(2))
        moved = torch.fft.rfft2(image_zyx) * torch.exp(-2j * math.pi * (down * y + right * x))
        whole: Tensor = torch.fft.irfft2(moved, s=(size, size))
        return whole[..., :height, :width]


def aberration_rows(waves_v3: Tensor) -> list[dict[str, float]]:
    """Return one row per view: defocus and astigmatism in waves at the edge of its part, and the latter's direction.

    The direction is that in which the wave is curved most, in degrees from x towards y, 0 to 180.
    """
    rows = []
    for view, (defocus, straight, oblique) in enumerate(waves_v3.tolist()):
        direction = math.degrees(math.atan2(oblique, -straight)) / 2 % 180
        found = {"defocus": defocus, "astigmatism": math.hypot(straight, oblique), "direction_deg": direction}
        rows.append({"view": view, **{name: round(value, 3) for name, value in found.items()}})
    return rows


def _image(
    radius: float, curvature: float, focus: float, depth_z: Tensor, waves_3: Tensor, size: int, kind: int | None = None
) -> Tensor:
    """Return the image (z, y, x) of points at those depths around the first pixel; or its change per wave of one kind."""
    frequency = torch.fft.fftfreq(size, dtype=torch.float64) / radius
    y, x = frequency[:, None], frequency[None, :]
    inside = ((1 - torch.hypot(y, x)) * radius * size + 0.5).clamp(0, 1)
    shapes = torch.stack([y * y + x * x, y * y - x * x, 2 * y * x]) * (2 * math.pi)
    phase = curvature * (depth_z - focus)[:, None, None] * (y * y + x * x) + torch.einsum("k,kyx->yx", waves_3, shapes)
    light = inside * torch.exp(1j * phase)
    field = torch.fft.ifft2(light)
    found: Tensor = field.abs().square()
    if kind is not None:
        found = 2 * (field.conj() * torch.fft.ifft2(1j * shapes[kind] * light)).real
    return found / (inside.square().sum() / size**2)
