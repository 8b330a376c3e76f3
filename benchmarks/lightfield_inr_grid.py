"""Size, quality and speed of compact fields (lightfield_inr.fit, field=grid) on simulated sequences.

Run ``python benchmarks/lightfield_inr_grid.py [--frames 30] [--save]``. Scenes are those of `lightfield_inr_sequence.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightfield_inr_fast import REGIMES, SHAPE, Array, psf, quality
from lightfield_inr_sequence import imaged, moving_scene
from recording import Row, save

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.fields.spline import SplineField

COMMAND = "python benchmarks/lightfield_inr_grid.py --save"
NOTE = """24 x 64 x 64 voxels, seven views, 300 photons, scenes as above; PSNR is the mean over time points after best
scaling. "Gain" is the PSNR of the grid minus that of the voxels it was made from: a coarser grid holds less
noise. A grid is in half precision, voxels in single. Rank-8 tensors (sums of plane times line along each axis,
as in VM fields) were fitted to the same square roots by 300 steps of Adam and take the same precision. Density
is pieces per voxel and per time point, as chosen from the views. Times: making the grid of fitted volumes, and
the plane of 256 x 256 places between voxels and between time points of a field of 51 x 512 x 512 voxels and 30
time points, one thread."""
VIEWS = REGIMES["bright"]


def tensor(volume: Array, rank: int = 8, steps: int = 300) -> tuple[Array, int]:
    """Return the volume after a fit of plane times line along each axis to its root, and its numbers."""
    root, make = torch.from_numpy(np.sqrt(volume)), torch.Generator().manual_seed(0)
    depth, height, width = root.shape
    sizes = [(height, width), (depth, width), (depth, height), (depth,), (height,), (width,)]
    parts = [(0.3 * torch.randn(rank, *size, generator=make)).requires_grad_() for size in sizes]
    optimiser, peak = torch.optim.Adam(parts, lr=0.05), float(root.max())

    def made() -> torch.Tensor:
        return peak * (
            torch.einsum("ryx,rz->zyx", parts[0], parts[3])
            + torch.einsum("rzx,ry->zyx", parts[1], parts[4])
            + torch.einsum("rzy,rx->zyx", parts[2], parts[5])
        )

    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.05 * 0.01 ** (step / steps)
        optimiser.zero_grad()
        ((made() - root) / peak).square().mean().backward()
        optimiser.step()
    return made().detach().square().numpy(), sum(part.numel() for part in parts)


def measured(motion: float, frames: int, seed: int = 5) -> Iterator[Row]:
    """Yield the numbers of one sequence."""
    truths = list(moving_scene(seed, motion, frames))
    response = psf(VIEWS)
    views = imaged(truths, response, 300.0, seed)
    data = ImageStack.of(views, "TVYX", "views") if frames > 1 else ImageStack.of(views[0], "VYX", "views")
    inputs = [data, ImageStack.of(response, "VZYX", "psf")]
    result = napari_recon.run("lightfield_inr.fit", *inputs, params={"field": "grid"}, device="cpu", threads=1)
    volumes = result["volume"].reshape(frames, *SHAPE)
    model = result.artifacts["model"]
    asked = napari_recon.run("lightfield_inr.query", model=model, device="cpu", threads=1)["volume"].reshape(volumes.shape)
    card, coefficients = model["card"], model["state"]["coefficients"]
    title = f"{frames} time point{'s' if frames > 1 else ''}" + (f", {motion} px each" if frames > 1 else "")
    yield Row(f"{title}: density in space", card["training"]["density"])
    if frames > 1:
        yield Row(f"{title}: density in time", card["training"]["density_t"])
    yield Row(f"{title}: size, voxels against grid", round(volumes.nbytes / coefficients.nbytes, 1), "x", ">= 4")
    yield Row(f"{title}: size, in volumes of voxels", round(coefficients.nbytes / volumes[0].nbytes, 2))
    fitted = np.mean([quality(v, t) for v, t in zip(volumes, truths, strict=True)], axis=0)
    grid = np.mean([quality(v, t) for v, t in zip(asked, truths, strict=True)], axis=0)
    yield Row(f"{title}: volume, voxels", round(float(fitted[0]), 2), "dB")
    yield Row(f"{title}: volume, gain of the grid", round(float(grid[0] - fitted[0]), 2), "dB", ">= -0.2")
    yield Row(f"{title}: MIP, gain of the grid", round(float(grid[1] - fitted[1]), 2), "dB")
    if frames == 1:
        made, numbers = tensor(volumes[0])
        yield Row(f"{title}: size, voxels against a rank-8 tensor", round(volumes.nbytes / (2 * numbers), 1), "x")
        gain = quality(made, truths[0])[0] - fitted[0]
        yield Row(f"{title}: volume, gain of a rank-8 tensor", round(float(gain), 2), "dB")
    shape, started = volumes.shape, time.perf_counter()
    training = card["training"]
    SplineField.fitted(map(torch.from_numpy, volumes), shape, training["density"], training["density_t"])
    yield Row(f"{title}: time of making the grid", round(1000 * (time.perf_counter() - started), 1), "ms")


def plane_time() -> float:
    """Return the milliseconds of a plane of 256 x 256 places between voxels and time points of a large field."""
    shape: tuple[int, ...] = (30, 51, 512, 512)
    make = torch.Generator().manual_seed(0)
    field = SplineField(torch.rand(12, 34, 310, 310, generator=make).half(), shape)
    times: list[float] = []
    for _ in range(5):
        started = time.perf_counter()
        field.evaluate_lattice(
            torch.tensor([14.3]), torch.tensor([20.6]), torch.linspace(100, 300, 256), torch.linspace(100, 300, 256)
        )
        times.append(time.perf_counter() - started)
    return 1000 * min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--save", action="store_true", help="keep the numbers in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        print(f"{row.what:80s} {row.value:8.3f} {row.unit:3s} {row.target}", flush=True)

    add(Row("plane of 256 x 256 places of a large field", round(plane_time(), 1), "ms", "<= 150"))
    cases: list[Any] = [(0.0, 1), (0.1, options.frames), (0.4, options.frames)]
    for motion, frames in cases:
        for row in measured(motion, frames):
            add(row)
    if options.save:
        save("lightfield_inr_grid", rows, COMMAND, NOTE.replace("\n", " "))


if __name__ == "__main__":
    main()
