"""Small VSI-SR networks with drawn weights, transfer functions, and a volume of threads."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from napari_recon.core.plan import ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.joint_wiener.turning import turn
from napari_recon.engines.fusion.networks.vsi_shapes import generator_shapes
from napari_recon.engines.fusion.vsi_sr import VsiSr
from napari_recon.engines.fusion.wiener import JointWiener
from napari_recon.hub import resolve
from tests.contract.examples import Example

GEOMETRY: dict[str, Any] = {
    "scale": {"T": 3.0, "Z": 0.2, "Y": 0.1, "X": 0.1},
    "translate": {"Z": 1.0, "Y": -2.0},
    "units": dict.fromkeys("ZYX", "micrometer"),
}


@cache
def model() -> ModelRef:
    """Return a network of two blocks that blurs: what is bright stays bright."""
    import torch

    rng = np.random.default_rng(0)
    state = {}
    for name, shape in generator_shapes(2, 16, 7, 3).items():
        spread = 0.1 if len(shape) == 1 else (1.0 / np.prod(shape[1:])) ** 0.5
        state[name] = torch.from_numpy((spread * np.abs(rng.standard_normal(shape))).astype(np.float32))
    path = Path(mkdtemp()) / "gmodel_000.pth"
    torch.save(state, path)
    return resolve(path, "fusion.vsi_sr")


def volume(shape: tuple[int, int, int] = (12, 20, 24), seed: int = 0) -> np.ndarray:
    """Return counts of slanted threads on a background."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.arange(n, dtype=np.float32) for n in shape)
    found = np.full(shape, 20.0, np.float32)
    for _ in range(6):
        slope, y0, z0 = rng.uniform(-1, 1), rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        line = np.exp(-((y[:, None] - y0 - slope * x) ** 2) / 3)
        found += 200 * np.exp(-((z - z0) ** 2) / 6)[:, None, None] * line
    return np.round(rng.poisson(found)).astype(np.uint16)


def transfer(size: int = 32) -> dict[str, ImageStack]:
    """Return transfer functions: a cone, two cones set apart along y, and a smooth edge."""
    at = np.linspace(-1, 1, size, endpoint=False, dtype=np.float32)
    y, x = at[:, None], at[None]
    cone = np.clip(1 - np.hypot(y, x) / 0.6, 0, None)
    apart = sum(np.clip(1 - np.hypot(y - s, x) / 0.6, 0, None) for s in (-0.4, 0.4)) / 2
    edge = np.exp(-(np.hypot(y, x) ** 4)).astype(np.float32)
    found = {"otf0": cone, "otf1": apart, "apodisation": edge}
    return {name: ImageStack.of(a.astype(np.float32), "YX", name) for name, a in found.items()}


def vsi_example(**params: object) -> Example:
    movie = np.stack([volume(seed=seed) for seed in (0, 1)])
    stack = ImageStack.of(movie, "TZYX", "stack", **GEOMETRY)
    return Example(VsiSr(), {"stack": stack, **transfer()}, dict(params), model=model)


def wiener_stacks(planes: int = 4, size: tuple[int, int] = (30, 36)) -> dict[str, Any]:
    """Return a wide field and three orientations, two of them on the turned canvas."""
    fine = np.stack([volume((planes, *size), seed=seed) for seed in (3, 4)]).astype(np.float32)
    coarse = fine.reshape(2, planes, size[0] // 2, 2, size[1] // 2, 2).mean((3, 5)).round()
    views = [fine, *(np.stack([turn(size, angle)(one) for one in fine]) for angle in (60, 120))]
    scale = {
        "scale": GEOMETRY["scale"] | {"Y": 0.05, "X": 0.05},
        "translate": {"Z": 1.0, "Y": -2.025, "X": -0.025},
        "units": GEOMETRY["units"],
    }
    return {
        "widefield": ImageStack.of(coarse, "TZYX", "widefield", **GEOMETRY),
        "views": [ImageStack.of(v, "TZYX", f"view{i}", **scale) for i, v in enumerate(views)],
        **transfer(),
    }


def wiener_example(**params: object) -> Example:
    return Example(JointWiener(), wiener_stacks(), dict(params))
