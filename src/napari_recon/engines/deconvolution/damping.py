"""The geometric mean of an early and a late estimate: calmer than the late one, sharper than the early one.

Late Richardson-Lucy estimates bead thin structures and hollow out solid ones; early ones are smooth but hazy. Their
weighted geometric mean keeps a voxel bright only where both do. Measured against stopping at the same reduced deviance,
it is better in PSNR, SSIM, correlation and the maximum projection on filaments, beads and balls alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from napari_recon.engines.deconvolution.noise import READ_VARIANCE
from napari_recon.engines.deconvolution.richardson_lucy import Projector, reduced_deviance

#: Weights of the early estimate to choose from; the deviance rises with the weight.
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.45)

#: The early estimate lies at most this far into the iterations.
EARLY = 3 / 16

_KEPT: tuple[int, ...] = tuple(sorted({1, *(2**n for n in range(1, 12)), *(3 * 2**n for n in range(11))}))


def early_iteration(iterations: int) -> int:
    """Return the iteration whose estimate is mixed with that of the last of ``iterations``."""
    return max(n for n in _KEPT if n <= max(1.0, iterations * EARLY))


class Snapshots:
    """Keeps copies of the few estimates that may become the early one.

    Parameters
    ----------
    earliest_end : Callable
        ``earliest_end(iteration)`` tells the lowest number at which the iterations may still end.
    """

    def __init__(self, earliest_end: Callable[[int], int]) -> None:
        self._earliest_end = earliest_end
        self._kept: dict[int, Tensor] = {}

    def keep(self, iteration: int, volume: Tensor) -> None:
        """Copy the estimate if it may be needed and forget those that no longer may."""
        oldest = early_iteration(self._earliest_end(iteration))
        self._kept = {n: kept for n, kept in self._kept.items() if n >= oldest}
        if iteration in _KEPT:
            self._kept[iteration] = volume.clone()

    def early(self, iterations: int) -> Tensor:
        """Return the early estimate that belongs to a last iteration."""
        return self._kept[early_iteration(iterations)]


def damped(
    projector: Projector,
    data: Tensor,
    background: float,
    early: Tensor,
    late: Tensor,
    *,
    weight: float | None,
    light: float | None,
    target: float,
    read_variance: float = READ_VARIANCE,
    known_variance: float | None = None,
    check: Callable[[], None],
) -> tuple[Tensor, float, float]:
    """Return the weighted geometric mean of two estimates, its weight and the factor that restores its light.

    Parameters
    ----------
    projector, data, background, read_variance, known_variance
        As in the iteration.
    early, late : Tensor
        Non-negative volumes.
    weight : float or None
        Weight of the early estimate; None takes the largest of :data:`WEIGHTS` whose reduced deviance does not exceed
        ``target`` (the discrepancy principle), 0 when none does.
    light : float or None
        Factor on the mean; None makes its projections carry the light of the data.
    """
    tiny = 1e-9 * float(late.max()) + 1e-30
    late_log, towards_early, mixed = (torch.empty_like(late) for _ in range(3))
    for plane in range(late.shape[0]):
        torch.log(late[plane] + tiny, out=late_log[plane])
        torch.log(early[plane] + tiny, out=towards_early[plane]).sub_(late_log[plane])
        check()

    def mix(tried: float) -> tuple[float, float]:
        """Fill ``mixed`` and return its factor and reduced deviance."""
        for plane in range(late.shape[0]):
            torch.add(late_log[plane], towards_early[plane], alpha=tried, out=mixed[plane]).exp_()
            check()
        views = projector.forward(mixed, check)
        factor = float((data - background).sum().clamp_min(0) / views.sum().clamp_min(1e-30)) if light is None else light
        model = (views * factor).clamp_min_(0).add_(background)
        return factor, reduced_deviance(data, model, read_variance, known_variance)

    if weight is not None:
        factor, _ = mix(weight)
        return mixed.mul_(factor), weight, factor
    below, above = 0, len(WEIGHTS)
    while below < above:
        middle = (below + above + 1) // 2
        below, above = (middle, above) if mix(WEIGHTS[middle - 1])[1] <= target else (below, middle - 1)
    if below == 0:
        return late, 0.0, 1.0
    factor, _ = mix(WEIGHTS[below - 1])
    return mixed.mul_(factor), WEIGHTS[below - 1], factor
