"""The light-field networks that come with the package: there, small, described, and better than refocusing."""

from __future__ import annotations

import numpy as np
import pytest

import napari_recon
from napari_recon.hub import ModelCard, catalogue, resolve, sha256
from napari_recon.metrics.images import scale_alignment

IDS = ("lightfield-serenet-small", "lightfield-fserenet-small")


@pytest.fixture(params=IDS)
def card(request: pytest.FixtureRequest) -> ModelCard:
    return next(card for card in catalogue("serenet.reconstruct") if card.id == request.param)


def test_it_says_how_it_was_made_and_where_richardson_lucy_is_better(card: ModelCard) -> None:
    assert card.origin == "built in" and card.engine == "serenet.reconstruct" and card.licence == "BSD-3-Clause"
    assert card.contract["intensity"] == "unit" and card.contract["psf_shift"] == "geometric-13"
    assert {"command", "data", "hardware", "steps", "seed"} <= set(card.training)
    assert {"Richardson-Lucy is better (MIP PSNR) on", "test set"} <= set(card.quality)


def test_its_file_is_small_and_the_one_of_the_card(card: ModelCard) -> None:
    assert sha256(card.path) == card.sha256 == resolve(card.id, "serenet.reconstruct").sha256
    with open(card.path, "rb") as file:
        assert len(file.read()) < 1_000_000


def test_one_is_taken_when_no_model_is_named() -> None:
    plan = napari_recon.plan("serenet.reconstruct", np.zeros((49, 9, 9), np.float32), params={"planes": 3})
    assert plan.model is not None and plan.model.id in IDS


@pytest.mark.parametrize("entry", [2, 4, 12])
def test_it_beats_refocusing_on_phantoms_it_never_saw(card: ModelCard, entry: int) -> None:
    depth = {"planes": 31}
    scene = {"height": 30, "width": 30, "frames": 1, "speed": 0.0, "phantom": "bubtub", "entry": entry, **depth}
    made = napari_recon.simulate("lightfield", seed=31, **scene).outputs
    truth = _inner(made["truth"].data)
    network = napari_recon.run("serenet.reconstruct", made["raw"], model=card.id, params=depth)["volume"]
    refocused = napari_recon.run("serenet.refocus", made["raw"], params={"method": "geometric", **depth})["volume"]
    assert _psnr(network, truth) > _psnr(refocused, truth) + 0.5


def _inner(volume: object) -> np.ndarray:
    return np.asarray(volume, np.float64).reshape(-1, *volume.shape[-2:])[:, 15:-15, 15:-15]


def _psnr(volume: object, truth: np.ndarray) -> float:
    image = _inner(volume)
    error = np.mean((scale_alignment(image, truth)[0] * image - truth) ** 2)
    return float(10 * np.log10(truth.max() ** 2 / error))
