"""The simulated PSF of a Fourier light-field microscope against the published simulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_recon.optics.flfm_microscope import FlfmMicroscope
from napari_recon.optics.flfm_psf import field_at_microlenses, microlens, microlens_array, sensor_psf

NAMES = {
    "na": "NA",
    "magnification": "M",
    "tube_um": "f1",
    "fourier_um": "f2",
    "microlens_um": "fm",
    "pitch_um": "lensPitch",
    "pixels_per_lens": "spacingPixels",
    "wavelength_um": "WaveLength",
    "medium_index": "immersion_n",
    "air_index": "n",
    "samples": "N_samples",
    "field_um": "LU0_um",
}


@pytest.fixture(scope="module")
def expected(parity_dir: Path) -> Any:
    return np.load(parity_dir / "lfinr" / "flfm_psf_sim" / "expected.npz")


@pytest.fixture(scope="module")
def microscope(parity_dir: Path) -> FlfmMicroscope:
    said = json.loads((parity_dir / "lfinr" / "flfm_psf_sim" / "params.json").read_text())
    return FlfmMicroscope(**{ours: said[theirs] for ours, theirs in NAMES.items()}, sensor_pixels=said["SensorSize"][0])


def test_derived_numbers(microscope: FlfmMicroscope, expected: Any) -> None:
    assert microscope.total_magnification == pytest.approx(float(expected["M_total"]))
    assert microscope.pixel_um == pytest.approx(float(expected["sensorRes"][0]))
    assert microscope.voxel_um == pytest.approx(float(expected["texRes"][0]))
    assert microscope.field_radius_um == pytest.approx(float(expected["fovRad"]))
    assert microscope.pupil_um == pytest.approx(float(expected["objRad"]))


def test_the_wave_in_front_of_the_microlenses(microscope: FlfmMicroscope, expected: Any) -> None:
    field, reference = field_at_microlenses(microscope, float(expected["depths"][0])).numpy(), expected["pupil_field_depth0"]
    assert np.abs(field - reference).max() < 1e-5 * np.abs(reference).max()


def test_the_microlenses(microscope: FlfmMicroscope, expected: Any) -> None:
    np.testing.assert_allclose(microlens(microscope).numpy(), expected["ulens"], atol=1e-5)
    np.testing.assert_allclose(microlens_array(microscope).numpy(), expected["mla"], atol=1e-5)


def test_the_sensor_images(microscope: FlfmMicroscope, expected: Any) -> None:
    """The reference rounds its frequencies to single precision, which shows at a few thousandths of the maximum."""
    for number, image in sensor_psf(microscope, expected["depths"].tolist()):
        reference = expected["H"][..., number]
        assert np.abs(image.numpy() - reference).max() < 5e-3 * reference.max(), number
