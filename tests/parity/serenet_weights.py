"""Weights of the networks whose checkpoints are too large for the fixtures: drawn from the names of the parameters."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np


def seeded(family: Path, network: str, seed: int = 0) -> dict[str, Any]:
    """Return the state dict of a network of the fixtures' `seeded_state_dict_keys.json` as torch tensors."""
    import torch

    shapes = json.loads((family / "seeded_state_dict_keys.json").read_text())[network]
    return {key: torch.from_numpy(np.asarray(_drawn(key, shape, seed))) for key, shape in shapes.items()}


def _drawn(key: str, shape: list[int], seed: int) -> Any:
    rng = np.random.default_rng([zlib.crc32(key.encode()), seed])
    if key.endswith("num_batches_tracked"):
        return np.int64(100)
    if key.endswith("running_mean"):
        values = 0.05 * rng.standard_normal(shape)
    elif key.endswith("running_var"):
        values = 0.5 + rng.random(shape)
    elif key.endswith("bias"):
        values = 0.02 * rng.standard_normal(shape)
    elif len(shape) == 1:
        values = 0.8 + 0.4 * rng.random(shape)
    else:
        values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])) * 0.9
    return np.asarray(values, dtype=np.float32)
