"""A narrow RL-DFN with drawn weights, and two views of a few threads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from napari_recon.core.plan import ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.networks.rldfn_checkpoint import shapes
from napari_recon.engines.fusion.rldfn import RlDfnFusion
from napari_recon.hub import resolve
from tests.contract.examples import Example

from .vsi import GEOMETRY, volume


@cache
def folder(features: int = 4) -> Path:
    """Return a model folder in the published layout."""
    import torch

    rng, states = np.random.default_rng(0), {"net_FA": {}, "net_G": {}, "net_FB": {"x": torch.zeros(1)}}
    for name, shape in shapes(features).items():
        file, _, key = name.partition(".")
        if key.endswith("running_var"):
            values = rng.uniform(0.5, 1.5, shape)
        elif shape == ():
            values = np.array(7.0)
        else:
            values = rng.standard_normal(shape) * (0.3 if len(shape) == 1 else (4 / np.prod(shape[1:])) ** 0.5)
        states[file][key] = torch.from_numpy(np.asarray(values, np.float32))
    target = Path(mkdtemp())
    for file, state in states.items():
        torch.save(state, target / f"{file}.pth")
    return target


def model() -> ModelRef:
    return resolve(folder(), "fusion.rldfn")


def psf(axis: int) -> np.ndarray:
    """Return a blob that is long along one axis."""
    z, y, x = np.mgrid[-3:4, -3:4, -3:4]
    widths = [1.0, 1.0, 1.0]
    widths[axis] = 2.0
    return np.exp(-(z**2 / widths[0] + y**2 / widths[1] + x**2 / widths[2]) / 2).astype(np.float32)


def example(shape: tuple[int, int, int] = (10, 22, 26), **params: object) -> Example:
    movie = np.stack([volume(shape, seed=seed) for seed in (0, 1)])
    other = np.stack([volume(shape, seed=seed) for seed in (2, 3)])
    stacks = {
        "view_a": ImageStack.of(movie, "TZYX", "a", **GEOMETRY),
        "view_b": ImageStack.of(other, "TZYX", "b", **GEOMETRY),
        "psf_a": ImageStack.of(psf(0), "ZYX", "psf a"),
        "psf_b": ImageStack.of(psf(1), "ZYX", "psf b"),
    }
    return Example(RlDfnFusion(), stacks, params, tilings=({"tile_size": 8}, {"tile_size": 13}), model=model)
