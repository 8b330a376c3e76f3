"""Fourier ring and shell correlation: limits that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_recon.core.errors import InputError
from napari_recon.metrics import fourier_ring_correlation


def pair(shape, sigma, noise=0.05):
    rng = np.random.default_rng(2)
    truth = gaussian_filter(rng.normal(size=shape), sigma)
    truth /= truth.std()
    return (truth + rng.normal(scale=noise, size=shape) for _ in range(2))


@pytest.mark.parametrize("shape", [(64, 64), (24, 32, 32), (33, 40)])
def test_an_image_correlates_with_itself(shape):
    image = np.random.default_rng(0).normal(size=shape)
    found = fourier_ring_correlation(image, 3 * image + 5)
    assert found.correlation == pytest.approx(np.ones_like(found.correlation))
    assert found.resolution == pytest.approx(1 / found.frequency[-1])


def test_independent_noise_has_no_resolution():
    rng = np.random.default_rng(1)
    found = fourier_ring_correlation(rng.normal(size=(128, 128)), rng.normal(size=(128, 128)))
    assert abs(found.correlation[25:]).max() < 0.25
    assert abs(found.correlation.mean()) < 0.05


@pytest.mark.parametrize("shape", [(128, 128), (48, 48, 48)])
def test_blur_lowers_the_resolution(shape):
    fine, coarse = (fourier_ring_correlation(*pair(shape, sigma)).resolution for sigma in (1.0, 2.0))
    assert coarse == pytest.approx(2 * fine, rel=0.35)


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 100))
def test_resolution_is_in_the_unit_of_the_voxel_size(spacing):
    first, second = pair((64, 64), 1.5)
    unit = fourier_ring_correlation(first, second)
    scaled = fourier_ring_correlation(first, second, spacing=spacing)
    assert scaled.resolution == pytest.approx(unit.resolution * spacing)


def test_rings_are_round_in_the_world_for_unequal_voxels():
    first, second = pair((24, 64, 64), (1.0, 2.0, 2.0))
    found = fourier_ring_correlation(first, second, spacing=(0.4, 0.1, 0.1))
    assert found.frequency[-1] <= 0.5 / 0.4 + 1e-9


@pytest.mark.parametrize(
    ("first", "second", "spacing"),
    [
        (np.ones((8, 8)), np.ones((8, 9)), 1.0),
        (np.ones(64), np.ones(64), 1.0),
        (np.ones((4, 64)), np.ones((4, 64)), 1.0),
        (np.ones((64, 64)), np.ones((64, 64)), 0.0),
    ],
)
def test_what_has_no_rings_is_one_sentence(first, second, spacing):
    with pytest.raises(InputError):
        fourier_ring_correlation(first, second, spacing)


def test_planes_share_what_each_of_them_shares():
    rng = np.random.default_rng(2)
    signal = rng.normal(size=(5, 64, 64))
    spectrum = np.fft.fft2(signal)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij"))
    smooth = np.fft.ifft2(spectrum * (radius < 0.2)).real
    noisy = [smooth + 0.2 * rng.normal(size=signal.shape) for _ in range(2)]
    found = fourier_ring_correlation(*noisy, spacing=0.5, planes=True)
    assert found.resolution == pytest.approx(0.5 / 0.2, rel=0.2)
    assert found.correlation[:8].min() > 0.9
    with pytest.raises(InputError, match="8 voxels"):
        fourier_ring_correlation(*noisy)  # five planes are too few for shells
