"""200 time points as a batch: memory against one time point, machinery against computing, two workers against one.

    python benchmarks/batch.py [--frames 200] [--save]

Every run is a process of its own with one torch thread, so that its largest memory is its own. One worker and two are
measured alike (dask.distributed on this machine); the first tenth of the frames, in which they start, is left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from recording import Row, save

from napari_recon.core.stack import ImageStack
from napari_recon.io import write_stack

CASES: dict[str, dict[str, Any]] = {
    "sim.wiener": {"na": 1.2, "wavelength_um": 0.525},
    "serenet.reconstruct": {"planes": 31},
}
ONE = """
import json, sys, time
import napari_recon
from napari_recon.jobs.batch.run import BatchFinished, ItemChanged, prepare_batch, run_batch
from napari_recon.jobs.batch.cluster import Workers
from napari_recon.jobs.measure import peak_memory_bytes
recipe, raw, out, workers = sys.argv[1:5]
prepared = prepare_batch(recipe, raw, out, each="file")
helpers = Workers(int(workers)) if workers != "0" else None
first = last = (0, 0.0)
for event in run_batch(prepared, workers=helpers):
    if isinstance(event, ItemChanged) and event.state == "running" and event.done >= max(1, event.total / 10):
        first = first if first[0] else (event.done, time.perf_counter())
        last = event.done, time.perf_counter()
between = last[1] - first[1]
item = next(iter(prepared.targets))
log = prepared.folder.log(item)
frames = {line["frame"]: line["record"][1] for line in log.lines() if "frame" in line}
made = sum(seconds for number, seconds in frames.items() if number >= first[0])
rate = (last[0] - first[0]) / between if last[0] > first[0] else 0.0
print(json.dumps(dict(between=between, made=made, rate=rate, peak=peak_memory_bytes())))
if helpers is not None: helpers.close()
"""


def raw_of(engine: str, frames: int, folder: Path) -> Path:
    """Write a recording of `frames` time points and return the folder it is in: one simulated frame, with new noise."""
    import napari_recon

    kind, options = ("sim", {"height": 512, "width": 512}) if engine.startswith("sim") else ("lightfield", {})
    stack = napari_recon.simulate(kind, seed=1, **options).outputs["raw"]
    one = np.asarray(stack.data, np.float32)
    one = one[0] if stack.grid.axes[0] == "T" else one
    rng = np.random.default_rng(0)
    movie = np.stack([rng.poisson(one) for _ in range(frames)]).astype(np.uint16)
    axes = "T" + stack.grid.axes.replace("T", "")
    place = {a: (stack.grid.step(a), stack.grid.unit(a)) for a in stack.grid.axes if a in "YX"}
    made = ImageStack.of(
        movie, axes, scale={a: s for a, (s, _) in place.items()}, units={a: u for a, (_, u) in place.items()}
    )
    return write_stack(folder / f"{engine}-{frames}" / "movie.ome.zarr", made).parent


def run(recipe: Path, raw: Path, workers: int) -> dict[str, float]:
    """Return what one batch took."""
    out = recipe.parent / f"out{time.monotonic_ns()}"
    call = [sys.executable, "-c", ONE, str(recipe), str(raw), str(out), str(workers)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    shutil.rmtree(out)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print; `--save` keeps the numbers for docs/benchmarks.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    import napari_recon

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for engine, params in CASES.items():
            single, movie = raw_of(engine, 1, folder), raw_of(engine, asked.frames, folder)
            model = "lightfield-serenet-small" if engine == "serenet.reconstruct" else None
            plan = napari_recon.plan(engine, movie / "movie.ome.zarr", params=params, model=model, threads=1)
            recipe = folder / f"{engine}.recipe.yaml"
            from napari_recon.core.provenance import Recipe

            recipe.write_text(Recipe.of(plan).to_yaml())
            short, whole = run(recipe, single, 0), run(recipe, movie, 0)
            one, two = run(recipe, movie, 1), run(recipe, movie, 2)
            outside = 1 - whole["made"] / whole["between"]
            print(engine, {"short": short, "whole": whole, "one": one, "two": two})
            rows += [
                Row(
                    f"{engine}: memory of {asked.frames} time points over that of one",
                    whole["peak"] / short["peak"],
                    "x",
                    "<= 1.2",
                ),
                Row(f"{engine}: time between frames that goes into notes and events", 100 * outside, "%", "<= 3"),
                Row(f"{engine}: frames per second, two workers over one", two["rate"] / one["rate"], "x", ">= 1.7"),
                Row(f"{engine}: frames per second, in the process itself", whole["rate"], "1/s"),
            ]
    for row in rows:
        print(row)
    if asked.save:
        save("batch", rows, "python benchmarks/batch.py --save", __doc__.split("\n\n")[2].replace("\n", " ").strip())


if __name__ == "__main__":
    main()
