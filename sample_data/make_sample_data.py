"""Makes the files of this folder: python sample_data/make_sample_data.py [FOLDER]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

import napari_recon
from napari_recon.core.grid import Grid
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
FLFM_SEED = 7
FLFM_FRAMES, FLFM_PEAK, FLFM_BACKGROUND, FLFM_SPEED = 4, 300.0, 3.0, 0.45
FLFM_SETTINGS: dict[str, Any] = {
    "na": 0.8,
    "magnification": 40.0,
    "medium_index": 1.33,
    "wavelength_um": 0.525,
    "fourier_um": 150000.0,
    "microlens_um": 120000.0,
    "pitch_um": 1950.0,
    "pixels_per_lens": 75,
    "depth_from_um": -12.0,
    "depth_to_um": 12.0,
    "depth_step_um": 1.2,
    "radius": 15,
}


def make(folder: Path) -> list[Path]:
    """Simulate every sample and write raw data and truth (rounded to whole counts)."""
    return [
        *flfm(folder),
        *written(folder, "lightfield", SEED, SETTINGS),
        *written(folder, "sim", SIM_SEED, SIM_SETTINGS),
    ]


def flfm(folder: Path) -> list[Path]:
    """Simulate the PSF of a Fourier light-field microscope and what it sees of a moving phantom; return the three files."""
    import torch

    from napari_recon.engines.simulate.scene import Canvas, random_scene
    from napari_recon.optics.psf_convolution import PsfProjector

    result = napari_recon.simulate("flfm-psf", **FLFM_SETTINGS)
    psf = result.outputs["psf"]
    planes, step, pixel = psf.grid.size("Z"), psf.grid.step("Z"), psf.grid.step("Y")
    size = FLFM_SETTINGS["pixels_per_lens"]
    # counts of the truth are those of the views: a PSF plane sums to 1 in the mean view
    response = torch.from_numpy(np.asarray(psf.data, dtype=np.float32))
    projector = PsfProjector.same(response / (response.sum(dim=(2, 3)).mean()), (size, size))
    canvas = Canvas((planes, size, size), step / pixel)
    room = np.array([0.42 * planes * canvas.plane_step, 0.4 * size, 0.4 * size])
    shapes = {"tube_radius": 0.9, "bead_radius": 1.3, "bubble_radius": 5.0}
    scene = random_scene(room, FLFM_SEED, tubes=6, beads=10, bubbles=3, speed=FLFM_SPEED, **shapes)
    rng = np.random.default_rng(FLFM_SEED)
    volumes = [scene.draw(canvas, float(frame)) for frame in range(FLFM_FRAMES)]
    clean = [projector.forward(torch.from_numpy(volume)).clamp_min(0).numpy() for volume in volumes]
    unit = FLFM_PEAK / clean[0].max()
    views = np.stack([rng.poisson(view * unit + FLFM_BACKGROUND) for view in clean]).astype(np.uint16)
    truth = np.round(np.stack(volumes) * unit).astype(np.uint16)
    um, place = dict.fromkeys("ZYX", "micrometer"), dict.fromkeys("YX", -(size // 2) * pixel)
    times = Grid.of("T", (FLFM_FRAMES,), {"T": 0.1}, units={"T": "second"})
    flat = Grid.of("YX", (size, size), dict.fromkeys("YX", pixel), place, um)
    seen = times.joined(Grid.of("V", (len(response),))).joined(flat)
    real = times.joined(psf.grid.only("Z")).joined(flat)
    return [
        compressed(write_stack(folder / "flfm.ome.tif", ImageStack(views, seen, "flfm"))),
        compressed(write_stack(folder / "flfm_psf.ome.tif", psf, portable(result.provenance))),
        compressed(write_stack(folder / "flfm_truth.ome.tif", ImageStack(truth, real, "truth"))),
    ]


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
