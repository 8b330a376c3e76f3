"""Background and units of the intensity."""

from __future__ import annotations

import numpy as np
import pytest

from napari_recon.core.plan import ModelRef
from napari_recon.engines.serenet.intensity import prepare, rule_of


@pytest.fixture
def counts() -> np.ndarray:
    return np.random.default_rng(0).gamma(1.0, 80.0, (49, 12, 12)).astype(np.float32)


def test_a_constant_offset_is_background(counts: np.ndarray) -> None:
    plain, lifted = prepare(counts), prepare(counts + 100)
    assert lifted.background == pytest.approx(plain.background + 100, abs=1e-3)
    np.testing.assert_allclose(lifted.views_vyx, plain.views_vyx, atol=1e-4)
    assert (plain.views_vyx < 0).any(), "values below the quantile stay negative"


def test_counts_are_left_alone(counts: np.ndarray) -> None:
    assert prepare(counts).scale == 1 and prepare(counts).message() == ""


@pytest.mark.parametrize("unit", [1 / 4000, 3e5])
def test_other_units_become_count_like(counts: np.ndarray, unit: float) -> None:
    found = prepare(counts * np.float32(unit))
    assert np.quantile(found.views_vyx, 0.999) == pytest.approx(500, rel=1e-3)
    assert "intensity=counts" in found.message()
    assert prepare(counts * np.float32(unit), "counts").scale == 1


def test_more_elements_than_torch_quantile_takes() -> None:
    many = np.zeros((17_000, 1000), np.float32)
    many[:, :200] = np.arange(17_000, dtype=np.float32)[:, None] % 1000
    assert prepare(many).background == 0


def test_models_trained_here_see_bright_pixels_at_one_and_answer_in_the_data_s_unit() -> None:
    views = np.random.default_rng(0).random((5, 40, 40)).astype(np.float32) * 0.02 + 3
    card = {"contract": {"intensity": "unit"}}
    model = ModelRef(id="own", path="own.safetensors", engine="serenet.reconstruct", architecture="serenet", card=card)
    one, thousand = (rule_of(model)(views * factor, "auto") for factor in (1, 1000))
    low, high = np.quantile(one.views_vyx, [0.01, 0.999])
    assert low == pytest.approx(0, abs=1e-4) and high == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(one.views_vyx, thousand.views_vyx, atol=1e-3)
    assert one.message() == "" and thousand.restored(np.ones(1, np.float32))[0] == pytest.approx(20, rel=0.05)
    published = model.model_copy(update={"card": {}})
    assert rule_of(published)(views * 1000, "counts").scale == 1
