"""Quality and cost of lightfield_inr.fit (method fast) against Richardson-Lucy with the same stop, on simulated scenes.

Run ``python benchmarks/lightfield_inr_fast.py [--scenes 3] [--regimes bright,dim] [--save]``. Scenes are curved tubes,
balls and shells, seen through oblique Gaussian PSFs; every number is a mean over scenes, one noise draw each.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightfield_scenes import OTHERS, around, pupil_psf
from numpy.typing import NDArray
from recording import Row, save

from napari_recon.core.compute import Compute
from napari_recon.core.events import ArtifactReady, BlockReady
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.deconvolution.engine import LightFieldRL
from napari_recon.engines.deconvolution.richardson_lucy import AutomaticStop, flat_start, richardson_lucy, sensitivity_weight
from napari_recon.engines.deconvolution.view_positions import remove_gauge
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.psf_width import widened_psf
from napari_recon.engines.lightfield_inr.fast.scene import TARGET_DEVIANCE
from napari_recon.engines.lightfield_inr.fit_engine import Fit
from napari_recon.optics.psf_convolution import PsfProjector

COMMAND = "python benchmarks/lightfield_inr_fast.py --save"
NOTE = """24 x 64 x 64 voxels, oblique Gaussian PSFs, Poisson noise, background 2 % of the brightest pixel; PSNR after
best scaling, of the volume and of its maximum projection along z (MIP). Richardson-Lucy is accelerated and ends at reduced
deviance 1.1, as the stage that a fit starts from does, and takes positions as given; "best" is its best iteration, seen with
the truth. The PSF is the one that made the data, but where views are displaced or the blur is wrong, and the penalty was
chosen on two such scenes. "Other recipe" is none that a constant was chosen on: 16 x 72 x 72 voxels, PSFs of five parts of a
pupil, 500 photons, two scenes each. Recordings are another matter. At 20 photons that stop ends Richardson-Lucy after about
three iterations: its best is the fairer mark there."""
SHAPE = (24, 64, 64)
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Regime:
    """How scenes are seen: views, pixels a view moves per plane, brightest pixel in photons, blur assumed (true: 1)."""

    title: str
    views: int
    slope: float
    photons: float
    displaced: bool = False
    blur: float = 1.0
    aim: tuple[float, float] | None = None


REGIMES = {
    "bright": Regime("bright (1000 photons)", 7, 0.9, 1000, aim=(0.8, 1.5)),
    "dim": Regime("dim (20 photons)", 7, 0.9, 20, aim=(0.6, 0.6)),
    "narrow": Regime("narrow cone (3 views, 300 photons)", 3, 0.35, 300, aim=(1.0, 0.5)),
    "displaced": Regime("displaced views (300 photons)", 7, 0.9, 300, displaced=True),
    "wrong_blur": Regime("displaced views, blur assumed 1.4 times too wide", 7, 0.9, 300, displaced=True, blur=1.4),
    "little_blur": Regime("displaced views, blur assumed 0.8 times as wide", 7, 0.9, 300, displaced=True, blur=0.8),
}


def scene(seed: int) -> Array:
    """Return nine curved tubes and five balls or shells (z, y, x)."""
    make, size = np.random.default_rng(seed), np.array(SHAPE)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1).astype(np.float32)
    result = np.zeros(SHAPE, np.float32)
    t = np.linspace(0, 1, 80)[:, None]
    for _ in range(9):
        a, b, c, d = make.random((4, 3)) * (size - [6, 8, 8]) + [3, 4, 4]
        curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
        near = np.full(SHAPE, np.inf, np.float32)
        for place in curve:
            near = np.minimum(near, ((points - place.astype(np.float32)) ** 2).sum(axis=-1))
        radius, light = make.uniform(0.7, 1.4), make.uniform(0.5, 1)
        result = np.maximum(result, light / (1 + np.exp(np.minimum((np.sqrt(near) - radius) / 0.25, 50))))
    for number in range(5):
        place = (make.random(3) * (size - [12, 16, 16]) + [6, 8, 8]).astype(np.float32)
        radius, light = make.uniform(3, 6.5), make.uniform(0.3, 0.8)
        away = np.sqrt(((points - place) ** 2).sum(axis=-1)) - radius
        solid = light / (1 + np.exp(np.minimum(away / 0.3, 50))) if number % 2 else light * np.exp(-((away / 0.9) ** 2))
        result = np.maximum(result, solid)
    return result.astype(np.float32)


def directions(views: int) -> NDArray[np.float64]:
    """Return the way each view looks (views, 2): a hexagon and its middle, or a triangle."""
    angle = np.arange(6) * math.pi / 3 if views == 7 else np.arange(views) * 2 * math.pi / views + 0.2
    around = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return np.concatenate([np.zeros((1, 2)), around]) if views == 7 else around


def psf(regime: Regime, blur: float = 1.0, offsets: NDArray[np.float64] | None = None) -> Array:
    """Return Gaussian spots (v, z, y, x) that move along each view's direction and widen with depth."""
    depth = np.arange(SHAPE[0]) - (SHAPE[0] - 1) / 2
    width = np.sqrt(blur**2 + (0.12 * depth) ** 2)
    reach = math.ceil(regime.slope * abs(depth).max() + 4 * width.max() + 1)
    centre = directions(regime.views)[:, None] * regime.slope * depth[:, None]
    centre = centre if offsets is None else centre + offsets[:, None]
    place = np.arange(-reach, reach + 1)
    along = np.exp(-((place - centre[..., None]) ** 2) / (2 * width[:, None, None] ** 2))
    along /= along.sum(axis=-1, keepdims=True)
    return (along[:, :, 0, :, None] * along[:, :, 1, None, :]).astype(np.float32)


def quality(volume: Array, truth: Array) -> NDArray[np.float64]:
    """Return PSNR (dB) of the volume and of its maximum projection."""
    return np.array([_psnr(volume, truth), _psnr(volume.max(axis=0), truth.max(axis=0))])


def _psnr(found: Array, wanted: Array) -> float:
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    a *= (a * b).sum() / (a * a).sum()
    return float(10 * np.log10(b.max() ** 2 / ((a - b) ** 2).mean()))


def run(engine: Any, views: Array, response: Array, **params: Any) -> tuple[Array, dict[str, Any], float]:
    """Return volume, artifacts and seconds of a run."""
    stacks = {"views": ImageStack.of(views, "VYX", "views"), "psf": ImageStack.of(response, "VZYX", "psf")}
    refs = [InputRef(name=n, uri=f"memory:{n}", grid=s.grid, dtype=str(s.dtype)) for n, s in stacks.items()]
    plan = engine.plan(refs, params, compute=Compute(device="cpu", threads=1))
    started, volume, made = time.perf_counter(), np.zeros(plan.outputs[0].grid.shape, np.float32), {}
    for event in engine.run(plan, {name: [stack] for name, stack in stacks.items()}):
        if isinstance(event, BlockReady):
            volume[event.slices] = event.array
        elif isinstance(event, ArtifactReady):
            made[event.name] = event.payload
    return volume, made, time.perf_counter() - started


def deconvolved(views: Array, response: Array, truth: Array, most: int = 150) -> dict[str, Any]:
    """Return quality at the automatic stop and at the best iteration of Richardson-Lucy, its iterations and seconds."""
    device = torch.device("cpu")
    started = time.perf_counter()
    counts, optics = Counts.of(views, device), Optics(response, views.shape[1:], device)
    projector = optics.projector()
    weight, seen = sensitivity_weight(projector, counts.views, lambda: None)
    stop, found = AutomaticStop(TARGET_DEVIANCE), {}
    best = np.array([-np.inf, -np.inf])
    spent = 0.0
    for estimate in richardson_lucy(
        projector,
        counts.views,
        background=counts.background,
        read_variance=counts.read_variance,
        iterations=most,
        weight=weight,
        start=flat_start(counts.views, counts.background, seen),
    ):
        spent += time.perf_counter() - started
        reached = quality(optics.inner(estimate.volume).numpy(), truth)
        best = np.maximum(best, reached)
        if not found and stop(estimate):
            found = {"stopped": reached, "iterations": estimate.iteration, "seconds": spent}
        started = time.perf_counter()
    return {**found, "best": best}


def measured(regime: Regime, seed: int) -> dict[str, Any]:
    """Return the numbers of one scene."""
    truth = scene(seed)
    make = np.random.default_rng(100 + seed)
    given, offsets = psf(regime, regime.blur), np.zeros((regime.views, 2))
    if regime.displaced:
        angle, far = make.uniform(0, 2 * math.pi, regime.views), make.uniform(0.5, 1, regime.views)
        moved = torch.from_numpy(far[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1))
        offsets = remove_gauge(moved, torch.from_numpy(directions(regime.views))).numpy()
    clean = PsfProjector.same(torch.from_numpy(psf(regime, 1.0, offsets)), SHAPE[1:]).forward(torch.from_numpy(truth))
    light = clean.clamp_min(0).numpy() / float(clean.max()) * regime.photons + 0.02 * regime.photons
    views = make.poisson(light).astype(np.float32)
    found = {f"rl {name}": value for name, value in deconvolved(views, given, truth).items()}
    plain, _, _ = run(LightFieldRL(), views, given)
    found["engine"] = quality(plain, truth)
    volume, made, seconds = run(Fit(), views, given, refine_views=regime.displaced)
    report = made["report"]
    found |= {"fit": quality(volume, truth), "seconds": seconds, "steps": report["refinement_steps"]}
    found["trial steps"] = report["trial_steps"]
    found["deviance"], found["width"] = report["reduced_deviance"], report["psf_width"]
    if regime.displaced:
        rows = np.array([[row["offset_y"], row["offset_x"]] for row in made["positions"]])
        found["left"] = float(np.sqrt(((rows - offsets) ** 2).mean()))
        known, _, _ = run(Fit(), views, psf(regime, 1.0, offsets), psf_width=1.0)
        found["known"] = quality(known, truth)
    return found


def rows_of(regime: Regime, scenes: int) -> Iterator[Row]:
    """Yield the means over scenes."""
    each = [measured(regime, seed) for seed in range(scenes)]
    mean = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    for number, what in enumerate(("volume", "MIP")):
        aim = "" if regime.aim is None else f">= {regime.aim[number]}"
        if regime.blur > 1.0 and number == 0:
            aim = ">= 2.0"
        name = f"{regime.title}: {what}"
        yield Row(f"{name}, fit", round(float(mean["fit"][number]), 2), "dB")
        gains = {
            "Richardson-Lucy, same stop": ("rl stopped", aim),
            "Richardson-Lucy, best": ("rl best", ""),
            "deconvolution.lightfield_rl": ("engine", ""),
        }
        for against, (key, wanted) in gains.items():
            yield Row(f"{name}, above {against}", round(float(mean["fit"][number] - mean[key][number]), 2), "dB", wanted)
        if regime.displaced:
            wanted = "<= 0.1" if regime.blur == 1.0 and number == 0 else ""
            lost = float(mean["known"][number] - mean["fit"][number])
            yield Row(f"{name}, below a fit with the true PSF", round(lost, 2), "dB", wanted)
    if regime.displaced:
        aim = "<= 0.05" if regime.blur == 1.0 else ""
        yield Row(f"{regime.title}: positions, left over", round(float(mean["left"]), 3), "px", aim)
    yield Row(
        f"{regime.title}: width of the PSF, found", round(float(mean["width"]), 3), "x", f"about {1 / regime.blur:.2f}"
    )
    yield Row(
        f"{regime.title}: refinement steps, of trials too", round(float(mean["steps"] + mean["trial steps"]), 1), "", "<= 60"
    )
    yield Row(f"{regime.title}: reduced deviance of the fit", round(float(mean["deviance"]), 3))
    yield Row(f"{regime.title}: time of the fit", round(float(mean["seconds"]), 2), "s")
    yield Row(f"{regime.title}: time in Richardson-Lucy runs", round(float(mean["seconds"] / mean["rl seconds"]), 1), "x")


def others(kind: str, scenes: int) -> Iterator[Row]:
    """Yield the means over scenes of another recipe, with the right PSF and with one that is too wide."""
    make, shape, photons = OTHERS[kind], (16, 72, 72), 500
    right = pupil_psf(around(5), shape[0], slope=1.1, waist=0.16)
    wide = widened_psf(torch.from_numpy(right), 0.64)[..., 3:-3, 3:-3].numpy()
    title, each = f"other recipe, {kind}", []
    for seed in range(scenes):
        truth = make(shape, seed)
        clean = PsfProjector.same(torch.from_numpy(right), shape[1:]).forward(torch.from_numpy(truth)).clamp_min(0).numpy()
        light = clean / clean.max() * photons + 0.02 * photons
        views = np.random.default_rng(1000 + seed).poisson(light).astype(np.float32)
        found = {"rl": deconvolved(views, right, truth)["stopped"]}
        for name, given, width in (("fit", right, "auto"), ("given", wide, 1.0), ("refined", wide, "auto")):
            volume, made, _ = run(Fit(), views, given, psf_width=width)
            found |= {name: quality(volume, truth), f"{name} width": made["report"]["psf_width"]}
        each.append(found)
    mean = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    for number, what in enumerate(("volume", "MIP")):
        gain = float(mean["fit"][number] - mean["rl"][number])
        yield Row(f"{title}: {what}, above Richardson-Lucy, same stop", round(gain, 2), "dB")
        gain = float(mean["refined"][number] - mean["given"][number])
        yield Row(f"{title}, PSF too wide: {what}, gained by finding its width", round(gain, 2), "dB")
    yield Row(f"{title}: width of the PSF, found", round(float(mean["fit width"]), 3), "x", "about 1.00")
    yield Row(f"{title}, PSF too wide: width, found", round(float(mean["refined width"]), 3), "x")


def aberrated(kind: str, scenes: int) -> Iterator[Row]:
    """Yield the means over scenes with astigmatism (0.3 waves) in one view and defocus in another, unknown to the fit."""
    make, shape, photons = OTHERS[kind], (16, 72, 72), 500
    waves, pupil = np.zeros((5, 3)), {"slope": 1.1, "waist": 0.16}
    waves[1, 1] = waves[3, 0] = 0.3
    given, aberrant = pupil_psf(around(5), shape[0], **pupil), pupil_psf(around(5), shape[0], waves=waves, **pupil)
    each: list[dict[str, Any]] = []
    for seed in range(scenes):
        truth, found = make(shape, seed), {}
        for name, true in (("aberrated", aberrant), ("right", given)):
            clean = (
                PsfProjector.same(torch.from_numpy(true), shape[1:]).forward(torch.from_numpy(truth)).clamp_min(0).numpy()
            )
            light = clean / clean.max() * photons + 0.02 * photons
            views = np.random.default_rng(1000 + seed).poisson(light).astype(np.float32)
            for how, psf_, params in (
                ("never", given, {"psf_aberrations": "never"}),
                ("auto", given, {}),
                ("known", true, {"psf_width": 1.0, "psf_aberrations": "never"}),
            ):
                found[f"{name} {how}"] = quality(run(Fit(), views, psf_, **params)[0], truth)
        each.append(found)
    mean = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
    for number, what in enumerate(("volume", "MIP")):
        for name, title in (("aberrated", "two views aberrated"), ("right", "none aberrated")):
            for how, against in (("auto", "gained by looking"), ("known", "gained by the true PSF")):
                gain = float(mean[f"{name} {how}"][number] - mean[f"{name} never"][number])
                yield Row(f"{kind}, {title}: {what}, {against}", round(gain, 2), "dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=3)
    parser.add_argument("--regimes", default=",".join([*REGIMES, *OTHERS, "aberrated"]))
    parser.add_argument("--save", action="store_true", help="keep the numbers in benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.regimes.split(","):
        few = min(options.scenes, 2)
        several = others(name, few) if name in OTHERS else aberrated("solid balls", few)
        for row in rows_of(REGIMES[name], options.scenes) if name in REGIMES else several:
            rows.append(row)
            print(f"{row.what:100s} {row.value:8.3f} {row.unit:3s} {row.target}", flush=True)
    if options.save:
        save("lightfield_inr_fast", rows, COMMAND, NOTE.replace("\n", " "))


if __name__ == "__main__":
    main()
