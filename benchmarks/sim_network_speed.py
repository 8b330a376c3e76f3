"""How fast SIM networks run here, against the plain graph of the published networks in the same process.

    python benchmarks/sim_network_speed.py [--readme 512] [--published 256] [--repeats 3] [--threads 1] [--save]

The plain graph is `networks.rcan.RCAN` called once on the whole frame: contiguous float32, as the authors' program does. The
engine is run as users run it, plan and events included. Runs alternate and processor time is counted, the least of each, so
that ratios survive a busy machine. Weights are drawn, which costs the same as trained ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from recording import Row, save
from serenet_speed import PeakMemory

from napari_recon.core.compute import Compute
from napari_recon.core.events import BlockReady
from napari_recon.core.plan import InputRef, ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.network import SimNetwork
from napari_recon.engines.sim.networks.checkpoint import load_network
from napari_recon.engines.sim.networks.normalise import normalised
from napari_recon.engines.sim.networks.shapes import expected_shapes

COMMON = {"nch_in": 9, "nch_out": 1, "reduction": 16, "scale": 1, "narch": 0}
NETWORKS = {
    "readme": ("RCAN 2 x 5 x 48", {"n_resgroups": 2, "n_resblocks": 5, "n_feats": 48, **COMMON}),
    "published": ("RCAN 3 x 10 x 96", {"n_resgroups": 3, "n_resblocks": 10, "n_feats": 96, **COMMON}),
}
AIM = ">= 1.5"


def drawn_model(name: str, folder: Path) -> ModelRef:
    """Store a network with drawn weights."""
    options, rng, state = NETWORKS[name][1], np.random.default_rng(0), {}
    for key, shape in expected_shapes("rcan", options).items():
        spread = 0.01 if len(shape) == 1 else 0.8 / np.prod(shape[1:]) ** 0.5
        state[key] = torch.from_numpy((spread * rng.standard_normal(shape)).astype(np.float32))
    torch.save(state, folder / f"{name}.pth")
    return ModelRef(id=name, path=str(folder / f"{name}.pth"), architecture="rcan", options=options)


def measure(name: str, size: int, model: ModelRef, repeats: int, compute: Compute) -> list[Row]:
    """Return times, ratios, memory and differences of one network."""
    frames = np.random.default_rng(0).poisson(200, (9, size, size)).astype(np.uint16)
    stack, engine, network = ImageStack.of(frames, "NYX"), SimNetwork(), load_network(model)

    def plain() -> np.ndarray:
        channels = torch.from_numpy(normalised(frames.astype(np.float32), "minmax")[0])
        with torch.inference_mode():
            return network(channels[None])[0, 0].numpy()

    def ours(precision: str) -> np.ndarray:
        ref = InputRef(name="raw", grid=stack.grid, dtype="uint16")
        plan = engine.plan([ref], {"precision": precision}, model=model, compute=compute)
        image = np.zeros(plan.outputs[0].grid.shape, np.float32)
        for event in engine.run(plan, {"raw": [stack]}):
            if isinstance(event, BlockReady):
                image[event.slices] = event.array
        return image

    variants: dict[str, Callable[[], np.ndarray]] = {
        "engine": lambda: ours("float32"),
        "engine, fast": lambda: ours("fast"),
        "plain graph": plain,
    }
    seconds, memory, images = dict.fromkeys(variants, np.inf), dict.fromkeys(variants, 0.0), {}
    for _ in range(repeats):
        for variant, run in variants.items():
            with PeakMemory() as watched:
                start = time.process_time()
                images[variant] = run()
                seconds[variant] = min(seconds[variant], time.process_time() - start)
            memory[variant] = max(memory[variant], watched.megabytes)
    title, reference = f"{NETWORKS[name][0]}, {size} x {size}", images["plain graph"]
    rows = [Row(f"{title}, plain graph: time", seconds["plain graph"], "s")]
    for variant in ("engine", "engine, fast"):
        off = np.abs(images[variant] - reference).max() / np.ptp(reference)
        faster = seconds["plain graph"] / seconds[variant]
        rows.append(
            Row(f"{title}, {variant}: speed-up over the plain graph", faster, "x", AIM if variant == "engine" else "")
        )
        rows.append(Row(f"{title}, {variant}: largest difference from the plain graph / range", float(off)))
    planned = (
        engine.plan([InputRef(name="raw", grid=stack.grid)], {}, model=model, compute=compute).resources.memory_bytes / 1e6
    )
    rows.append(Row(f"{title}, engine: peak memory (planned {planned:.0f} MB)", memory["engine"], "MB"))
    return rows


def main() -> None:
    """Measure both networks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readme", type=int, default=512, help="edge of the frames for RCAN 2 x 5 x 48")
    parser.add_argument("--published", type=int, default=256, help="and for RCAN 3 x 10 x 96")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--save", action="store_true", help="keep the numbers for docs/benchmarks.md")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    compute, rows = Compute(device=args.device, threads=args.threads), []
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            if size := getattr(args, name):
                rows += measure(name, size, drawn_model(name, Path(folder)), args.repeats, compute)
    for row in rows:
        sys.stdout.write(f"{row.what}: {row.value:.4g} {row.unit} {row.target}\n")
    if args.save:
        best = {
            row.what.split(",")[0]: row.value for row in rows if row.what.endswith("engine: speed-up over the plain graph")
        }
        command = f"python benchmarks/sim_network_speed.py --readme {args.readme} --published {args.published}"
        note = (
            f"Nine frames, drawn weights, {args.threads} thread; processor time, least of {args.repeats} alternating runs."
        )
        said = ", ".join(f"{name} {value:.2f} times as fast as the plain graph" for name, value in best.items())
        save("sim_network_speed", rows, command, note, {"sim.network": f"{said}, at equal output (one CPU thread)."})


if __name__ == "__main__":
    main()
