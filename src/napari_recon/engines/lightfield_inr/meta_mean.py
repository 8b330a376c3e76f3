"""The mean over the time points of a fitted sequence: what Reptile comes to where all of them are its scenes."""

from __future__ import annotations

import torch

from napari_recon.core.events import ArtifactReady
from napari_recon.core.plan import ModelRef
from napari_recon.engines.lightfield_inr.checkpoint import ENGINE, load_states


def mean_of(model: ModelRef) -> ArtifactReady:
    """Return the model of one scene with the mean weights (of voxels: the mean volume) of a sequence."""
    states = load_states(model)
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    arrays = {name: tensor.numpy() for name, tensor in mean.items()}
    voxels = model.architecture == "voxels"
    if voxels:
        arrays = {"voxels": arrays["voxels"][None]}
    options = {name: value for name, value in model.options.items() if name != "time"} | {"frames": 0}
    card = {
        "engine": ENGINE,
        "architecture": "voxels" if voxels else "nerf",
        "options": options,
        "training": {"method": "mean", "of": model.id, "frames": len(states)},
    }
    return ArtifactReady("model", "model", {"state": arrays, "card": card})
