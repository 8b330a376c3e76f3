"""How rough a volume is: the size of its second derivatives, and their gradient, some planes at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Voxels that are differentiated together: what fits into a processor's caches, and well under 200 ms of work.
BLOCK_VOXELS = 1 << 18
#: Axes of mixed derivatives.
PAIRS = ((0, 1), (0, 2), (1, 2))


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
        near = slice(first - 1, min(first + step, planes - 1) + 1)
        value += _added(volume_zyx[near], softness, gradient[near])
    return value, gradient


def _added(volume: Tensor, softness: float, gradient: Tensor) -> float:
    """Return the roughness of some planes (z, y, x) and add its gradient: by hand, in a quarter of autograd's time."""
    inner = _shifted(volume)
    norm, differences = torch.full_like(inner, softness**2), []
    steps = [inner - _shifted(volume, axis) for axis in range(3)]
    for axis in range(3):
        twice = _shifted(volume, axis, by=-1).sub(inner).sub_(steps[axis])
        norm.addcmul_(twice, twice)
        differences.append(twice)
    for a, b in PAIRS:
        mixed = _shifted(volume, a, b).sub(_shifted(volume, a)).add_(steps[b])
        norm.addcmul_(mixed, mixed, value=2)
        differences.append(mixed)
    norm.sqrt_()
    value = float(norm.sum(dtype=torch.float64)) - softness * norm.numel()
    norm.reciprocal_()
    middle = torch.zeros_like(inner)  # of the gradient; the rest goes to the voxels that a difference was taken with
    for axis, twice in enumerate(differences[:3]):
        twice.mul_(norm)
        _shifted(gradient, axis).add_(twice)
        _shifted(gradient, axis, by=-1).add_(twice)
        middle.sub_(twice, alpha=2)
    for (a, b), mixed in zip(PAIRS, differences[3:], strict=True):
        mixed.mul_(norm).mul_(2)
        _shifted(gradient, a, b).add_(mixed)
        _shifted(gradient, a).sub_(mixed)
        _shifted(gradient, b).sub_(mixed)
        middle.add_(mixed)
    _shifted(gradient).add_(middle)
    return value


def _shifted(volume: Tensor, *axes: int, by: int = 1) -> Tensor:
    """Return what lies a voxel further along `axes` at every inner voxel."""
    steps = [by * (axis in axes) for axis in range(3)]
    return volume[tuple(slice(1 + step, n - 1 + step) for step, n in zip(steps, volume.shape, strict=True))]
