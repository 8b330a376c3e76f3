"""How long phantoms take, and a light field through whole PSFs against one by displaced planes.

python benchmarks/phantoms.py [--save]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from recording import Row, save

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.engines.simulate.phantom import SCHEDULE, bubtub

COMMAND = "python benchmarks/phantoms.py --save"
NOTE = """Phantoms: 45 x 200 x 200 voxels, the fifteen published kinds after one another, one thread. Light field: 5
filaments and 20 beads, 21 x 21 light-field pixels, 31 planes over 12 um, 49 views of a 63x NA 1.4 oil objective, at most
1000 photons, seen through the wave-optics PSF of simulate.lfm_psf; reconstructed with 20 iterations of Richardson-Lucy,
PSNR after the best scaling."""
PSF: dict[str, Any] = {"depth_from_um": -6.0, "depth_to_um": 6.0, "depth_step_um": 0.4, "radius": 60}
SCENE: dict[str, Any] = {"frames": 1, "height": 21, "width": 21, "tubes": 5, "beads": 20, "bubbles": 0, "peak": 1000}


def psnr(volume: ImageStack, truth: ImageStack) -> float:
    """Return the PSNR after the best scaling, borders of 5 pixels left out."""
    a, b = (np.squeeze(np.asarray(v.data)).astype(np.float64)[:, 5:-5, 5:-5] for v in (volume, truth))
    a *= (a * b).sum() / (a * a).sum()
    return float(10 * np.log10(b.max() ** 2 / ((a - b) ** 2).mean()))


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    bubtub((45, 200, 200), np.random.default_rng(0), entry=1)
    seconds = []
    for entry in range(1, len(SCHEDULE) + 1):
        started = time.perf_counter()
        bubtub((45, 200, 200), np.random.default_rng(entry), entry=entry)
        seconds.append(time.perf_counter() - started)
    rows = [
        Row("bubtub, 45 x 200 x 200: median", float(np.median(seconds)), "s", "< 0.5"),
        Row("bubtub, 45 x 200 x 200: slowest kind", max(seconds), "s", "< 0.5"),
    ]
    run = {"seed": 1, "device": "cpu", "threads": 1}
    psf = napari_recon.run("simulate.lfm_psf", params=PSF, **run).outputs["psf"]
    started = time.perf_counter()
    light = napari_recon.run("simulate.lightfield", params=SCENE, inputs={"psf": psf}, **run)
    rows.append(Row("simulate.lightfield through the PSF: one frame", time.perf_counter() - started, "s"))
    raw, truth = light.outputs["raw"], light.outputs["truth"]
    steps = {"iterations": 20}
    with_psf = napari_recon.run("deconvolution.lightfield_rl", raw, psf, params=steps, **run).outputs["volume"]
    rows.append(Row("reconstructed with the PSF", psnr(with_psf, truth), "dB"))
    for sigma in (1.0, 2.0):
        shift = {**steps, "psf_shift": str(light.artifacts["psf_shift"]), "psf_sigma": sigma}
        volume = napari_recon.run("deconvolution.lightfield_rl", raw, params=shift, **run).outputs["volume"]
        rows.append(Row(f"with its centres of mass and a blur of {sigma:g} fine pixels", psnr(volume, truth), "dB"))
    for row in rows:
        print(f"{row.what:80s} {row.value:8.3g} {row.unit}")
    if options.save:
        headline = {"simulate.phantom": f"45 x 200 x 200 voxels in {np.median(seconds):.2f} s."}
        save("phantoms", rows, COMMAND, NOTE, headline)


if __name__ == "__main__":
    main()
