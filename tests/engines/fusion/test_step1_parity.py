"""Background removal and deskew against the published scripts' own numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_recon
from napari_recon.core.stack import ImageStack


@pytest.fixture(scope="module")
def case(parity_dir: Path) -> Path:
    return parity_dir / "rllsvsim" / "step1_a"


@pytest.fixture(scope="module")
def expected(case: Path) -> dict[str, np.ndarray]:
    """Return the arrays with axes (rows, columns, z) turned to (z, y, x): rows lie along x."""
    with np.load(case / "expected.npz") as archive:
        return {name: archive[name].T if archive[name].ndim == 3 else archive[name] for name in archive.files}


@pytest.mark.parametrize(("rule", "name"), [("cubic", "deskew_cubicconv_slices"), ("spline", "deskew_python_spline_slices")])
def test_deskew(case: Path, expected: dict[str, np.ndarray], rule: str, name: str) -> None:
    found = napari_recon.run("fusion.deskew", case / "raw.mrc", params={"interpolation": rule, "direction": 1})["volume"]
    assert found.shape == (44, 28, 224)
    assert np.abs(found[expected["slice_index"]] - expected[name]).max() < 0.05


def test_lengths_come_from_the_header_of_the_microscope(case: Path) -> None:
    told = json.loads((case / "params.json").read_text())
    grid = napari_recon.plan("fusion.deskew", case / "raw.mrc").outputs[0].grid
    assert grid.step("X") == pytest.approx(told["pixel_xy_um"])
    assert grid.step("Z") == pytest.approx(told["z_step_um"] * np.sin(np.radians(told["angle_deg"])))


@pytest.fixture(scope="module")
def clean(case: Path) -> napari_recon.jobs.Result:
    return napari_recon.run("fusion.background", case / "raw.mrc", params={"preset": "Lifeact", "compat": "upstream"})


def test_background(clean: napari_recon.jobs.Result, expected: dict[str, np.ndarray]) -> None:
    found = clean["clean"][expected["slice_index"]]
    assert np.abs(found - expected["masked_slices"]).max() < 0.01
    assert clean.artifacts["report"]["shift_pixel"] == expected["dispX"].item() == -2
    assert clean.artifacts["report"]["tilt_deg"] == pytest.approx(expected["angle"].item())


def test_both_steps_end_in_the_published_file(
    case: Path, clean: napari_recon.jobs.Result, expected: dict[str, np.ndarray]
) -> None:
    stack = ImageStack.of(
        clean["clean"],
        "ZYX",
        scale={"Z": 0.18, "Y": 0.0926, "X": 0.0926},
        units=dict.fromkeys("ZYX", "micrometer"),
    )
    found = napari_recon.run("fusion.deskew", stack, params={"compat": "upstream"})["volume"]
    difference = np.abs(found - expected["preprocess_uint16"].astype(np.float64))
    assert difference.max() <= 20
    rows, columns = 224, 28
    start = round((rows - columns) / 2) - 1
    assert np.abs(found[..., start : start + columns] - expected["square_crop"].astype(np.float64)).max() <= 20
