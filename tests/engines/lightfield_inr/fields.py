"""Small fields with drawn weights, written in the published layouts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from napari_recon.core.plan import ModelRef
from napari_recon.engines.lightfield_inr import dense_shape
from napari_recon.engines.lightfield_inr.engine import Query
from napari_recon.engines.lightfield_inr.field import Layers
from napari_recon.hub import resolve
from tests.contract.examples import Example

SMALL = Layers(depth=3, width=16, skips=(1,), encoded=27)
TABLE = (27, 30, 6, 3)


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
    """Return random tensors whose values give outputs on both sides of zero."""
    import torch

    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape) * (0.3 if len(shape) == 1 else (2 / shape[-1]) ** 0.5)
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def scene(path: Path, layers: Layers = SMALL, seed: int = 0) -> Path:
    from napari_recon.engines.lightfield_inr.checkpoint import save_checkpoint

    return save_checkpoint(path, 7, drawn(layers.shapes(), seed))


def sequence(path: Path, frames: int = 3, layers: Layers = SMALL) -> Path:
    from napari_recon.engines.lightfield_inr.checkpoint import save_sequence

    return save_sequence(path, [drawn(layers.shapes(), seed) for seed in range(frames)])


def dense(path: Path) -> Path:
    import torch

    torch.save(drawn(dense_shape.shapes(TABLE)), path)
    return path


def grid(path: Path) -> Path:
    from napari_recon.jobs.artifacts import write_artifact

    coefficients = np.random.default_rng(0).random((3, 7, 15, 16), np.float32).astype(np.float16)
    options = {"frames": 3, "render_size": [20, 23, 9], "intensity": 50.0}
    card = {"engine": "lightfield_inr.query", "architecture": "grid", "options": options}
    target = path.with_suffix(".safetensors")
    write_artifact(target, "model", {"state": {"coefficients": coefficients}, "card": card})
    return target


@cache
def model(kind: str) -> ModelRef:
    folder = Path(mkdtemp())
    make = {"scene": scene, "sequence": sequence, "dense": dense, "grid": grid}[kind]
    return resolve(make(folder / "cp_000007.tar"), "lightfield_inr.query")


def example(kind: str, **params: Any) -> Example:
    """Return the contract's example of a query."""
    size = {} if kind == "dense" else {"render_size": (20, 23, 9)}
    tilings = ({"slab": 1}, {"slab": 4})
    return Example(Query(), {}, {**size, **params}, tilings, lambda: model(kind))
