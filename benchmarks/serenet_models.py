"""The built-in light-field networks beside refocusing and Richardson-Lucy on unseen phantoms, and what fine-tuning adds.

python benchmarks/serenet_models.py                               the models in the menu; records the numbers
python benchmarks/serenet_models.py --fine-tuning                 only what fine-tuning adds; records it beside the rest
python benchmarks/serenet_models.py SERENET.safetensors [F.safetensors]   others; prints them
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recording import RESULTS, Row, save

import napari_recon
from napari_recon.io import open_stack
from napari_recon.metrics.images import scale_alignment
from napari_recon.samples.files import path

MODELS = ("lightfield-serenet-small", "lightfield-fserenet-small")
PLANES, FIELD, BORDER = 41, 54, 20
SEEDS = (901, 902)
COMMON: dict[str, Any] = {"planes": PLANES, "height": FIELD, "width": FIELD, "frames": 1, "speed": 0.0, "beyond": 0.1}
SCENES: dict[str, dict[str, Any]] = {
    "thin lines": {"phantom": "lines"},
    "tubes": {"phantom": "bubtub", "entry": 5},
    "bubbles": {"phantom": "bubtub", "entry": 8},
    "beads": {"phantom": "bubtub", "entry": 12},
    "dense tissue": {"phantom": "tissue"},
    "tubes in low light": {"phantom": "bubtub", "entry": 4, "peak": 40.0},
}
SAMPLE = "the package's sample (101 planes)"
METHODS = ("mean refocus", "geometric-mean refocus", "Richardson-Lucy", "SeReNet (small)", "F-SeReNet (small)")
FINE_TUNING: dict[str, Any] = {
    **{"planes": PLANES, "crop": 36, "averaging": 0.98, "precision": "mixed"},
    **{"validate_every": 20, "checkpoint_every": 1000, "patience": 4},
}
RECORDINGS: dict[str, dict[str, Any]] = {
    "tubes": {"phantom": "bubtub", "entry": 3, "peak": 400.0, "seed": 950},
    "bubbles": {"phantom": "bubtub", "entry": 8, "peak": 300.0, "seed": 951},
}
STEPS = (("tubes", 60), ("tubes", 100), ("tubes", 200), ("bubbles", 100))
"""Recordings and numbers of steps; the settings were chosen on the tubes, the bubbles are unseen."""
TUNED = "fine-tuned on one new recording"
Volume = NDArray[np.float32]


def reconstructed(raw: Any, models: tuple[str, ...], planes: int = PLANES) -> Iterator[tuple[str, Volume]]:
    """Yield (method, volume) of a recording."""
    depth = {"planes": planes}
    for name, method in (("mean refocus", "mean"), ("geometric-mean refocus", "geometric")):
        yield name, napari_recon.run("serenet.refocus", raw, params={"method": method, **depth})["volume"]
    yield "Richardson-Lucy", napari_recon.run("deconvolution.lightfield_rl", raw, params=depth)["volume"]
    for name, model in zip(METHODS[3:], models, strict=False):
        yield name, napari_recon.run("serenet.reconstruct", raw, model=model, params=depth)["volume"]


def figures(volume: Any, truth: Any) -> tuple[float, float]:
    """Return PSNR and MIP PSNR (dB), each after scaling to the truth, without the lateral border."""
    inner = np.s_[:, BORDER:-BORDER, BORDER:-BORDER]
    a, g = (np.asarray(each, np.float64).reshape(-1, *np.shape(each)[-2:])[inner] for each in (volume, truth))
    return psnr(a, g), psnr(a.max(axis=0), g.max(axis=0))


def psnr(a: NDArray[np.float64], g: NDArray[np.float64]) -> float:
    """Return the PSNR of an image scaled to the truth, whose maximum is the peak."""
    error = np.mean((scale_alignment(a, g)[0] * a - g) ** 2)
    return float(10 * np.log10(g.max() ** 2 / max(float(error), 1e-12)))


def scenes() -> Iterator[tuple[str, Any, Any, int]]:
    """Yield (scene, recording, truth, planes); none of them is one that a model was trained on."""
    for name, settings in SCENES.items():
        for seed in SEEDS:
            made = napari_recon.simulate("lightfield", seed=seed, **{**COMMON, **settings}).outputs
            yield name, made["raw"], np.asarray(made["truth"].data), PLANES
    raw, truth = (open_stack(path(name)) for name in ("lightfield", "lightfield_truth"))
    yield SAMPLE, raw.read("VYX", t=0), truth.read("ZYX", t=0), 101


def fine_tuned(model: str, recording: str, steps: int) -> tuple[float, float, float]:
    """Return MIP PSNR of a new recording before and after self-supervised fine-tuning on it, and the minutes it took."""
    settings = {**COMMON, **RECORDINGS[recording]}
    made = napari_recon.simulate("lightfield", **settings).outputs
    raw, truth = made["raw"], np.asarray(made["truth"].data)
    out = Path(mkdtemp()) / "fine-tuned.safetensors"
    depth = {"planes": PLANES}
    before = figures(napari_recon.run("serenet.reconstruct", raw, model=model, params=depth)["volume"], truth)[1]
    began = time.perf_counter()
    params = {**FINE_TUNING, "steps": steps, "init": model}
    napari_recon.train("serenet.train", raw, out=out, params=params, seed=1, threads=2)
    took = (time.perf_counter() - began) / 60
    after = figures(napari_recon.run("serenet.reconstruct", raw, model=out, params=depth)["volume"], truth)[1]
    print(f"{recording}, {steps} steps: {before:.2f} -> {after:.2f} dB in {took:.1f} min", flush=True)
    return before, after, took


def fine_tuning_rows(model: str) -> list[Row]:
    """Return what fine-tuning adds, for several lengths of it."""
    rows = []
    for recording, steps in STEPS:
        before, after, minutes = fine_tuned(model, recording, steps)
        what = f"{TUNED} ({recording}), {steps} steps"
        rows += [
            Row(f"{what}: MIP PSNR before", before, "dB"),
            Row(f"{what}: gain in MIP PSNR", after - before, "dB", ">= 1"),
            Row(f"{what}: time", minutes, "min", "< 5"),
        ]
    return rows


def main(arguments: list[str]) -> None:
    """Measure, print, and record what is in the menu."""
    models = tuple(arguments) or MODELS
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for scene, raw, truth, planes in scenes():
        for method, volume in reconstructed(raw, models, planes):
            found.setdefault((scene, method), []).append(figures(volume, truth))
    rows, means = [], {}
    for method in METHODS[: 3 + len(models)]:
        each = []
        for scene in (*SCENES, SAMPLE):
            volume, mip = np.mean(found[scene, method], axis=0)
            each.append((volume, mip))
            rows += [
                Row(f"{scene}, {method}: PSNR", float(volume), "dB"),
                Row(f"{scene}, {method}: MIP PSNR", float(mip), "dB"),
            ]
            print(f"{scene}, {method}: {volume:.2f} / {mip:.2f} dB", flush=True)
        means[method] = np.mean(each, axis=0)
        print(f"all, {method}: {means[method][0]:.2f} / {means[method][1]:.2f} dB", flush=True)
    best = max(METHODS[3 : 3 + len(models)], key=lambda method: float(means[method].sum()))
    volume, mip = means[best] - means["geometric-mean refocus"]
    rows = [
        Row(f"all scenes, {best} over geometric-mean refocus: PSNR", float(volume), "dB", ">= 0"),
        Row(f"all scenes, {best} over geometric-mean refocus: MIP PSNR", float(mip), "dB", ">= 2"),
        *(Row(f"all scenes, {method}: {what}", float(value), "dB")
          for method, pair in means.items() for what, value in zip(("PSNR", "MIP PSNR"), pair, strict=True)),
        *rows,
    ]  # fmt: skip
    rows += fine_tuning_rows(models[0])
    if models == MODELS:
        kept(rows)


def kept(rows: list[Row]) -> None:
    """Record the rows."""
    values = {row.what: row.value for row in rows}
    mip = next(row.value for row in rows if "over geometric-mean refocus: MIP PSNR" in row.what)
    gains = {
        name: [value for what, value in values.items() if what.startswith(f"{TUNED} ({name})") and "gain" in what]
        for name in RECORDINGS
    }
    note = (
        f"Simulated recordings of microscope geometric-13 (49 views of {FIELD} x {FIELD} pixels, {PLANES} planes), "
        f"{len(SEEDS)} of each scene, and the sample's first frame; 300 photons in the brightest pixel (40 in low "
        "light), read noise 3. PSNR after scaling to the truth, MIP PSNR of the maximum along z. Richardson-Lucy knows "
        "the very optics that made the recordings. Fine-tuning: the rate was chosen on the recording of tubes, that of "
        "bubbles was not looked at before; the network that is kept is the one that predicts withheld views best. Views say "
        "nothing about the depth of what is solid, so a better network by them may draw its projection worse."
    )
    headline = (
        f"Built-in small networks {mip:+.1f} dB MIP PSNR over geometric-mean refocus; fine-tuning on one new recording "
        f"{min(gains['tubes']):+.1f} to {max(gains['tubes']):+.1f} dB (tubes, the more steps the better), "
        f"{max(gains['bubbles']):+.1f} dB (solid bubbles)."
    )
    save("serenet_models", rows, "python benchmarks/serenet_models.py", note, {"serenet.train": headline})


def main_of_fine_tuning() -> None:
    """Measure fine-tuning alone, and record it beside what is known."""
    known = json.loads((RESULTS / "serenet_models.json").read_text(encoding="utf-8"))["rows"]
    others = [Row(**row) for row in known if not row["what"].startswith(TUNED)]
    kept(others + fine_tuning_rows(MODELS[0]))


if __name__ == "__main__":
    if sys.argv[1:] == ["--fine-tuning"]:
        main_of_fine_tuning()
    else:
        main(sys.argv[1:])
