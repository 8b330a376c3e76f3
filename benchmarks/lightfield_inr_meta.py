"""What a learnt start buys: fits of a new scene from a fresh network, the frame before, a learnt start, and a fast fit.

Run ``python benchmarks/lightfield_inr_meta.py [--scenes 3] [--steps 150] [--save]``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightfield_inr_fast import run
from lightfield_toy import Toy, toy
from recording import Row, save
from torch import Tensor

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates
from napari_recon.engines.lightfield_inr.field import PRESETS, Layers
from napari_recon.engines.lightfield_inr.fit_engine import Fit
from napari_recon.engines.lightfield_inr.lattice import LatticeField
from napari_recon.engines.lightfield_inr.network import FieldNetwork
from napari_recon.engines.lightfield_inr.upstream.fit import Fitter, Scene
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings
from napari_recon.hub import load_state

COMMAND = "python benchmarks/lightfield_inr_meta.py --save"
LOOKED = (0, 10, 25, 50, 100)
BEFORE = 200
SAMPLES = 12
PRESET = PRESETS["mito"]
LAYERS = Layers(depth=PRESET.depth, width=PRESET.width, skips=PRESET.skips, encoded=PRESET.encoding.length)
SETTINGS = FitSettings(coarse_steps=0, block=39, steps_per_frame=LOOKED[-1], steps=BEFORE)
NOTE = """8 x 40 x 40 voxels, six filaments, seven views, no noise; means over scenes that no start has seen. Objective (the
published one, of whole views; smaller is better) and PSNR after best scaling, after a number of steps of the published fit
of a 4 x 128 network. Transfer starts from 200 steps on the frame before (optimiser state included), in which the control
points of the filaments lay 0.4 or 1.2 pixels (rms per lateral axis) elsewhere; the learnt start comes from twelve other
samples of the same kind. The fast fit is lightfield_inr.fit as it comes: it minimises another objective."""


def fitter(weights: Mapping[str, Tensor] | None, moments: Mapping[str, Any] | None = None, seed: int = 0) -> Fitter:
    """Return a fit that begins with given weights, or fresh ones."""
    torch.manual_seed(seed)
    network = FieldNetwork(LAYERS, PRESET.encoding)
    if weights is not None:
        network.load_state_dict(dict(weights))
    return Fitter(network, SETTINGS, "relu", moments, seed)


def judged(one: Fitter, sample: Toy) -> tuple[float, float]:
    """Return objective and PSNR of what a query would give."""
    shape = sample.truth.shape
    z, y, x = (axis_coordinates(axis, np.arange(n), shape) for axis, n in zip("zyx", shape, strict=True))
    field = LatticeField(one.network.state_dict(), LAYERS, PRESET.encoding, "relu")
    return sample.judged(field.values(x, y, z), SETTINGS)


def followed(one: Fitter, sample: Toy) -> list[tuple[float, float]]:
    """Return objective and PSNR at the looked-at steps."""
    found = [judged(one, sample)]
    for done in one.next_scene(Scene(sample.targets)):
        if done.step in LOOKED:
            found.append(judged(one, sample))
    return found


def learnt(steps: int) -> tuple[dict[str, Tensor], float]:
    """Return a start learnt over other samples, and its seconds."""
    samples = [toy("A", seed=100 + number) for number in range(SAMPLES)]
    views = [ImageStack.of(sample.views, "VYX", f"sample{number}") for number, sample in enumerate(samples)]
    psf = ImageStack.of(samples[0].psf, "VZYX", "psf")
    params = {"steps": steps, "inner_steps": 10, "upstream.block": 39, "validate_every": max(1, steps // 6)}
    started = time.process_time()
    inputs = {"views": views, "psf": psf}
    result = napari_recon.run("lightfield_inr.meta", inputs=inputs, params=params, threads=1, device="cpu")
    state = result.artifacts["model"]["state"]
    return {name: torch.from_numpy(values) for name, values in state.items()}, time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--start", default="", help="a start that was learnt before, or its training's checkpoint")
    parser.add_argument("--steps", type=int, default=150, help="of the start's training, 10 inner ones each")
    parser.add_argument("--save", action="store_true", help="keep the numbers in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, seconds = (load_state(options.start), 0.0) if options.start else learnt(options.steps)
    print(f"start learnt in {seconds:.0f} s of processor time", flush=True)
    found: dict[str, list[list[tuple[float, float]]]] = {}
    fast = []
    for seed in range(options.scenes):
        scene = toy("A", seed)
        found.setdefault("fresh network", []).append(followed(fitter(None, seed=seed), scene))
        found.setdefault("learnt start", []).append(followed(fitter(start, seed=seed), scene))
        for moved in (0.4, 1.2):
            one = fitter(None, seed=seed)
            for _ in one.first_scene(Scene(toy("A", seed, moved).targets)):
                pass
            found.setdefault(f"transfer, moved {moved} px", []).append(followed(one, scene))
        volume, _, taken = run(Fit(), scene.views, scene.psf)
        fast.append((*scene.judged(scene.published_units(volume), SETTINGS), taken))
        print(seed, {name: np.round(each[-1], 4).tolist() for name, each in found.items()}, fast[-1], flush=True)
    rows = []
    for name, each in found.items():
        for step, (loss, psnr) in zip(LOOKED, np.mean(each, axis=0), strict=True):
            rows.append(Row(f"{name}: objective after {step} steps", round(float(loss), 4)))
            rows.append(Row(f"{name}: PSNR after {step} steps", round(float(psnr), 2), "dB"))
    loss, psnr, taken = np.mean(fast, axis=0)
    rows += [
        Row("fast fit: objective", round(float(loss), 4)),
        Row("fast fit: PSNR", round(float(psnr), 2), "dB"),
        Row("fast fit: time", round(float(taken), 2), "s"),
    ]
    if seconds:
        rows.append(Row("learnt start: time of its training", round(seconds), "s"))
    for row in rows:
        print(f"{row.what:60s} {row.value:9.4f} {row.unit}", flush=True)
    if options.save:
        save("lightfield_inr_meta", rows, COMMAND, NOTE.replace("\n", " "))


if __name__ == "__main__":
    main()
