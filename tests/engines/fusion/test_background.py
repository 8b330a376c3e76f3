"""The mirror's line: is it found where it was put, and is it gone afterwards?"""

from __future__ import annotations

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import Warned
from napari_recon.core.stack import ImageStack

from .skewed import PIXEL, STEP, UM

PLANES, ROWS, COLUMNS = 60, 24, 160


def mirror(at: float = 92.0, drift: float = 0.0, height: float = 800.0, tilt: float = 0.0, rows: int = ROWS) -> ImageStack:
    """Return a raw stack, (z, y, x), whose mirror lies at x = `at` in the middle and moves by `drift` per plane."""
    rng = np.random.default_rng(0)
    z = (np.arange(PLANES) - (PLANES - 1) / 2)[:, None, None]
    y = (np.arange(rows) - (rows - 1) / 2)[None, :, None]
    x = np.arange(COLUMNS)[None, None]
    away = x - (at + drift * z + tilt * y)
    line = height * (np.exp(-(away**2) / (2 * 15**2)) + np.exp(-(away**2) / (2 * 50**2)))
    sample = 300 * (rng.random((PLANES, rows, COLUMNS)) > 0.97)
    light = rng.poisson(100 + 20 + sample + line).astype(np.uint16)
    return ImageStack.of(light, "ZYX", "raw", scale={"Z": STEP, "Y": PIXEL, "X": PIXEL}, units=UM)


@pytest.mark.parametrize("at", [60.0, 92.0])
def test_the_line_is_found_and_gone(at: float) -> None:
    raw = mirror(at)
    result = napari_recon.run("fusion.background", raw, params={"preset": "er"})
    clean, report = result["clean"], result.artifacts["report"]
    assert report["shift_pixel"] == pytest.approx(at - (COLUMNS - 1) / 2, abs=2)
    assert report["drift_pixel"] == [0] * PLANES
    here, far = round(at), 5
    before = np.asarray(raw.data, float).mean((0, 1)) - 100
    after = clean.mean((0, 1))
    assert before[here] - before[far] > 2.5 * (after[here] - after[far])
    assert clean.min() >= 0


@pytest.mark.parametrize("drift", [-0.25, 0.25])
def test_the_drift_is_that_of_the_line(drift: float) -> None:
    raw = mirror(85.0, drift)
    found = np.array(napari_recon.run("fusion.background", raw, params={"preset": "ER"}).artifacts["report"]["drift_pixel"])
    expected = -drift * (np.arange(PLANES) - (PLANES - 1) / 2)
    assert np.abs(found - expected).max() <= 1.5
    still = napari_recon.run("fusion.background", raw, params={"preset": "ER", "drift": False}).artifacts["report"]
    assert still["drift_pixel"] == [0] * PLANES


@pytest.mark.parametrize("tilt_deg", [-2.0, 2.0])
def test_the_tilt_is_found(tilt_deg: float) -> None:
    raw = mirror(85.0, tilt=np.tan(np.radians(tilt_deg)), rows=96)
    report = napari_recon.run("fusion.background", raw, params={"preset": "SKL"}).artifacts["report"]
    assert report["tilt_deg"] == pytest.approx(-tilt_deg, abs=0.6)


def test_either_axis_may_be_skewed() -> None:
    raw = mirror()
    turned = ImageStack.of(
        np.asarray(raw.data).transpose(0, 2, 1), "ZYX", scale={"Z": STEP, "Y": PIXEL, "X": PIXEL}, units=UM
    )
    expected = napari_recon.run("fusion.background", raw)["clean"]
    found = napari_recon.run("fusion.background", turned, params={"skew_axis": "y"})["clean"]
    np.testing.assert_allclose(found.transpose(0, 2, 1), expected, rtol=1e-5)


def test_a_stack_without_a_line_is_said() -> None:
    seen: list[object] = []
    napari_recon.run("fusion.background", mirror(height=0.0), on_event=seen.append)
    (warned,) = [e for e in seen if isinstance(e, Warned)]
    assert "no line that is brighter" in warned.message


@pytest.mark.parametrize("mirror", [True, False])
def test_structures_in_a_row_are_no_line(mirror: bool) -> None:
    made = napari_recon.simulate("llsm", seed=1, planes=60, height=40, width=90, mirror=mirror)
    raw = ImageStack.of(made["raw"], "ZYX", scale={"Z": 0.2, "Y": 0.1, "X": 0.1}, units=UM)
    seen: list[object] = []
    napari_recon.run("fusion.background", raw, on_event=seen.append)
    assert any(isinstance(e, Warned) and "no line" in e.message for e in seen) != mirror


def test_bad_stacks_are_one_sentence() -> None:
    dark = np.random.default_rng(0).integers(80, 100, (20, 20, 20)).astype(np.uint16)
    for array, words in ((dark, "light above camera_offset.*100 counts"), (dark[:, :4], "at least 8 samples")):
        with pytest.raises(InputError, match=words):
            napari_recon.run("fusion.background", ImageStack.of(array, "ZYX", "raw"))
    with pytest.raises(InputError, match="preset should be"):
        napari_recon.run("fusion.background", mirror(), params={"preset": "nuclei"})
