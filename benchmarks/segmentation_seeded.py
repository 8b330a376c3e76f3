"""Cells from nuclei on drawn embryos: overlap and distance of every cell, against a plainer way with the same nuclei.

    python benchmarks/segmentation_seeded.py [--save]

Embryos are drawn by the tests' generator (ellipsoid, bent cells, membranes of random strength, blur, dimming, counted
light); the public embryos are read from $NAPARI_RECON_PARITY or ../shared/parity where they are. Settings were chosen on the
public ones, the drawn ones were only scored.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from lightfield_rl_quality import parity_folder
from recording import Row, save
from scipy import ndimage
from skimage.segmentation import watershed

sys.path.insert(0, str(Path(__file__).parent.parent))

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.engines.segmentation.membranes import isotropic
from tests.engines.segmentation.cells import FINE, embryo


class Case(NamedTuple):
    """One embryo: its stack, one row per nucleus, the truth on isotropic voxels, and cell -> number there."""

    name: str
    stack: np.ndarray
    seeds: list[dict[str, Any]]
    truth: np.ndarray
    cells: dict[str, int]


def drawn() -> list[Case]:
    """Return embryos that no setting was chosen on; every other one has a dividing cell."""
    found = []
    for seed, (count, photons) in enumerate(((8, 30.0), (10, 10.0), (12, 60.0), (8, 5.0))):
        e = embryo(100 + seed, count, dividing=seed % 2 == 1, photons=photons)
        cells = {f"N{i}": i + 1 for i in range(count)}
        found.append(Case(f"drawn, {count} cells, {photons:g} photons", e.stack, e.rows, e.isotropic, cells))
    return found


def public() -> list[Case]:
    """Return the public embryos, none where they are not there."""
    found = []
    for name in ("emb8", "emb12_dividing"):
        folder = parity_folder().parent / "embsam" / name
        if folder.is_dir():
            stack = np.stack([tifffile.imread(file) for file in sorted((folder / "raw").glob("*.tif"))])
            rows = list(csv.DictReader((folder / "CellTracing.csv").open()))
            truth = np.moveaxis(np.load(folder / "truth.npz")["labels_iso"], 2, 0)
            cells = json.loads((folder / "truth.json").read_text())["cells"]
            found.append(Case(f"public, {name}", stack, rows, truth, cells))
    return found


def scores(labels: np.ndarray, names: dict[str, int], case: Case) -> tuple[float, float, float]:
    """Return mean and least Dice and the mean 95th percentile of border distances."""
    overlaps, distances = [], []
    for name, number in case.cells.items():
        a, b = labels == names.get(name, -1), case.truth == number
        overlaps.append(2 * (a & b).sum() / max(1, a.sum() + b.sum()))
        if not a.any():
            distances.append(99.0)
            continue
        borders = [region & ~ndimage.binary_erosion(region) for region in (a, b)]
        away = [ndimage.distance_transform_edt(~border) for border in borders]
        distances.append(max(float(np.percentile(away[1 - i][borders[i]], 95)) for i in (0, 1)))
    return float(np.mean(overlaps)), float(min(overlaps)), float(np.mean(distances))


def plain(case: Case) -> float:
    """Return the mean Dice of a watershed on smoothed light; sisters' seeds have their mother's number."""
    shape = case.truth.shape
    smooth = ndimage.gaussian_filter(isotropic(case.stack.astype(np.float32), shape) ** 2, 1.5)
    markers = np.zeros(shape, np.int32)
    markers[[0, -1]], markers[:, [0, -1]], markers[:, :, [0, -1]] = 99, 99, 99
    for row in case.seeds:
        place = [round((float(row[a]) + 0.5) * n / m - 0.5) for a, n, m in zip("zyx", shape, case.stack.shape, strict=True)]
        name = row["cell"] if row["cell"] in case.cells else row["cell"][:-1]
        markers[tuple(np.clip(place, 1, np.array(shape) - 2))] = case.cells[name]
    return scores(watershed(smooth, markers), case.cells, case)[0]


def measure(case: Case) -> list[Row]:
    """Return what the engine and the plain watershed reach on one embryo."""
    started = time.process_time()
    found = napari_recon.run(
        "segmentation.seeded",
        inputs={"stack": [ImageStack.of(case.stack, "ZYX")], "seeds": [case.seeds]},
        params={"iso_shape": case.truth.shape, "grid": "isotropic"},
    )
    seconds = time.process_time() - started
    names = {row["name"]: row["label"] for row in found.artifacts["cells"]}
    mean, least, distance = scores(found["labels"], names, case)
    aims = (">= 0.95", ">= 0.87", "<= 1.2") if case.name.startswith("public") else (">= 0.93", "", "")
    return [
        Row(f"{case.name}: mean Dice", mean, "", aims[0]),
        Row(f"{case.name}: worst cell", least, "", aims[1]),
        Row(f"{case.name}: distance of borders, 95th percentile", distance, "voxels", aims[2]),
        Row(f"{case.name}: mean Dice of a plain watershed", plain(case)),
        Row(f"{case.name}: processor time", seconds, "s", "< 2"),
    ]


def main() -> None:
    """Measure and print; with --save also keep it for the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    rows = [row for case in [*public(), *drawn()] for row in measure(case)]
    for row in rows:
        print(f"{row.what:60s} {row.value:8.3f} {row.unit:8s} {row.target}")
    if asked.save:
        note = (
            f"Isotropic voxels {' x '.join(map(str, FINE))} (drawn). The plain watershed is told which sisters are one cell."
        )
        mean = np.mean([row.value for row in rows if row.what.endswith(": mean Dice")])
        headline = {"segmentation.seeded": f"mean Dice {mean:.2f} on drawn embryos"}
        save("segmentation_seeded", rows, "python benchmarks/segmentation_seeded.py --save", note, headline)


if __name__ == "__main__":
    main()
