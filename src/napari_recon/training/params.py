"""Parameters that every training engine has: how long, how fast, on what, from where (no torch)."""

from __future__ import annotations

from typing import Literal

from napari_recon.core.errors import InputError
from napari_recon.core.params import EngineParams, param

CHECKPOINTS = (".pt", ".pth", ".safetensors", ".tar", ".ckpt")


class TrainingParams(EngineParams):
    """Optimiser, schedule, checkpoints and devices of a training run."""

    steps: int = param(2000, "Optimiser steps of the whole run.", ge=1, le=10_000_000)
    batch_size: int = param(8, "Examples per step, shared among the devices.", ge=1, le=4096)
    learning_rate: float = param(1e-3, "Step size of Adam at its highest.", gt=0, le=1)
    schedule: Literal["cosine", "step", "constant"] = param(
        "cosine", "How the learning rate falls: along a cosine to 1 %, halved in steps, or not at all."
    )
    drops: int = param(
        5,
        "Parts of the run after each of which schedule=step halves the rate.",
        ge=1,
        le=100,
        advanced=True,
        title="Halvings",
    )
    warmup: float = param(
        0.02, "Part of the run over which the learning rate rises.", ge=0, le=0.5, advanced=True, title="Warm-up"
    )
    weight_decay: float = param(0.0, "Decay of the weights (AdamW); 0 is plain Adam.", ge=0, le=1, advanced=True)
    clip: float = param(
        1.0, "Largest norm of a step's gradient; 0 lets any through.", ge=0, advanced=True, title="Gradient limit"
    )
    averaging: float = param(
        0.999, "Decay of the running mean of the weights, which is what is validated and kept; 0 keeps the last weights.",
        ge=0, lt=1, advanced=True,
        title="Averaging",
    )  # fmt: skip
    precision: Literal["float32", "mixed"] = param(
        "float32", "Arithmetic: float32, or mixed (convolutions in bfloat16: faster where the processor has it)."
    )
    validate_every: int = param(200, "Steps between validations on held-out examples.", ge=1, title="Validate every")
    patience: int = param(
        0,
        "Validations without a better network after which the run ends; 0 goes on to the end. The best is kept anyway.",
        ge=0,
        title="Patience",
    )
    checkpoint_every: int = param(
        500, "Steps between checkpoints from which a run can be resumed.", ge=1, title="Save every"
    )
    checkpoint_folder: str = param(
        "",
        "Where checkpoints go; empty is a folder of this run in the user cache.",
        advanced=True,
        title="Saved to",
    )
    init: str = param(
        "", "A checkpoint, or the id of a model, whose weights the run starts from.", file=CHECKPOINTS, title="Start from"
    )
    resume: str = param(
        "",
        "A checkpoint to go on from, optimiser and step included; auto is the latest of this very run.",
        file=(".pt",),
        title="Go on from",
    )
    devices: int = param(1, "Processes, each with a device of its own.", ge=1, le=64, advanced=True, title="Devices")

    def check_training(self) -> None:
        """Check what only several parameters together can say (InputError)."""
        if self.batch_size % self.devices:
            raise InputError(
                f"batch_size should be a multiple of devices ({self.devices}), found {self.batch_size}; "
                f"set batch_size={self.devices * -(-self.batch_size // self.devices)}"
            )
        if self.init and self.resume:
            raise InputError("a run starts from weights (init) or goes on (resume), found both; leave one out")
