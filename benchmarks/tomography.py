"""Quality and time of tomography.sirt and lightfield_inr.fit beside scikit-image, on simulated projections.

Run ``python benchmarks/tomography.py [--scenes 1] [--save]``. Odd sizes, so that both agree on where the axis lies.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recording import Row, save
from skimage.transform import iradon, iradon_sart

import napari_recon

COMMAND = "python benchmarks/tomography.py --save"
SIZE, SLICES = 97, 12
ANGLES = {"half a turn": "0:180:3", "tilts to 60 degrees": "-60:61:3"}
NOTE = f"""{SLICES} slices of {SIZE} x {SIZE} voxels, noise 2 % of the largest sum (densities) or 500 photons in the
brightest pixel (emission); PSNR of the volume. scikit-image solves one slice at a time; its SART is given at its best number
of passes, up to ten, which it could not know. Times are per slice, of one run each, one scene each."""
Array = NDArray[np.float32]


def psnr(found: Array, truth: Array) -> float:
    """Return the peak signal-to-noise ratio of a volume."""
    return float(10 * np.log10(truth.max() ** 2 / np.mean((found - truth) ** 2)))


def theirs(views: Array, angles: Array, truth: Array) -> dict[str, tuple[float, float]]:
    """Return quality and seconds per slice of scikit-image: filtered back projection, and SART at its best."""
    sinograms = [np.ascontiguousarray(views[:, n].T, dtype=float) for n in range(views.shape[1])]
    started = time.perf_counter()
    quick = np.stack([iradon(each, theta=-angles, circle=True) for each in sinograms], axis=1)
    found = {"scikit-image iradon": (psnr(quick, truth), (time.perf_counter() - started) / len(sinograms))}
    volume: list[Any] = [None] * len(sinograms)
    best, spent = (-np.inf, 0.0), 0.0
    for _ in range(10):
        started = time.perf_counter()
        volume = [iradon_sart(each, theta=-angles, image=last) for each, last in zip(sinograms, volume, strict=True)]
        spent += time.perf_counter() - started
        quality = psnr(np.stack(volume, axis=1), truth)
        if quality > best[0]:
            best = quality, spent / len(sinograms)
    return found | {"scikit-image iradon_sart, best": best}


def ours(views: Array, angles: Array, truth: Array, signal: str) -> dict[str, tuple[float, float]]:
    """Return quality and seconds per slice of this project, everything automatic but the axis."""
    same = {"angles": angles.tolist(), "centre": 0.0, "signal": signal}
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "filtered back projection": ("tomography.sirt", {"method": "fbp", "nonnegative": False}),
        "SIRT, all projections at once": ("tomography.sirt", {"method": "sirt"}),
        "SIRT with subsets": ("tomography.sirt", {}),
        "fit": ("lightfield_inr.fit", {"modality": "projection"}),
    }
    found = {}
    for name, (engine, params) in ways.items():
        started = time.perf_counter()
        volume = np.asarray(napari_recon.run(engine, views, params={**same, **params}, axes="VYX")["volume"].data)
        found[name] = psnr(volume, truth), (time.perf_counter() - started) / truth.shape[1]
    return found


def cases() -> dict[str, dict[str, Any]]:
    """Return what is simulated."""
    made = {}
    for phantom, signal in (("shepp_logan", "density"), ("cell", "density"), ("cell", "emission")):
        for title, angles in ANGLES.items():
            kind = "head" if phantom == "shepp_logan" else "cell"
            made[f"{kind}, {signal}, {title}"] = {"phantom": phantom, "signal": signal, "angles": angles}
    return made


def main() -> None:
    """Measure, print and, when asked, store."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=1)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    rows: list[Row] = []
    gains: dict[str, list[float]] = {}
    for title, params in cases().items():
        results: dict[str, list[tuple[float, float]]] = {}
        for seed in range(asked.scenes):
            made = napari_recon.simulate("projections", seed=seed, size=SIZE, slices=SLICES, **params)
            views, truth = (np.asarray(made[name].data, np.float32) for name in ("raw", "truth"))
            angles = np.array([row["angle"] for row in made.artifacts["angles"]])
            both: tuple[Callable[[], dict[str, tuple[float, float]]], ...] = (
                lambda v=views, a=angles, t=truth: theirs(v, a, t),
                lambda v=views, a=angles, t=truth, s=params["signal"]: ours(v, a, t, s),
            )
            for way in both:
                for name, measured in way().items():
                    results.setdefault(name, []).append(measured)
        quality = {name: float(np.mean([q for q, _ in each])) for name, each in results.items()}
        seconds = {name: float(np.mean([s for _, s in each])) for name, each in results.items()}
        for name in results:
            rows.append(Row(f"{title}: {name}", round(quality[name], 2), "dB"))
            rows.append(Row(f"{title}: {name}, time per slice", round(1000 * seconds[name], 1), "ms"))
            print(f"{title:42s} {name:34s} {quality[name]:6.2f} dB {1000 * seconds[name]:8.1f} ms", flush=True)
        best = max(quality["scikit-image iradon"], quality["scikit-image iradon_sart, best"])
        for name in ("SIRT with subsets", "fit"):
            gains.setdefault(name, []).append(quality[name] - best)
    lows, highs = ({name: f(each) for name, each in gains.items()} for f in (min, max))
    sentences = {"tomography.sirt": "SIRT with subsets", "lightfield_inr.fit": "fit"}
    headlines = {
        engine: f"Simulated projections: {lows[name]:+.1f} to {highs[name]:+.1f} dB against the better of scikit-image's "
        "iradon and iradon_sart at its best."
        for engine, name in sentences.items()
    }
    print(headlines)
    if asked.save:
        save("tomography", rows, COMMAND, note=" ".join(NOTE.split()), headlines=headlines)


if __name__ == "__main__":
    main()
