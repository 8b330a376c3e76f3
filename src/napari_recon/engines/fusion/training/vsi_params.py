"""Parameters of `fusion.train_vsi` (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from napari_recon.core.errors import InputError
from napari_recon.core.params import param
from napari_recon.training.params import TrainingParams

METHODS: dict[str, dict[str, Any]] = {
    "finetune": {},
    "supervised": {
        **{"steps": 5000, "batch_size": 8, "learning_rate": 3e-4, "schedule": "cosine", "averaging": 0.999},
        **{"validate_every": 200, "checkpoint_every": 500},
    },
    "meta": {
        **{"steps": 100_000, "batch_size": 3, "learning_rate": 1e-4, "schedule": "constant"},
        **{"validate_every": 1000, "checkpoint_every": 1000},
    },
}
"""What every method takes unless it is said otherwise; the published numbers, but for `supervised`."""


class TrainVsiParams(TrainingParams):
    """The network, its examples and how it learns; unnamed values follow from the method (see the documentation)."""

    method: Literal["finetune", "supervised", "meta"] = param(
        "finetune",
        "finetune adapts a network (init) to your cells in a few steps; supervised trains one from nothing; meta trains one "
        "that is easily adapted, a recording a task.",
    )
    steps: int = param(30, "Optimiser steps of the whole run.", ge=1, le=10_000_000)
    batch_size: int = param(20, "Patches per step (meta: tasks per step), shared among the devices.", ge=1, le=4096)
    learning_rate: float = param(0.25, "Step size at its highest: of plain gradient descent (finetune) or Adam.", gt=0, le=1)
    schedule: Literal["cosine", "step", "constant"] = param(
        "step", "How the learning rate falls: along a cosine to 1 %, halved in steps, or not at all."
    )
    drops: int = param(3, "Parts of the run after each of which schedule=step halves the rate.", ge=1, le=100, advanced=True)
    warmup: float = param(0.0, "Part of the run over which the learning rate rises.", ge=0, le=0.5, advanced=True)
    clip: float = param(0.0, "Largest norm of a step's gradient; 0 lets any through.", ge=0, advanced=True)
    averaging: float = param(
        0.0, "Decay of the running mean of the weights, which is what is validated and kept; 0 keeps the last weights.",
        ge=0, lt=1, advanced=True,
    )  # fmt: skip
    validate_every: int = param(5, "Steps between validations on held-out planes.", ge=1)
    checkpoint_every: int = param(10, "Steps between checkpoints from which a run can be resumed.", ge=1)
    blocks: int = param(16, "Residual blocks of a new network; init brings its own.", ge=1, le=64)
    features: int = param(64, "Features of a new network; init brings its own.", ge=4, le=256)
    patch: int = param(64, "Rows and columns of a patch of the raw stack.", unit="pixel", ge=16, le=512, multiple_of=2)
    label_blur: float = param(
        0.6, "Gaussian by which truth is blurred before it is learnt (sigma).", unit="pixel", ge=0.0, le=5.0
    )
    ssim_weight: float = param(0.1, "Weight of the structural similarity.", ge=0.0, le=10.0, advanced=True)
    spectrum_weight: float = param(1.0, "Weight of the damped spectra.", ge=0.0, le=10.0, advanced=True)
    examples_per_task: int = param(
        8, "Patches of a task, for meta: half to adapt to, half to be judged by.", ge=2, le=64, multiple_of=2, advanced=True
    )
    task_iterations: int = param(3, "Rounds of the adaptation to a task, for meta.", ge=1, le=20, advanced=True)
    generator_steps: int = param(3, "Steps of the network in a round, for meta.", ge=1, le=20, advanced=True)
    generator_rate: float = param(1e-2, "Step size of the network's adaptation, for meta.", gt=0, le=1, advanced=True)
    discriminator_rate: float = param(
        2e-3, "Step size of the discriminator's adaptation, for meta.", gt=0, le=1, advanced=True
    )
    adversarial_weight: float = param(0.1, "Weight of deceiving the discriminator, for meta.", ge=0, le=10, advanced=True)

    @model_validator(mode="before")
    @classmethod
    def _as_the_method_has_it(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**METHODS.get(str(values.get("method", "finetune")), {}), **values}

    def check(self) -> None:
        """Check what only several parameters together can say (InputError)."""
        if self.method == "finetune" and not (self.init or self.resume):
            raise InputError(
                "method=finetune adapts a network, found none; name one (--init MODEL), or train one from nothing with "
                "method=supervised"
            )
