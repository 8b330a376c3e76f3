"""Cells from nuclei on drawn embryos: overlap and distance of every cell, against a plainer way with the same nuclei.

    python benchmarks/segmentation_seeded.py [--save]

Embryos are drawn by the tests' generator (ellipsoid, bent cells, membranes of random strength, blur, dimming, counted
light); the public embryos are read from $NAPARI_RECON_PARITY or ../shared/parity where they are. Settings were chosen on the
public ones, the drawn ones were only scored; how near the outside counts was chosen on other embryos with holes.
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
from napari_recon.samples.embryo import Look, anatomy, draw
from tests.engines.segmentation.cells import FINE, embryo

FINEST = (84, 120, 160)
HARD: dict[str, tuple[int, int, Look, tuple[str, ...]]] = {
    "8 cells, 12 photons": (8, 18, Look(photons=12.0, noise=1.5), ()),
    "16 cells, 15 photons": (16, 18, Look(photons=15.0, noise=1.5), ()),
    "16 cells, dim membranes": (16, 18, Look(photons=40.0, strength=(0.2, 1.4)), ()),
    "20 cells, planes 6 pixels apart": (20, 14, Look(), ()),
    "24 cells": (24, 18, Look(photons=40.0), ()),
    "30 cells, dark in depth": (30, 18, Look(photons=40.0, deepest=0.4), ()),
    "12 cells, holes in membranes": (12, 18, Look(photons=40.0, gaps=0.12), ()),
    "16 cells, one divides, very dark in depth": (16, 18, Look(photons=40.0, deepest=0.25, strength=(0.4, 1.4)), ("N0",)),
    "16 cells, all of this": (
        16,
        16,
        Look(photons=20.0, deepest=0.35, strength=(0.3, 1.4), gaps=0.06, inside=0.15, noise=2.0),
        ("N1",),
    ),
}
"""Cells, planes, how they are seen, which divide; two embryos each."""


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


def hard() -> list[Case]:
    """Return embryos that are hard to see; no setting but the one for holes was chosen on such."""
    found = []
    for number, (name, (count, planes, look, dividing)) in enumerate(HARD.items()):
        for seed in (200 + number, 300 + number):
            rng = np.random.default_rng(seed)
            e = draw(anatomy(rng, count, FINEST), planes, rng, look, dividing)
            found.append(Case(f"hard, {name}", e.stack, e.rows, e.isotropic, e.names))
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
    (mean, least, distance), seconds = reached(case)
    aims = (">= 0.95", ">= 0.87", "<= 1.2") if case.name.startswith("public") else (">= 0.93", "", "")
    return [
        Row(f"{case.name}: mean Dice", mean, "", aims[0]),
        Row(f"{case.name}: worst cell", least, "", aims[1]),
        Row(f"{case.name}: distance of borders, 95th percentile", distance, "voxels", aims[2]),
        Row(f"{case.name}: mean Dice of a plain watershed", plain(case)),
        Row(f"{case.name}: processor time", seconds, "s", "< 2"),
    ]


def measure_hard() -> list[Row]:
    """Return one pair of rows per kind of hard embryo, and the mean of all."""
    scored: dict[str, list[tuple[float, float, float]]] = {}
    for case in hard():
        scored.setdefault(case.name, []).append(reached(case)[0])
    rows = []
    for name, both in scored.items():
        rows.append(Row(f"{name}: mean Dice", float(np.mean([s[0] for s in both]))))
        rows.append(Row(f"{name}: worst cell", min(s[1] for s in both)))
    mean = float(np.mean([s[0] for both in scored.values() for s in both]))
    return [*rows, Row(f"hard, mean of {len(hard())}: mean Dice", mean, "", ">= 0.93")]


def reached(case: Case) -> tuple[tuple[float, float, float], float]:
    """Return the engine's scores on one embryo, and its processor time."""
    started = time.process_time()
    found = napari_recon.run(
        "segmentation.seeded",
        inputs={"stack": [ImageStack.of(case.stack, "ZYX")], "seeds": [case.seeds]},
        params={"iso_shape": case.truth.shape, "grid": "isotropic"},
    )
    seconds = time.process_time() - started
    names = {row["name"]: row["label"] for row in found.artifacts["cells"]}
    return scores(found["labels"], names, case), seconds


def main() -> None:
    """Measure and print; with --save also keep it for the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    rows = [row for case in [*public(), *drawn()] for row in measure(case)] + measure_hard()
    for row in rows:
        print(f"{row.what:60s} {row.value:8.3f} {row.unit:8s} {row.target}")
    if asked.save:
        note = (
            f"Isotropic voxels {' x '.join(map(str, FINE))} (drawn). The plain watershed is told which sisters are one cell."
        )
        mean = np.mean([row.value for row in rows if row.what.startswith("drawn") and row.what.endswith(": mean Dice")])
        headline = {"segmentation.seeded": f"mean Dice {mean:.2f} on drawn embryos"}
        save("segmentation_seeded", rows, "python benchmarks/segmentation_seeded.py --save", note, headline)


if __name__ == "__main__":
    main()
