"""Losses and projections of training, against the authors' values and against what they must be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from napari_recon.engines.serenet.training.losses import (
    bright,
    global_similarity,
    masked_mean,
    negative_part,
    noise_deviance,
    photon_loss,
    similarity,
    without_outliers,
)
from napari_recon.engines.serenet.training.sight import Sight, convolved_sum, published_views
from napari_recon.optics.lightfield_geometry import load_psf_shift
from tests.engines.simulate.imaging import simulate_views


@pytest.fixture(scope="module")
def units(parity_dir: Path) -> Callable[[str], Tensor]:
    file = np.load(parity_dir / "serenet" / "units" / "units.npz")
    return lambda name: torch.from_numpy(np.asarray(file[name]))


@pytest.mark.parametrize(("mean", "variance"), [(0, 9), (0, 0), (120, 256), (5, 2)])
def test_photon_loss_is_the_published_one(units: Callable[[str], Tensor], mean: int, variance: int) -> None:
    found = photon_loss(units("nll_pred"), units("nll_target"), mean, variance).mean()
    torch.testing.assert_close(found.double(), units(f"nll_miu{mean}_var{variance}"), rtol=1e-5, atol=0)


def test_convolution_of_planes_is_the_published_one(units: Callable[[str], Tensor]) -> None:
    found = convolved_sum(units("vol")[:, 0], units("psf")[0])
    torch.testing.assert_close(found, units("imagingLFM_sum"), rtol=1e-4, atol=1e-5)


def test_similarity_and_outliers_are_the_published_ones(units: Callable[[str], Tensor]) -> None:
    image, other = units("outlier_img"), units("outlier_sub")
    torch.testing.assert_close(global_similarity(image, other).double(), units("rl_ssim").double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(without_outliers(image, other), units("outlier_out"))


@pytest.mark.parametrize("loss_of", [photon_loss, noise_deviance])
def test_photon_losses_are_least_at_the_truth_and_pull_towards_it(loss_of: Callable[[Tensor, Tensor], Tensor]) -> None:
    dimmest = 40.0 if loss_of is photon_loss else 0.0  # the published one prefers darkness to few photons
    target = torch.tensor([dimmest, dimmest + 5, 80.0, 900.0])
    for factor in (0.5, 2.0):
        wrong = (target * factor).clamp_min(0).requires_grad_()
        loss = loss_of(wrong, target)
        assert (loss >= loss_of(target, target)).all()
        loss.sum().backward()
        assert torch.isfinite(wrong.grad).all()
        assert (wrong.grad[1:] * (factor - 1) > 0).all()


def test_negative_part_and_bright_and_masked_mean() -> None:
    volume = torch.tensor([-2.0, 1.0, 3.0, 0.0])
    assert float(negative_part(volume)) == pytest.approx(4 / 4)
    views = torch.zeros(2, 10, 10)
    views[1] = 7
    assert bright(views).flatten().tolist() == [1.0, 8.0]
    assert float(masked_mean(volume, torch.tensor([True, True, False, False]))) == pytest.approx(-0.5)


def test_similarity_is_one_for_equal_images_and_falls_with_noise() -> None:
    image = torch.rand(3, 20, 20, generator=torch.Generator().manual_seed(0))
    noisy = image + 0.3 * torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(1))
    assert float(similarity(image, image).mean()) == pytest.approx(1, abs=1e-5)
    assert float(similarity(image, noisy).mean()) < 0.8


def _volume(planes: int, size: int) -> Tensor:
    rng = np.random.default_rng(3)
    volume = np.zeros((planes, size, size), np.float32)
    for _ in range(30):
        z, y, x = rng.integers([0, 4, 4], [planes, size - 4, size - 4])
        volume[z, y - 2 : y + 3, x - 2 : x + 3] = rng.uniform(1, 5)
    return torch.from_numpy(volume)


def test_sight_equals_the_simulator_within_a_percent_and_has_gradients() -> None:
    geometry = load_psf_shift("geometric-13").with_planes(5)
    shift = torch.from_numpy(geometry.psf_shift[:6])
    volume = _volume(5, 78)  # 18 light-field pixels, 3 of which are margin on each side
    sight = Sight.of_shift(shift, (12, 12), upsampling=13 / 3, scanning=3, sigma_fine=2.0, margin=3)
    leaf = volume.clone().requires_grad_()
    seen = sight(leaf)
    expected = simulate_views(volume, shift, upsampling=13 / 3, psf_sigma=2.0, margin=3)
    assert sight.views_shape == seen.shape == (6, 12, 12)
    assert np.linalg.norm(seen.detach().numpy() - expected) < 0.02 * np.linalg.norm(expected)
    seen.square().sum().backward()
    assert leaf.grad is not None
    assert float(leaf.grad.abs().max()) > 0


def test_explained_pixels_see_nothing_beyond_the_volume() -> None:
    geometry = load_psf_shift("geometric-13").with_planes(21)
    shift = torch.from_numpy(geometry.psf_shift[40:45])
    wide, narrow = (
        Sight.of_shift(shift, (21, 21), upsampling=13 / 3, scanning=3, sigma_fine=2.0, margin=margin) for margin in (9, 0)
    )
    assert 0 < narrow.explained.float().mean() < 1
    volume = _volume(21, 169)  # 39 light-field pixels
    difference = (wide(volume) - narrow(volume[:, 39:-39, 39:-39])).abs()
    assert float(difference[narrow.explained].max()) < 0.01 * float(difference.max())


def test_full_psf_and_published_projection_agree_on_an_odd_psf() -> None:
    rng = np.random.default_rng(0)
    psf = rng.random((2, 3, 7, 7)).astype(np.float32)
    volume = rng.random((3, 20, 21)).astype(np.float32)
    plain = np.stack([sum(fftconvolve(v, p, "same") for v, p in zip(volume, view, strict=True)) for view in psf])
    found = convolved_sum(torch.from_numpy(volume)[None], torch.from_numpy(psf))[0]
    np.testing.assert_allclose(found, plain, rtol=1e-4)
    assert published_views(torch.from_numpy(volume)[None], torch.from_numpy(psf), (5, 7)).shape == (1, 2, 5, 7)
    point = torch.zeros(2, 3, 7, 7)
    point[:, :, 3, 3] = 1
    shift = torch.zeros(2, 3, 2)
    spike = Sight.of_psf(point, shift, (9, 9), upsampling=13 / 3, scanning=3)
    even = torch.ones(3, 39, 39)
    middle = spike(even)[:, 4, 4]
    torch.testing.assert_close(middle, torch.full((2,), 3.0), rtol=0.02, atol=0)
