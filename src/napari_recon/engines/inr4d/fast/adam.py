"""Adam, so small that torch does not import its compiler for it: that takes a second in which nobody could cancel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

TINY = 1e-8


class Adam:
    """Steps of Kingma and Ba, 10.48550/arXiv.1412.6980.

    Parameters
    ----------
    unknowns : iterable of Tensor
        Leaves with gradients.
    betas : tuple of float
    """

    def __init__(self, unknowns: Iterable[Tensor], betas: tuple[float, float]) -> None:
        self._unknowns, self._betas, self._step = list(unknowns), betas, 0
        self._means = [torch.zeros_like(each) for each in self._unknowns]
        self._squares = [torch.zeros_like(each) for each in self._unknowns]

    @torch.no_grad()
    def step(self, loss: Tensor, rate: float) -> None:
        """Go one step of `rate` down from a loss of the unknowns."""
        self._step += 1
        first, second = self._betas
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss, self._unknowns)
        for unknown, gradient, mean, square in zip(self._unknowns, gradients, self._means, self._squares, strict=True):
            mean.lerp_(gradient, 1 - first)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            size = (square / (1 - second**self._step)).sqrt_().add_(TINY)
            unknown.addcdiv_(mean, size, value=-rate / (1 - first**self._step))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        means, squares = ([each.clone() for each in every] for every in (self._means, self._squares))
        return {"step": self._step, "means": means, "squares": squares}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._step = int(state["step"])
        for own, kept in ((self._means, state["means"]), (self._squares, state["squares"])):
            _copy(own, kept)


def _copy(own: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
    for target, source in zip(own, kept, strict=True):
        target.copy_(source)
