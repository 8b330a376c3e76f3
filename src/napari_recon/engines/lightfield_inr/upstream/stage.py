"""One scene at one resolution: its lattice, PSF and targets, and the blocks a step looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates
from napari_recon.optics.psf_convolution import PsfProjector

LINE_PLANES = 8
"""Planes on either side of the middle from which the path of a view's PSF is fitted."""


class Block(NamedTuple):
    """The part of a lattice a block of pixels sees: rows and columns, and the zeros (left, right, top, bottom) around."""

    rows: slice
    columns: slice
    padding: tuple[int, int, int, int]


def normalised_psf(psf_vzyx: Tensor) -> Tensor:
    """Return the PSF (views, planes, y, x) with every view's sum one: relative brightness of views is left aside."""
    return psf_vzyx / psf_vzyx.sum(dim=(-3, -2, -1), keepdim=True)


def reduced_psf(psf_vzyx: Tensor, factor: int) -> Tensor:
    """Return the PSF on a `factor` times coarser grid, sizes odd again, normalised."""
    height, width = (n // factor // 2 * 2 + 1 for n in psf_vzyx.shape[-2:])
    return normalised_psf(F.interpolate(psf_vzyx, size=(height, width), mode="bilinear", align_corners=False))


def reduced_targets(targets_vyx: Tensor, factor: int) -> Tensor:
    """Return the views on a `factor` times coarser grid."""
    height, width = targets_vyx.shape[-2] // factor, targets_vyx.shape[-1] // factor
    return F.interpolate(targets_vyx[None], size=(height, width), mode="bilinear", align_corners=False)[0]


def line_psf(psf_vzyx: Tensor) -> Tensor:
    """Return a PSF of one pixel per view and plane, on the straight line that the maxima of a PSF follow."""
    views, planes, height, width = psf_vzyx.shape
    low, high = max(0, planes // 2 - LINE_PLANES), min(planes, planes // 2 + LINE_PLANES)
    peak = psf_vzyx.flatten(-2).argmax(dim=-1).cpu().numpy()
    depth = np.arange(planes)
    result = torch.zeros_like(psf_vzyx)
    for view in range(views):
        places = []
        for size, position in ((height, peak[view] // width), (width, peak[view] % width)):
            slope, start = np.polyfit(depth[low:high], position[low:high], 1) if high - low > 1 else (0.0, position[low])
            places.append(np.clip(np.round(slope * depth + start), 0, size - 1).astype(int))
        result[view, depth, places[0], places[1]] = 1.0
    return normalised_psf(result)


@dataclass(frozen=True, eq=False)
class Targets:
    """Views (v, y, x) and the PSF (v, z, y, x) that made them, normalised."""

    views: Tensor
    psf: Tensor

    def reduced(self, factor: int, line: bool = False) -> Targets:
        """Return the coarse targets; `line` puts the path of the PSF's maxima in its place."""
        psf = reduced_psf(self.psf, factor)
        return Targets(reduced_targets(self.views, factor), line_psf(psf) if line else psf)


class Stage:
    """A lattice with its targets, and the projection of blocks of it.

    Parameters
    ----------
    targets : Targets
        What the squared difference is taken to.
    block : int
        Pixels of a block, odd.
    lattice_zyx : tuple of int
        The whole fine lattice.
    factor : int
        1, or the factor by which targets are reduced: of the fine lattice every factor-th point is taken along y and x,
        which lie half a coarse pixel beside the reduced targets.
    similar : Targets, optional
        What the structural similarity is taken to, when other views are meant for it.
    """

    def __init__(
        self,
        targets: Targets,
        block: int,
        lattice_zyx: tuple[int, int, int],
        factor: int = 1,
        similar: Targets | None = None,
    ) -> None:
        planes, height, width = lattice_zyx
        self.targets, self.similar, self.block = targets, similar, block
        self.size_yx = height // factor, width // factor
        device = targets.views.device
        places = (np.arange(planes), *(np.arange(n) * factor for n in self.size_yx))
        coordinates = [axis_coordinates(axis, place, lattice_zyx) for axis, place in zip("zyx", places, strict=True)]
        self.z, self.y, self.x = (axis.to(device) for axis in coordinates)
        if block % 2 == 0 or block > min(self.size_yx):
            raise InputError(
                f"block_size should be odd and at most the views' size {self.size_yx}, found {block}; choose another"
            )
        self._projectors = [
            None if each is None else PsfProjector.valid(each.psf, self._padded(each.psf), device=device)
            for each in (targets, similar)
        ]

    def _padded(self, psf: Tensor) -> tuple[int, int]:
        return self.block + psf.shape[-2] - 1, self.block + psf.shape[-1] - 1

    def part(self, centre_yx: tuple[int, int]) -> Block:
        """Return the part of the lattice that the block around a pixel sees."""
        radius, reach = self.block // 2, [n // 2 for n in self.targets.psf.shape[-2:]]
        slices, padding = [], []
        for centre, size, far in zip(centre_yx, self.size_yx, reach, strict=True):
            low, high = centre - radius - far, centre + radius + far + 1
            slices.append(slice(max(0, low), min(size, high)))
            padding.append((max(0, -low), max(0, high - size)))
        return Block(slices[0], slices[1], (*padding[1], *padding[0]))

    def views(self, volume: Tensor, part: Block) -> tuple[Tensor, Tensor | None]:
        """Return the pixels (v, block, block) of both kinds of views that a part of the volume makes."""
        padded = F.pad(volume, part.padding)
        first, second = self._projectors
        assert first is not None
        return first.forward(padded), None if second is None else second.forward(padded)

    def pixels(self, targets: Targets, centre_yx: tuple[int, int]) -> Tensor:
        """Return the targets (v, block, block) around a pixel."""
        radius = self.block // 2
        y, x = (slice(centre - radius, centre + radius + 1) for centre in centre_yx)
        return targets.views[:, y, x]


class Centres:
    """Draws the pixel around which the block of a step lies, uniformly.

    Parameters
    ----------
    size_yx : tuple of int
        Pixels of the views.
    block : int
    bounds : sequence of int
        First and last place: one of three places per axis is taken, evenly spread between them; empty for any place at
        which the block lies inside.
    """

    def __init__(self, size_yx: tuple[int, int], block: int, bounds: Sequence[int] = ()) -> None:
        radius = block // 2
        if len(bounds) == 2:
            three = np.floor(np.linspace(bounds[0], bounds[1], 3)).astype(int)
            self._choices: list[NDArray[np.int64]] = [three, three]
        else:
            self._choices = [np.arange(radius, max(size - radius, radius + 1)) for size in size_yx]
        for choices, size in zip(self._choices, size_yx, strict=True):
            if choices.min() < radius or choices.max() > size - radius - 1:
                raise InputError(
                    f"blocks of {block} pixels should lie inside views of {size_yx}, found centres from {choices.min()} to "
                    f"{choices.max()}; mend boundary_range or block_size"
                )

    def draw(self, rng: np.random.RandomState) -> tuple[int, int]:
        """Return (y, x); x is drawn first."""
        x, y = (int(choices[rng.randint(len(choices))]) for choices in self._choices[::-1])
        return y, x
