"""Small recordings, fields with drawn weights in the published layout, and fields of splines."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from napari_recon.core.plan import ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.inr4d.fit_engine import Fit
from napari_recon.engines.inr4d.layers import FieldLayers, latent_size
from napari_recon.engines.inr4d.place import placed
from napari_recon.engines.inr4d.query_engine import Query
from napari_recon.hub import resolve
from tests.contract.examples import Example

SHAPE = (4, 5, 12, 14)
LAYERS = FieldLayers(depth=3, width=16, skips=(1,), octaves=3)
NETWORKS: dict[str, Any] = {
    **{"depth": 3, "width": 16, "skips": "1", "octaves": 3},
    **{"groups": 1, "blocks": 1, "features": 4, "reduction": 2},
}
SMALL: dict[str, Any] = {
    "method": "upstream",
    **{f"upstream.{n}": v for n, v in {**NETWORKS, "steps": 8, "encoder_steps": 3, "batch": 64}.items()},
}


def movie(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """A blob that moves over a dim ground, whole counts."""
    t, z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    centre = (z - shape[1] / 2) ** 2 + (y - 4 - t) ** 2 + (x - shape[3] / 2 + t / 2) ** 2
    noise = np.random.default_rng(seed).random(shape)
    return np.round(100 + 900 * np.exp(-centre / 8) + 20 * noise).astype(np.uint16)


def recording(shape: tuple[int, ...] = SHAPE, axes: str = "TZYX", seed: int = 0) -> ImageStack:
    values = movie(shape, seed)
    geometry = {
        "scale": {"T": 30.0, "Z": 1.0, "Y": 0.25, "X": 0.25},
        "translate": {"Z": 2.0, "Y": -3.0},
        "units": {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"},
    }
    order = ["TZYX".index(axis) for axis in axes]
    return ImageStack.of(np.transpose(values, order), axes, "recording", **geometry)


def published(folder: Path, layers: FieldLayers = LAYERS, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> Path:
    """A save folder with drawn weights; the learning rate is a NumPy number, as in genuine ones."""
    import torch

    rng = np.random.default_rng(seed)

    def drawn(*sizes: int) -> torch.Tensor:
        spread = 0.3 if len(sizes) == 1 else (2 / sizes[-1]) ** 0.5
        return torch.from_numpy((rng.standard_normal(sizes) * spread).astype(np.float32))

    folder.mkdir(parents=True)
    state = {name: drawn(*sizes) for name, sizes in layers.shapes().items()}
    state["out_MLP.weight"] *= 10
    optimiser = {"state": {}, "param_groups": [{"lr": np.float64(5e-6), "params": []}]}
    torch.save({"model1_state_dict": state, "optimizer_state_dict": optimiser, "step": 0}, folder / "current.pth")
    latent = np.pi * np.tanh(rng.standard_normal((*map(latent_size, shape[:0:-1]), layers.encoded)))
    torch.save(torch.from_numpy(latent.astype(np.float32)), folder / "latent_code.pt")
    return folder


def splines(path: Path) -> Path:
    """A field of splines as a fast fit writes it."""
    import torch

    from napari_recon.fields.spline import SplineField
    from napari_recon.jobs.artifacts import write_artifact

    values = (movie().astype(np.float32) - 90) / 1000
    field = SplineField.fitted([torch.from_numpy(frame) for frame in values], SHAPE, 1.0)
    options = placed(recording().grid, {}, float(movie().min()), float(movie().max()), (90.0, 1000.0))
    card = {"engine": "inr4d.query", "architecture": "spline", "options": options}
    write_artifact(path, "model", {"state": {"coefficients": field.coefficients.numpy()}, "card": card})
    return path


@cache
def model(kind: str) -> ModelRef:
    folder = Path(mkdtemp())
    made = published(folder / "save") if kind == "published" else splines(folder / "model.safetensors")
    return resolve(made, "inr4d.query")


def query_example(kind: str, **params: Any) -> Example:
    """Return the contract's example of a query."""
    size = {"shape_tzyx": SHAPE} if kind == "published" else {}
    return Example(Query(), {}, {**size, **params}, ({"slab": 1}, {"slab": 3}), lambda: model(kind))


def fit_example(**params: Any) -> Example:
    """Return the contract's example of a fit."""
    return Example(Fit(), {"movie": recording()}, {**SMALL, **params})
