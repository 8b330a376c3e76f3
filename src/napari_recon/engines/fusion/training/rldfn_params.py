"""Parameters of `fusion.train_rldfn` (no torch)."""

from __future__ import annotations

from typing import Literal

from napari_recon.core.params import param
from napari_recon.training.params import TrainingParams


class TrainRlDfnParams(TrainingParams):
    """The networks, the pieces they see and what is asked of them; the published numbers."""

    steps: int = param(11_000, "Optimiser steps of the whole run.", ge=1, le=10_000_000)
    batch_size: int = param(1, "Pieces per step, shared among the devices.", ge=1, le=64)
    learning_rate: float = param(1e-4, "Step size of Adam at its highest.", gt=0, le=1)
    schedule: Literal["cosine", "step", "constant"] = param(
        "constant", "How the learning rate falls: along a cosine to 1 %, halved in steps, or not at all."
    )
    warmup: float = param(0.0, "Part of the run over which the learning rate rises.", ge=0, le=0.5, advanced=True)
    clip: float = param(0.0, "Largest norm of a step's gradient; 0 lets any through.", ge=0, advanced=True)
    averaging: float = param(
        0.0, "Decay of the running mean of the weights, which is what is validated and kept; 0 keeps the last weights.",
        ge=0, lt=1, advanced=True,
    )  # fmt: skip
    validate_every: int = param(100, "Steps between looks at the middle of the first volume.", ge=1)
    checkpoint_every: int = param(500, "Steps between checkpoints from which a run can be resumed.", ge=1)
    features: int = param(64, "Features of the networks; init brings its own.", ge=4, le=256, multiple_of=4)
    angle_deg: float = param(30.8, "Angle of the light sheet to the x axis.", unit="deg", gt=0.0, lt=90.0)
    patch: tuple[int, int, int] = param((64, 256, 256), "Size of a piece (z, y, x); multiples of 4.", unit="voxel")
    reprojection_weight: float = param(
        50_000.0, "Weight of the views that the volume gives, against sections that look measured.", ge=0.0
    )
    smoothness: float = param(1e-7, "Weight of the volume's roughness.", ge=0.0, le=1.0, advanced=True)
