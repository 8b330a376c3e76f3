"""Illumination: sums of cosines, their phases and errors, and how an object is lit and imaged by all of them at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_recon.engines.sim.calibration import Calibration, Carrier, Group
from napari_recon.engines.sim.simulator.imaging import Field, Imaging
from napari_recon.engines.sim.simulator.objects import Image

#: cosine series of the shapes a grating can have, mean 1: harmonic -> amplitude
SHAPES: dict[str, dict[int, float]] = {
    "cosine": {1: 1.0},
    "half-rectified": {1: math.pi / 2, 2: 2 / 3, 4: -2 / 15},
    "square": {h: 4 / math.pi / h * (-1) ** (h // 2) for h in (1, 3, 5)},
    "third": {h: 2 * math.sin(math.pi * h / 3) / (math.pi * h / 3) for h in (1, 2, 4, 5)},
}
#: three equal beams: the stripes of neighbouring beams are twice as coarse and stronger than those of the outer pair
THREE_BEAM = {1: 4 / 3, 2: 2 / 3}


@dataclass(frozen=True)
class Illumination:
    """The patterns of all raw frames, angle-major: gain * (1 + sum of carriers).

    Attributes
    ----------
    groups : tuple of Group
        Frames and every cosine of their pattern, harmonics included.
    gains : tuple of float
        Illumination of each frame relative to the nominal one.
    orders : int
        How many carriers of a group, the first ones, a reconstruction uses; the others are harmonics.
    """

    groups: tuple[Group, ...]
    gains: tuple[float, ...]
    orders: int = 1

    @property
    def main(self) -> tuple[Group, ...]:
        """The groups without harmonics: what a calibration can find."""
        return tuple(group.model_copy(update={"carriers": group.carriers[: self.orders]}) for group in self.groups)

    @property
    def reach_per_um(self) -> float:
        """Mean over the groups of the finest |k| in cycles/um, by which resolution grows; 0 without a pattern."""
        finest = [max((c.k_magnitude_per_um for c in group.carriers), default=0.0) for group in self.main]
        return sum(finest) / len(finest)

    def calibration(self, field: Field, na: float, wavelength_um: float, camera_offset: float = 0.0) -> Calibration:
        """Return the true pattern in the form in which calibrations are kept."""
        return Calibration(
            na=na,
            wavelength_um=wavelength_um,
            pixel_um=(field.pixel_um, field.pixel_um),
            shape_yx=field.shape_yx,
            angles=len(self.groups),
            phases=len(self.groups[0].frames),
            pattern="hexagonal" if self.orders == 3 else "stripes",
            camera_offset=camera_offset,
            gains=self.gains,
            groups=self.main,
            verdict="true parameters of a simulation",
        )

    def frames(self, light: Image, imaging: Imaging, check: Callable[[], None] = lambda: None) -> Image:
        """Return the raw frames (N, y, x), without noise, of an object on the fine canvas.

        Every frame of a group is a combination of the images of object, object * cos and object * sin, so these are
        imaged once. `check` is called now and then and may raise to stop.
        """
        y, x = (imaging.field.positions_um(axis) for axis in (0, 1))
        plain = imaging.camera(light)
        frames = np.empty((len(self.gains), *plain.shape), np.float32)
        for group in self.groups:
            frames[list(group.frames)] = plain
            for carrier in group.carriers:
                check()
                kx, ky = carrier.k_per_um
                along_y, along_x = (np.exp(2j * math.pi * k * r).astype(np.complex64) for k, r in ((ky, y), (kx, x)))
                wave = along_y[:, None] * along_x * light
                pair = imaging.camera(np.stack([wave.real, wave.imag]))
                for frame, phase in zip(group.frames, carrier.phases_rad, strict=True):
                    turned = math.cos(phase) * pair[0] - math.sin(phase) * pair[1]
                    frames[frame] += np.float32(carrier.modulation) * turned
        frames *= np.array(self.gains, np.float32)[:, None, None]
        return frames


@dataclass(frozen=True)
class Errors:
    """What is not as it should be: largest deviations, drawn uniformly, of angle and phase; spread of the intensity."""

    angle_deg: float = 0.0
    phase_deg: float = 0.0
    intensity: float = 0.0


def stripes(
    rng: np.random.Generator,
    *,
    k_per_um: float,
    angles: int,
    phases: int,
    start_deg: float = 0.0,
    modulation: float = 0.8,
    series: dict[int, float] = SHAPES["cosine"],
    limit_per_um: float = math.inf,
    errors: Errors = Errors(),
) -> Illumination:
    """Return stripes at `angles` directions, moved in `phases` equal steps from a random start.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws start phases and errors.
    k_per_um : float
        Spatial frequency of the (finest main) stripes; with `THREE_BEAM` that of the outer beams.
    series : dict
        Harmonic -> amplitude of one shape; the finest of `THREE_BEAM` is `k_per_um`, else the first is.
    modulation : float
        1 is the full depth of the shape.
    limit_per_um : float
        Finer harmonics are left out; main carriers never are.
    """
    main = 2 if series is THREE_BEAM else 1
    step = k_per_um / main
    groups = []
    for angle in range(angles):
        direction = math.radians(start_deg + rng.uniform(-1, 1) * errors.angle_deg) + math.pi * angle / angles
        nominal = 2 * math.pi * (rng.random() + np.arange(phases) / phases)
        actual = nominal + np.radians(errors.phase_deg) * rng.uniform(-1, 1, phases)
        carriers = tuple(
            _carrier(h * step, direction, modulation * amplitude, h * actual)
            for h, amplitude in series.items()
            if h <= main or h * step <= limit_per_um
        )
        groups.append(Group(frames=tuple(range(angle * phases, (angle + 1) * phases)), carriers=carriers))
    return Illumination(tuple(groups), _gains(rng, angles * phases, errors), main)


def hexagonal(
    rng: np.random.Generator,
    *,
    k_per_um: float,
    phases: int = 7,
    start_deg: float = 0.0,
    modulation: float = 0.8,
    errors: Errors = Errors(),
) -> Illumination:
    """Return the lattice of three beams, moved in `phases` (7 or more) steps along one line.

    The three carriers lie 60 degrees apart and move by 1, 2 and 3 times 2 pi / phases from frame to frame, so that all
    seven bands can be separated. Each has 2/3 of `modulation`, the most a lattice that stays positive can have.
    """
    direction = math.radians(start_deg + rng.uniform(-1, 1) * errors.angle_deg)
    error = np.radians(errors.phase_deg) * rng.uniform(-1, 1, (2, phases))
    start = 2 * math.pi * rng.random(2)
    n = 2 * math.pi * np.arange(phases) / phases
    first, second = start[0] + n + error[0], start[1] + 2 * n + error[1]
    places = ((0.0, first), (2 * math.pi / 3, second), (math.pi / 3, first + second))
    carriers = tuple(_carrier(k_per_um, direction + turn, modulation * 2 / 3, at) for turn, at in places)
    return Illumination((Group(frames=tuple(range(phases)), carriers=carriers),), _gains(rng, phases, errors), 3)


def uniform(angles: int, phases: int, rng: np.random.Generator, errors: Errors = Errors()) -> Illumination:
    """Return light without any pattern: what a stack shows when the grating is missing."""
    groups = tuple(Group(frames=tuple(range(a * phases, (a + 1) * phases)), carriers=()) for a in range(angles))
    return Illumination(groups, _gains(rng, angles * phases, errors), 0)


def _carrier(k: float, direction: float, modulation: float, phases_rad: NDArray[np.floating]) -> Carrier:
    sign = -1 if modulation < 0 else 1
    turned = [float((p + (math.pi if sign < 0 else 0)) % (2 * math.pi)) for p in phases_rad]
    k_per_um = (k * math.cos(direction), k * math.sin(direction))
    return Carrier(k_per_um=k_per_um, modulation=sign * modulation, phases_rad=tuple(turned))


def _gains(rng: np.random.Generator, frames: int, errors: Errors) -> tuple[float, ...]:
    return tuple(float(g) for g in np.maximum(rng.normal(1.0, errors.intensity, frames), 0.05))
