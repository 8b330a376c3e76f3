"""PSFs of a microlens-array light field: the Debye integral, light, shifts, and their use in a projector."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import j0

from napari_recon.core.errors import InputError
from napari_recon.optics.lfm_microscope import LfmMicroscope
from napari_recon.optics.lfm_psf import _pupil, lfm_psf
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS, centre_of_mass_shift, geometric_psf_shift
from napari_recon.optics.psf_projector import normalised_psf, projector_from_psf

MICROSCOPES = {
    "oil": LfmMicroscope(),
    "water": LfmMicroscope(na=1.05, magnification=20, medium_index=1.33, pitch_um=56, nnum=15),
    "air": LfmMicroscope(na=0.5, magnification=20, medium_index=1.0, pitch_um=125, nnum=15),
}
DEPTHS = np.array([-2.0, 0.0, 1.0, 2.0])


@cache
def _psf(name: str) -> np.ndarray:
    microscope = MICROSCOPES[name]
    pages = microscope.pages("selected")
    radius = microscope.reach_pixels(pages, DEPTHS)
    return np.stack([i.numpy() for _, i in lfm_psf(microscope, pages, DEPTHS.tolist(), radius)], axis=1)


@pytest.mark.parametrize("depth", [-1.5, 0.0, 2.0])
def test_the_wave_is_the_debye_integral(depth: float) -> None:
    """The transform over spatial frequencies equals the integral over angles, along x and up to one factor."""
    m = MICROSCOPES["water"]
    samples, step = 768, 0.1
    frequency = torch.fft.fftfreq(samples, step, dtype=torch.float64)
    amplitude, height = _pupil(m, frequency[:, None] ** 2 + frequency[None, :] ** 2, m.na)
    wave = torch.fft.ifft2(amplitude * torch.exp(2j * np.pi * depth * height)).numpy()[0]
    k = 2 * np.pi * m.medium_index / m.wavelength_um
    half_angle = np.arcsin(m.na / m.medium_index)

    def debye(radius: float) -> complex:
        def part(theta: float, function: object) -> float:
            value = np.sqrt(np.cos(theta)) * j0(k * radius * np.sin(theta)) * np.sin(theta)
            return float(value * function(k * depth * np.cos(theta)))  # type: ignore[operator]

        return complex(*(quad(part, 0, half_angle, args=(f,), limit=400)[0] for f in (np.cos, np.sin)))

    expected = np.array([debye(x * step) for x in range(0, 20)])
    found = wave[:20] * (np.vdot(wave[:20], expected) / np.vdot(wave[:20], wave[:20]))
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


@pytest.mark.parametrize("name", MICROSCOPES)
def test_every_plane_of_a_view_has_the_same_light(name: str) -> None:
    light = _psf(name).sum(axis=(2, 3))
    assert np.abs(light / light.mean(axis=1, keepdims=True) - 1).max() < 0.01
    assert np.abs(light.sum(axis=0) / light.sum(axis=0).mean() - 1).max() < 3e-3


def test_the_views_share_the_light() -> None:
    """All pages together hold nearly all the light; the rest is diffracted beyond the pixels of a lens."""
    m = MICROSCOPES["air"]
    pages = m.pages("all")
    ((_, image),) = lfm_psf(m, pages, [0.0], 60)
    assert 0.9 < float(image.sum()) < 1.0


@pytest.mark.parametrize("name", MICROSCOPES)
def test_views_move_as_ray_optics_says(name: str) -> None:
    m = MICROSCOPES[name]
    pages = m.pages("selected")
    expected = m.view_shift(pages, DEPTHS)
    found = centre_of_mass_shift(_psf(name))
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize(
    "microscope",
    [
        LfmMicroscope(na=0.8, magnification=25, medium_index=1.33, pitch_um=100, nnum=9),
        LfmMicroscope(na=1.0, magnification=40, medium_index=1.33, pitch_um=100, nnum=7),
    ],
)
def test_so_do_views_that_the_pupil_cuts(microscope: LfmMicroscope) -> None:
    """A hard edge diffracts far, so that their PSFs are larger: in the window that all others need they would be 3 % off."""
    pages, depths = microscope.pages("selected"), np.array([-6.0, 1.5])
    assert microscope.cut_by_pupil(pages) and not MICROSCOPES["oil"].cut_by_pupil(VIEW_ORDERS[13])
    radius, expected = microscope.reach_pixels(pages, depths), microscope.view_shift(pages, depths)
    psf = np.stack([i.numpy() for _, i in lfm_psf(microscope, pages, depths.tolist(), radius)], axis=1)
    assert np.abs(centre_of_mass_shift(psf) - expected).max() < 0.02 * np.abs(expected).max()


def test_as_many_directions_are_summed_as_a_lens_tells_apart() -> None:
    coarse = LfmMicroscope(na=0.8, magnification=25, medium_index=1.33, pitch_um=100, nnum=5)
    assert coarse.directions_per_pixel == 3 and MICROSCOPES["oil"].directions_per_pixel == 2
    pages = coarse.pages("selected")[:8]
    chosen, many = (dict(lfm_psf(coarse, pages, [2.0], 20, subsamples=n))[0] for n in (0, 8))
    two = dict(lfm_psf(coarse, pages, [2.0], 20, subsamples=2))[0]
    assert float((chosen - many).abs().max()) < 0.5 * float((two - many).abs().max())


def test_shifts_agree_with_the_published_table() -> None:
    """Signs and order are those of psf_shift tables; single rays differ from the bundle a pixel takes by 3 %."""
    m = MICROSCOPES["oil"]
    table = geometric_psf_shift(13, 5, 1.0, 63.0, 1.4, 100.0, VIEW_ORDERS[13], m.medium_index)
    ours = m.view_shift(VIEW_ORDERS[13], (np.arange(5) - 2.0))
    assert np.linalg.norm(ours - table) < 0.04 * np.linalg.norm(table)


def test_more_samples_of_a_pixel_change_nothing() -> None:
    m = MICROSCOPES["water"]
    pages = m.pages("selected")[:9]
    two, four = (dict(lfm_psf(m, pages, [1.0], 30, subsamples=n))[0] for n in (2, 4))
    assert float((two - four).abs().max()) < 0.02 * float(four.max())
    assert float(two.sum()) == pytest.approx(float(four.sum()), rel=5e-3)


def test_they_make_a_projector_with_an_exact_transpose() -> None:
    psf = normalised_psf(torch.from_numpy(_psf("oil")))
    projector = projector_from_psf(psf, (9, 8), upsampling=13 / 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    volume = torch.rand(projector.grid.shape, generator=generator, dtype=torch.float64)
    views = torch.rand(projector.views_shape, generator=generator, dtype=torch.float64)
    left, right = (projector.forward(volume) * views).sum(), (volume * projector.adjoint(views)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-11)


@pytest.mark.parametrize(
    ("change", "message"), [({"nnum": 12}, "nnum should be odd"), ({"na": 1.6}, "below the medium's index")]
)
def test_parts_that_do_not_fit_are_one_sentence(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LfmMicroscope(**change)  # type: ignore[arg-type]
