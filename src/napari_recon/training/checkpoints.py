"""Training checkpoints: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.hub import differences, load_state, resolve

KEPT = 2
"""Checkpoints of a run that are left on the disk."""
FORMAT = 1


def save(folder: Path, step: int, weights: Mapping[str, Tensor], training: Mapping[str, Any]) -> Path:
    """Write ``step-N.pt``, complete or not at all, and remove all but the last few of the folder.

    Parameters
    ----------
    folder : Path
    step : int
    weights : mapping
        What a user of the file as a model gets: the averaged weights.
    training : mapping
        Tensors, numbers and text that `Run.restore` understands.
    """
    path = folder / f"step-{step:08d}.pt"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"state_dict": dict(weights), "training": {"format": FORMAT, "step": step, **training}}, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    for old in saved(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def saved(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest step first."""
    return sorted(folder.glob("step-*.pt"))


def latest(folder: Path) -> Path:
    """Return the checkpoint with the most steps (InputError when there is none)."""
    found = saved(folder)
    if not found:
        raise InputError(
            "resume=auto goes on from the latest checkpoint of the same run, found none; name a checkpoint, or leave it out"
        )
    return found[-1]


def load(path: Path) -> dict[str, Any]:
    """Return the training part of a checkpoint.

    Raises
    ------
    CheckpointError
        A file that holds weights only, or none.
    """
    load_state(path)  # the sentences about unreadable files are there
    content = {} if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    training = content.get("training") if isinstance(content, dict) else None
    if not isinstance(training, dict) or training.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} should be a checkpoint of a training run (step-N.pt), found weights alone; start from them with init"
        )
    return training


def load_weights(network: nn.Module, source: str) -> None:
    """Fill `network` with the weights of a checkpoint file, or of a model of the menu, of the same architecture.

    Raises
    ------
    InputError
        A model that is not there.
    CheckpointError
        With a readable difference.
    """
    path = Path(source).expanduser()
    state = load_state(path if path.is_file() else resolve(source))
    check_fit(network, state, source)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})


def check_fit(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Raise a CheckpointError with a readable difference when `state` is of another network."""
    problems = differences(state, {name: tensor.shape for name, tensor in network.state_dict().items()})
    if problems:
        raise CheckpointError(
            f"{where} should hold the weights of the network that is trained, found differences: {'; '.join(problems)}; "
            "choose another checkpoint, or set the network's options to those of the file"
        )
