"""lightfield_inr.fit of Fourier ptychography: resolution beyond the objective, files, resumption, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import CheckpointSaved
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fit_engine import Fit
from napari_recon.engines.lightfield_inr.ptychography_params import PtychographyParams, lamps_of, table_shape
from napari_recon.optics.ptychography import Ptychograph, PtychographOptics
from tests.contract.examples import Example

PIXEL, NA, WAVELENGTH, UP = 2.0, 0.1, 0.5, 3
LAMPS = tuple((0.06 * i, 0.06 * j) for i in range(-3, 4) for j in range(-3, 4) if math.hypot(i, j) < 3.3)
OPTICS = PtychographOptics(NA, WAVELENGTH, (PIXEL, PIXEL), UP, 1.0)
KNOWN: dict[str, Any] = {"modality": "fpm", "na": NA, "wavelength_um": WAVELENGTH, "leds": LAMPS}


def truth(size: int = 24) -> np.ndarray:
    fine = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(size * UP, size * UP)), 1.2, mode="wrap")
    return np.stack([1.33 + 0.02 * fine / fine.std()] * 2).astype(np.float32)


def images(size: int = 24, photons: float = 2000.0) -> ImageStack:
    ideal = Ptychograph(OPTICS, (size, size), LAMPS, 2).images(torch.from_numpy(truth(size)), range(len(LAMPS))).numpy()
    counts = np.random.default_rng(1).poisson(photons * ideal).astype(np.float32)
    steps = {"Y": PIXEL, "X": PIXEL}
    return ImageStack.of(counts, "VYX", "images", scale=steps, units=dict.fromkeys("YX", "micrometer"))


def example(**params: Any) -> Example:
    """Return a small fit for the contract."""
    return Example(Fit(), {"views": images(8)}, {**KNOWN, "iterations": 4, "checkpoint_every": 2, **params})


def band(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return what lies between two frequencies, in cycles per micrometer."""
    f = np.fft.fftfreq(len(plane), PIXEL / UP)
    radius = np.hypot(f[:, None], f[None, :])
    return np.fft.ifft2(np.fft.fft2(plane) * ((radius >= low) & (radius < high))).real.ravel()


def test_images_without_a_sample_are_even_inside_the_aperture_and_dark_beyond() -> None:
    graph = Ptychograph(OPTICS, (16, 16), [(0.0, 0.0), (0.05, 0.0), (0.2, 0.0)], 3)
    found = graph.images(torch.full((3, 48, 48), 1.33), [0, 1, 2])
    torch.testing.assert_close(found[:2], torch.ones(2, 16, 16), atol=1e-4, rtol=0)
    assert float(found[2].max()) < 1e-8


def test_a_tilted_lamp_moves_details_into_the_aperture() -> None:
    """A grating beyond the objective's aperture shows only where the lamp brings its order back."""
    x = torch.arange(48) / 48
    grating = 1.33 + 0.005 * torch.cos(2 * math.pi * 11 * x)  # 11 periods in 32 um: 0.34 per um, the aperture ends at 0.2
    index = grating.expand(2, 48, 48)
    straight, tilted = Ptychograph(OPTICS, (16, 16), [(0.0, 0.0), (0.0, 0.09)], 2).images(index, [0, 1])
    assert float(straight.std()) < 1e-4 < 5e-3 < float(tilted.std())


@pytest.mark.slow
def test_the_result_resolves_more_than_the_objective() -> None:
    result = napari_recon.run("lightfield_inr.fit", images(), params={**KNOWN, "iterations": 120})
    found, wanted = np.asarray(result["volume"].data).sum(0), truth().sum(0)
    alike = [
        np.corrcoef(band(found, *edges), band(wanted, *edges))[0, 1] for edges in ((0.03, 0.2), (0.2, 0.35), (0.35, 0.5))
    ]
    assert alike[0] > 0.97 and alike[1] > 0.97  # the objective itself ends at 0.2 per um
    assert alike[2] > 0.85


def test_the_field_is_queried_in_the_published_layout() -> None:
    result = napari_recon.run("lightfield_inr.fit", images(8), params={**KNOWN, "iterations": 3})
    volume = np.asarray(result["volume"].data)
    assert volume.shape == (2, 24, 24)
    for model in (result.artifacts["checkpoint"], result.artifacts["model"]):
        queried = napari_recon.run("lightfield_inr.query", model=model, params={"preset": "fpm"})
        np.testing.assert_allclose(np.asarray(queried["volume"].data)[:2, :24, :24], volume, atol=2e-5)
    state = torch.load(result.artifacts["checkpoint"], weights_only=True)
    assert tuple(state["table"].shape) == table_shape((2, 24, 24)) and "net_real.3.linear.weight" in state


def test_a_cancelled_fit_goes_on_exactly(tmp_path: Path) -> None:
    case = example(checkpoint_folder=str(tmp_path))
    whole = case.result(case.plan())
    token, saved = CancelToken(), []
    for event in case.engine.run(case.plan(), {name: [s] for name, s in case.stacks.items()}, token):
        if isinstance(event, CheckpointSaved):
            saved.append(event.path)
            token.cancel()
    np.testing.assert_array_equal(case.result(case.plan(resume=str(saved[0]))), whole)
    with pytest.raises(InputError, match="same data"):
        case.events(case.plan(resume=str(saved[0]), plane_um=2.0))


def test_lamps_come_as_places_and_as_tables(tmp_path: Path) -> None:
    path = tmp_path / "lamps.csv"
    path.write_text("image,x_mm,y_mm\n0,0,0\n1,30,40\n")
    found = lamps_of(PtychographyParams(leds=str(path), led_distance=50.0), 2)
    np.testing.assert_allclose(found, [(0, 0), (40 / math.hypot(50, 50), 30 / math.hypot(50, 50))])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"leds": LAMPS[:-1]}, "one direction per image \\(37\\), found 36"),
        ({"leds": ""}, "direction of each image's light"),
        ({"leds": [(3.0 * y, 9.0 * x) for y, x in LAMPS]}, "sines below 1"),
        ({"na": None}, "needs na and wavelength_um"),
        ({"na": 0.5}, "can't sample"),
        ({"leds": [(y + 0.5, x) for y, x in LAMPS]}, "lamp whose light passes"),
    ],
)
def test_unfit_settings_get_one_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        napari_recon.run("lightfield_inr.fit", images(8), params={**KNOWN, **change})


def test_the_pixel_must_be_known() -> None:
    bare = ImageStack.of(np.asarray(images(8).data), "VYX", "images")
    with pytest.raises(InputError, match="pixel's size"):
        napari_recon.run("lightfield_inr.fit", bare, params=KNOWN)
