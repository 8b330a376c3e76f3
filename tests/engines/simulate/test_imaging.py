"""Image formation: light is kept, points appear where the geometry says, and the published light fields are met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.engines.simulate.camera import record
from napari_recon.engines.simulate.lightfield import Imaging, pieces_of
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS, load_psf_shift
from tests.engines.simulate.imaging import simulate_views

S = 13 / 3


def _centroid(image: np.ndarray) -> np.ndarray:
    return (np.indices(image.shape).reshape(2, -1) * image.ravel()).sum(axis=1) / image.sum()


def test_the_sum_of_every_view_is_the_sum_of_the_volume() -> None:
    rng = np.random.default_rng(0)
    volume = np.zeros((5, 156, 156), np.float32)
    volume[:, 60:96, 60:96] = rng.random((5, 36, 36))
    shift = rng.uniform(-30, 30, (4, 5, 2))
    views = simulate_views(volume, shift, upsampling=S)
    assert views.shape == (4, 36, 36)
    assert views.sum(axis=(1, 2)) * S**2 == pytest.approx(np.full(4, volume.sum()), rel=2e-3)


@given(st.integers(60, 95), st.integers(60, 95), st.floats(-40, 40), st.floats(-40, 40))
@settings(max_examples=30, deadline=None)
def test_a_point_appears_displaced_by_the_shift(y: int, x: int, shift_y: float, shift_x: float) -> None:
    volume = np.zeros((1, 156, 156), np.float32)
    volume[0, y, x] = 1000
    view = simulate_views(volume, np.array([[[shift_y, shift_x]]]), upsampling=S)[0]
    seen_fine = (_centroid(view) + 0.5) * S - 0.5
    assert np.abs(seen_fine - (y + shift_y, x + shift_x)).max() < 0.1 * S


def test_the_margin_only_adds_light_from_outside() -> None:
    volume = np.zeros((1, 104, 104), np.float32)
    volume[0, 50:56, 50:56] = 1
    shift = np.array([[[1.3, -2.6]]])
    bare = simulate_views(volume, shift, upsampling=S)
    wide = simulate_views(np.pad(volume, ((0, 0), (26, 26), (26, 26))), shift, upsampling=S, margin=6)
    assert np.abs(bare - wide).max() < 1e-5
    outside = np.pad(volume, ((0, 0), (26, 26), (26, 26)))
    outside[0, 50, 10] = 100
    lit = simulate_views(outside, np.array([[[0.0, 40.0]]]), upsampling=S, margin=6)
    assert lit[0, 5, 5] > 0.5 and lit.sum() * S**2 == pytest.approx(36 + 100, rel=2e-3)


def test_reduction_is_the_antialiased_bicubic_of_torch() -> None:
    image = torch.rand(1, 78, 65, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(image[None], size=(18, 15), mode="bicubic", antialias=True)[0, 0]
    found = Imaging((1, 78, 65), S, psf_sigma=0.0).view(pieces_of(image), np.zeros((1, 2)))
    assert (found - expected).abs().max() < 2e-6


def test_imaging_is_linear_and_can_be_stopped() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 3, 52, 52)).astype(np.float32)
    shift = rng.uniform(-9, 9, (2, 3, 2))
    both = simulate_views(2 * a + b, shift, upsampling=S)
    parts = 2 * simulate_views(a, shift, upsampling=S) + simulate_views(b, shift, upsampling=S)
    assert np.abs(both - parts).max() < 1e-4

    def stop() -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        simulate_views(a, shift, upsampling=S, check=stop)


def test_the_camera_adds_photon_noise_gain_offset_and_read_noise() -> None:
    clean = np.full((300, 300), 100.0, np.float32)
    exact = record(clean, np.random.default_rng(0), photon_noise=False, read_noise=0.0, gain=2.0, background=50.0)
    assert exact.dtype == np.uint16 and (exact == 250).all()
    noisy = record(clean, np.random.default_rng(0), gain=2.0, background=50.0, read_noise=5.0).astype(float)
    assert noisy.mean() == pytest.approx(250, abs=0.5)
    assert noisy.var() == pytest.approx(4 * 100 + 25, rel=0.03)
    dark = record(np.full((9, 9), -4.0), np.random.default_rng(0), read_noise=0.0)
    assert (dark == 0).all()


@pytest.mark.parametrize("group", ["001", "007"])
def test_published_volumes_give_the_published_light_fields_up_to_noise(parity_dir: Path, group: str) -> None:
    import tifffile

    folder = parity_dir / "serenet"
    (shift_file,) = (folder / "upstream_weights" / "psf").glob("Ideal*psfshift_49views.pt")
    truth = tifffile.imread(folder / f"quality_group{group}" / "gt.tif")
    pages = tifffile.imread(folder / f"quality_group{group}" / "lf_views169.tif")[list(VIEW_ORDERS[13])]
    views = simulate_views(truth, load_psf_shift(shift_file).psf_shift, upsampling=S)
    # only the middle is determined by the crop: light of the farthest planes arrives from 15 pixels away
    model, data = (stack[:, 18:-18, 18:-18].astype(float) for stack in (views, pages))
    bright = model > 30
    deviance = ((data - model)[bright] ** 2 / (model[bright] + 9)).mean()
    assert deviance == pytest.approx(1.0, abs=0.12)
