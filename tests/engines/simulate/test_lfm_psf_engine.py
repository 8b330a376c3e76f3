"""simulate.lfm_psf: files, voxel sizes, and settings that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.engines.deconvolution.setup import setup_of
from napari_recon.engines.simulate.lfm_psf import LfmPsf
from napari_recon.io.psf_files import open_psf
from napari_recon.jobs.api import simulate
from napari_recon.optics.psf_checks import mended_psf


def test_a_psf_that_deconvolution_takes(tmp_path: Path) -> None:
    simulate("lfm-psf", tmp_path, na=1.0, depth_from_um=-1.0, depth_to_um=1.0)
    psf = open_psf(tmp_path / "psf.ome.tif")
    said = json.loads((tmp_path / "parameters.json").read_text())
    values = np.asarray(psf.data)
    assert values.shape[:2] == (49, 5) and len(said["view_pages"]) == 49 and 0.2 < said["collected_light"] < 1
    assert values.sum(axis=(2, 3)).mean() == pytest.approx(1, rel=0.01) and mended_psf(values)[1] == ()
    pixel = said["fine_pixel_um"] * 13 / 3
    views = Grid.of("VYX", (169, 20, 20), {"Y": pixel, "X": pixel}, units=dict.fromkeys("YX", "micrometer"))
    setup = setup_of(views, psf.grid, "geometric-13", 0, 2.0)
    assert setup.upsampling == pytest.approx(13 / 3, rel=1e-4) and len(setup.pages) == 49


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"nnum": 14}, "nnum should be odd"),
        ({"depth_from_um": 9.0}, "depth_to_um should lie above"),
        ({"depth_from_um": -900.0, "depth_step_um": 10.0}, "spread over at most 4096 fine pixels"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(params: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LfmPsf().plan([], params)
