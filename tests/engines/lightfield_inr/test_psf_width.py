"""A PSF made wider or narrower, and the two copies of the views that tell its width."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_recon.engines.lightfield_inr.fast.psf_search import Copies, Fitted, WidthSearch
from napari_recon.engines.lightfield_inr.fast.psf_width import sharpest_variance, widened_psf
from napari_recon.engines.lightfield_inr.fast.residuals import noise_power


def spots(variance: float, offset: float = 0.0, reach: int = 12) -> torch.Tensor:
    """Gaussian spots (2, 3, y, x): the middle plane has that variance, the others one more; views sum to different light."""
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    planes = []
    for more in (1.0, 0.0, 1.0):
        y, x = (torch.exp(-((place - o) ** 2) / (2 * (variance + more))) for o in (offset, 0.0))
        planes.append(torch.outer(y, x) / (y.sum() * x.sum()))
    return torch.stack([torch.stack(planes), 0.5 * torch.stack(planes)]).float()


@pytest.mark.parametrize("variance", [1.0, 2.5])
def test_the_sharpest_plane_tells_the_width(variance: float) -> None:
    assert sharpest_variance(spots(variance)) == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("more", [1.5, -0.8])
def test_variances_add_and_light_stays(more: float) -> None:
    given = spots(2.0)
    changed = widened_psf(given, more)
    assert sharpest_variance(changed) == pytest.approx(2.0 + more, rel=0.03)
    torch.testing.assert_close(changed.sum(dim=(-2, -1)), given.sum(dim=(-2, -1)))
    assert float(changed.min()) >= 0 and changed.shape[-1] % 2 == 1
    cut = (changed.shape[-1] - 25) // 2
    inner = changed[..., cut : cut + 25, cut : cut + 25]
    assert float((inner - spots(2.0 + more)).abs().max()) < 0.02 * float(inner.max())


def test_a_displacement_comes_with_it() -> None:
    offset = torch.tensor([[0.4, 0.0], [0.4, 0.0]], dtype=torch.float64)
    moved = widened_psf(spots(2.0), 0.0, offset)[..., 1:-1, 1:-1]
    assert float((moved - spots(2.0, 0.4)).abs().max()) < 1e-4


def test_noise_power_is_one_for_photons_and_the_gain_otherwise() -> None:
    make, model = np.random.default_rng(0), torch.full((3, 40, 40), 50.0)
    photons = torch.from_numpy(make.poisson(50.0, (3, 40, 40)).astype(np.float32))
    assert noise_power(photons, model, 0.0) == pytest.approx(1.0, abs=0.1)
    assert noise_power(3 * photons, 3 * model, 0.0) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(("best", "found"), [(0.0, 1.0), (-0.83, 1.2**-0.83), (2.4, 1.2**2.4)])
def test_the_search_goes_on_to_the_best_width_and_keeps_the_given_one_when_it_is_that(best: float, found: float) -> None:
    pattern = torch.randn(2, 30, 30, generator=torch.Generator().manual_seed(3))
    model = torch.full((2, 30, 30), 1e4)
    data = model + torch.randn(model.shape, generator=torch.Generator().manual_seed(4)) * 100

    def fitted(width: float, views: torch.Tensor, firmness: float) -> Fitted:
        place = float(np.log(width) / np.log(1.2))
        return Fitted(torch.full((1, 1, 1), place), model + 60 * (place - best) * pattern, 9, 6)

    search = WidthSearch(Copies(data, model, 0.0), fitted)
    assert len(list(search.trials())) <= 7
    assert search.found == pytest.approx(found, rel=0.06)
    assert search.best is not None
    assert 1.2 ** float(search.best.volume) == pytest.approx(search.found)


def test_a_width_is_not_tried_where_nothing_is_to_be_gained_nor_the_other_side_of_a_better_one() -> None:
    pattern, model = torch.randn(2, 30, 30, generator=torch.Generator().manual_seed(3)), torch.full((2, 30, 30), 1e4)

    def tried(best: float) -> list[float]:
        def fitted(width: float, views: torch.Tensor, firmness: float) -> Fitted:
            return Fitted(views, model + 60 * (float(np.log(width) / np.log(1.2)) - best) * pattern, 9, 6)

        return [
            round(float(np.log(trial.width) / np.log(1.2)), 2)
            for trial in WidthSearch(Copies(model, model, 0.0), fitted).trials()
        ]

    assert tried(0.05) == [0, -1, 1]
    assert tried(-2.0)[:4] == [0, -1, -2, -3]


def test_a_wider_psf_that_only_smooths_is_not_taken() -> None:
    """A stronger penalty with the given PSF predicts as well there."""
    pattern, model = torch.randn(2, 30, 30, generator=torch.Generator().manual_seed(3)), torch.full((2, 30, 30), 1e4)

    def found(smooths: bool) -> float:
        def fitted(width: float, views: torch.Tensor, firmness: float) -> Fitted:
            wrong = 0.0 if firmness > 1 and smooths else float(np.log(width) / np.log(1.2)) - 1.4
            return Fitted(views, model + 60 * wrong * pattern, 9, 6)

        search = WidthSearch(Copies(model, model, 0.0), fitted)
        list(search.trials())
        return search.found

    assert found(smooths=False) == pytest.approx(1.2**1.4, rel=0.03)
    assert found(smooths=True) == 1.0
