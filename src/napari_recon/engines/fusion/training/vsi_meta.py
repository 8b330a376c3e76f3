"""Meta-training of VSI-SR: first-order MAML against a discriminator, as published (torch).

For every task both networks are adapted for a few steps to its first half; the gradient of the losses of its second half
with respect to the adapted weights is the gradient of the weights one started from.

References
----------
.. [1] Finn, Abbeel, Levine, ICML 2017, arXiv:1703.03400.
.. [2] Meta-rLLS-VSIM, 10.5281/zenodo.13486221.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.engines.fusion.networks.vsi_discriminator import Discriminator
from napari_recon.engines.fusion.networks.vsi_sr import Generator
from napari_recon.engines.fusion.training.vsi_losses import vsi_loss

Weights = list[Tensor]


class Examples(NamedTuple):
    """Planes of one task.

    Attributes
    ----------
    planes, sharp : Tensor
        (n, 7, y, x), (n, 3, 1.5 y, 1.5 x).
    """

    planes: Tensor
    sharp: Tensor


@dataclass(frozen=True)
class Adaptation:
    """How networks are adapted to a task; the published numbers."""

    iterations: int = 3
    generator_steps: int = 3
    generator_rate: float = 1e-2
    discriminator_rate: float = 2e-3
    adversarial_weight: float = 0.1


class Adapted(NamedTuple):
    """What the adaptation to one task gave."""

    generator: Weights
    discriminator: Weights
    generator_loss: Tensor
    discriminator_loss: Tensor


class Networks(torch.nn.Module):
    """The generator with its discriminator."""

    def __init__(self, generator: Generator, discriminator: Discriminator) -> None:
        super().__init__()
        self.generator, self.discriminator = generator, discriminator

    def forward(self, planes: Tensor) -> Tensor:
        """Return the generator's planes."""
        sharp: Tensor = self.generator(planes)
        return sharp


def meta_loss(networks: Networks, tasks: Sequence[tuple[Examples, Examples]], how: Adaptation) -> Tensor:
    """Return a number whose value is the generator's mean loss and whose gradient is that of both networks' meta losses.

    Parameters
    ----------
    networks : Networks
    tasks : sequence of (Examples, Examples)
        Support, which networks are adapted to, and query, which they are judged by.
    how : Adaptation
    """
    value = torch.zeros((), device=tasks[0][0].planes.device)
    slope = torch.zeros_like(value)
    for support, query in tasks:
        found = adapted(networks, support, query, how)
        for module, weights, loss in (
            (networks.generator, found.generator, found.generator_loss),
            (networks.discriminator, found.discriminator, found.discriminator_loss),
        ):
            gradients = torch.autograd.grad(loss, weights, retain_graph=True)
            for weight, gradient in zip(module.vars, gradients, strict=True):
                slope = slope + (weight * gradient.detach()).sum() / len(tasks)
        value = value + found.generator_loss.detach() / len(tasks)
    return slope + (value - slope).detach()


def adapted(networks: Networks, support: Examples, query: Examples, how: Adaptation) -> Adapted:
    """Return both networks after their adaptation to `support`, and their losses on `query`.

    The discriminator's query loss is taken after its last step, with the generator as it was before its own last steps.
    """
    generator, discriminator = networks.generator, networks.discriminator
    fast, judge = _leaves(generator.vars), _leaves(discriminator.vars)
    discriminator_loss = torch.zeros(())
    for _ in range(how.iterations):
        with torch.no_grad():
            made = generator(support.planes, fast)
        judge = _stepped(judge, _told_apart(discriminator, judge, support.sharp, made), how.discriminator_rate)
        with torch.no_grad():
            made = generator(query.planes, fast)
        discriminator_loss = _told_apart(discriminator, judge, query.sharp, made)
        for _ in range(how.generator_steps):
            loss = _generator_loss(networks, fast, judge, support, how.adversarial_weight)
            fast = _stepped(fast, loss, how.generator_rate)
    return Adapted(fast, judge, _generator_loss(networks, fast, judge, query, how.adversarial_weight), discriminator_loss)


def _generator_loss(networks: Networks, fast: Weights, judge: Weights, examples: Examples, weight: float) -> Tensor:
    made = networks.generator(examples.planes, fast)
    taken = networks.discriminator(made, [w.detach() for w in judge])
    return vsi_loss(made, examples.sharp) + weight * F.binary_cross_entropy(taken, torch.ones_like(taken))


def _told_apart(discriminator: Discriminator, judge: Weights, real: Tensor, made: Tensor) -> Tensor:
    seen, taken = discriminator(real, judge), discriminator(made, judge)
    of_real = F.binary_cross_entropy(seen, torch.ones_like(seen))
    return (of_real + F.binary_cross_entropy(taken, torch.zeros_like(taken))) / 2


def _leaves(weights: Iterable[Tensor]) -> Weights:
    return [w.detach().requires_grad_() for w in weights]


def _stepped(weights: Weights, loss: Tensor, rate: float) -> Weights:
    gradients = torch.autograd.grad(loss, weights)
    return [(w - rate * g).detach().requires_grad_() for w, g in zip(weights, gradients, strict=True)]
