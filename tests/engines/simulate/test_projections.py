"""simulate.projections: truth and projections belong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.optics.parallel_beam import ParallelBeam

SMALL = {"size": 32, "slices": 8, "angles": "0:180:10"}


@pytest.mark.parametrize("phantom", ["cell", "shepp_logan", "slab"])
@pytest.mark.parametrize("axis", ["y", "x"])
def test_projections_are_those_of_the_truth(phantom: str, axis: str) -> None:
    made = napari_recon.simulate("projections", **SMALL, phantom=phantom, axis=axis, signal="density", noise=0, centre=1.5)
    truth, raw = np.asarray(made["truth"].data), np.asarray(made["raw"].data)
    angles = [row["angle"] for row in made.artifacts["angles"]]
    assert angles == list(range(0, 180, 10))
    beam = ParallelBeam(angles, raw.shape[1:], truth.shape[0], axis=axis, centre=1.5)
    np.testing.assert_allclose(beam.forward(torch.from_numpy(truth)).numpy(), raw, atol=1e-4)
    assert 0.3 < truth.max() < 2 and truth.min() > -1e-5


def test_light_is_counted() -> None:
    emitted = napari_recon.simulate("projections", **SMALL, peak=200)
    raw = np.asarray(emitted["raw"].data)
    assert raw.dtype == np.uint16 and 150 < raw.max() < 300
    left = np.asarray(napari_recon.simulate("projections", **SMALL, signal="transmission", peak=10000)["raw"].data)
    assert 9500 < np.quantile(left, 0.9) < 10500
    assert 800 < left.min() < 1300


def test_another_seed_is_another_cell() -> None:
    first, second = (np.asarray(napari_recon.simulate("projections", seed=seed, **SMALL)["truth"].data) for seed in (0, 1))
    assert np.abs(first - second).max() > 0.1 * first.max()


@pytest.mark.parametrize("angles", ["0:0:1", "somewhere", [5.0], "0:90:0"])
def test_unfit_angles_are_refused(angles: object) -> None:
    with pytest.raises(InputError, match="angle"):
        napari_recon.simulate("projections", **{**SMALL, "angles": angles})
