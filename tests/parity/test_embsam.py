"""Cells from nuclei on the public drawn embryos: overlap, distance, the dividing cell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import napari_recon


def hausdorff95(a: np.ndarray, b: np.ndarray) -> float:
    """Return the larger 95th percentile of the distances between the borders of two regions, voxels."""
    borders = [region & ~ndimage.binary_erosion(region) for region in (a, b)]
    away = [ndimage.distance_transform_edt(~border) for border in borders]
    return max(float(np.percentile(away[1 - i][borders[i]], 95)) for i in (0, 1))


@pytest.mark.parametrize("case", ["emb8", "emb12_dividing"])
def test_public_embryos(parity_dir: Path, case: str) -> None:
    folder = parity_dir / "embsam" / case
    truth = json.loads((folder / "truth.json").read_text())["cells"]
    expected = np.moveaxis(np.load(folder / "truth.npz")["labels_iso"], 2, 0)
    found = napari_recon.run(
        "segmentation.seeded",
        folder / "raw",
        inputs={"seeds": [folder / "CellTracing.csv"]},
        params={"iso_shape": expected.shape, "grid": "isotropic"},
    )
    names = {row["name"]: row["label"] for row in found.artifacts["cells"]}
    assert set(names) == set(truth), "the dividing cell, and no other, has its mother's name"
    labels = found["labels"]
    overlaps, distances = [], []
    for name, number in truth.items():
        a, b = labels == names[name], expected == number
        overlaps.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        distances.append(hausdorff95(a, b))
    assert np.mean(overlaps) >= 0.95 and min(overlaps) >= 0.87
    assert np.mean(distances) <= 1.2
