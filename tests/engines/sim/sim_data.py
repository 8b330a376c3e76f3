"""Structured-illumination stacks with known truth: the forward model of the parity README, written in NumPy on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Stack:
    """Raw frames (N, Y, X) angle-major in counts, and what they were made from."""

    frames: NDArray[np.float32]
    k_ac: list[list[tuple[float, float]]]
    phases_acp: Array
    modulation: Array
    gain_ap: Array
    fc: float
    na: float
    wavelength_um: float
    pixel_um: float
    offset: float
    objects: Array = field(repr=False, default_factory=lambda: np.zeros((1, 1)))

    @property
    def optics(self) -> dict[str, object]:
        return {"na": self.na, "wavelength_um": self.wavelength_um, "pixel_um": (self.pixel_um, self.pixel_um)}


def circle_otf(q: Array) -> Array:
    """Incoherent OTF of a circular aperture over |f| / cut-off."""
    q = np.minimum(q, 1.0)
    return 2 / np.pi * (np.arccos(q) - q * np.sqrt(1 - q * q))


def scene(kind: str, size: int, rng: np.random.Generator) -> Array:
    """Return an object (size, size) with values of order 1 on a small background."""
    yy, xx = np.mgrid[:size, :size].astype(float)
    image = np.full((size, size), 0.03)
    if kind in ("filaments", "mix"):
        for _ in range(max(6, size // 12)):
            t = np.linspace(0, 1, 4 * size)
            angle, bend = rng.uniform(0, 2 * np.pi, 2)
            x = rng.uniform(0, size) + size * (t - 0.5) * np.cos(angle) + 0.1 * size * np.sin(5 * t + bend)
            y = rng.uniform(0, size) + size * (t - 0.5) * np.sin(angle) + 0.1 * size * np.cos(4 * t + bend)
            keep = (x >= 0) & (x < size - 1) & (y >= 0) & (y < size - 1)
            np.add.at(image, (y[keep].astype(int), x[keep].astype(int)), rng.uniform(0.3, 1.0))
    if kind in ("beads", "mix"):
        number = size * size // (900 if kind == "beads" else 3000)
        at = rng.integers(0, size, (2, number))
        np.add.at(image, (at[0], at[1]), rng.uniform(1, 6, number))
    if kind in ("mix", "cells"):
        for _ in range(6):
            cy, cx, r = *rng.uniform(0, size, 2), rng.uniform(0.03, 0.15) * size
            image += rng.uniform(0.1, 0.5) * (np.hypot(yy - cy, xx - cx) < r)
    if kind == "texture":
        f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")) + 1 / size
        noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * f ** -rng.uniform(0.3, 1.2)).real
        image += np.maximum(0, 1 + 0.5 * noise / noise.std())
    if kind == "grating":
        period, angle = rng.uniform(5, 14), rng.uniform(0, np.pi)
        image += (np.cos(2 * np.pi * (xx * np.cos(angle) + yy * np.sin(angle)) / period) > 0.2).astype(float)
    if kind == "lattice":
        period = rng.uniform(5, 14)
        image += (np.cos(2 * np.pi * xx / period) * np.cos(2 * np.pi * yy / period) > 0.5).astype(float)
    if kind == "uniform":
        image += 1.0
    return image


def simulate(
    seed: int = 0,
    *,
    n: int = 128,
    kind: str = "mix",
    angles: int = 3,
    phases: int = 3,
    rel: float = 0.8,
    photons: float = 500,
    modulation: float | Sequence[float] | None = 0.8,
    phase_jitter: float = 0.0,
    intensity_jitter: float = 0.0,
    pad: int = 16,
    na: float = 1.2,
    wavelength_um: float = 0.525,
    pixel_um: float = 0.065,
    offset: float = 100.0,
    read: float = 2.0,
    pattern: str = "stripes",
    drift_px: float = 0.0,
    thetas: list[float] | None = None,
) -> Stack:
    """Return a stack; ``modulation=0`` makes a wide-field stack, None draws one per angle, a sequence gives them.

    Parameters
    ----------
    rel : float
        Pattern frequency over the OTF cut-off.
    pattern : str
        stripes, hexagonal (one group with three carriers, 7 phases at least) or three-beam (orders 1 and 2).
    drift_px : float
        Movement of the object from frame to frame, raw pixels.
    """
    rng = np.random.default_rng(seed)
    fine = 2 * (n + 2 * pad)
    objects = scene(kind, fine, rng)
    fc = 2 * na / wavelength_um
    if pattern == "hexagonal":
        angles, phases = 1, max(phases, 7)
    theta0 = rng.uniform(0, np.pi)
    if pattern == "hexagonal":
        directions = [[theta0 + i * np.pi / 3 for i in range(3)]]
        orders = [[1.0, 1.0, 1.0]]
    else:
        angle = thetas or [theta0 + a * np.pi / angles + rng.uniform(-0.05, 0.05) for a in range(angles)]
        orders = [[1.0] if pattern == "stripes" else [0.5, 1.0]] * angles
        directions = [[t] * len(orders[0]) for t in angle]
    k_ac = [
        [(rel * fc * o * np.cos(t), rel * fc * o * np.sin(t)) for t, o in zip(ts, os, strict=True)]
        for ts, os in zip(directions, orders, strict=True)
    ]
    carriers = len(k_ac[0])
    phi = np.zeros((angles, carriers, phases))
    for a in range(angles):
        first = rng.uniform(0, 2 * np.pi, carriers)
        steps = 2 * np.pi * np.arange(phases) / phases
        jitter = phase_jitter * rng.standard_normal(phases)
        for c in range(carriers):
            factor = c + 1 if pattern != "stripes" else 1
            phi[a, c] = (factor * first[0] if pattern == "three-beam" else first[c]) + factor * (steps + jitter)
    mod = rng.uniform(0.3, 1.0, (angles, carriers))
    if modulation is not None:
        mod = np.broadcast_to(np.reshape(modulation, (-1, 1)), mod.shape).astype(float)
    if pattern == "hexagonal":
        mod = mod * 2 / 3
    if pattern == "three-beam":
        mod = mod * np.array([0.5, 0.5])
    gain = 1 + intensity_jitter * rng.standard_normal((angles, phases))
    x = (np.arange(fine) - fine // 2) * pixel_um / 2
    f = np.fft.fftfreq(fine, pixel_um / 2)
    otf = circle_otf(np.hypot(f[:, None], f[None]) / fc)
    frames = np.empty((angles, phases, n, n))
    spectrum = np.fft.fft2(objects)
    for a in range(angles):
        for p in range(phases):
            moved = objects
            if drift_px:
                shift = 2 * drift_px * (a * phases + p)
                moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * f * pixel_um / 2 * shift)[None]).real
            light = np.ones((fine, fine))
            for c, (kx, ky) in enumerate(k_ac[a]):
                light += mod[a, c] * np.cos(2 * np.pi * (kx * x[None] + ky * x[:, None]) + phi[a, c, p])
            image = np.fft.ifft2(np.fft.fft2(moved * light) * otf).real[::2, ::2]
            frames[a, p] = gain[a, p] * image[pad : pad + n, pad : pad + n]
    frames = np.maximum(frames, 0) * photons / np.percentile(frames, 99)
    noisy = rng.poisson(frames) + read * rng.standard_normal(frames.shape) + offset
    counts = np.round(noisy).reshape(angles * phases, n, n).astype(np.float32)
    return Stack(counts, k_ac, phi, mod, gain, fc, na, wavelength_um, pixel_um, offset, objects)
