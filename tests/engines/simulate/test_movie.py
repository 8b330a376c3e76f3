"""simulate.movie: a recording that is the truth with frames and planes left out, and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.jobs.running import Result

SMALL = {"frames": 5, "planes": 8, "height": 24, "width": 28, "cells": 3}


def _made(seed: int = 1, **params: Any) -> Result:
    return napari_recon.run("simulate.movie", params={**SMALL, **params}, seed=seed)


def test_without_noise_the_recording_is_every_second_frame_and_third_plane_of_the_truth() -> None:
    made = _made(every_plane=3, photon_noise=False, read_noise=0.0, background=7.0)
    assert made["raw"].shape == (3, 3, 24, 28)
    np.testing.assert_allclose(made["raw"], made["truth"][::2, ::3] + 7, atol=0.5 + 1e-3)


def test_voxels_of_the_recording_lie_on_those_of_the_truth() -> None:
    specs = _made(every_frame=3, every_plane=2).specs
    assert specs["truth"].grid.scale == (30.0, 0.5, 0.5, 0.5) and specs["raw"].grid.scale == (90.0, 1.0, 0.5, 0.5)
    assert specs["truth"].grid.translate == specs["raw"].grid.translate


def test_the_brightest_voxel_has_the_photons_asked_for_and_cells_move() -> None:
    truth = _made(peak=250.0)["truth"]
    assert truth.max() == pytest.approx(250) and truth.min() > 0
    assert np.abs(truth[0] - truth[-1]).max() > 50


def test_noise_is_that_of_photons_and_camera() -> None:
    made = _made(every_frame=1, every_plane=1)
    off = made["raw"] - made["truth"]
    bright = made["truth"] > 100
    assert np.var(off[bright]) == pytest.approx(np.mean(made["truth"][bright]) + 16, rel=0.15)


def test_the_seed_says_which_cells() -> None:
    first = _made()
    np.testing.assert_array_equal(first["raw"], _made()["raw"])
    assert np.abs(first["truth"] - _made(2)["truth"]).max() > 50
    with pytest.raises(InputError, match="frames"):
        _made(frames=0)
