"""Small examples of the SeReNet engines for the contract: drawn weights, two frames."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from napari_recon.core.plan import ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.checkpoint import expected_shapes
from napari_recon.engines.serenet.engine import Reconstruct, Refocus
from tests.contract.examples import Example

CHANNELS = {"serenet": [8, 8, 8, 6, 6, 5, 4, 4], "fserenet": [8, 8, 8, 6, 6, 5]}


def views(frames: int = 2, h: int = 14, w: int = 17) -> ImageStack:
    """Random counts on a calibrated grid, 49 views."""
    counts = np.random.default_rng(0).poisson(120, (frames, 49, h, w)).astype(np.uint16)
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


@cache
def drawn_model(architecture: str) -> ModelRef:
    """Return a small network of the family with drawn weights, stored in a temporary file."""
    import torch

    channels = CHANNELS[architecture]
    options: dict[str, Any] = {"views": 49, "channels": channels, "second_up": 2.0}
    if architecture == "fserenet":
        options["decoder"] = [channels[-1], 4, 6]
    path = Path(mkdtemp()) / f"{architecture}.pt"
    torch.save(drawn_state(architecture, options), path)
    return ModelRef(id=f"drawn-{architecture}", path=str(path), architecture=architecture, options=options)


def reconstruct(architecture: str) -> Example:
    """Return the example of `serenet.reconstruct` with one architecture."""
    return Example(
        Reconstruct(),
        {"views": views()},
        {"planes": 9},
        tilings=({"tile_size": 5}, {"tile_size": 8}),
        model=lambda: drawn_model(architecture),
    )


def refocus() -> Example:
    """Return the example of `serenet.refocus`."""
    return Example(Refocus(), {"views": views()}, {"planes": 9, "method": "geometric"})
