"""Projection through full PSFs block by block: what a block of view pixels sees, and a whole field in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.optics.psf_convolution import PsfProjector

Check = Callable[[], None]


def _no_check() -> None:
    return None


class BlockProjector:
    """The projector of a whole field in blocks of views, so that memory does not grow with the field.

    Equal to ``PsfProjector.same`` to rounding: every block is projected from its surroundings as far as the PSF reaches.

    Parameters
    ----------
    psf_vzyx : Tensor
        As for `PsfProjector`.
    size_yx : tuple of int
        Pixels of views and volume.
    block : int
        Pixels of a block per axis.
    """

    def __init__(self, psf_vzyx: Tensor, size_yx: tuple[int, int], block: int = 256, **options: Any) -> None:
        self._size = int(size_yx[0]), int(size_yx[1])
        self._block = min(block, self._size[0]), min(block, self._size[1])
        self._reach = int(psf_vzyx.shape[-2]) // 2, int(psf_vzyx.shape[-1]) // 2
        around = self._block[0] + 2 * self._reach[0], self._block[1] + 2 * self._reach[1]
        self._inner = PsfProjector.valid(psf_vzyx, around, **options)

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """Shape (planes, y, x) of volumes."""
        return (self._inner.volume_shape[0], *self._size)

    @property
    def views_shape(self) -> tuple[int, int, int]:
        """Shape (views, y, x) of what `forward` returns."""
        return (self._inner.views_shape[0], *self._size)

    def forward(self, volume_zyx: Tensor, check: Check = _no_check) -> Tensor:
        """Return the views (..., V, y, x) of a volume (..., Z, Y, X)."""
        rows = []
        for top in range(0, self._size[0], self._block[0]):
            row = []
            for left in range(0, self._size[1], self._block[1]):
                inside, padding = block_window((top, left), self._block, self._reach, self._size)
                views = self._inner.forward(F.pad(volume_zyx[(..., *inside)], padding), check)
                row.append(views[..., : self._size[0] - top, : self._size[1] - left])
            rows.append(torch.cat(row, dim=-1))
        return torch.cat(rows, dim=-2)

    def adjoint(self, views_vyx: Tensor, check: Check = _no_check) -> Tensor:
        """Return the transpose of `forward` applied to views (..., V, y, x): a volume (..., Z, Y, X)."""
        volume = views_vyx.new_zeros(*views_vyx.shape[:-3], *self.volume_shape)
        for top in range(0, self._size[0], self._block[0]):
            for left in range(0, self._size[1], self._block[1]):
                inside, (before_x, _, before_y, _) = block_window((top, left), self._block, self._reach, self._size)
                views = views_vyx[..., top : top + self._block[0], left : left + self._block[1]]
                missing = self._block[0] - views.shape[-2], self._block[1] - views.shape[-1]
                part = self._inner.adjoint(F.pad(views, (0, missing[1], 0, missing[0])), check)
                height, width = (place.stop - place.start for place in inside)
                part = part[..., before_y : before_y + height, before_x : before_x + width]
                volume[(..., *inside)] = volume[(..., *inside)] + part
        return volume


def block_window(
    first_yx: tuple[int, int], block_yx: tuple[int, int], reach_yx: tuple[int, int], size_yx: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[int, int, int, int]]:
    """Return the part of the volume that a block of view pixels sees, and the zeros that complete it.

    Parameters
    ----------
    first_yx, block_yx : tuple of int
        First pixel and size of the block.
    reach_yx : tuple of int
        Half size of the PSF.
    size_yx : tuple of int
        Lateral voxels of the volume.

    Returns
    -------
    tuple
        Slices (y, x), and padding (left, right, top, bottom) in the order of ``torch.nn.functional.pad``.
    """
    places, paddings = [], []
    for first, block, reach, size in zip(first_yx, block_yx, reach_yx, size_yx, strict=True):
        low, high = first - reach, first + block + reach
        place = slice(min(max(low, 0), size), max(min(high, size), 0))
        places.append(place)
        before = min(max(-low, 0), high - low)
        paddings.append((before, high - low - before - (place.stop - place.start)))
    return (places[0], places[1]), (*paddings[1], *paddings[0])
