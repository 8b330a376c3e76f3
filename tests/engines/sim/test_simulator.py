"""The simulated microscope: its physics, its noise, and that every example has a random generator of its own."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.engines.sim.simulator.camera import Camera, as_counts, photon_scale
from napari_recon.engines.sim.simulator.examples import Ranges, make_example
from napari_recon.engines.sim.simulator.imaging import ABERRATIONS, Field, Imaging, aperture_transfer, objective_transfer
from napari_recon.engines.sim.simulator.objects import KINDS, random_field, random_scene, splat
from napari_recon.engines.sim.simulator.patterns import SHAPES, THREE_BEAM, Errors, hexagonal, stripes, uniform

CUTOFF = 4.5
PIXEL = 0.1


def _light(field: Field, seed: int = 0) -> np.ndarray:
    return random_scene(np.random.default_rng(seed), field.fine_yx, ("filaments", "dots")).draw()


@given(st.integers(9, 40), st.integers(9, 40), st.integers(0, 9), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_any_size_works_and_uniform_light_keeps_its_value(y: int, x: int, margin: int, seed: int) -> None:
    field = Field((y, x), margin, PIXEL)
    imaging = Imaging(field, CUTOFF)
    seen = imaging.camera(np.full(field.fine_yx, 3.0, np.float32))
    assert seen.shape == (y, x) and np.allclose(seen, 3.0, atol=1e-5)
    truth = imaging.resolved(_light(field, seed), 2 * CUTOFF)
    assert truth.shape == (2 * y, 2 * x) and truth.dtype == np.float32


def test_a_point_appears_where_it_lies_and_a_fine_pixel_is_half_a_camera_pixel() -> None:
    field = Field((31, 40), 6, PIXEL)
    light = np.zeros(field.fine_yx, np.float32)
    light[2 * (6 + 11), 2 * (6 + 23)] = 1
    imaging = Imaging(field, CUTOFF)
    seen, truth = imaging.camera(light), imaging.resolved(light, 2 * CUTOFF)
    assert np.unravel_index(seen.argmax(), seen.shape) == (11, 23)
    assert np.unravel_index(truth.argmax(), truth.shape) == (22, 46)
    assert seen[11, 22] == pytest.approx(seen[11, 24], rel=1e-4)
    assert field.positions_um(0)[2 * (6 + 15)] == field.positions_um(1)[2 * (6 + 20)] == 0


def test_a_frame_is_the_image_of_the_object_times_its_pattern() -> None:
    field = Field((33, 28), 8, PIXEL)
    imaging, light = Imaging(field, CUTOFF), _light(field)
    errors = Errors(2, 20, 0.1)
    y, x = np.meshgrid(field.positions_um(0), field.positions_um(1), indexing="ij")
    made = [
        stripes(np.random.default_rng(1), k_per_um=3.9, angles=2, phases=5, series=THREE_BEAM, errors=errors),
        stripes(np.random.default_rng(2), k_per_um=1.9, angles=3, phases=3, series=SHAPES["square"], limit_per_um=6),
        hexagonal(np.random.default_rng(3), k_per_um=3.9, errors=errors),
    ]
    for illumination in made:
        frames = illumination.frames(light, imaging)
        assert frames.shape == (len(illumination.gains), 33, 28)
        for group in illumination.groups:
            for place, frame in enumerate(group.frames):
                pattern = np.ones_like(light)
                for c in group.carriers:
                    turn = 2 * math.pi * (c.k_per_um[0] * x + c.k_per_um[1] * y) + c.phases_rad[place]
                    pattern += (c.modulation * np.cos(turn)).astype(np.float32)
                expected = illumination.gains[frame] * imaging.camera(pattern * light)
                np.testing.assert_allclose(frames[frame], expected, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_series_of_a_shape_is_that_shape(shape: str) -> None:
    turn = np.linspace(0, 2 * math.pi, 2000, endpoint=False)
    cosine = np.cos(turn)
    wanted = {
        "cosine": 1 + cosine,
        "half-rectified": np.maximum(cosine, 0) * math.pi,
        "square": 2.0 * (cosine > 0),
        "third": 3.0 * (cosine > 0.5),
    }[shape]
    series = 1 + sum(a * np.cos(h * turn) for h, a in SHAPES[shape].items())
    assert np.corrcoef(series, wanted)[0, 1] > 0.95
    assert 2 * (wanted * cosine).mean() == pytest.approx(SHAPES[shape][1], abs=2e-3)


def test_patterns_stay_positive_at_full_modulation_and_frames_of_a_group_average_to_wide_field() -> None:
    field = Field((32, 32), 8, PIXEL)
    imaging, flat = Imaging(field, 8.0), np.ones(field.fine_yx, np.float32)
    rng = np.random.default_rng(0)
    for made in (
        stripes(rng, k_per_um=3.0, angles=3, phases=4, modulation=1),
        stripes(rng, k_per_um=3.0, angles=1, phases=5, modulation=1, series=THREE_BEAM),
        hexagonal(rng, k_per_um=3.0, modulation=1),
    ):
        frames = made.frames(flat, imaging)
        assert frames.min() > -1e-3 and frames.std() > 0.2
        for group in made.groups:
            assert np.allclose(frames[list(group.frames)].mean(axis=0), 1, atol=1e-4)
    assert np.ptp(uniform(3, 3, rng).frames(_light(field), imaging), axis=0).max() == 0


def test_directions_and_steps_are_what_was_asked_and_errors_are_bounded() -> None:
    exact = stripes(np.random.default_rng(0), k_per_um=3.0, angles=3, phases=5, start_deg=20)
    angles = [math.degrees(math.atan2(*g.carriers[0].k_per_um[::-1])) for g in exact.groups]
    assert angles == pytest.approx([20, 80, 140])
    assert all(step == pytest.approx(72) for g in exact.groups for step in g.carriers[0].phase_steps_deg)
    assert exact.reach_per_um == pytest.approx(3.0) and exact.gains == (1.0,) * 15
    wrong = stripes(np.random.default_rng(0), k_per_um=3.0, angles=3, phases=5, errors=Errors(2, 10, 0.1))
    steps = np.array([g.carriers[0].phase_steps_deg for g in wrong.groups]) - 72
    assert 1 < np.abs(steps).max() <= 20 and 0.02 < np.std(wrong.gains) < 0.25


def test_the_aperture_transfer_is_the_autocorrelation_of_a_disc() -> None:
    q = np.array([0.0, 0.25, 0.5, 1.0, 1.5])
    assert aperture_transfer(q) == pytest.approx([1, 0.6850, 0.3910, 0, 0], abs=1e-4)


@pytest.mark.parametrize("name", ABERRATIONS)
def test_aberrations_only_lose_contrast(name: str) -> None:
    ideal = objective_transfer((64, 60), PIXEL, CUTOFF)
    slightly, more = (objective_transfer((64, 60), PIXEL, CUTOFF, {name: waves}) for waves in (1e-4, 0.08))
    assert np.abs(slightly - ideal).max() < 2e-3
    assert (np.abs(more) <= ideal + 1e-3).all() and np.abs(more).sum() < 0.95 * ideal.sum()
    assert more[0, 0] == pytest.approx(1, abs=1e-3)


def test_small_defocus_loses_what_marechal_says() -> None:
    transfer = objective_transfer((256, 256), 0.05, CUTOFF, {"defocus": 0.06})
    ideal = objective_transfer((256, 256), 0.05, CUTOFF)
    peak = [np.fft.irfft2(t, s=(256, 256))[0, 0] for t in (transfer, ideal)]
    assert peak[0] / peak[1] == pytest.approx(math.exp(-((2 * math.pi * 0.06) ** 2)), abs=0.01)


def test_the_camera_has_gain_offset_photon_and_read_noise() -> None:
    photons = np.full((300, 300), 50.0, np.float32)
    exact = Camera(2.0, 0.0, 100.0, photon_noise=False).record(photons, np.random.default_rng(0))
    assert (exact == 200).all()
    noisy = Camera(2.0, 5.0, 100.0).record(photons, np.random.default_rng(0)).astype(float)
    assert noisy.mean() == pytest.approx(200, abs=0.5) and noisy.var() == pytest.approx(4 * 50 + 25, rel=0.03)
    assert as_counts(np.array([-3.0, 2.6, 1e6], np.float32)).tolist() == [0, 3, 65535]
    assert photon_scale(np.linspace(0, 2, 101), 99.0) == pytest.approx(50.0)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_splatting_keeps_light_and_place(y: float, x: float) -> None:
    image = splat(np.array([[y, x]]), np.array([2.0]), (20, 24))
    assert image.sum() == pytest.approx(2, rel=1e-5)
    turn_y, turn_x = 2j * math.pi * np.arange(20) / 20, 2j * math.pi * np.arange(24) / 24
    found = np.angle((image.sum(1) * np.exp(turn_y)).sum()), np.angle((image.sum(0) * np.exp(turn_x)).sum())
    for at, size, angle in ((y, 20, found[0]), (x, 24, found[1])):
        assert math.cos(angle - 2 * math.pi * at / size) > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_object_has_structure_and_drifts(kind: str) -> None:
    scene = random_scene(np.random.default_rng(3), (64, 90), (kind,), speed=2.0)
    first, again, later = scene.draw(), scene.draw(), scene.draw(4.0)
    assert first.shape == (64, 90) and first.dtype == np.float32 and (first >= 0).all()
    assert first.std() > 0.01 and np.array_equal(first, again)
    assert np.abs(later - first).max() > 0.1 * first.max()
    assert later.sum() == pytest.approx(first.sum(), rel=0.05)
    more = random_scene(np.random.default_rng(3), (64, 90), (kind,), density=8.0).draw()
    assert not np.array_equal(more, first)


def test_random_fields_are_normalised() -> None:
    field = random_field(np.random.default_rng(0), (60, 50), 20)
    assert field.mean() == pytest.approx(0, abs=1e-4) and field.std() == pytest.approx(1, abs=1e-4)


def test_an_example_is_the_same_in_every_process_and_no_two_are_alike() -> None:
    indices = [0, 1, 2, 3]
    here = [make_example(7, i, (24, 30)) for i in indices]
    with ProcessPoolExecutor(2) as workers:
        there = list(workers.map(make_example, [7] * 4, indices, [(24, 30)] * 4))
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a.raw, b.raw)
        np.testing.assert_array_equal(a.truth, b.truth)
        assert a.calibration == b.calibration
    carriers = {e.calibration.groups[0].carriers[0].k_per_um for e in [*here, make_example(8, 0, (24, 30))]}
    assert len(carriers) == 5


@given(st.integers(0, 200))
@settings(max_examples=20, deadline=None)
def test_examples_stay_within_their_ranges(index: int) -> None:
    ranges = Ranges(angles=2, phases=5, period=(0.5, 0.6), modulation=(0.7, 0.8), angle_error_deg=1)
    example = make_example(1, index, (25, 32), ranges)
    assert example.raw.shape == (10, 25, 32) and example.truth.shape == (50, 64)
    assert np.isfinite(example.raw).all() and np.isfinite(example.truth).all() and example.truth.std() > 0
    found = example.calibration
    for group in found.groups:
        (carrier,) = group.carriers
        assert 0.499 < carrier.k_magnitude_per_um / found.cutoff_per_um < 0.601
        assert 0.7 <= carrier.modulation <= 0.8
    assert max(found.pixel_um) <= 0.525 / (4 * 1.2) * 1.0001
    assert found.frames == 10 and len(found.gains) == 10


def test_raw_and_truth_have_one_scale() -> None:
    ranges = Ranges(background=(0, 0), photons=(5000, 5000), read_noise=(0.1, 0.1), intensity_jitter=0)
    for index in range(4):
        example = make_example(3, index, (64, 64), ranges)
        assert example.raw.mean() == pytest.approx(example.truth.mean(), rel=0.03)


def test_simulator_and_reconstruction_have_one_transfer_function() -> None:
    torch = pytest.importorskip("torch")
    from napari_recon.engines.sim.classical.otf import CircularOtf

    q = np.linspace(0, 1.2, 50)
    other = CircularOtf(CUTOFF)(torch.from_numpy(q * CUTOFF), torch.zeros(50, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(aperture_transfer(q), other, atol=1e-6)
