"""Peak memory of SeReNet on a full camera field, streamed into an OME-Zarr file.

    python benchmarks/serenet_memory.py [--size 459] [--planes 101] [--threads 0]

The recording is drawn at random and so are the weights, which costs the same as published ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from recording import Row, save
from serenet_speed import PeakMemory, drawn_model

from napari_recon.core.compute import Compute
from napari_recon.core.events import BlockReady
from napari_recon.jobs import OutputWriter, make_plan, run_plan

GIGABYTE = 1e9
BUDGET_BYTES = int(3e9)


def main() -> None:
    """Reconstruct once and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=459, help="light-field pixels per axis")
    parser.add_argument("--planes", type=int, default=101)
    parser.add_argument("--threads", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        views = np.random.default_rng(0).gamma(1.0, 80.0, (49, asked.size, asked.size)).round().astype(np.uint16)
        tifffile.imwrite(folder / "views.tif", views, metadata={"axes": "QYX"})
        del views
        model = drawn_model("serenet", folder)
        compute = Compute(device="cpu", threads=asked.threads, memory_bytes=BUDGET_BYTES)
        started, first = time.perf_counter(), 0.0
        with PeakMemory() as memory:
            plan, inputs = make_plan(
                "serenet.reconstruct",
                {"views": [folder / "views.tif"]},
                {"planes": asked.planes},
                model=model,
                compute=compute,
            )
            writer = OutputWriter(folder / "volume.ome.zarr", plan)
            for event in writer.through(run_plan(plan, inputs)):
                if isinstance(event, BlockReady):
                    first = first or time.perf_counter() - started
        seconds = time.perf_counter() - started
    whole = 4 * 49 * asked.planes * asked.size**2 / GIGABYTE
    rows = [
        Row("peak memory above the idle process", memory.megabytes / 1e3, "GB", "< 4"),
        Row("planned", plan.resources.memory_bytes / GIGABYTE, "GB"),
        Row("the refocused views alone, had they been held at once", whole, "GB"),
        Row("tiles", plan.resources.tiles),
        Row("first block", first, "s"),
        Row("whole field", seconds, "s"),
    ]
    field = f"SeReNet on {asked.size} x {asked.size} light-field pixels, 49 views, {asked.planes} planes"
    note = f"{field}, streamed into an OME-Zarr file, with a budget of {BUDGET_BYTES / GIGABYTE:g} GB."
    headline = f"A {asked.size} x {asked.size} field with {asked.planes} planes takes {memory.megabytes / 1e3:.1f} GB."
    save("network_memory", rows, "python benchmarks/serenet_memory.py", note, {"serenet.reconstruct": headline})


if __name__ == "__main__":
    main()
