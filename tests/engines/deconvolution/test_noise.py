"""Background and scale from the data alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.engines.deconvolution.noise import Dark, counts_scale, estimate_dark, without_fill
from napari_recon.engines.deconvolution.richardson_lucy import reduced_deviance


def _scene(rng: np.random.Generator, level: float, read: float = 3.0, clip: bool = False) -> np.ndarray:
    """Views with bright blobs on half of the field."""
    y, x = np.mgrid[:40, :50]
    signal = 200 * np.exp(-((y - 20) ** 2 + (x - 15) ** 2) / 60)
    views = rng.poisson(np.broadcast_to(signal + level, (20, 40, 50))) + rng.normal(0, read, (20, 40, 50))
    return np.clip(np.round(views), 0 if clip else None, None).astype(np.float32)


@pytest.mark.parametrize("level", [0.0, 5.0, 100.0, 400.0])
def test_the_background_is_found_without_bias(level: float) -> None:
    found = estimate_dark(_scene(np.random.default_rng(0), level)).level
    assert found == pytest.approx(level, abs=0.15 + 0.03 * np.sqrt(level))


def test_clipped_read_noise_has_a_mean() -> None:
    """max(N(0, 3), 0) has the mean 3 / sqrt(2 pi) = 1.2."""
    assert estimate_dark(_scene(np.random.default_rng(1), 0.0, clip=True)).level == pytest.approx(1.2, abs=0.15)


@pytest.mark.parametrize(("offset", "light"), [(0.0, 60.0), (100.0, 0.0), (-300.0, 20.0)])
def test_an_offset_is_told_from_light_by_its_noise(offset: float, light: float) -> None:
    dark = estimate_dark(_scene(np.random.default_rng(0), light) + np.float32(offset))
    assert dark.variance == pytest.approx(light + 9, rel=0.2)
    found, modelled = dark.split(dark.level)
    assert found + modelled == pytest.approx(dark.level) and modelled >= 0.5
    assert found == pytest.approx(min(offset - 9, 0) if offset < 0 else max(offset - 9, 0), abs=0.2 * (light + 9))


@given(level=st.floats(-1e4, 1e4), variance=st.floats(0, 1e4))
def test_a_split_level_always_leaves_some_light(level: float, variance: float) -> None:
    offset, light = Dark(level, variance).split(level)
    assert light >= 0.5 and offset + light == pytest.approx(level)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(0, 100), seed=st.integers(0, 5))
def test_the_background_moves_with_the_data(factor: float, offset: float, seed: int) -> None:
    views = _scene(np.random.default_rng(seed), 50.0)
    base = estimate_dark(views).level
    assert estimate_dark((views * factor + offset).astype(np.float32)).level == pytest.approx(
        base * factor + offset, rel=5e-3, abs=1e-3
    )


@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 2, 9), (49, 4, 4)])
def test_tiny_views(shape: tuple[int, ...]) -> None:
    views = np.full(shape, 7.0, np.float32)
    assert estimate_dark(views).level == pytest.approx(7.0)


def test_counts_are_left_alone_and_other_scales_are_brought_to_counts() -> None:
    counts = _scene(np.random.default_rng(2), 10.0, clip=True)
    assert counts_scale(counts) == 1.0
    assert counts_scale(counts * 1.7) == 1.0
    unit = counts / counts.max()
    assert np.quantile(unit, 0.999) * counts_scale(unit) == pytest.approx(500, rel=0.1)
    assert counts_scale(np.zeros((2, 4, 4), np.float32)) == 1.0


def test_the_reduced_deviance_of_poisson_and_read_noise_is_near_one() -> None:
    rng = np.random.default_rng(3)
    model = np.full((40, 50, 50), 30.0, np.float32)
    data = (rng.poisson(model) + rng.normal(0, np.sqrt(5), model.shape)).astype(np.float32)
    assert reduced_deviance(torch.from_numpy(data), torch.from_numpy(model)) == pytest.approx(1.0, abs=0.02)


def test_zeros_around_turned_data_are_no_background() -> None:
    views = _scene(np.random.default_rng(3), 100.0)
    y, x = np.mgrid[:40, :50]
    turned = np.where(np.abs(x - 25 + 0.6 * (y - 20)) < 18, views, 0).astype(np.float32)
    assert estimate_dark(turned).level < 1
    assert estimate_dark(without_fill(turned)).level == pytest.approx(100, abs=1)


@pytest.mark.parametrize("light", [0.02, 0.1])
def test_few_photons_are_no_fill(light: float) -> None:
    y, x = np.mgrid[:40, :50]
    signal = 200 * np.exp(-((y - 20) ** 2 + (x - 15) ** 2) / 20)
    views = np.random.default_rng(4).poisson(np.broadcast_to(signal + light, (20, 40, 50))).astype(np.float32)
    assert np.array_equal(without_fill(views), views)
    assert estimate_dark(without_fill(views)).level < 2 * light
