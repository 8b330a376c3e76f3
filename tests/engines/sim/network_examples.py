"""Small examples of `sim.network`: drawn weights, two frames."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from napari_recon.core.plan import ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.network import SimNetwork
from napari_recon.engines.sim.networks.shapes import expected_shapes
from tests.contract.examples import Example

SIZES = {"n_feats": 8, "n_resgroups": 2, "n_resblocks": 2, "reduction": 4}
SMALL: dict[str, dict[str, Any]] = {
    "rcan": {"nch_in": 9, "nch_out": 1, "scale": 1, "narch": 0, **SIZES},
    "rcan 2x": {"nch_in": 9, "nch_out": 1, "scale": 2, "narch": 0, **SIZES},
    "rcan 3x": {"nch_in": 6, "nch_out": 2, "scale": 3, "narch": 0, **SIZES},
    "rcan heads": {"nch_in": 9, "nch_out": 1, "scale": 4, "narch": 1, **SIZES},
    "rcan wide": {"nch_in": 3, "nch_out": 1, "scale": 1, "narch": 0, **SIZES, "n_feats": 64},
    "edsr": {"nch_in": 9, "nch_out": 1, "scale": 2, "n_feats": 8, "n_resblocks": 3},
    "unet": {"nch_in": 9, "nch_out": 1, "scale": 1},
    "unet_n2n": {"nch_in": 9, "nch_out": 1, "scale": 1},
}


def raw(frames: int = 2, h: int = 21, w: int = 26, per_image: int = 9) -> ImageStack:
    """Random counts on a calibrated grid."""
    counts = np.random.default_rng(0).poisson(120, (frames, per_image, h, w)).astype(np.uint16)
    geometry = {
        "scale": {"T": 2.0, "Y": 0.065, "X": 0.065},
        "translate": {"Y": 3.0},
        "units": {"Y": "micrometer", "X": "micrometer"},
    }
    return ImageStack.of(counts, "TNYX", "raw", **geometry)  # type: ignore[arg-type]


def drawn_state(architecture: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return random weights of a network as torch tensors."""
    import torch

    rng, state = np.random.default_rng(1), {}
    for name, shape in expected_shapes(architecture, options).items():
        spread = 0.02 if len(shape) == 1 else (1.0 / np.prod(shape[1:])) ** 0.5
        state[name] = torch.from_numpy((spread * rng.standard_normal(shape)).astype(np.float32))
    return state


@cache
def drawn_model(name: str, **more: Any) -> ModelRef:
    """Return a network with drawn weights, stored in a temporary file; `more` are options that tensors do not show."""
    import torch

    architecture, options = name.partition(" ")[0], SMALL[name]
    path = Path(mkdtemp()) / f"{architecture}.pth"
    torch.save(drawn_state(architecture, options), path)
    return ModelRef(id=f"drawn-{architecture}", path=str(path), architecture=architecture, options={**options, **more})


def example(name: str, **params: Any) -> Example:
    """Return the example of `sim.network` with one network."""
    tilings = ({"tile_size": 4}, {"tile_size": 7})
    return Example(SimNetwork(), {"raw": raw()}, params, tilings=tilings, model=lambda: drawn_model(name))
