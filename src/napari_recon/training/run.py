"""The state of a training run: weights, their running mean, optimiser, schedule and the best so far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from napari_recon.training.devices import Place
from napari_recon.training.params import TrainingParams
from napari_recon.training.task import Batch, Task, Validation

LOWEST_RATE = 0.01
"""Where the cosine ends, relative to the highest learning rate."""
State = dict[str, Tensor]


class Diverged(Exception):
    """A loss or gradient that is not finite."""


class Run:
    """One network being trained on one place.

    Parameters
    ----------
    task : Task
    params : TrainingParams
    seed : int
    place : Place
    """

    def __init__(self, task: Task, params: TrainingParams, seed: int, place: Place) -> None:
        self._task, self._params, self._seed, self._place = task, params, seed, place
        torch.manual_seed(seed)
        self.module = task.network()
        self.step = 0
        self.best: Validation | None = None
        self.best_step = 0
        self.waited = 0  # validations since the best one
        self._best_state: State = {}

    def start(self) -> None:
        """Put the network, whose weights are those of a file by now, onto its device and make the optimiser."""
        optimiser = self._task.optimiser(self.module, self._params)
        self._rates = [group["lr"] for group in optimiser.param_groups]
        self._loss, self._optimiser = self._place.setup(_Loss(self._task, self.module), optimiser)
        self._mean = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}

    def advance(self, batch: Batch) -> Tensor:
        """Do one step and return its loss, the mean over all devices.

        Random numbers of the network start anew at every step, so a resumed run draws what the uninterrupted one would.

        Raises
        ------
        Diverged
            Before the weights change.
        """
        torch.manual_seed(hash((self._seed, self.step, self._place.rank)) & 0x7FFFFFFF)
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * relative_rate(self.step, self._params)
        self.module.train()
        self._optimiser.zero_grad(set_to_none=True)
        with self._place.arithmetic():
            loss = self._loss(self._place.here(batch))
        mean = self._place.mean(loss.detach())
        if not torch.isfinite(mean):
            raise Diverged("the loss is not finite")
        self._place.backward(loss)
        if self._params.clip:
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), self._params.clip)
            if not torch.isfinite(norm):
                raise Diverged("the gradient is not finite")
        self._optimiser.step()
        self.step += 1
        self._average()
        return mean

    def validate(self) -> Validation:
        """Return how good the averaged weights are, and keep them when they are the best so far."""
        with self._averaged(), torch.no_grad():
            found = self._task.validate(self._evaluated, self.step)
        if self.best is None or found.score > self.best.score:
            self.best_step, self.waited = self.step, -1
            self.best, self._best_state = found, {name: tensor.clone() for name, tensor in self._mean.items()}
        self.waited += 1
        return found

    @property
    def result(self) -> State:
        """The model's best weights, or the averaged ones before any validation; on the CPU."""
        model = self._task.model_of(self.module)
        at = next(f"{name}." if name else "" for name, module in self.module.named_modules() if module is model)
        best = self._best_state or self._mean
        return {name.removeprefix(at): tensor.cpu() for name, tensor in best.items() if name.startswith(at)}

    def saved(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        best = None if self.best is None else {"score": self.best.score, "metrics": dict(self.best.metrics)}
        return {
            "network": _on_cpu(self.module.state_dict()),
            "mean": _on_cpu(self._mean),
            "optimiser": self._optimiser.state_dict(),
            "best": best,
            "best_step": self.best_step,
            "waited": self.waited,
            "best_state": _on_cpu(self._best_state),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `saved` returned, after `start`."""
        self.module.load_state_dict(saved["network"])
        self._optimiser.load_state_dict(saved["optimiser"])
        for name, tensor in self._mean.items():
            tensor.copy_(saved["mean"][name])
        self.step = int(saved["step"])
        self.best_step, self.waited = int(saved.get("best_step", 0)), int(saved.get("waited", 0))
        self.best = None if saved["best"] is None else Validation(**saved["best"])
        self._best_state = {name: tensor.to(self._mean[name].device) for name, tensor in saved["best_state"].items()}

    def _evaluated(self, *inputs: Tensor) -> Tensor:
        with self._place.arithmetic():
            answer: Tensor = self.module(*(tensor.to(self._place.device) for tensor in inputs))
        return answer.float().cpu()

    def _average(self) -> None:
        decay = min(self._params.averaging, (1 + self.step) / (10 + self.step)) if self._params.averaging else 0.0
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point():
                self._mean[name].lerp_(tensor, 1 - decay)
            else:
                self._mean[name].copy_(tensor)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Let the network hold the averaged weights."""
        own = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        self.module.load_state_dict(self._mean)
        self.module.eval()
        try:
            yield
        finally:
            self.module.load_state_dict(own)


class _Loss(nn.Module):
    """What a place wraps: the loss itself, so that a task may use the network's weights in any way it likes."""

    def __init__(self, task: Task, network: nn.Module) -> None:
        super().__init__()
        self._task, self.network = task, network

    def forward(self, batch: Batch) -> Tensor:
        return self._task.loss(self.network, batch)


def relative_rate(step: int, params: TrainingParams) -> float:
    """Return the learning rate at `step` relative to its highest."""
    progress = step / params.steps
    rising = min(1.0, (step + 1) / max(1.0, params.warmup * params.steps))
    if params.schedule == "cosine":
        return rising * (LOWEST_RATE + (1 - LOWEST_RATE) * (0.5 + 0.5 * math.cos(math.pi * progress)))
    return rising * (0.5 ** int(params.drops * progress) if params.schedule == "step" else 1.0)


def _on_cpu(state: Mapping[str, Tensor]) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
