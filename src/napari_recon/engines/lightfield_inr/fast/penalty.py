"""How rough a volume is: the size of its second derivatives, and their gradient, some planes at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Voxels that are differentiated together: what fits into a processor's caches, and well under 200 ms of work.
BLOCK_VOXELS = 1 << 18


def roughness(volume_zyx: Tensor, softness: float, check: Callable[[], None] = lambda: None) -> tuple[float, Tensor]:
    """Return the summed Frobenius norm of a volume's Hessian, and its gradient.

    Parameters
    ----------
    volume_zyx : Tensor
        (z, y, x), three planes, rows and columns at least; differences are per voxel.
    softness : float
        Norms below this (in the volume's unit) are counted as their squares are: the gradient is smooth at zero.
    check : Callable
        Called between blocks of planes; raises to cancel.

    Returns
    -------
    value : float
        ``sum of sqrt(|H|^2 + softness^2) - softness`` over inner voxels.
    gradient : Tensor
        (z, y, x)
    """
    planes = volume_zyx.shape[0]
    step = max(1, BLOCK_VOXELS // volume_zyx[0].numel())
    gradient, value = torch.zeros_like(volume_zyx), 0.0
    for first in range(1, planes - 1, step):
        check()
        last = min(first + step, planes - 1)
        with torch.enable_grad():
            part = volume_zyx[first - 1 : last + 1].detach().requires_grad_()
            norm = (_squared_hessian(part) + softness**2).sqrt()
            (slope,) = torch.autograd.grad(norm.sum(), part)
        gradient[first - 1 : last + 1] += slope
        value += float((norm.detach() - softness).sum(dtype=torch.float64))
    return value, gradient


def _squared_hessian(volume: Tensor) -> Tensor:
    """Return the squared Frobenius norm of the Hessian at inner voxels."""
    inner = volume[1:-1, 1:-1, 1:-1]
    total = torch.zeros_like(inner)
    for axis in range(3):
        total = total + (_shifted(volume, {axis: 1}) + _shifted(volume, {axis: -1}) - 2 * inner).square()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        mixed = _shifted(volume, {a: 1, b: 1}) - _shifted(volume, {a: 1}) - _shifted(volume, {b: 1}) + inner
        total = total + 2 * mixed.square()
    return total


def _shifted(volume: Tensor, steps: dict[int, int]) -> Tensor:
    """Return what lies `steps` voxels further at every inner voxel."""
    return volume[tuple(slice(1 + steps.get(a, 0), n - 1 + steps.get(a, 0)) for a, n in enumerate(volume.shape))]
