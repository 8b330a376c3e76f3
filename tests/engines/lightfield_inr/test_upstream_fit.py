"""The published fit without recorded runs: blocks, drawing, stages, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.engines.lightfield_inr.field import Encoding, Layers
from napari_recon.engines.lightfield_inr.network import FieldNetwork
from napari_recon.engines.lightfield_inr.upstream.fit import Fitter, Scene
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings, layers_of_flags, trained_with
from napari_recon.engines.lightfield_inr.upstream.stage import Centres, Stage, Targets, line_psf
from napari_recon.optics.psf_convolution import PsfProjector

from .scenes import psf, views

ENCODING = Encoding(encoder="positional", octaves=3)
LAYERS = Layers(depth=2, width=16, encoded=21)
SMALL = FitSettings(
    coarse_steps=3, random_steps=8, steps=12, steps_per_frame=4, map_every=2, block=9, bounds=(), rate=2e-3, similarity=0.1
)


def scene(seed: int = 0) -> Scene:
    seen = views(seed)
    return Scene(Targets(seen / seen.max(), psf()))


def fitter(seed: int = 0, settings: FitSettings = SMALL) -> Fitter:
    torch.manual_seed(0)
    return Fitter(FieldNetwork(LAYERS, ENCODING), settings, seed=seed)


@given(st.integers(0, 20), st.integers(0, 22), st.sampled_from([3, 5, 9]))
@settings(max_examples=30, deadline=None)
def test_a_block_is_the_crop_of_the_whole_projection(y: int, x: int, block: int) -> None:
    """Wherever it lies, its zeros outside the lattice included."""
    radius = block // 2
    y, x = min(max(y, radius), 20 - radius), min(max(x, radius), 22 - radius)
    volume = torch.rand(3, 21, 23, generator=torch.Generator().manual_seed(1))
    whole = PsfProjector.same(psf(), (21, 23)).forward(volume)
    stage = Stage(Targets(whole, psf()), block, (3, 21, 23))
    part = stage.part((y, x))
    found, _ = stage.views(volume[:, part.rows, part.columns], part)
    torch.testing.assert_close(found, stage.pixels(stage.targets, (y, x)), rtol=0, atol=1e-5)


def test_centres_are_uniform_and_inside() -> None:
    rng = np.random.RandomState(0)
    drawn = np.array([Centres((21, 30), 9).draw(rng) for _ in range(600)])
    assert drawn.min(axis=0).tolist() == [4, 4] and drawn.max(axis=0).tolist() == [16, 25]
    three = {Centres((21, 30), 9, (4, 16)).draw(rng) for _ in range(200)}
    assert three == {(a, b) for a in (4, 10, 16) for b in (4, 10, 16)}
    with pytest.raises(InputError, match="centres from 2 to 16"):
        Centres((21, 30), 9, (2, 16))
    with pytest.raises(InputError, match="odd and at most"):
        Stage(scene().targets, 8, (3, 21, 21))


def test_the_published_numbers_of_settings() -> None:
    made = FitSettings(block=181, bounds=(90, 317), coarse_factor=2)
    assert made.coarse_block == 91
    assert {*np.floor(np.linspace(90, 317, 3)).astype(int)} == {90, 203, 317}
    assert made.rate_after(1) == 5e-4 and made.rate_after(250_001) == pytest.approx(5e-5)
    assert [trained_with("relu", start) for start in (0, 499, 500)] == ["leakyrelu", "leakyrelu", "relu"]
    assert FitSettings.of_flags({"add_ssim_loss": True, "ssim_loss_weight": 0.1}).similarity == 0.1
    assert FitSettings.of_flags({"ssim_loss_weight": 0.1}).similarity == 0
    assert layers_of_flags({"netdepth": 4, "netwidth": 32, "skips": [2]}, ENCODING).skips == (2,)
    with pytest.raises(InputError, match="skips should be below"):
        layers_of_flags({"netdepth": 4, "skips": [3]}, ENCODING)


def test_a_run_goes_through_its_stages_and_repeats() -> None:
    first, again = (list(fitter().first_scene(scene())) for _ in range(2))
    assert [done.step for done in first] == list(range(1, 13))
    assert first == again
    assert first != list(fitter(seed=1).first_scene(scene()))
    assert all(2 <= c <= 7 for done in first[:3] for c in done.centre_yx), "coarse centres"
    assert all(4 <= c <= 16 for done in first[3:] for c in done.centre_yx)


def test_little_memory_changes_nothing_but_rounding() -> None:
    small = fitter()
    thrifty = Fitter(fitter().network, SMALL, points_at_once=100)
    for one, other in zip(small.first_scene(scene()), thrifty.first_scene(scene()), strict=True):
        assert one.centre_yx == other.centre_yx and one.loss == pytest.approx(other.loss, rel=1e-4)


def test_it_learns_and_the_next_scene_starts_where_it_ended() -> None:
    long = SMALL.model_copy(update={"coarse_steps": 0, "random_steps": 150, "steps": 150, "amplitude": 0.01, "block": 21})
    one = fitter(settings=long)
    losses = [done.loss for done in one.first_scene(scene())]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    follow = [done.loss for done in one.next_scene(scene())]
    assert follow[0] < 1.1 * losses[-1]
    assert one.optimiser.state_dict()["state"][0]["step"] == 150 + SMALL.steps_per_frame


def test_the_error_map_draws_where_the_prediction_fails() -> None:
    one = fitter()
    with torch.no_grad():
        one.network.output_linear.weight.zero_()
        one.network.output_linear.bias.zero_()
    found = one.error_map(scene(), "relu")
    assert found.shape == (21, 21) and float(found.sum()) == pytest.approx(1, abs=1e-5)
    bright = scene().targets.views[3] > 0.3
    assert found[bright].mean() > 2 * found[~bright].mean()


def test_other_views_for_the_similarity() -> None:
    plain, other = scene(), scene(1)
    both = Scene(plain.targets, other.targets)
    stage = Stage(both.targets, 21, (3, 21, 21), 1, both.similar)
    one = fitter()
    part = stage.part((10, 10))
    volume = torch.rand(3, 21, 21)
    plainly, seen = stage.views(volume, part)
    assert seen is not None
    loss = one._loss(stage, volume, part, (10, 10), penalised=False)
    from napari_recon.engines.lightfield_inr.upstream.losses import dissimilarity

    expected = F.mse_loss(plainly, plain.targets.views) + 0.1 * dissimilarity(seen, other.targets.views)
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert len(list(fitter().first_scene(both))) == 12


def test_the_path_of_a_psf_is_a_straight_line() -> None:
    broad = torch.zeros(1, 20, 31, 31)
    for plane in range(20):
        broad[0, plane, 5 + plane, 15] = 1.0
    broad = F.avg_pool2d(F.pad(broad[0], (1, 1, 1, 1)), 3, 1)[None]
    line = line_psf(broad)
    assert float(line.sum()) == pytest.approx(1) and int((line > 0).sum()) == 20
    rows = line[0].sum(dim=-1).argmax(dim=-1)
    assert (rows.diff() == 1).all()
