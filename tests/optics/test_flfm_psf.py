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
from napari_recon.optics.flfm_psf import exact_quarter, pupil_quarter, sensor_psf
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


OIL = {"na": 1.4, "medium_index": 1.518, "pixels_per_lens": 75, "pitch_um": 1000.0}
AIR = {"na": 0.4, "medium_index": 1.0, "magnification": 20.0, "fourier_um": 1.5e5, "pixels_per_lens": 75, "pitch_um": 500.0}


@pytest.mark.parametrize(("optics", "depth"), [(OIL, 3.4), (AIR, 60.0)])
def test_the_wave_in_the_pupil_is_the_transform_of_the_sampled_wave(optics: dict[str, float], depth: float) -> None:
    """In closed form and from many samples, where the sampled wave is wide enough for the steepest rays."""
    exact = FlfmMicroscope(**optics)  # type: ignore[arg-type]
    side = 16 * depth * np.tan(np.arcsin(exact.na / exact.medium_index))
    samples = int(3 * side / exact.wavelength_um * exact.medium_index) | 1
    sampled = replace(exact, samples=samples, field_um=side)
    found = pupil_quarter(sampled, -depth)
    # a pixel at the distance of these samples
    step = exact.wavelength_um * exact.objective_um * (samples - 1) / samples / side
    at_samples = replace(
        exact, fourier_um=exact.tube_um, sensor_pixels=2 * len(found) - 1, pixels_per_lens=5, pitch_um=5 * step
    )
    expected = exact_quarter(at_samples, -depth)
    place = torch.arange(len(found)) * step
    inside = torch.hypot(place[:, None], place[None, :]) < 0.97 * exact.pupil_um
    found, expected = found[inside], expected[inside]
    found = found * (torch.linalg.vecdot(found, expected) / torch.linalg.vecdot(found, found))
    assert float((found - expected).abs().square().mean().sqrt()) < 0.06  # the sampled wave ends somewhere, which shows


def test_a_view_has_the_same_light_at_every_depth() -> None:
    """In focus too, where samples of a spherical wave can only be a single spike."""
    depths = [-2.0, -0.5, 0.0, 1.0]
    exact = replace(FINER, samples=0)
    radius = exact.reach_pixels(np.array(depths))
    images = dict(sensor_psf(exact, depths, threshold=0.0))
    views = cut_views(np.stack([images[n].numpy() for n in range(4)]), exact.lens_centres.tolist(), radius)
    light = views.sum(axis=(2, 3))
    assert np.abs(light / light.mean(axis=1, keepdims=True) - 1).max() < 0.01


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
