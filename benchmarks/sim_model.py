"""Quality of the built-in SIM network against the wide field and `sim.wiener`, on simulated recordings it never saw.

python benchmarks/sim_model.py                       the model in the menu; records the numbers
python benchmarks/sim_model.py MODEL.safetensors     another one; prints them
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from recording import Row, save
from scipy.fft import irfft2, rfft2
from skimage.metrics import structural_similarity

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.simulator.examples import Ranges, make_example

REPO = Path(__file__).parent.parent
PHOTONS, PERIODS, OBJECTS = (100, 400, 1500, 5000), (0.5, 0.7, 0.9), 3
SIZE, SEED, BORDER, OFFSET = 192, 71_000, 24, 100.0
METHODS = ("wide field", "sim.wiener", "network")
DEFAULT = "sim-wiener-rcan"
Image = NDArray[np.floating]


class Case(NamedTuple):
    name: str
    photons: float
    period: float
    raw: ImageStack
    truth: Image
    na: float
    wavelength_um: float


class Quality(NamedTuple):
    psnr: float
    ssim: float


def simulated() -> Iterator[Case]:
    """Yield the test set: ideal optics, 3 x 3 frames, modulation 0.5 to 1, small errors of angle, phase and intensity."""
    for photons in PHOTONS:
        for period in PERIODS:
            ranges = Ranges(
                photons=(photons, photons),
                period=(period, period),
                modulation=(0.5, 1.0),
                sampling=(0.55, 0.95),
                background=(0.0, 0.0),
                defocus_waves=(0.0, 0.0),
            )
            for number in range(OBJECTS):
                made = make_example(SEED + number, int(1000 * period) + photons, (SIZE, SIZE), ranges)
                yield Case(
                    f"{photons} photons, {period:g} fc",
                    photons,
                    period,
                    _stack(np.round(made.raw + OFFSET), made.calibration.pixel_um[0]),
                    made.truth,
                    made.calibration.na,
                    made.calibration.wavelength_um,
                )


def public(folder: Path) -> Iterator[Case]:
    """Yield the three public stacks (never trained on)."""
    for place in sorted(folder.glob("p*")):
        about = json.loads((place / "params.json").read_text())
        with np.load(place / "ground_truth.npz") as stored:
            low, high = stored["scale"]
            truth = stored["object_bandlimited"] / 65535.0 * (high - low) + low
        raw = _stack(tifffile.imread(place / "raw.tif"), about["px"])
        yield Case(place.name[:2], about["photons"], about["rel"], raw, truth, about["na"], about["wl"])


def reconstructed(case: Case, model: str) -> dict[str, Image]:
    """Return the image of every method, (2 Y, 2 X)."""
    optics = {"na": case.na, "wavelength_um": case.wavelength_um}
    frames = np.asarray(case.raw.data, np.float64)
    return {
        "wide field": finer(frames.mean(0)),
        "sim.wiener": napari_recon.run("sim.wiener", case.raw, params=optics)["sr"],
        "network": napari_recon.run("sim.network", case.raw, params=optics, model=model)["sr"],
    }


def quality(image: Image, truth: Image) -> Quality:
    """Return PSNR (range of the truth) and SSIM after the best scale and offset, without borders."""
    inner = slice(BORDER, -BORDER), slice(BORDER, -BORDER)
    x, y = np.asarray(image, np.float64)[inner], np.asarray(truth, np.float64)[inner]
    slope, level = np.polyfit(x.ravel(), y.ravel(), 1)
    fitted, span = slope * x + level, float(y.max() - y.min())
    psnr = 10 * np.log10(span**2 / np.mean((fitted - y) ** 2))
    return Quality(float(psnr), float(structural_similarity(fitted, y, data_range=span)))


def finer(image: Image) -> Image:
    """Return an image on twice the samples, index 2 j on pixel j (its spectrum padded with zeros)."""
    y, x = image.shape
    spectrum = rfft2(image)
    wide = np.zeros((2 * y, x + 1), complex)
    wide[: y // 2, : x // 2], wide[-(y // 2) :, : x // 2] = spectrum[: y // 2, : x // 2], spectrum[-(y // 2) :, : x // 2]
    found: Image = 4 * irfft2(wide, s=(2 * y, 2 * x))
    return found


def _stack(frames: Image, pixel_um: float) -> ImageStack:
    size, unit = dict.fromkeys("YX", float(pixel_um)), dict.fromkeys("YX", "micrometer")
    return ImageStack.of(frames.astype(np.uint16), "NYX", "raw", scale=size, units=unit)


def measured(cases: Iterator[Case], model: str) -> dict[str, dict[str, list[Quality]]]:
    """Return case -> method -> qualities."""
    found: dict[str, dict[str, list[Quality]]] = {}
    for case in cases:
        for method, image in reconstructed(case, model).items():
            found.setdefault(case.name, {}).setdefault(method, []).append(quality(image, case.truth))
        latest = {method: each[-1] for method, each in found[case.name].items()}
        sys.stderr.write(f"{case.name}: " + ", ".join(f"{m} {q.psnr:.2f}/{q.ssim:.3f}" for m, q in latest.items()) + "\n")
    return found


def rows_of(found: dict[str, dict[str, list[Quality]]]) -> list[Row]:
    """Return the rows of the table: per case and method, and the gain over sim.wiener."""
    rows = []
    for name, methods in found.items():
        for method in METHODS:
            rows.append(Row(f"{name}, {method}: PSNR", float(np.mean([q.psnr for q in methods[method]])), "dB"))
            rows.append(Row(f"{name}, {method}: SSIM", float(np.mean([q.ssim for q in methods[method]]))))
        gains = [a.psnr - b.psnr for a, b in zip(methods["network"], methods["sim.wiener"], strict=True)]
        rows.append(Row(f"{name}, network over sim.wiener: least gain", min(gains), "dB", "> 0"))
    return rows


def main() -> None:
    """Measure, and record when the model is the built-in one."""
    model = sys.argv[1] if len(sys.argv) > 1 else DEFAULT
    found = measured(simulated(), model)
    everything: dict[str, Any] = dict(found)
    parity = Path(os.environ.get("NAPARI_RECON_PARITY") or REPO.parent / "shared" / "parity") / "sim" / "classical"
    if parity.is_dir():
        everything |= measured(public(parity), model)
    means = {m: float(np.mean([q.psnr for c in found.values() for q in c[m]])) for m in METHODS}
    likeness = {m: float(np.mean([q.ssim for c in found.values() for q in c[m]])) for m in METHODS}
    sys.stderr.write(f"mean PSNR {means}, mean SSIM {likeness}\n")
    if len(sys.argv) > 1:
        return
    rows = [Row(f"all simulated, {m}: PSNR", means[m], "dB") for m in METHODS]
    rows += [Row(f"all simulated, {m}: SSIM", likeness[m]) for m in METHODS]
    note = (
        f"{len(PHOTONS) * len(PERIODS) * OBJECTS} simulated recordings of {SIZE} x {SIZE} pixels, 9 frames (photons: 99th "
        "percentile of the frames; period: |k| over the cut-off fc), mean over 3 specimens a line; p1 to p3 are the public "
        "stacks. Everything is blind: NA, wavelength and pixel size are all that is given. PSNR after the best scale and "
        "offset, relative to the truth's range, without a border of 24 pixels; the truth is what an ideal microscope of "
        "cut-off fc + |k| would see."
    )
    headline = (
        f"Built-in network, simulated recordings of 100 to 5000 photons: {means['network']:.1f} dB PSNR, "
        f"Wiener {means['sim.wiener']:.1f}, wide field {means['wide field']:.1f}."
    )
    made = f"The built-in network is its work: {means['network'] - means['sim.wiener']:.1f} dB above Wiener."
    headlines = {"sim.network": headline, "sim.train": made}
    save("sim_model", rows + rows_of(everything), "python benchmarks/sim_model.py", note, headlines)


if __name__ == "__main__":
    main()
