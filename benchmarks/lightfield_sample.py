"""The Fourier light-field sample by every method that takes a PSF, and how true the simulated PSFs are.

Run ``python benchmarks/lightfield_sample.py [--steps 60] [--save]``; steps of the published fit take seconds each.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from recording import Row, save

import napari_recon
from napari_recon import samples
from napari_recon.core.events import BlockReady, PreviewReady
from napari_recon.io import open_stack
from napari_recon.io.psf_files import cut_views
from napari_recon.optics.flfm_microscope import FlfmMicroscope
from napari_recon.optics.flfm_psf import sensor_psf
from napari_recon.optics.lfm_microscope import LfmMicroscope
from napari_recon.optics.lfm_psf import lfm_psf
from napari_recon.optics.lightfield_geometry import centre_of_mass_shift

COMMAND = "python benchmarks/lightfield_sample.py --save"
NOTE = """First time point of the sample: 7 views of 75 x 75 pixels, 21 planes, at most 300 photons. PSNR after the best
scaling, of the volume and of its maximum projection along z (MIP). The views were made through the PSF that is
given, so these are upper bounds. PSFs: largest difference of centres of mass from ray optics over the largest
shift, and how much the light of one view varies over depth; out of focus by up to 3.4 um (Fourier light field,
NA 1.4), 6 um (oil, NA 1.4, Nnum 13) and 8 um (water, NA 1.05, Nnum 15)."""


def quality(volume: Any, truth: NDArray[np.float64]) -> tuple[float, float]:
    """Return PSNR (dB) of the volume and of its maximum projection."""
    found = np.squeeze(np.asarray(volume, dtype=np.float64))
    return _psnr(found, truth), _psnr(found.max(axis=0), truth.max(axis=0))


def _psnr(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    scaled = found * ((found * truth).sum() / (found * found).sum())
    return float(10 * np.log10(truth.max() ** 2 / ((scaled - truth) ** 2).mean()))


def method(title: str, engine: str, params: dict[str, Any]) -> list[Row]:
    """Return quality and times of one method."""
    truth = np.squeeze(open_stack(samples.path("flfm_truth")).read("ZYX", t=0)).astype(np.float64)
    seen: list[tuple[float, Any]] = []
    started = time.perf_counter()

    def keep(event: Any) -> None:
        if isinstance(event, PreviewReady | BlockReady):
            seen.append((time.perf_counter() - started, np.array(event.array)))

    options: dict[str, Any] = {"params": params, "time": (0, 1), "device": "cpu", "threads": 1, "on_event": keep}
    volume = napari_recon.run(engine, samples.path("flfm"), samples.path("flfm_psf"), **options)["volume"]
    whole, flat = quality(volume, truth)
    return [
        Row(f"{title}: volume", whole, "dB"),
        Row(f"{title}: MIP", flat, "dB"),
        Row(f"{title}: first picture", seen[0][0], "s"),
        Row(f"{title}: time", time.perf_counter() - started, "s"),
        *([Row("views refocused (what a fit shows first): volume", quality(seen[0][1], truth)[0], "dB")] * (title == FAST)),
    ]


FAST = "lightfield_inr.fit"


def psfs() -> list[Row]:
    """Return how well simulated PSFs keep to ray optics, and their light over depth."""
    rows = []
    fourier, depths = FlfmMicroscope(), np.array([-3.4, -1.7, 1.7, 3.4])
    images = dict(sensor_psf(fourier, [*depths.tolist(), 0.0]))
    stack = np.stack([images[n].numpy() for n in range(5)])
    views = cut_views(stack, fourier.lens_centres.tolist(), fourier.reach_pixels(depths))
    shift = centre_of_mass_shift(views[:, :4]) * fourier.voxel_um
    rows += _true("simulate.flfm_psf", shift, fourier.view_shift_um(depths), views)
    oil, water = LfmMicroscope(), LfmMicroscope(na=1.05, magnification=20, medium_index=1.33, pitch_um=56, nnum=15)
    for name, microscope, deepest in (("oil", oil, 6.0), ("water", water, 8.0)):
        pages, depths = microscope.pages("selected"), np.array([-deepest, -1.0, 1.0, deepest])
        radius = microscope.reach_pixels(pages, depths)
        psf = np.stack([i.numpy() for _, i in lfm_psf(microscope, pages, depths.tolist(), radius)], axis=1)
        rows += _true(f"simulate.lfm_psf, {name}", centre_of_mass_shift(psf), microscope.view_shift(pages, depths), psf)
    return rows


def _true(name: str, found: NDArray[Any], expected: NDArray[Any], psf: NDArray[Any]) -> list[Row]:
    light = psf.sum(axis=(2, 3), dtype=np.float64)
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    vary = float(np.abs(light / light.mean(axis=1, keepdims=True) - 1).max())
    return [
        Row(f"{name}: centres of mass, from ray optics", 100 * error, "%", "<= 2"),
        Row(f"{name}: light of a view over depth, variation", 100 * vary, "%", "<= 1"),
    ]


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=0, help="of the published fit; a step takes seconds")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    rows = psfs()
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "deconvolution.lightfield_rl": ("deconvolution.lightfield_rl", {}),
        FAST: (FAST, {}),
    }
    if options.steps:
        ways[f"{FAST}, method=upstream, {options.steps} steps"] = (FAST, {"method": "upstream", "iterations": options.steps})
    method("", "deconvolution.lightfield_rl", {"iterations": 1})  # loads what the others find loaded
    for title, (engine, params) in ways.items():
        rows += method(title, engine, params)
    for row in rows:
        print(f"{row.what:80s} {row.value:8.3g} {row.unit}")
    found = {row.what: row.value for row in rows}
    if options.save:
        worst = max(found[f"simulate.lfm_psf, {name}: centres of mass, from ray optics"] for name in ("oil", "water"))
        flat = found["simulate.flfm_psf: centres of mass, from ray optics"]
        gain = found[f"{FAST}: volume"] - found["deconvolution.lightfield_rl: volume"]
        headlines = {
            FAST: f"The sample with its PSF: {found[f'{FAST}: volume']:.1f} dB PSNR, {gain:.1f} dB above Richardson-Lucy.",
            "simulate.flfm_psf": f"Views shift as ray optics says within {flat:.1f} %.",
            "simulate.lfm_psf": f"Views shift as ray optics says within {worst:.1f} %.",
        }
        save("lightfield_sample", rows, COMMAND, NOTE, headlines)


if __name__ == "__main__":
    main()
