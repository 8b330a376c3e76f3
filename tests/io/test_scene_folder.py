"""Folders of the published program's training data: views and PSF of one, for fits as any other input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.engines.lightfield_inr.fit_engine import PSF, VIEWS
from napari_recon.io import open_inputs
from napari_recon.io.scene_folder import INDEX, cut_psf, read_psf


def folder(path: Path, frames: int = 2, **more: Any) -> Path:
    """A folder of `frames` scenes of three views that share one PSF; `more` is said of every scene."""
    make = np.random.default_rng(0)
    np.save(path / "psf.npy", make.random((3, 4, 5, 5)).astype(np.float32))
    scenes = []
    for number in range(frames):
        tifffile.imwrite(path / f"views_{number}.tif", make.integers(1, 900, (3, 14, 15)).astype(np.uint16))
        scenes.append({"targets_path": f"./views_{number}.tif", "H_path": "psf.npy", **more})
    (path / INDEX).write_text(json.dumps({"scenes": scenes}))
    return path


@pytest.mark.parametrize("named", ["folder", "index"])
def test_views_and_psf_of_a_folder(tmp_path: Path, named: str) -> None:
    given = folder(tmp_path) if named == "folder" else folder(tmp_path) / INDEX
    (views,), (psf,) = open_inputs(VIEWS, [given]), open_inputs(PSF, [given], voxel_size_um={"z": 1.5})
    assert (views.grid.axes, views.grid.shape) == ("TVYX", (2, 3, 14, 15)) and views.uri == str(tmp_path)
    np.testing.assert_array_equal(views.read("VYX", t=1), tifffile.imread(tmp_path / "views_1.tif"))
    np.testing.assert_array_equal(psf.read("VZYX"), np.load(tmp_path / "psf.npy"))
    assert psf.grid.step("Z") == 1.5


def test_a_folder_is_fitted_as_its_files_are(tmp_path: Path) -> None:
    given, short = folder(tmp_path, frames=1), {"iterations": 2}
    found = napari_recon.run("lightfield_inr.fit", given, given, params=short)
    again = napari_recon.run("lightfield_inr.fit", tmp_path / "views_0.tif", tmp_path / "psf.npy", params=short)
    np.testing.assert_array_equal(found["volume"], again["volume"])


def test_cuts_of_an_integrated_psf() -> None:
    whole = np.random.default_rng(0).random((12, 13, 2))
    parts = cut_psf(whole, [[4, 4], [6, 8]], 2)
    assert parts.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(parts[1, 0], whole[4:9, 6:11, 0], rtol=1e-6)
    with pytest.raises(InputError, match="reaches outside"):
        cut_psf(np.zeros((20, 20, 3)), [[4, 10]], 5)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    given = folder(tmp_path)
    np.save(tmp_path / "psf.npy", np.zeros((3, 4, 4, 4), np.float32))
    with pytest.raises(InputError, match="odd y and x"):
        open_inputs(PSF, [given])
    tifffile.imwrite(tmp_path / "views_1.tif", np.ones((3, 8, 8), np.uint16))
    with pytest.raises(InputError, match="of one size"):
        open_inputs(VIEWS, [given])[0].read("VYX", t=1)
    with pytest.raises(InputError, match="should be a file"):
        read_psf(tmp_path / "none.tif")
    with pytest.raises(InputError, match="others for the structural similarity"):
        open_inputs(VIEWS, [folder(tmp_path, ssim={"targets_path": "a.tif"})])
    with pytest.raises(InputError, match="should name targets_path and H_path"):
        (tmp_path / INDEX).write_text(json.dumps({"scenes": [{"targets_path": "a.tif"}]}))
        open_inputs(VIEWS, [tmp_path])
    (tmp_path / INDEX).write_text("{}")
    with pytest.raises(InputError, match="list of scenes"):
        open_inputs(VIEWS, [tmp_path])
