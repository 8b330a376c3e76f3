"""What a time point gains by starting from the one before: lightfield_inr.fit (method fast) on simulated sequences.

Run ``python benchmarks/lightfield_inr_sequence.py [--scenes 2] [--save]``. Scenes are those of `lightfield_inr_fast.py`;
control points of tubes and centres of balls move from one time point to the next.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightfield_inr_fast import REGIMES, SHAPE, Array, psf, quality
from recording import Row, save

from napari_recon.core.compute import Compute
from napari_recon.core.events import ArtifactReady, BlockReady, Event
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.lightfield_inr.fit_engine import Fit
from napari_recon.optics.psf_convolution import PsfProjector

COMMAND = "python benchmarks/lightfield_inr_sequence.py --save"
NOTE = """24 x 64 x 64 voxels, seven views, oblique Gaussian PSFs, Poisson noise, two time points; control points of tubes
and centres of balls move by the named root mean square per lateral axis (half of it along z). Numbers are those of the
second time point, means over scenes: started from the first one (transfer=auto) against by itself (transfer=never), both
with automatic ends. Iterations are those of the deconvolution; the estimate that a fresh start is judged by counts as one.
Gains are PSNR of the volume and of its maximum projection (MIP) after best scaling. Times were taken in turn on one
thread and contain everything; they vary by some percent."""
MOTIONS = (0.1, 0.3, 0.5, 1.0, 2.0, 5.0)
FRAMES = 2


def moving_scene(seed: int, motion: float, frames: int, blink: bool = False) -> Iterator[Array]:
    """Yield volumes (z, y, x); with `blink` one ball is there in odd ones only, another in even ones only."""
    make, size = np.random.default_rng(seed), np.array(SHAPE)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1).astype(np.float32)
    along = np.linspace(0, 1, 80)[:, None]
    speed = np.array([0.5, 1, 1]) * motion
    tubes = [
        (make.random((4, 3)) * (size - [6, 8, 8]) + [3, 4, 4], make.uniform(0.7, 1.4), make.uniform(0.5, 1))
        for _ in range(9)
    ]
    balls = [
        (make.random(3) * (size - [12, 16, 16]) + [6, 8, 8], make.uniform(3, 6.5), make.uniform(0.3, 0.8)) for _ in range(5)
    ]
    of_tubes = [make.normal(size=(4, 3)) * speed for _ in tubes]
    of_balls = [make.normal(size=3) * speed for _ in balls]
    for frame in range(frames):
        result = np.zeros(SHAPE, np.float32)
        for (corners, radius, light), moved in zip(tubes, of_tubes, strict=True):
            a, b, c, d = corners + moved * frame
            curve = (1 - along) ** 3 * a + 3 * (1 - along) ** 2 * along * b
            curve = curve + 3 * (1 - along) * along**2 * c + along**3 * d
            near = np.full(SHAPE, np.inf, np.float32)
            for place in curve:
                near = np.minimum(near, ((points - place.astype(np.float32)) ** 2).sum(axis=-1))
            result = np.maximum(result, light / (1 + np.exp(np.minimum((np.sqrt(near) - radius) / 0.25, 50))))
        for number, ((place, radius, light), moved) in enumerate(zip(balls, of_balls, strict=True)):
            if blink and number < 2 and number == frame % 2:
                continue
            away = np.sqrt(((points - (place + moved * frame).astype(np.float32)) ** 2).sum(axis=-1)) - radius
            solid = light / (1 + np.exp(np.minimum(away / 0.3, 50))) if number % 2 else light * np.exp(-((away / 0.9) ** 2))
            result = np.maximum(result, solid)
        yield result.astype(np.float32)


def imaged(truths: list[Array], response: Array, photons: float, seed: int) -> Array:
    """Return views (t, v, y, x); the brightest pixel of the first time point has so many photons."""
    projector = PsfProjector.same(torch.from_numpy(response), SHAPE[1:])
    clean = np.stack([projector.forward(torch.from_numpy(truth)).clamp_min(0).numpy() for truth in truths])
    light = clean / clean[0].max() * photons + 0.02 * photons
    return np.random.default_rng(seed).poisson(light).astype(np.float32)


def run(views: Array, response: Array, **params: Any) -> tuple[Array, list[dict[str, Any]], list[float]]:
    """Return volumes (t, z, y, x), reports, and the seconds of each time point."""
    stacks = {"views": ImageStack.of(views, "TVYX", "views"), "psf": ImageStack.of(response, "VZYX", "psf")}
    refs = [InputRef(name=n, uri=f"memory:{n}", grid=s.grid, dtype=str(s.dtype)) for n, s in stacks.items()]
    plan = Fit().plan(refs, params, compute=Compute(device="cpu", threads=1))
    volume, reports, seconds = np.zeros(plan.outputs[0].grid.shape, np.float32), [], []
    started = time.perf_counter()
    for event in Fit().run(plan, {name: [stack] for name, stack in stacks.items()}):
        reports += _report(event)
        if isinstance(event, BlockReady):
            volume[event.slices] = event.array
            seconds.append(time.perf_counter() - started)
            started = time.perf_counter()
    return volume, reports, seconds


def _report(event: Event) -> list[dict[str, Any]]:
    return [event.payload] if isinstance(event, ArtifactReady) and event.name == "report" else []


def measured(photons: float, motion: float, seed: int, blink: bool = False) -> dict[str, Any]:
    """Return the numbers of the second time point of one sequence."""
    response = psf(REGIMES["bright"])
    truths = list(moving_scene(seed, motion, FRAMES, blink))
    views = imaged(truths, response, photons, 100 + seed)
    found: dict[str, Any] = {}
    for name in ("never", "auto"):
        volumes, reports, seconds = run(views, response, transfer=name)
        found |= {
            f"{name} iterations": reports[-1]["deconvolution_iterations"],
            f"{name} steps": reports[-1]["refinement_steps"],
            f"{name} seconds": seconds[-1],
            f"{name} quality": quality(volumes[-1], truths[-1]),
        }
    found["transferred"] = reports[-1]["start"] != "afresh"
    return found


def rows_of(title: str, each: list[dict[str, Any]], small: bool) -> Iterator[Row]:
    """Yield the means over scenes."""
    mean = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    gain = mean["auto quality"] - mean["never quality"]
    yield Row(f"{title}: time points that started from the one before", round(float(mean["transferred"]) * 100), "%")
    yield Row(f"{title}: iterations by itself", round(float(mean["never iterations"]), 1))
    yield Row(f"{title}: iterations transferred", round(float(mean["auto iterations"]), 1))
    if small:
        fewer = float(mean["never iterations"]) / max(float(mean["auto iterations"]), 1.0)
        yield Row(f"{title}: iterations, fewer by (none counts as one)", round(fewer, 1), "x", ">= 6")
    more = float(mean["auto steps"] - mean["never steps"])
    yield Row(f"{title}: refinement steps, more than by itself", round(more, 1), "", "<= 0")
    yield Row(f"{title}: volume, gain", round(float(gain[0]), 2), "dB", ">= -0.05")
    yield Row(f"{title}: MIP, gain", round(float(gain[1]), 2), "dB")
    yield Row(f"{title}: time, part of that by itself", round(float(mean["auto seconds"] / mean["never seconds"]), 2), "x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="keep the numbers in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [(300.0, motion, False) for motion in MOTIONS] + [(1000.0, 0.5, False), (20.0, 0.5, False), (300.0, 0.3, True)]
    rows = []
    for photons, motion, blink in cases:
        title = f"{photons:.0f} photons, {motion} px{', balls appear and vanish' if blink else ''}"
        each = [measured(photons, motion, seed, blink) for seed in range(options.scenes)]
        for row in rows_of(title, each, motion <= 0.5 and photons > 20 and not blink):
            rows.append(row)
            print(f"{row.what:90s} {row.value:8.3f} {row.unit:3s} {row.target}", flush=True)
    if options.save:
        save("lightfield_inr_sequence", rows, COMMAND, NOTE.replace("\n", " "))


if __name__ == "__main__":
    main()
