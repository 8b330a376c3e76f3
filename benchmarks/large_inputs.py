"""Recordings longer than memory: what every engine needs for many time points, over what it needs for one.

    PYTHONPATH=. python benchmarks/large_inputs.py [ENGINE ...] [--save]

Every run is a process of its own with one thread. What counts is its largest memory beyond that after all imports and the
plan, with OME-Zarr files and with TIFF files; the larger ratio is told. The recordings are the examples of tests/contract,
their frames and fields repeated. inr4d.fit is not among them: a 4-D field is one for all of what it is fitted to, and its
estimate says how much memory that takes.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from recording import RESULTS, Row, save

from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.io import write_stack
from tests.contract.cases import example_of

FORMATS = (".ome.zarr", ".ome.tif")
MEGABYTE = 2**20


@dataclass(frozen=True)
class Case:
    """How an example of the contract becomes a long recording.

    Attributes
    ----------
    frames, wider : int
        Time points, and how often a frame is repeated along y and x.
    params : mapping
        Instead of the example's.
    example : str
        Its name, where it is not the engine's.
    """

    frames: int = 32
    wider: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    example: str = ""


QUICK = {"iterations": 1}
LONG: dict[str, Case] = {
    "deconvolution.lightfield_rl": Case(40, 2, params=QUICK),
    "deconvolution.rl": Case(40, 4, params=QUICK),
    "fusion.background": Case(32, 3),
    "fusion.deskew": Case(32, 4),
    "fusion.multiview_rl": Case(40, 4, params=QUICK),
    "fusion.pipeline": Case(32, params={"multiview_rl.iterations": 1}),
    "fusion.rldfn": Case(24),
    "fusion.split_views": Case(24),
    "fusion.vsi_sr": Case(48, example="fusion.vsi_sr/one"),
    "fusion.wiener": Case(200),
    "lightfield_inr.fit": Case(24, example="lightfield_inr.fit/fast"),
    "segmentation.seeded": Case(16, 2),
    "serenet.predao": Case(16, 2),
    "serenet.realign": Case(200),
    "serenet.reconstruct": Case(24),
    "serenet.refocus": Case(24),
    "serenet.twnet": Case(48, 4),
    "serenet.vsnet": Case(16, 2),
    "sim.network": Case(64, 3),
    "sim.residual": Case(32),
    "sim.wiener": Case(64),
    "sim.wiener3d": Case(6),
    "tomography.sirt": Case(32, 3, params={"iterations": 2}),
}
ONE = """
import ctypes, gc, json, pickle, sys
import torch
import napari_recon
from napari_recon.jobs.measure import peak_memory_bytes, resident_bytes
job = pickle.load(open(sys.argv[1], "rb"))
napari_recon.plan(job["engine"], **job["options"])
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
open("/proc/self/clear_refs", "w").write("5")  # the largest memory counts from here
before = resident_bytes()
napari_recon.run(job["engine"], out=job["out"], **job["options"])
print(json.dumps(peak_memory_bytes() - before))
"""


def repeated(stack: ImageStack, frames: int, wider: int) -> ImageStack:
    """Return a stack of so many time points whose frames and fields are repeated."""
    grid, array = stack.grid, np.asarray(stack.data)
    if "T" not in grid.axes:
        grid, array = Grid.of("T", (1,)).joined(grid), array[None]
    array = np.moveaxis(array, grid.axes.index("T"), 0)
    array = array[np.arange(frames) % len(array)]
    grid = Grid.of("T", (1,)).joined(grid.only(grid.axes.replace("T", "")))
    array = np.tile(array, [wider if a in "YX" else 1 for a in grid.axes])
    geometry = {what: dict(zip(grid.axes, getattr(grid, what), strict=True)) for what in ("scale", "translate", "units")}
    return ImageStack.of(array, grid.axes, stack.name, **geometry)


def _rows(table: Any, frames: int) -> Any:
    """Return rows of nuclei for every time point."""
    times = sorted({row["time"] for row in table})
    return [
        {**row, "time": times[0] + number}
        for number in range(frames)
        for row in table
        if row["time"] == times[number % len(times)]
    ]


def needed(engine: str, case: Case, suffix: str) -> float:
    """Return the bytes that a run takes beyond its imports."""
    example = example_of(case.example or engine)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        inputs: dict[str, list[Any]] = {n: [_rows(t, case.frames) for t in ts] for n, ts in example.others.items()}
        for spec in example.engine.info.inputs:
            for number, stack in enumerate(example.images.get(spec.name, ())):
                follows = stack is example.main or "T" in stack.grid.axes
                grown = repeated(stack, case.frames, case.wider) if follows else stack
                path = write_stack(folder / f"{spec.name}{number}{suffix}", grown)
                inputs.setdefault(spec.name, []).append(str(path))
        params = {**example.params, **case.params, **({"time_point": 1} if "seeds" in inputs else {})}
        options = {"inputs": inputs, "params": params, "model": example.model(), "device": "cpu", "threads": 1}
        job = {"engine": engine, "options": options, "out": str(folder / f"out/result{suffix}")}
        (folder / "job.pickle").write_bytes(pickle.dumps(job))
        steady = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", ONE, str(folder / "job.pickle")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **steady})
    if done.returncode:
        raise RuntimeError(f"{engine}: {done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def ratio(engine: str, case: Case) -> float:
    """Return the memory of many time points over that of one."""
    found = []
    for suffix in FORMATS:
        one, many = needed(engine, replace(case, frames=1), suffix), needed(engine, case, suffix)
        print(f"{engine} {suffix}: {one / MEGABYTE:.1f} -> {many / MEGABYTE:.1f} MB, {many / one:.2f} x", flush=True)
        found.append(many / one)
    return max(found)


def main() -> None:
    """Measure and print; `--save` keeps the numbers for docs/benchmarks.md, those of engines not asked for as they were."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engines", nargs="*")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    kept = RESULTS / "large_inputs.json"
    before = json.loads(kept.read_text())["rows"] if kept.exists() else []
    known = {row["what"].partition(":")[0]: Row(**row) for row in before}
    for engine, case in LONG.items():
        if not asked.engines or engine in asked.engines:
            known[engine] = Row(f"{engine}: {case.frames} time points over one", ratio(engine, case), "x", "<= 1.2")
            print(known[engine], flush=True)
            if asked.save:
                rows = [known[name] for name in LONG if name in known]
                note = (__doc__ or "").split("\n\n")[2].replace("\n", " ").strip()
                save("large_inputs", rows, "PYTHONPATH=. python benchmarks/large_inputs.py --save", note)


if __name__ == "__main__":
    main()
