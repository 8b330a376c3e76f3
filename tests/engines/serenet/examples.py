"""Small examples of the SeReNet engines for the contract: drawn weights, two frames."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_recon.core.plan import ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.checkpoint import expected_shapes
from napari_recon.engines.serenet.engine import Reconstruct, Refocus
from napari_recon.engines.serenet.predao import Predao
from napari_recon.engines.serenet.twnet import Twnet
from napari_recon.engines.serenet.vsnet import Vsnet
from tests.contract.examples import Example

CHANNELS = {"serenet": [8, 8, 8, 6, 6, 5, 4, 4], "fserenet": [8, 8, 8, 6, 6, 5]}
OTHERS: dict[str, dict[str, Any]] = {
    "rlnet": {},
    "vcdnet": {"views": 169, "planes": 9, "interp": 32, "channels": [4, 5, 6, 6, 7, 7], "ups": [6, 6, 5, 4]},
    "hylfmnet": {"views": 169, "planes": 9, "wide": 8, "features": 2},
    "twnet": {"channels": [4, 4, 5, 5, 6], "scanning": 3},
    "vsnet": {"nnum": 5, "groups": 1, "blocks": 1, "channels": 6, "factor": 3},
}


def views(frames: int = 2, h: int = 14, w: int = 17, count: int = 49) -> ImageStack:
    """Random counts on a calibrated grid."""
    counts = np.random.default_rng(0).poisson(120, (frames, count, h, w)).astype(np.uint16)
    geometry = {"scale": {"Y": 0.53, "X": 0.53}, "units": {"Y": "micrometer", "X": "micrometer"}}
    return ImageStack.of(counts, "TVYX", "views", **geometry)  # type: ignore[arg-type]


def drawn_state(architecture: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return random weights of a network as torch tensors."""
    import torch

    rng, state = np.random.default_rng(1), {}
    for name, shape in expected_shapes(architecture, options).items():
        spread = 0.02 if len(shape) == 1 else (1.8 / np.prod(shape[1:])) ** 0.5
        state[name] = torch.from_numpy((spread * rng.standard_normal(shape)).astype(np.float32))
    return state


def other_state(architecture: str) -> dict[str, Any]:
    """Return random weights and statistics of one of the other networks."""
    import torch

    from napari_recon.engines.serenet.networks.build import build

    rng, network = np.random.default_rng(1), build(architecture, OTHERS[architecture])
    state = {}
    for name, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith("num_batches_tracked"):
            values: Any = 1
        elif len(shape) == 1 and name.endswith(("running_var", "weight")):
            values = 0.7 + 0.6 * rng.random(shape)
        else:
            values = rng.standard_normal(shape) * (0.05 if len(shape) == 1 else (1.8 / np.prod(shape[1:])) ** 0.5)
        state[name] = torch.as_tensor(values, dtype=tensor.dtype)
    return state


@cache
def drawn_model(architecture: str) -> ModelRef:
    """Return a small network of the family with drawn weights, stored in a temporary file."""
    import torch

    path = Path(mkdtemp()) / f"{architecture}.pt"
    if architecture in OTHERS:
        torch.save(other_state(architecture), path)
        return ModelRef(id=f"drawn-{architecture}", path=str(path), architecture=architecture, options=OTHERS[architecture])
    channels = CHANNELS[architecture]
    options: dict[str, Any] = {"views": 49, "channels": channels, "second_up": 2.0}
    if architecture == "fserenet":
        options["decoder"] = [channels[-1], 4, 6]
    torch.save(drawn_state(architecture, options), path)
    return ModelRef(id=f"drawn-{architecture}", path=str(path), architecture=architecture, options=options)


def reconstruct(architecture: str) -> Example:
    """Return the example of `serenet.reconstruct` with one architecture."""
    count = OTHERS.get(architecture, {}).get("views", 49)
    return Example(
        Reconstruct(),
        {"views": views(count=count)},
        {"planes": 9},
        tilings=({"tile_size": 5}, {"tile_size": 8}),
        model=lambda: drawn_model(architecture),
    )


def refocus() -> Example:
    """Return the example of `serenet.refocus`."""
    return Example(Refocus(), {"views": views()}, {"planes": 9, "method": "geometric"})


def twnet() -> Example:
    """Return the example of `serenet.twnet`: two moving frames of a few views."""
    return Example(Twnet(), {"views": views(count=3, h=12, w=18)}, {"mask": True}, model=lambda: drawn_model("twnet"))


def vsnet() -> Example:
    """Return the example of `serenet.vsnet`."""
    tilings = ({"tile_size": 5}, {"tile_size": 7})
    return Example(Vsnet(), {"views": views(count=25, h=9, w=12)}, tilings=tilings, model=lambda: drawn_model("vsnet"))


def predao() -> Example:
    """Return the example of `serenet.predao`: a scene whose views are displaced."""
    rng = np.random.default_rng(2)
    scene = gaussian_filter(rng.random((30, 34)), 1.5) * 4000
    frames = [[np.roll(scene, rng.integers(-2, 3, 2), (0, 1))[4:24, 4:26] for _ in range(25)] for _ in range(2)]
    counts = rng.poisson(np.asarray(frames)).astype(np.uint16)
    geometry = {"scale": {"Y": 0.53, "X": 0.53}, "units": {"Y": "micrometer", "X": "micrometer"}}
    stack = ImageStack.of(counts, "TVYX", "views", **geometry)  # type: ignore[arg-type]
    return Example(Predao(), {"views": stack}, {"defocus": "kept"})
