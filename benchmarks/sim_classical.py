"""How good and how fast sim.wiener is: blind on stored and simulated stacks, and beside napari-sim-processor.

    python benchmarks/sim_classical.py [--peer PYTHON] [--stacks 40]

PYTHON is an interpreter that has napari-sim-processor; without it the comparison of times is left out. Stacks with known
truth are read from $NAPARI_RECON_PARITY or ../shared/parity. Everything runs on one thread; runs alternate with the peer's,
the fastest of each counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightfield_rl_quality import parity_folder
from recording import Row, save

REPO = Path(__file__).parent.parent
sys.path.insert(0, str(REPO))

from napari_recon.engines.sim.calibration import Calibration  # noqa: E402
from napari_recon.engines.sim.classical.calibrate import calibrate  # noqa: E402
from napari_recon.engines.sim.classical.filters import Filters  # noqa: E402
from napari_recon.engines.sim.classical.otf import CircularOtf  # noqa: E402
from napari_recon.engines.sim.classical.recombine import Reconstructor  # noqa: E402
from napari_recon.engines.sim.classical.series import calibrated_series  # noqa: E402
from napari_recon.engines.sim.classical.wiener_choice import choose_wiener  # noqa: E402
from napari_recon.engines.sim.layout import Layout  # noqa: E402
from napari_recon.engines.sim.params import Optics  # noqa: E402
from tests.engines.sim.sim_data import simulate  # noqa: E402
from tests.engines.sim.truth import Stored, calibration_of, psnr, wanted  # noqa: E402

#: Stack -> PSNR in dB reachable blind, with true parameters, and of the peer's best of 72 settings.
STACKS = {
    "p1_periodic_k0p90_highsnr": (50.0, 51.4, 46.0),
    "p2_crop_k0p80_midsnr": (45.2, 45.4, 43.5),
    "p3_crop_k0p45_coarse_jitter": (46.5, 46.8, 44.8),
}
EQUAL = (0.05, 0.1, 0.2, 0.4)


def blind(frames: torch.Tensor, truth: Calibration) -> tuple[Calibration, torch.Tensor]:
    """Return what is found knowing optics alone, and the image."""
    optics, transfer = Optics(truth.na, truth.wavelength_um, truth.pixel_um), CircularOtf(truth.cutoff_per_um)
    found = calibrated_series([frames], optics, Layout(truth.angles, truth.phases), transfer=transfer).calibration
    reconstructor = Reconstructor(found, found.shape_yx, transfer)
    wiener = choose_wiener(reconstructor, frames, found.noise_power, Filters())
    return found, reconstructor(frames, Filters(wiener))


def with_truth(frames: torch.Tensor, truth: Calibration, reference: np.ndarray[Any, Any]) -> float:
    """Return the PSNR with true parameters, equal weights, the best w of the grid."""
    reconstructor = Reconstructor(truth, truth.shape_yx, CircularOtf(truth.cutoff_per_um), weights="equal")
    bands = reconstructor.bands(frames)
    return max(psnr(reconstructor.combine(bands, Filters(w)), reference) for w in EQUAL)


def error_of_k(found: Calibration, truth: Calibration) -> float:
    """Return the largest error of a pattern vector, cycles/um, its sign aside."""
    pairs = zip(found.groups, truth.groups, strict=True)
    ks = [(np.array(a.carriers[0].k_per_um), np.array(b.carriers[0].k_per_um)) for a, b in pairs]
    return max(min(float(np.linalg.norm(a - b)), float(np.linalg.norm(a + b))) for a, b in ks)


def stored() -> list[Row]:
    """The stacks that others were measured on."""
    rows = []
    for name, (reachable, true, peer) in STACKS.items():
        stack = Stored(parity_folder().parent / "sim" / "classical" / name)
        found, image = blind(stack.frames, stack.calibration)
        what = f"{name.partition('_')[0]}, blind (with true parameters {true}, napari-sim-processor at its best {peer})"
        rows.append(Row(what, psnr(image, stack.reference), "dB", f">= {max(reachable - 0.7, true - 2):.1f}"))
        rows.append(
            Row(f"{name.partition('_')[0]}, error of k", error_of_k(found, stack.calibration), "cycles/um", "< 0.002")
        )
    return rows


def simulated(count: int) -> list[Row]:
    """Stacks of all kinds: periods 0.4 to 1 fc, 100 to 5000 photons, modulation 0.3 to 1, jitter, borders, layouts."""
    rng = np.random.default_rng(2024)
    gains, errors = [], []
    for _ in range(count):
        stack = simulate(
            int(rng.integers(1 << 30)),
            n=256,
            kind=str(rng.choice(["filaments", "mix", "beads", "cells", "texture"])),
            rel=float(rng.uniform(0.4, 1.0)),
            photons=float(np.exp(rng.uniform(np.log(100), np.log(5000)))),
            modulation=float(rng.uniform(0.3, 1)),
            phase_jitter=float(rng.choice([0, 0.05, 0.1])),
            intensity_jitter=float(rng.choice([0, 0.03, 0.06])),
            pad=int(rng.choice([0, 32])),
            angles=int(rng.choice([3, 3, 2, 5])),
            phases=int(rng.choice([3, 3, 5])),
        )
        truth, frames = calibration_of(stack), torch.from_numpy(stack.frames)
        reference = wanted(stack, truth.result_cutoff_per_um)
        found, image = blind(frames, truth)
        gains.append(psnr(image, reference) - with_truth(frames, truth, reference))
        errors.append(error_of_k(found, truth))
    what = f"{count} simulated stacks, blind above equal weights with true parameters"
    return [
        Row(f"{what}: median", statistics.median(gains), "dB"),
        Row(f"{what}: least", min(gains), "dB", ">= -2"),
        Row(f"{count} simulated stacks, largest error of k", max(errors), "cycles/um"),
    ]


def fastest(do: Callable[[], Any], repeats: int = 8) -> float:
    """Return the least time of some calls, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return min(times)


def speed(peer: str | None) -> list[Row]:
    """512 x 512 x 9: times here, and the peer's over them."""
    stack = simulate(8, n=512, kind="filaments", rel=0.9, photons=3000, modulation=0.9, pad=0)
    frames, truth = torch.from_numpy(stack.frames), calibration_of(stack)
    optics, transfer = Optics(truth.na, truth.wavelength_um, truth.pixel_um), CircularOtf(truth.cutoff_per_um)
    reconstructor = Reconstructor(truth, truth.shape_yx, transfer)
    bands = reconstructor.bands(frames)
    values = iter(np.linspace(0.01, 0.9, 1000))
    mine: dict[str, Callable[[], Any]] = {
        "calibrate": lambda: calibrate(frames, optics, Layout(3, 3)),
        "reconstruct": lambda: reconstructor(frames, Filters(0.02)),
        "slider": lambda: reconstructor.combine(bands, Filters(float(next(values)), float(next(values)))),
        "one new frame": lambda: reconstructor.combine(reconstructor.renewed(bands, frames, 4), Filters(0.02)),
    }
    best, theirs = dict.fromkeys(mine, np.inf), {"calibrate": np.inf, "reconstruct": np.inf}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "frames.npy", Path(folder) / "image.npy"
        np.save(source, frames.numpy() - truth.camera_offset)
        for _ in range(3):
            best = {name: min(best[name], fastest(do)) for name, do in mine.items()}
            if peer:
                program = str(REPO / "benchmarks" / "sim_classical_peer.py")
                said = subprocess.run(
                    [peer, program, str(source), str(target)],
                    check=True,
                    capture_output=True,
                    text=True,
                    env={"OMP_NUM_THREADS": "1", "PATH": ""},
                )
                theirs = {n: min(theirs[n], t) for n, t in json.loads(said.stdout).items()}
        rows = []
        if peer:
            reference = wanted(stack, truth.result_cutoff_per_um)
            quality = psnr(np.load(target), reference)
            rows = [
                Row(
                    "calibration, napari-sim-processor (NumPy) over sim.wiener",
                    theirs["calibrate"] / best["calibrate"],
                    "x",
                    ">= 4",
                ),
                Row("reconstruction, likewise", theirs["reconstruct"] / best["reconstruct"], "x", ">= 1.5"),
                Row("PSNR of that reconstruction, napari-sim-processor", quality, "dB"),
                Row(
                    "PSNR of that reconstruction, sim.wiener", psnr(reconstructor(frames, Filters(0.0174)), reference), "dB"
                ),
            ]
    times = [
        Row("calibration", 1e3 * best["calibrate"], "ms"),
        Row("reconstruction", 1e3 * best["reconstruct"], "ms"),
        Row("slider (Wiener parameter and attenuation)", 1e3 * best["slider"], "ms", "< 60"),
        Row("image after one new raw frame", 1e3 * best["one new frame"], "ms"),
    ]
    return [Row(f"512 x 512, 9 frames: {row.what}", *row[1:]) for row in times + rows]


def main() -> None:
    """Measure and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="interpreter that has napari-sim-processor")
    parser.add_argument("--stacks", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = stored() + speed(given.peer) + simulated(given.stacks)
    quality = [row.value for row in rows if row.unit == "dB"][:3]
    headline = (
        f"Blind {quality[0]:.1f}, {quality[1]:.1f} and {quality[2]:.1f} dB on three public stacks; "
        f"a slider moves in {next(row.value for row in rows if 'slider' in row.what):.0f} ms."
    )
    note = (
        "PSNR after the best scale and offset, without a border of 24 pixels, against the object with the transfer of the "
        "result. True parameters: equal weights, the best w of four. One thread."
    )
    save("sim_classical", rows, "python benchmarks/sim_classical.py --peer PYTHON", note, {"sim.wiener": headline})
    for row in rows:
        sys.stderr.write(f"{row.what}: {row.value:.4g} {row.unit} {row.target} {row.met}\n")


if __name__ == "__main__":
    main()
