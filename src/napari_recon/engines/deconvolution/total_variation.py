"""Total-variation smoothing of Richardson-Lucy, one step late: flat where the data allow, edges kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Changes below this part of the mean are no edges: keeps the direction of noise in the dark from counting.
EDGE = 0.01

#: The factor stays below the inverse of this, whatever the strength.
LEAST = 0.2


def smoothing_factor(volume_zyx: Tensor, place: slice, mean: float, strength: float) -> Tensor:
    """Return what a multiplicative update of the planes `place` is multiplied by.

    Parameters
    ----------
    volume_zyx : Tensor
        The estimate the update starts from.
    mean : float
        Mean of the volume.
    strength : float
        Weight of the total variation against the light of a voxel (0.002 to 0.02 are usual).

    Returns
    -------
    Tensor
        ``1 / (1 - strength div(grad v / |grad v|))`` of those planes; derivatives are differences of voxels.

    References
    ----------
    N. Dey et al., 2006, doi 10.1002/jemt.20294.
    """
    first, last = max(place.start - 1, 0), min(place.stop + 1, volume_zyx.shape[0])
    block = volume_zyx[first:last]
    along = [F.pad(block.diff(dim=axis), _after(axis)) for axis in range(3)]
    length = torch.full_like(block, (EDGE * mean) ** 2 + 1e-30)
    for part in along:
        length.addcmul_(part, part)
    length.rsqrt_()
    divergence = torch.zeros_like(block)
    for axis, part in enumerate(along):
        part *= length
        divergence += part
        divergence.narrow(axis, 1, block.shape[axis] - 1).sub_(part.narrow(axis, 0, block.shape[axis] - 1))
    inner = divergence[place.start - first : place.stop - first]
    return inner.mul_(-strength).add_(1.0).clamp_min_(LEAST).reciprocal_()


def _after(axis: int) -> tuple[int, ...]:
    """Return the padding that adds one zero behind an axis."""
    padding = [0] * 6
    padding[2 * (2 - axis) + 1] = 1
    return tuple(padding)
