"""What fast fits of recordings give between frames and planes, beside linear, cubic and optical-flow interpolation.

Run ``python benchmarks/inr4d_fast.py [--tasks T Z TZ] [--own] [--save]``. The public phantom is read from
$NAPARI_RECON_PARITY or ../shared/parity; the phantoms of inr4d_phantoms.py, on which nothing was tuned, are made here
(``--own``). Seconds are processor time of one thread, the scores on withheld frames and planes included.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from inr4d_phantoms import RECIPES, Movie, noisy
from recording import Row, save
from skimage.metrics import structural_similarity

import napari_recon
from napari_recon.core.stack import ImageStack

COMMAND = "python benchmarks/inr4d_fast.py"
PARITY = Path(os.environ.get("NAPARI_RECON_PARITY") or Path(__file__).parents[2] / "shared" / "parity")
AIMS = {"T": (32.9, 0.982, 15), "Z": (33.3, 0.990, 120), "TZ": (32.3, 0.985, 150)}
GAINS = {"T": ("linear", 5.0), "Z": ("cubic", 4.2), "TZ": ("linear", 4.8)}
SCALES = {"T": "t=2", "Z": "z=2", "TZ": "t=2,z=2"}
NOTE = """PSNR (data range 1) on withheld voxels alone and the mean SSIM, of noisy recordings against the clean truth: every
other frame (T), every other plane (Z) or both (TZ) are withheld. Settings were chosen on the public phantom, its truth in
view; the others are phantoms of other recipes, motion and noise (benchmarks/inr4d_phantoms.py)."""


def phantoms(own: bool) -> dict[str, tuple[Movie, Movie]]:
    """Return truth (all frames) and measured frames (every other one) by name."""
    found = {}
    public = PARITY / "spatime" / "sr4d" / "phantom.npz"
    if public.exists():
        arrays = np.load(public)
        truth, measured = (np.ascontiguousarray(arrays[name].T / np.float32(4095)) for name in ("gt", "obs_even_t"))
        found["public"] = truth.astype(np.float32), measured.astype(np.float32)
    if own:
        for name, (recipe, photons, read) in RECIPES.items():
            truth = recipe(1)
            found[name] = truth, noisy(truth[::2], 1, photons, read)
    return found


def scores(found: Movie, truth: Movie, task: str) -> tuple[float, float]:
    """Return PSNR on what was withheld, and SSIM."""
    if task == "Z":
        truth = truth[::2]
    withheld = np.ones(truth.shape, bool)
    withheld[:: 1 if task == "Z" else 2, :: 1 if task == "T" else 2] = False
    frames = slice(1, None, 2) if task == "T" else slice(None)
    error = float(np.mean((found[withheld] - truth[withheld]) ** 2))
    pairs = zip(found[frames], truth[frames], strict=True)
    return 10 * np.log10(1 / error), float(
        np.mean([structural_similarity(a, b, win_size=7, data_range=1) for a, b in pairs])
    )


class Fits:
    """Fits of one recording: one with all planes (T), and one with every other plane (Z, TZ), by every method."""

    def __init__(self, measured: Movie) -> None:
        self._measured, self._made = measured, dict[tuple[bool, str], tuple[Path, float]]()

    def answered(self, task: str, method: str) -> tuple[Movie, float]:
        """Return what a method makes of a task, and the processor's seconds of its fit."""
        out, seconds = self._fitted(task == "T", method)
        made = napari_recon.run("inr4d.query", model=str(out), params={"scale": SCALES[task]}, threads=1)["movie"]
        return np.asarray(made.data if isinstance(made, ImageStack) else made), seconds

    def _fitted(self, every: bool, method: str) -> tuple[Path, float]:
        if (every, method) not in self._made:
            given = np.ascontiguousarray(self._measured if every else self._measured[:, ::2])
            steps = {"T": 1.0, "Z": 1.0 if every else 2.0, "Y": 1.0, "X": 1.0}
            units = {"T": "second", **dict.fromkeys("ZYX", "micrometer")}
            stack = ImageStack.of(given, "TZYX", "phantom", scale=steps, units=units)
            out = Path(mkdtemp()) / "field.safetensors"
            started = time.process_time()
            napari_recon.train("inr4d.fit", stack, out=out, params={"method": method}, threads=1)
            self._made[every, method] = out, time.process_time() - started
        return self._made[every, method]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(AIMS))
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    rows: list[Row] = []

    def told(*row: object) -> None:
        rows.append(Row(*row))  # type: ignore[arg-type]
        print(f"{rows[-1].what}: {rows[-1].value:.4g} {rows[-1].unit} {rows[-1].target}", flush=True)

    for name, (truth, measured) in phantoms(asked.own).items():
        fits = Fits(measured)
        for task in asked.tasks:
            level = {}
            for method in ("linear", "cubic", *(["flow"] if name == "public" else []), "fast"):
                found, seconds = fits.answered(task, method)
                psnr, ssim = scores(found, truth, task)
                level[method] = psnr
                aims = AIMS[task] if name == "public" and method == "fast" else None
                what = f"{name}, {task}, {method}"
                told(what, round(psnr, 2), "dB", f">= {aims[0]}" if aims else "")
                told(f"{what}: SSIM", round(ssim, 4), "", f">= {aims[1]}" if aims else "")
                if method == "fast":
                    told(f"{what}: processor time", round(seconds, 1), "s", f"<= {aims[2]}" if aims else "")
            base, gain = GAINS[task]
            told(f"{name}, {task}, fast over {base}", round(level["fast"] - level[base], 2), "dB", f">= {gain}")
        if asked.save:
            save("inr4d_fast", rows, f"{COMMAND} --own --save", NOTE)


if __name__ == "__main__":
    main()
