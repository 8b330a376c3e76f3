"""What an engine says about its training; the loop does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_recon.training import checkpoints
from napari_recon.training.params import TrainingParams

Batch = Mapping[str, Tensor]
Network = Callable[..., Tensor]
"""A network in eval mode: tensors from anywhere in, a float32 tensor on the CPU out."""


@dataclass(frozen=True)
class Validation:
    """How good a network is on examples it never saw.

    Attributes
    ----------
    score : float
        Higher is better; the best weights of a run are kept.
    metrics : mapping
        Name -> value, for the curves.
    preview : ndarray or None
        A picture of one held-out example as the network sees it now; float32, of the preview output's shape.
    """

    score: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    preview: NDArray[Any] | None = None


class Task(ABC):
    """A network, its examples and its loss. Picklable: every process of a run on several devices gets a copy."""

    preview_output: str = ""
    """The engine's output that `Validation.preview` belongs to."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Return the network with fresh weights (the loop has seeded torch)."""

    def model_of(self, network: nn.Module) -> nn.Module:
        """Return the part that is the model, which files hold and `init` fills; the rest only helps to train it."""
        return network

    def initialise(self, model: nn.Module, source: str) -> None:
        """Fill what `model_of` returned with the weights of a checkpoint file or a model of the menu (`init`)."""
        checkpoints.load_weights(model, source)

    def optimiser(self, network: nn.Module, params: TrainingParams) -> torch.optim.Optimizer:
        """Return what changes the weights; its groups' rates are the highest ones, which the schedule lowers."""
        return torch.optim.AdamW(network.parameters(), params.learning_rate, weight_decay=params.weight_decay)

    @abstractmethod
    def batch(self, step: int, rank: int, devices: int) -> Batch:
        """Return this device's share of step `step`'s examples, tensors on the CPU.

        The same arguments give the same batch, whatever was asked before, and the union over the ranks does not depend
        on their number. Called in a thread of its own: random numbers come from a generator of its own.
        """

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the mean loss over the examples of a batch on the network's device.

        `network` is the one that `network` made; several networks in one, each with a loss of its own, return a number with
        the gradients they want.
        """

    @abstractmethod
    def validate(self, network: Network, step: int) -> Validation:
        """Return how good the network is; no gradients are kept."""

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """Return ``engine, architecture, options, contract`` and what else the model's card says."""
