"""Makes the files of this folder: python sample_data/make_sample_data.py [FOLDER]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.io import write_stack

HERE = Path(__file__).parent
SEED = 0
SETTINGS: dict[str, Any] = {"frames": 5, "height": 45, "width": 45}
SIM_SEED = 30
SIM_SETTINGS: dict[str, Any] = {
    "height": 160,
    "width": 160,
    "photons": 400,
    "phase_error_deg": 5,
    "intensity_jitter": 0.02,
}


def make(folder: Path) -> list[Path]:
    """Simulate every sample and write raw data and truth (rounded to whole counts)."""
    return [*written(folder, "lightfield", SEED, SETTINGS), *written(folder, "sim", SIM_SEED, SIM_SETTINGS)]


def written(folder: Path, kind: str, seed: int, settings: dict[str, Any]) -> list[Path]:
    """Simulate one sample and return its two files."""
    result = napari_recon.simulate(kind, seed=seed, **settings)
    provenance = portable(result.provenance)
    raw, truth = result.outputs["raw"], result.outputs["truth"]
    counts = np.clip(np.round(np.asarray(truth.data)), 0, 65535).astype(np.uint16)
    return [
        compressed(write_stack(folder / f"{kind}.ome.tif", raw, provenance)),
        compressed(write_stack(folder / f"{kind}_truth.ome.tif", ImageStack(counts, truth.grid, "truth"), provenance)),
    ]


def portable(provenance: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the provenance that is the same wherever the script runs."""
    recipe = provenance["recipe"]
    for step in recipe["steps"]:
        step["resolved"] = {"device": "cpu", "threads": 1, "seed": step["resolved"]["seed"]}
    known = {"optics": provenance["optics"]} if "optics" in provenance else {}
    found = {"napari-recon": provenance["napari-recon"], "engine": provenance["engine"], "recipe": recipe, "partial": False}
    return {**found, **known}


def compressed(path: Path) -> Path:
    """Write `path` again with lossless compression, its description (axes, voxel size, recipe) unchanged."""
    with tifffile.TiffFile(path) as tif:
        description, data = tif.pages.first.description, tif.asarray()
    pages = data.reshape(-1, *data.shape[-2:])
    tifffile.imwrite(
        path,
        pages,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 9},
        predictor=True,
        description=description.encode(),
        metadata=None,
        software="napari-recon",
        datetime=False,
    )
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for made in make(target):
        sys.stdout.write(f"{made} {made.stat().st_size / 1e6:.2f} MB\n")
