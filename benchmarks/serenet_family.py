"""How fast every network of the SeReNet family runs here, against its plain graph in the same process.

python benchmarks/serenet_family.py [--size 27] [--repeats 3] [--weights FOLDER]

The plain graph is the published network as it stands in `engines/serenet/networks`: contiguous float32, everything at once.
Ours is what the engines run, at equal output. Seconds are CPU seconds of the one computing thread, so that other work on the
machine counts less; both are timed in turn, the quickest of the repeats counts. Weights are drawn, except where FOLDER holds
published ones (FOLDER/rlnet_pth/epoch-800.pth ...).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import Row, save
from torch import nn

from napari_recon.engines.serenet.checkpoint import load_network
from napari_recon.engines.serenet.faster import channels_last, faster
from napari_recon.engines.serenet.fine_grid import FineReconstructor
from napari_recon.engines.serenet.finer_views import finer_views
from napari_recon.engines.serenet.images import ImageReconstructor
from napari_recon.engines.serenet.layout import NetworkField
from napari_recon.engines.serenet.networks.build import build
from napari_recon.engines.serenet.streaming import streamed
from napari_recon.hub import resolve
from napari_recon.optics.lightfield_geometry import load_psf_shift
from napari_recon.optics.refocus import Refocuser, combined

Run = Callable[[], torch.Tensor]
NAMES = {"rlnet": "RL-Net", "vcdnet": "VCD-Net", "hylfmnet": "HyLFM-Net", "serenet": "SeReNet, 81 views", "twnet": "TW-Net"}
NAMES["vsnet"] = "VsNet"


def drawn(architecture: str, weights: Path | None) -> nn.Module:
    """Return a network of the published size, with published weights where there are some."""
    path = weights / f"{architecture}_pth" / "epoch-800.pth" if weights else None
    if path and path.exists() and architecture in ("rlnet", "twnet"):
        return load_network(resolve(path))
    options: dict[str, Any] = {"views": 81, "second_up": 2.5} if architecture == "serenet" else {}
    torch.manual_seed(0)
    network = build(architecture, options)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.9 * (2 / parameter[0].numel()) ** 0.5)
    return network.requires_grad_(False)


def runs_of(architecture: str, network: nn.Module, size: int, dtype: torch.dtype) -> tuple[Run, Run]:
    """Return the plain computation and ours, of the same input."""
    rng = np.random.default_rng(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.random(shape, dtype=np.float32))

    quick: Any = faster(network, dtype=dtype)
    volume_yx = (round(size * 13 / 3),) * 2
    whole = ((0, 101), (0, volume_yx[0]), (0, volume_yx[1]))
    if architecture == "rlnet":
        geometry = load_psf_shift("geometric-13")
        refocuser = Refocuser(random(49, size, size), torch.from_numpy(geometry.psf_shift), 13 / 3)
        field = NetworkField("rlnet", 0, 101, (size, size), volume_yx)

        def plain() -> torch.Tensor:
            parts = [combined(refocuser, (z, min(z + 8, 101)), *whole[1:], volume_yx) for z in range(0, 101, 8)]
            return network(torch.cat(parts)[None, None])[0, 1]

        ours = FineReconstructor(quick, refocuser, field, lambda: None)
        return plain, lambda: torch.from_numpy(next(ours.slabs(*whole))[1])
    if architecture in ("vcdnet", "hylfmnet"):
        views = random(169, size, size)
        field = NetworkField(architecture, 16 if architecture == "vcdnet" else 4, 101, (size, size), volume_yx)
        block = ImageReconstructor(quick, views, field, 101, lambda: None)
        return lambda: network(views[None], volume_yx)[0, 0], lambda: torch.from_numpy(next(block.slabs(*whole))[1])
    if architecture == "serenet":
        features = channels_last(random(1, 81, 31, size, size))
        chunks = [part.to(dtype) for part in features.split(max(1, min(8, 8000 // size**2)), dim=2)]
        contiguous = features.contiguous()
        placed: Any = network if dtype == torch.float32 else quick
        return (
            lambda: network(contiguous, (5 * size, 5 * size))[0, 0],
            lambda: torch.cat(list(streamed(placed, chunks)), dim=2)[0, 0].float(),
        )
    if architecture == "twnet":
        frames = random(49, 9, 3 * size, 3 * size)
        return lambda: network(frames), lambda: torch.cat([quick(channels_last(f[None].to(dtype))).float() for f in frames])
    views = random(169, min(size, 15), min(size, 15))
    return lambda: network(views[None])[0], lambda: finer_views(quick, views.to(dtype)).float()


def seconds(run: Run) -> tuple[float, torch.Tensor]:
    """Return the CPU seconds of this thread, and the result."""
    start = time.thread_time()
    with torch.inference_mode():
        result = run()
    return time.thread_time() - start, result


def main() -> None:
    """Measure all networks and store the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--size", type=int, default=27, help="light-field pixels per axis")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, ratios = [], []
    for architecture, name in NAMES.items():
        network = drawn(architecture, args.weights)
        plain, ours = runs_of(architecture, network, args.size, torch.float32)
        _, low = runs_of(architecture, network, args.size, torch.bfloat16)
        best: dict[str, float] = {}
        results: dict[str, torch.Tensor] = {}
        for _ in range(args.repeats):
            for variant, run in (("plain", plain), ("ours", ours), ("fast", low)):
                taken, results[variant] = seconds(run)
                best[variant] = min(best.get(variant, taken), taken)
        scale = float(results["plain"].abs().max())
        off = {v: float((results[v] - results["plain"]).abs().max()) / scale for v in ("ours", "fast")}
        ratio = best["plain"] / best["ours"]
        ratios.append(f"{name} {ratio:.2f}")
        rows.append(Row(f"{name}: plain graph", best["plain"], "s"))
        rows.append(Row(f"{name}: speed-up", ratio, "x", ">= 1.3"))
        rows.append(Row(f"{name}: largest difference / maximum", off["ours"], "", "<= 1e-3"))
        rows.append(Row(f"{name}, fast: speed-up", best["plain"] / best["fast"], "x"))
        rows.append(Row(f"{name}, fast: largest difference / maximum", off["fast"]))
        sys.stdout.write("".join(f"{row.what}: {row.value:.4g} {row.unit}\n" for row in rows[-5:]))
        sys.stdout.flush()
    note = (
        f"{args.size} x {args.size} light-field pixels, 101 planes (SeReNet of 81 views: 31), 49 scanned views for TW-Net, "
        "169 of at most 15 x 15 pixels for VsNet; CPU seconds of one thread, bright noise as input. Weights are drawn where "
        "no published ones exist; fast arithmetic is further off on noise and drawn weights than on light fields and "
        "trained ones (RL-Net on a light field: 0.3 % of the maximum)."
    )
    command = f"python benchmarks/serenet_family.py --size {args.size} --repeats {args.repeats}"
    command += " --weights FOLDER" if args.weights else ""
    headline = f"Against the plain graphs: {', '.join(ratios)} times as fast (one CPU thread)."
    save("serenet_family", rows, command, note, {"serenet.reconstruct": headline})


if __name__ == "__main__":
    main()
