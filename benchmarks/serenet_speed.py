"""How fast SeReNet and F-SeReNet run here, against the plain graph of the published networks in the same process.

    python benchmarks/serenet_speed.py [--size 63] [--planes 101] [--repeats 3] [--threads 1] [--weights DIR] [--json FILE]

The plain graph is `networks.serenet.SeReNet` as the authors wrote it: contiguous float32, whole field at once. The engine is
run as users run it, plan and events included. Runs alternate, the fastest of each counts: ratios survive a busy machine.
Without ``--weights`` (a folder holding ``serenet_pth/epoch-800.pth`` ...) the weights are drawn, which costs the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from napari_recon.core.compute import Compute
from napari_recon.core.events import BlockReady
from napari_recon.core.plan import InputRef, ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.checkpoint import DEFAULTS, expected_shapes, load_network
from napari_recon.engines.serenet.engine import Reconstruct
from napari_recon.engines.serenet.intensity import prepare
from napari_recon.optics.lightfield_geometry import load_psf_shift
from napari_recon.optics.refocus import Refocuser


class PeakMemory:
    """Resident memory of this process above where it was on entering."""

    def __enter__(self) -> PeakMemory:
        self._process, self._on = psutil.Process(), True
        self._base = self.peak = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while self._on:
            self.peak = max(self.peak, self._process.memory_info().rss)
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self._on = False
        self._thread.join()

    @property
    def megabytes(self) -> float:
        return (self.peak - self._base) / 1e6


def drawn_model(architecture: str, folder: Path) -> ModelRef:
    """Store a network of the published size with drawn weights."""
    options, rng = DEFAULTS[architecture], np.random.default_rng(0)
    state = {}
    for name, shape in expected_shapes(architecture, options).items():
        spread = 0.02 if len(shape) == 1 else (1.6 / np.prod(shape[1:])) ** 0.5
        state[name] = torch.from_numpy((spread * rng.standard_normal(shape)).astype(np.float32))
    path = folder / f"{architecture}.pt"
    torch.save(state, path)
    return ModelRef(id=architecture, path=str(path), architecture=architecture, options=options)


def measure(architecture: str, model: ModelRef, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row per variant: seconds, speed-up, memory, difference from the plain graph."""
    views = np.random.default_rng(0).gamma(1.0, 80.0, (49, args.size, args.size)).round().astype(np.uint16)
    stack = ImageStack.of(views, "VYX")
    geometry = load_psf_shift("geometric-13").with_planes(args.planes)
    network, engine = load_network(model), Reconstruct()
    compute = Compute(device="cpu", threads=args.threads)

    def plain() -> tuple[np.ndarray, float]:
        prepared = torch.from_numpy(prepare(views.astype(np.float32)).views_vyx)
        whole = (0, args.size), (0, args.size)
        refocuser = Refocuser(prepared, torch.from_numpy(geometry.psf_shift), geometry.upsampling)
        with torch.inference_mode():
            features = refocuser.part((0, args.planes), *whole).contiguous()
            volume = network(features, geometry.volume_yx(args.size, args.size))[0, 0]
        return volume.clamp(min=0).numpy(), 0.0

    def ours(**params: Any) -> tuple[np.ndarray, float]:
        ref = InputRef(name="views", grid=stack.grid)
        plan = engine.plan([ref], {"planes": args.planes, **params}, model=model, compute=compute)
        volume = np.zeros(plan.outputs[0].grid.shape, np.float32)
        start, first = time.perf_counter(), 0.0
        for event in engine.run(plan, {"views": [stack]}):
            if isinstance(event, BlockReady):
                first = first or time.perf_counter() - start
                volume[event.slices] = event.array
        return volume, first

    variants: dict[str, Callable[[], tuple[np.ndarray, float]]] = {
        "engine": ours,
        "engine, tiles of 33": lambda: ours(tile_size=33),
        "engine, fast": lambda: ours(precision="fast"),
        "plain graph": plain,
    }
    rows: dict[str, dict[str, Any]] = {}
    results: dict[str, np.ndarray] = {}
    for _ in range(args.repeats):
        for name, run in variants.items():
            with PeakMemory() as memory:
                start = time.perf_counter()
                volume, first = run()
                seconds = time.perf_counter() - start
            row = rows.setdefault(name, {"network": architecture, "variant": name, "seconds": seconds, "megabytes": 0.0})
            row["seconds"] = min(row["seconds"], seconds)
            row["first_block_seconds"] = min(row.get("first_block_seconds", first), first)
            row["megabytes"] = max(row["megabytes"], memory.megabytes)
            results[name] = volume
    reference = results["plain graph"]
    for name, row in rows.items():
        row["speed_up"] = rows["plain graph"]["seconds"] / row["seconds"]
        row["largest_difference"] = float(np.abs(results[name] - reference).max() / reference.max())
    return list(rows.values())


def main() -> None:
    """Measure both networks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=63, help="light-field pixels per axis")
    parser.add_argument("--planes", type=int, default=101)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for architecture in DEFAULTS:
            if args.weights:
                from napari_recon.hub import resolve

                model = resolve(args.weights / f"{architecture}_pth" / "epoch-800.pth")
            else:
                model = drawn_model(architecture, Path(folder))
            rows += measure(architecture, model, args)
    lines = [f"{args.size} x {args.size} light-field pixels, {args.planes} planes, {args.threads} thread(s)", ""]
    lines.append("| network | variant | seconds | first block (s) | speed-up | peak MB | largest difference |")
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        lines.append(
            f"| {row['network']} | {row['variant']} | {row['seconds']:.2f} | {row['first_block_seconds']:.2f} | "
            f"{row['speed_up']:.2f} | {row['megabytes']:.0f} | {row['largest_difference']:.1e} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    if args.json:
        about = {"size": args.size, "planes": args.planes, "threads": args.threads, "torch": torch.__version__}
        args.json.write_text(json.dumps({**about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
