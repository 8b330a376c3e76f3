"""simulate.flfm_psf: files, voxel sizes, and settings that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.events import Warned
from napari_recon.core.plan import Plan
from napari_recon.engines.simulate.flfm_psf import FlfmPsf
from napari_recon.io.psf_files import open_psf
from napari_recon.jobs.api import simulate
from tests.contract.examples import collect
from tests.engines.simulate.microscopes import SMALL


def _plan(**params: object) -> Plan:
    return FlfmPsf().plan([], {**SMALL, **params})


def test_a_folder_with_psf_and_numbers(tmp_path: Path) -> None:
    simulate("flfm-psf", tmp_path, **SMALL, sensor=True)
    psf, sensor = (open_psf(tmp_path / f"{name}.ome.tif") for name in ("psf", "psf_sensor"))
    said = json.loads((tmp_path / "parameters.json").read_text())
    assert psf.grid.axes == "VZYX" and sensor.grid.axes == "ZYX"
    assert psf.grid.step("Y") == pytest.approx(said["voxel_um"], rel=1e-6) and psf.grid.unit("Y") == "micrometer"
    assert psf.grid.to_world("Y", psf.grid.size("Y") // 2) == pytest.approx(0, abs=1e-9)
    assert psf.grid.to_world("Z", 1) == pytest.approx(0, abs=1e-9)
    whole, views = np.asarray(sensor.data), np.asarray(psf.data)
    np.testing.assert_allclose(whole.sum(axis=(1, 2)), 1, rtol=1e-5)
    row, column = said["view_centres_row_column"][0]
    radius = said["radius"]
    np.testing.assert_array_equal(views[0], whole[:, row - radius : row + radius + 1, column - radius : column + radius + 1])
    assert psf.metadata["optics"]["na"] == (1.0,) or list(psf.metadata["optics"]["na"]) == [1.0]


def test_a_radius_too_small_for_the_light_is_said() -> None:
    plan = _plan(radius=2)
    events = list(FlfmPsf().run(plan, {}))
    assert collect(events, "psf").shape == (7, 3, 5, 5)
    assert any(isinstance(e, Warned) and "5 pixels; choose a larger radius" in e.message for e in events)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"radius": 60}, "radius should be at most 17"),
        ({"depth_from_um": 2.0}, "depth_to_um should lie above depth_from_um"),
        ({"na": 1.4}, "below the medium's index"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(params: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _plan(**params)
