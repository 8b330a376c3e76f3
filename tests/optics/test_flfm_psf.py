"""Wave optics of the Fourier light-field microscope: symmetries, light, agreement with ray optics, and the parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_recon.core.errors import InputError
from napari_recon.io.psf_files import cut_views
from napari_recon.optics.cubic_resize import cubic_matrix
from napari_recon.optics.flfm_microscope import FlfmMicroscope
from napari_recon.optics.flfm_psf import pupil_quarter, sensor_psf
from napari_recon.optics.lightfield_geometry import centre_of_mass_shift
from tests.engines.simulate.microscopes import SMALL

MICROSCOPE = FlfmMicroscope(**{k: v for k, v in SMALL.items() if not k.startswith("depth")})
FINER = replace(MICROSCOPE, pixels_per_lens=99, sensor_pixels=301, samples=511)


def test_one_octant_is_the_whole_fourier_transform() -> None:
    """The pupil field from sums over one octant equals the two-dimensional transform of the whole sampled wave."""
    m = MICROSCOPE
    depth, count = -1.5, m.samples
    axis = (np.arange(count) - count // 2) * m.field_um / (count - 1)
    radius = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2 + depth**2)
    k = 2 * np.pi * m.medium_index / m.wavelength_um
    wave = -1j * k / (2 * np.pi * radius) * np.exp(1j * k * radius)
    field = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(wave))) * (m.field_um / count) ** 2
    field *= -1j * np.exp(1j * k * m.objective_um) / (m.wavelength_um * m.objective_um)
    place = axis * m.pupil_side_um / m.field_um
    field[place[:, None] ** 2 + place[None, :] ** 2 >= m.pupil_um**2] = 0
    quarter = pupil_quarter(m, depth).numpy()
    whole = field[count // 2 :, count // 2 :][: len(quarter), : len(quarter)]
    np.testing.assert_allclose(quarter, whole, atol=1e-12 * np.abs(whole).max())


def test_every_depth_sums_to_one_and_is_symmetric() -> None:
    for _, image in sensor_psf(MICROSCOPE, [-1.0, 0.0, 1.0]):
        assert float(image.sum()) == pytest.approx(1.0, rel=1e-12)
        assert torch.allclose(image, image.flip(0), atol=1e-6 * float(image.max()))
        assert torch.allclose(image, image.flip(1), atol=1e-6 * float(image.max()))


def test_opposite_depths_share_one_field() -> None:
    """The conjugate of the pupil field stands for the opposite depth; asked for alone it is the same image."""
    together = dict(sensor_psf(MICROSCOPE, [-1.0, 1.0]))[1]
    alone = dict(sensor_psf(MICROSCOPE, [1.0]))[0]
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=0)


def test_views_move_as_ray_optics_says() -> None:
    depths = np.array([-2.0, -1.0, 1.0, 2.0])
    found = dict(sensor_psf(FINER, depths.tolist()))
    images = np.stack([found[number].numpy() for number in range(len(depths))])
    radius = FINER.reach_pixels(depths)
    views = cut_views(images, FINER.lens_centres.tolist(), radius)
    np.testing.assert_allclose(views.sum(axis=(0, 2, 3)), 1.0, atol=2e-3)
    shift = centre_of_mass_shift(views) * FINER.voxel_um
    expected = FINER.view_shift_um(depths)
    assert np.abs(shift - expected).max() < 0.02 * np.abs(expected).max()
    assert (np.sign(shift[0, -1]) == np.sign(FINER.lens_centres[0] - FINER.lens_centres[3])).all()


OPTICS = {
    "oil": {"na": 1.4, "medium_index": 1.518, "pixels_per_lens": 125},
    "water": {"na": 1.05, "medium_index": 1.33, "magnification": 25.0, "fourier_um": 2e5, "pixels_per_lens": 101},
    "air": {"na": 0.4, "medium_index": 1.0, "magnification": 20.0, "fourier_um": 1.5e5, "pixels_per_lens": 61},
}
DEEPEST = {"oil": 3.4, "water": 15.0, "air": 60.0}


@pytest.mark.parametrize("name", OPTICS)
def test_the_sampling_that_is_chosen_is_fine_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times more samples on a wider field and a larger sensor give the same views."""
    chosen = FlfmMicroscope.sampled(DEEPEST[name], sensor_pixels=0, samples=0, field_um=0.0, **OPTICS[name])
    for what, value in (("WIDER", 8.0), ("FINER", 1.8), ("MARGIN", 1.7)):
        monkeypatch.setattr(f"napari_recon.optics.flfm_microscope.{what}", value)
    finer = FlfmMicroscope.sampled(DEEPEST[name], sensor_pixels=0, samples=0, field_um=0.0, **OPTICS[name])
    assert finer.samples > 1.5 * chosen.samples and finer.sensor_pixels > chosen.sensor_pixels
    radius = min(chosen.reach_pixels(np.array([DEEPEST[name]])), chosen.lens_pixels // 2)
    views = []
    for microscope in (chosen, finer):
        ((_, image),) = sensor_psf(microscope, [-DEEPEST[name]])
        views.append(cut_views(image.numpy()[None], microscope.lens_centres.tolist(), radius))
    assert np.abs(views[0] - views[1]).max() < 5e-3 * views[1].max()


def test_numbers_that_are_given_are_kept() -> None:
    given = {"sensor_pixels": 201, "samples": 401, "field_um": 40.0, "pixels_per_lens": 33}
    microscope = FlfmMicroscope.sampled(3.0, **given)
    assert {name: getattr(microscope, name) for name in given} == given
    assert microscope == FlfmMicroscope(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 254}, "samples should be odd.*found 254; choose 255"),
        ({"sensor_pixels": 100}, "sensor_pixels should be odd"),
        ({"na": 1.4}, "below the medium's index"),
        ({"samples": 63}, "samples should be at least 20"),
        ({"sensor_pixels": 81}, "seven microlenses should fit"),
        ({"fourier_um": 10000.0}, "beyond the computed pupil plane"),
    ],
)
def test_parts_that_do_not_fit_are_one_sentence(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(MICROSCOPE, **change)


@pytest.mark.parametrize(("source", "size"), [(7, 7), (7, 19), (19, 7), (8, 3)])
def test_resizing_keeps_constants_and_lines(source: int, size: int) -> None:
    matrix = cubic_matrix(source, size)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    if source == size:
        np.testing.assert_allclose(matrix, np.eye(source), atol=1e-12)
    line = (matrix @ np.arange(source, dtype=float)) - ((np.arange(size) + 0.5) * source / size - 0.5)
    inner = slice(size // 3, size - size // 3)
    np.testing.assert_allclose(line[inner], 0, atol=1e-9 if size >= source else 0.02)
