"""The network that comes with the package: there, small, described, and better than what it improves."""

from __future__ import annotations

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.simulator.examples import Ranges, make_example
from napari_recon.hub import ModelCard, catalogue, resolve, sha256

ID = "sim-wiener-rcan"
OPTICS = {"na": 1.2, "wavelength_um": 0.525}


def recording(photons: float, period: float, index: int, size: int = 128) -> tuple[ImageStack, np.ndarray]:
    exact = {"photons": (photons, photons), "period": (period, period), "modulation": (0.7, 0.9)}
    ranges = Ranges(**exact, sampling=(0.8, 0.8), background=(0, 0), defocus_waves=(0, 0))
    made = make_example(90_210, index, (size, size), ranges)
    scale, units = dict.fromkeys("YX", made.calibration.pixel_um[0]), dict.fromkeys("YX", "micrometer")
    return ImageStack.of(np.round(made.raw + 100).astype(np.uint16), "NYX", "raw", scale=scale, units=units), made.truth


def psnr(image: object, truth: np.ndarray) -> float:
    found: float = napari_recon.compare(image, truth, align="affine", crop="y=16:-16,x=16:-16", peak="range")["psnr"]
    return found


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return next(card for card in catalogue("sim.network") if card.id == ID)


def test_it_is_the_first_of_the_menu_and_says_how_it_was_made(card: ModelCard) -> None:
    assert catalogue("sim.network")[0] == card
    assert card.origin == "built in" and card.engine == "sim.network" and card.options["front"] == "wiener"
    assert card.licence == "BSD-3-Clause" and "napari-recon train sim.train" in card.training["command"]
    assert {"data", "hardware", "steps", "seed"} <= set(card.training)
    assert {"all simulated, network: PSNR", "all simulated, sim.wiener: PSNR"} <= set(card.quality)


def test_its_file_is_small_and_the_one_of_the_card(card: ModelCard) -> None:
    assert sha256(card.path) == card.sha256 == resolve(ID, "sim.network").sha256
    with open(card.path, "rb") as file:
        assert len(file.read()) < 1_500_000


def test_it_is_taken_when_no_model_is_named() -> None:
    raw, _ = recording(1500, 0.8, 0, 64)
    plan = napari_recon.plan("sim.network", raw, params=OPTICS)
    assert plan.model is not None and plan.model.id == ID
    with pytest.raises(InputError, match="needs a model"):
        napari_recon.plan("fusion.vsi_sr", np.zeros((9, 32, 32), np.float32))


@pytest.mark.parametrize(("photons", "period"), [(100, 0.8), (400, 0.6), (1500, 0.9), (5000, 0.7)])
def test_it_beats_wide_field_clearly_and_wiener_too(photons: float, period: float) -> None:
    gains = []
    for index in range(2):
        raw, truth = recording(photons, period, index)
        wide = np.asarray(raw.data, np.float32).mean(0).repeat(2, 0).repeat(2, 1)
        wiener = psnr(napari_recon.run("sim.wiener", raw, params=OPTICS)["sr"], truth)
        network = psnr(napari_recon.run("sim.network", raw, model=ID, params=OPTICS)["sr"], truth)
        assert network > psnr(wide, truth) + 3
        gains.append(network - wiener)
    assert np.mean(gains) > 0.3
    assert min(gains) > -0.1


def test_it_works_for_other_numbers_of_angles_and_phases() -> None:
    ranges = Ranges(angles=2, phases=5, photons=(800, 800), period=(0.7, 0.7), modulation=(0.8, 0.8), background=(0, 0))
    made = make_example(7, 1, (128, 128), ranges)
    scale, units = dict.fromkeys("YX", made.calibration.pixel_um[0]), dict.fromkeys("YX", "micrometer")
    raw = ImageStack.of(np.round(made.raw + 100).astype(np.uint16), "NYX", "raw", scale=scale, units=units)
    values = {**OPTICS, "angles": 2, "phases": 5}
    wiener, network = (
        psnr(napari_recon.run(name, raw, params=values, **options)["sr"], made.truth)
        for name, options in (("sim.wiener", {}), ("sim.network", {"model": ID}))
    )
    assert network > wiener
