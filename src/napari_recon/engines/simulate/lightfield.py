"""How a light field forms: every view sums the depth planes, each displaced by that view's shift at that depth.

A view is the sum over planes of the bilinearly displaced plane, blurred by a Gaussian and reduced to light-field
pixels by antialiased bicubic resampling: the formula of the simulated light fields networks are checked on
(doi 10.1038/s41592-025-02698-z), with geometry instead of wave optics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Check = Callable[[], None]
_CUBIC = -0.5  # sharpness of the antialiased bicubic kernel, R. Keys 1981, doi 10.1109/TASSP.1981.1163711


class Imaging:
    """The optics of one light field: volume in, views out.

    Parameters
    ----------
    volume_shape_zyx : tuple of int
        Shape of the volumes, margins included.
    upsampling : float
        Fine pixels per light-field pixel, S.
    psf_sigma : float
        Blur in fine pixels.
    margin : int
        Light-field pixels around the field on each side that the volume covers; ``margin * upsampling`` is whole.
    """

    def __init__(
        self, volume_shape_zyx: tuple[int, int, int], upsampling: float, psf_sigma: float = 2.0, margin: int = 0
    ) -> None:
        _, size_y, size_x = volume_shape_zyx
        self._rows = torch.from_numpy(_sampling_matrix(size_y, upsampling, psf_sigma, margin))
        self._columns = torch.from_numpy(_sampling_matrix(size_x, upsampling, psf_sigma, margin))

    def view(self, pieces: Sequence[Piece], shift_z2: NDArray[np.floating], check: Check = lambda: None) -> Tensor:
        """Return one view (Y, X).

        Parameters
        ----------
        pieces : sequence of Piece
            The volume, from `pieces_of`.
        shift_z2 : numpy.ndarray
            (Z, 2) displacement (y, x) in fine pixels: a point at (y, x) appears at (y, x) + shift.
        check : callable
            Called now and then; may raise to stop.
        """
        total = torch.zeros(self._rows.shape[1], self._columns.shape[1])
        for number, piece in enumerate(pieces):
            if number % 16 == 0:
                check()
            shift_y, shift_x = shift_z2[piece.plane].tolist()
            _add_displaced(total, piece.part_yx, piece.top + shift_y, piece.left + shift_x)
        return self._rows @ total @ self._columns.T


@dataclass(frozen=True, eq=False)
class Piece:
    """The rectangle of one plane that is not zero; `top` and `left` say where it lies."""

    plane: int
    top: int
    left: int
    part_yx: Tensor


def pieces_of(volume_zyx: Tensor, check: Check = lambda: None) -> list[Piece]:
    """Return what of a float32 volume (Z, Y, X) is not zero, so that dark parts cost nothing."""
    pieces = []
    for number, plane in enumerate(volume_zyx):
        check()
        rows, columns = plane.any(dim=1).nonzero(), plane.any(dim=0).nonzero()
        if len(rows):
            top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
            pieces.append(Piece(number, top, left, plane[top:bottom, left:right]))
    return pieces


def _add_displaced(total: Tensor, part: Tensor, top: float, left: float) -> None:
    """Add `part` to `total` with its corner at a fractional place; what leaves the canvas is lost."""
    for row, weight_y in _neighbours(top):
        for column, weight_x in _neighbours(left):
            to_y, from_y = _overlap(row, part.shape[0], total.shape[0])
            to_x, from_x = _overlap(column, part.shape[1], total.shape[1])
            total[to_y, to_x].add_(part[from_y, from_x], alpha=weight_y * weight_x)


def _neighbours(place: float) -> list[tuple[int, float]]:
    """Return the whole positions around `place` with their weights of linear interpolation."""
    whole = math.floor(place)
    part = place - whole
    return [(whole, 1 - part), (whole + 1, part)] if part else [(whole, 1.0)]


def _overlap(start: int, length: int, size: int) -> tuple[slice, slice]:
    """Return where a part of `length` at `start` falls on an axis of `size`, and which of the part that is."""
    low = min(max(start, 0), size)
    high = max(min(start + length, size), low)
    return slice(low, high), slice(low - start, high - start) if high > low else slice(0, 0)


def _sampling_matrix(size: int, upsampling: float, sigma: float, margin: int) -> NDArray[np.float32]:
    """Return blur and reduction along one axis as a matrix (light-field pixels of the field, fine pixels)."""
    count = round(size / upsampling) - 2 * margin
    fine = np.arange(size)
    centres = (np.arange(count) + margin + 0.5) * upsampling - 0.5
    reduce = _bicubic((fine - centres[:, None]) / upsampling)
    reduce /= reduce.sum(axis=1, keepdims=True)
    if sigma > 0:
        distance = fine - fine[:, None]
        blur = np.where(np.abs(distance) <= 4 * sigma + 0.5, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
        kernel = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
        reduce = reduce @ (blur / np.exp(-0.5 * (kernel / sigma) ** 2).sum())
    return reduce.astype(np.float32)


def _bicubic(position: NDArray[np.floating]) -> NDArray[np.float64]:
    t = np.abs(position)
    inner = ((_CUBIC + 2) * t - (_CUBIC + 3)) * t**2 + 1
    outer = ((_CUBIC * t - 5 * _CUBIC) * t + 8 * _CUBIC) * t - 4 * _CUBIC
    return np.where(t < 1, inner, np.where(t < 2, outer, 0.0))
