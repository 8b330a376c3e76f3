"""compat=upstream: the authors' simulator to the grey level."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_recon.engines.sim.simulator import upstream
from napari_recon.engines.sim.simulator.upstream import Settings

STACKS = (
    "s1_noisefree",
    "s2_gauss8_shuffle_seed7",
    "s3_poisson200_seed9",
    "s4_usepsf_noisefree",
    "s5_params20230703_scale2_seed11",
)


@pytest.fixture(scope="module")
def folder(parity_dir: Path) -> Path:
    return parity_dir / "sim" / "mlsim_simulator"


def settings_of(values: dict[str, Any]) -> Settings:
    return Settings(
        angles=values["Nangles"],
        shifts=values["Nshifts"],
        otf_scale=values["PSFOTFscale"],
        mean=values["meanInten"][0],
        amplitude=values["ampInten"][0],
        alpha=values["alpha"],
        angle_error=values["angleError"],
        phase_error=tuple(map(tuple, values["phaseError"])),
        periods=values["k2"],
        shuffle=values["shuffleOrientations"],
        stripes=not values["noStripes"],
        shape={"cos": "cosine", "cos_wave": "half-rectified"}[values["func"]],  # type: ignore[arg-type]
        noise=values["NoiseLevel"],
        poisson=values["usePoissonNoise"],
        convolve=bool(values["UsePSF"]),
    )


@pytest.mark.parametrize("name", STACKS)
def test_published_stacks_are_met_to_a_grey_level(folder: Path, name: str) -> None:
    from skimage.io import imread

    values = json.loads((folder / f"{name}.json").read_text())
    settings, shape = settings_of(values), tuple(values["in_dim"])
    if "seed_before_GetParams_20230703" in values:
        random = np.random.RandomState(values["seed_before_GetParams_20230703"])
        centre = values["cli_overrides"]
        again = upstream.drawn(Settings(periods=centre["k2"]), "20230703", random, centre["k2_err"])
        assert again.phase_error == pytest.approx(np.array(settings.phase_error))
        for field in ("otf_scale", "mean", "amplitude", "alpha", "angle_error", "periods", "noise"):
            assert getattr(again, field) == pytest.approx(getattr(settings, field), rel=1e-12), field
        assert (again.shape, again.shuffle) == (settings.shape, settings.shuffle)
    else:
        random = np.random.RandomState(values["seed_before_simulation"])
    image = imread(folder / "source_rgb.png").mean(axis=2)
    raw = np.stack(list(upstream.frames(upstream.object_of(image, shape), settings, random)))
    truth = upstream.eight_bit(upstream.object_of(image, tuple(values["gt_dim"])))
    _, otf = upstream.psf_and_otf(shape, settings.otf_scale)
    pages = [upstream.eight_bit(raw), upstream.eight_bit(np.fft.fftshift(otf))[None], upstream.quadrants(truth, shape)]
    found, expected = np.concatenate(pages).astype(int), np.load(folder / f"{name}.npz")["stack"].astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 1e-3


def test_psf_and_otf_are_the_published_ones(folder: Path) -> None:
    published = np.load(folder / "psf_otf_w128_scale0p9.npz")
    for name, found in zip(("PSF", "OTF"), upstream.psf_and_otf((128, 128), 0.9), strict=True):
        key = next(k for k in published if name in k.upper())
        assert np.abs(np.fft.fftshift(found) - published[key]).max() < 1e-5


@pytest.mark.parametrize("draws", ["default", "20230703", "notebook"])
def test_drawn_parameters_follow_the_seed_and_stay_in_their_ranges(draws: Any) -> None:
    made = [upstream.drawn(Settings(), draws, np.random.RandomState(seed)) for seed in range(50)]
    assert made[3] == upstream.drawn(Settings(), draws, np.random.RandomState(3)) != made[4]
    wide = 0.33 if draws == "notebook" else 0.15
    assert 0.8 * wide * np.pi / 2 < max(abs(s.alpha) for s in made) <= wide * np.pi / 2
    assert all(4 <= s.noise <= 12 and abs(s.periods - 130) <= 7.5 for s in made)
    assert all(np.array(s.phase_error).shape == (3, 3) for s in made)


def test_any_rectangle_works_and_a_stack_without_stripes_has_equal_frames() -> None:
    light = np.random.default_rng(0).random((31, 44))
    made = list(upstream.frames(light, Settings(stripes=False, noise=0), np.random.RandomState(0)))
    assert len(made) == 9 and made[0].shape == (31, 44)
    assert np.ptp(made, axis=0).max() < 1e-12
    noisy = list(upstream.frames(light, Settings(noise=8), np.random.RandomState(0)))
    assert np.ptp(noisy, axis=0).max() > 0.01 and 0 <= np.min(noisy) and np.max(noisy) <= 1
    assert upstream.eight_bit(np.full((4, 4), 7.0)).max() == 0
