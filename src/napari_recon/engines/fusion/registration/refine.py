"""From whole planes to hundredths of a voxel: local displacements between both views, explained by one mirror plane.

Blocks of view a are correlated with the same blocks of view b. Both views are longer along the optical axis, which the
mirror turns: so that blur does not count as a turn, each view gets the other's blur besides its own. Turn, place of the
mirror and lateral shift then follow from all displacements by robust least squares, and the views are sampled anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.fusion.registration.split_transform import SplitTransform
from napari_recon.engines.fusion.registration.turning import centred, sampled

ROUNDS, ENOUGH = 8, 0.01
BLOCK, MOST_BLOCKS, LEAST_BLOCKS = 24, 80, 3
#: Correlation of a block below which its displacement does not count.
LEAST_CORRELATION = 0.25
#: Planes next to the mirror that are left out: its bright line is the same all along x and y, and tells nothing.
GAP = 8
#: Blurs along the optical axis that are tried, in voxels of x, on the most informative blocks.
BLURS, BLUR_BLOCKS = (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0), 16
#: Part of a block's corners that both views must see.
LEAST_COVERED = 0.5
_NAMES = ("angle_y_deg", "angle_x_deg", "mirror_um", "shift_y", "shift_x")


@dataclass(frozen=True)
class Block:
    """A box of turned space: centre (x, y, z) in micrometers and side in voxels (z, y, x)."""

    centre: tuple[float, float, float]
    size: tuple[int, int, int]


class Refiner:
    """Refines a transform on one volume.

    Parameters
    ----------
    volume : Tensor
        (z, y, x) float32.
    voxel_um : tuple
    planes : int
        How far from the mirror blocks are taken.
    check : Callable
        Called now and then; may raise.
    """

    def __init__(self, volume: Tensor, voxel_um: tuple[float, float, float], planes: int, check: Callable[[], None]) -> None:
        self._volume, self._voxel, self._planes, self._check = volume, voxel_um, planes, check
        self._pitch = (voxel_um[2], voxel_um[1], voxel_um[2])  # of turned z, y, x
        self.blur_um = 0.0
        self.residual = float("nan")
        self.blocks = 0

    def refined(self, start: SplitTransform) -> SplitTransform:
        """Return the transform with turn, place and shift to a small part of a voxel; `start` where blocks are too few."""
        found, blocks = start, self.informative(start)
        self.blur_um = self._matching_blur(start, blocks)
        for _ in range(ROUNDS):
            centres, moves, trust = self.displacements(found, blocks)
            if len(moves) < LEAST_BLOCKS:
                return start
            found, largest = self._stepped(found, centres, moves, trust)
            if largest < ENOUGH:
                break
        return found

    def informative(self, transform: SplitTransform) -> list[Block]:
        """Return the blocks that hold most structure in both views."""
        shape = self._volume.shape
        extent = [self._planes, int(shape[1]), int(shape[2])]
        size = [min(BLOCK, max(8, n)) for n in extent]
        steps = [max(1, n // 2) for n in size]
        coarse = [max(1, n // 12) for n in size]
        place = [
            transform.mirror_um - (torch.arange(0, extent[0], coarse[0], dtype=torch.float64) + 0.5) * self._pitch[0],
            centred(extent[1], self._pitch[1])[:: coarse[1]],
            centred(extent[2], self._pitch[2])[:: coarse[2]],
        ]
        views = self._views(transform, (place[0], place[1], place[2]))
        found = []
        gap = min(GAP, extent[0] // 6)
        for z in range(gap, max(gap + 1, extent[0] - size[0] + 1), steps[0]):
            for y in range(0, max(1, extent[1] - size[1] + 1), steps[1]):
                for x in range(0, max(1, extent[2] - size[2] + 1), steps[2]):
                    at = tuple(slice(-(-s // c), (s + n) // c) for s, n, c in zip((z, y, x), size, coarse, strict=True))
                    spread = [float(v[at].std()) if v[at].numel() > 1 else 0.0 for v in views]
                    if min(spread) > 0:
                        middle_z = transform.mirror_um - (z + size[0] / 2) * self._pitch[0]
                        middle_y, middle_x = (
                            (s + (n - 1) / 2 - (e - 1) / 2) * p
                            for s, n, e, p in zip((y, x), size[1:], extent[1:], self._pitch[1:], strict=True)
                        )
                        block = Block((middle_x, middle_y, middle_z), (size[0], size[1], size[2]))
                        if self._covered(transform, block) >= LEAST_COVERED:
                            found.append((math.sqrt(spread[0] * spread[1]), block))
        found.sort(key=lambda pair: -pair[0])
        return [block for _, block in found[:MOST_BLOCKS]]

    def _covered(self, transform: SplitTransform, block: Block) -> float:
        """Return the part of a block's corners that lie in the volume, of the view that sees less of it."""
        half = np.array(block.size[::-1]) * np.array(self._pitch[::-1]) / 2
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        corners = np.array(block.centre) + signs * half
        limit = np.array(self._volume.shape[::-1]) * np.array(self._voxel[::-1]) / 2
        parts = []
        for mirrored in (False, True):
            matrix, offset = transform.source(mirrored)
            parts.append(float((np.abs(corners @ matrix.T + offset) <= limit).all(axis=1).mean()))
        return min(parts)

    def displacements(
        self, transform: SplitTransform, blocks: list[Block]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return centres (n, 3), how far view b lies off there (n, 3), (x, y, z) in micrometers, and what each counts (n,).

        A block counts as much as it holds structure: one that sees only the outskirts of some tells little, and wrongly.
        """
        centres, moves, trust = [], [], []
        for block in blocks:
            self._check()
            found = displacement(*self._matched(transform, block))
            if found is not None:
                centres.append(block.centre)
                moves.append([m * p for m, p in zip(found[0][::-1], self._pitch[::-1], strict=True)])
                trust.append(found[2])
        self.blocks = len(moves)
        return np.array(centres), np.array(moves), np.array(trust) / max(trust, default=1.0)

    def _matching_blur(self, transform: SplitTransform, blocks: list[Block]) -> float:
        """Return the blur (um) with which the blocks of both views match best: that of the optical axis."""
        scores = []
        for voxels in BLURS:
            self.blur_um = voxels * self._pitch[2]
            found = [displacement(*self._matched(transform, block)) for block in blocks[:BLUR_BLOCKS]]
            scores.append(sum(f[1] for f in found if f is not None))
        return BLURS[int(np.argmax(scores))] * self._pitch[2]

    def _matched(self, transform: SplitTransform, block: Block) -> tuple[Tensor, Tensor]:
        """Return a block of both views, each with the other's blur."""
        margin = math.ceil(2.5 * self.blur_um / self._pitch[2])
        place = [centred(n + 2 * margin, p) + c for n, p, c in zip(block.size, self._pitch, block.centre[::-1], strict=True)]
        views = self._views(transform, (place[0], place[1], place[2]))
        axis = transform.turn[:, 2]
        axes = (axis * np.array([1, 1, -1]), axis)  # of the other view's blur, turned (x, y, z)
        inner = tuple(slice(margin, margin + n) for n in block.size)
        a, b = (blurred(v, self._pitch, e, self.blur_um)[inner] for v, e in zip(views, axes, strict=True))
        return a, b

    def _views(self, transform: SplitTransform, places: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        return [
            sampled(self._volume, self._voxel, *transform.source(mirrored), places, self._check).cpu()
            for mirrored in (False, True)
        ]

    def _stepped(
        self,
        transform: SplitTransform,
        centres: NDArray[np.float64],
        moves: NDArray[np.float64],
        trust: NDArray[np.float64],
    ) -> tuple[SplitTransform, float]:
        """Return the transform after one robust least-squares step, and how far it moves a block at most, in voxels."""
        jacobian = np.stack([self._effect(transform, name, centres).ravel() for name in _NAMES], axis=1)
        scale = np.linalg.norm(jacobian, axis=0)
        wanted, weight = moves.ravel(), np.repeat(trust, 3)
        for _ in range(10):
            root = np.sqrt(weight)[:, None]
            step = np.linalg.lstsq(jacobian / scale * root, wanted * root[:, 0], rcond=1e-6)[0] / scale
            left = (wanted - jacobian @ step).reshape(-1, 3)
            length = np.linalg.norm(left, axis=1)
            limit = max(1.5 * float(np.median(length)), 0.02 * self._pitch[2])
            weight = np.repeat(trust * np.minimum(1.0, limit / np.maximum(length, 1e-12)), 3)
        self.residual = float(np.median(length)) / self._pitch[2]
        moved = np.abs((jacobian @ step).reshape(-1, 3) / np.array(self._pitch[::-1])).max()
        return changed(transform, dict(zip(_NAMES, step, strict=True))), float(moved)

    def _effect(self, transform: SplitTransform, name: str, centres: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how view b would lie off at turned `centres` per unit of a parameter of the true transform."""
        unit = 1e-3
        other = changed(transform, {name: unit})
        here, offset = transform.source(mirrored=False)
        seen = other.image_of(centres @ here.T + offset)  # where the true transform has the image, in the volume
        back, start = transform.source(mirrored=True)
        return (np.asarray((seen - start) @ np.linalg.inv(back).T) - centres) / unit


def blurred(block: Tensor, pitch: tuple[float, float, float], axis: NDArray[np.float64], sigma_um: float) -> Tensor:
    """Return a block (z, y, x) blurred by a Gaussian along a direction (x, y, z)."""
    if sigma_um <= 0:
        return block
    along: Tensor | float = 0.0
    for i, (n, p, part) in enumerate(zip(block.shape, pitch, axis[::-1], strict=True)):
        frequency = torch.fft.rfftfreq(n, p) if i == 2 else torch.fft.fftfreq(n, p)
        along = along + float(part) * frequency.reshape([-1 if j == i else 1 for j in range(3)])
    kernel = torch.exp(-2 * (math.pi * sigma_um) ** 2 * torch.as_tensor(along) ** 2)
    found: Tensor = torch.fft.irfftn(torch.fft.rfftn(block) * kernel, block.shape)
    return found


def changed(transform: SplitTransform, by: dict[str, float]) -> SplitTransform:
    """Return the transform with some parameters changed."""
    shift = (transform.shift_um[0] + by.get("shift_y", 0.0), transform.shift_um[1] + by.get("shift_x", 0.0))
    rest = {n: float(getattr(transform, n) + by[n]) for n in by if not n.startswith("shift")}
    return transform.model_copy(update={**rest, "shift_um": (float(shift[0]), float(shift[1]))})


def displacement(a: Tensor, b: Tensor) -> tuple[tuple[float, ...], float, float] | None:
    """Return by how many voxels (z, y, x) the content of b lies off that of a, match and energy; None without a match."""
    window: Tensor | None = None
    for axis, n in enumerate(a.shape):
        edge = torch.sin(math.pi * (torch.arange(n, dtype=a.dtype) + 0.5) / n) ** 2
        edge = edge.reshape([-1 if i == axis else 1 for i in range(3)])
        window = edge if window is None else window * edge
    assert window is not None
    parts = []
    for view in (a, b):
        mean = float((view * window).sum() / window.sum())
        parts.append((view - mean) * window)
    energy = float((parts[0] ** 2).sum() * (parts[1] ** 2).sum()) ** 0.5
    if energy <= 0:
        return None
    reach = [max(1, n // 3) for n in a.shape]
    full = [n + r + 1 for n, r in zip(a.shape, reach, strict=True)]  # no wrapping within the reach
    spectra = [torch.fft.rfftn(part, full) for part in parts]
    match = torch.fft.irfftn(spectra[0].conj() * spectra[1], full) / energy
    match = torch.roll(match, reach, dims=(0, 1, 2))[tuple(slice(0, 2 * r + 1) for r in reach)]
    best = int(torch.argmax(match))
    if float(match.flatten()[best]) < LEAST_CORRELATION:
        return None
    at = [int(i) for i in np.unravel_index(best, match.shape)]
    found = []
    for axis, (i, r) in enumerate(zip(at, reach, strict=True)):
        if not 0 < i < 2 * r:
            return None
        near = [match[tuple(j + d if k == axis else j for k, j in enumerate(at))] for d in (-1, 0, 1)]
        before, here, after = (math.log(max(float(n), 1e-6)) for n in near)
        bend = before - 2 * here + after
        found.append(i - r + (0.5 * (before - after) / bend if bend < 0 else 0.0))
    return tuple(found), float(match.flatten()[best]), energy


def correlation(
    volume: Tensor, voxel_um: tuple[float, float, float], transform: SplitTransform, planes: int, check: Callable[[], None]
) -> float:
    """Return the correlation of both views on about a million voxels that both see, next to the mirror left out.

    There both views are made of the same voxels, which would correlate whatever they hold.
    """
    shape = volume.shape
    skip = max(1, round((planes * shape[1] * shape[2] / 2**20) ** (1 / 3)))
    pitch = voxel_um[2]
    z = transform.mirror_um - (torch.arange(min(3, planes - 1), planes, skip, dtype=torch.float64) + 0.5) * pitch
    places = (z, centred(shape[1], voxel_um[1])[::skip], centred(shape[2], pitch)[::skip])
    a, b = (sampled(volume, voxel_um, *transform.source(m), places, check).cpu().double() for m in (False, True))
    both = (a != 0) & (b != 0)
    if int(both.sum()) < 16:
        return 0.0
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    energy = float((a * a).sum() * (b * b).sum()) ** 0.5
    return float((a * b).sum()) / energy if energy > 0 else 0.0
