"""The numerics of the fast fit: gradients, descent, the gain over Richardson-Lucy, positions, the held-out view."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_recon.core.errors import Cancelled
from napari_recon.engines.deconvolution.richardson_lucy import sensitivity_weight
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.penalty import roughness
from napari_recon.engines.lightfield_inr.fast.refine import Problem, Refinement
from napari_recon.engines.lightfield_inr.fast.scene import Done, SceneFit
from napari_recon.optics.psf_convolution import PsfProjector

SIZE = (10, 26, 24)
CPU = torch.device("cpu")


@cache
def psf(offset: float = 0.0) -> NDArray[np.float32]:
    """Oblique Gaussian views (5, z, 15, 15); the second is displaced by `offset` pixels along y and -x."""
    planes, place = SIZE[0], np.arange(15) - 7.0
    directions = [(0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
    result = np.zeros((5, planes, 15, 15), np.float32)
    for view, (along_y, along_x) in enumerate(directions):
        for plane in range(planes):
            depth = plane - (planes - 1) / 2
            moved = offset if view == 1 else 0.0
            y, x = (np.exp(-((place - c) ** 2) / 2) for c in (0.8 * along_y * depth + moved, 0.8 * along_x * depth - moved))
            result[view, plane] = np.outer(y, x) / (y.sum() * x.sum())
    return result


@cache
def truth() -> NDArray[np.float32]:
    """A ball, a tube and a bead."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij")
    ball = 1 / (1 + np.exp((np.sqrt((z - 5) ** 2 + (y - 9) ** 2 + (x - 9) ** 2) - 3.5) / 0.3))
    tube = np.exp(-((z - 4) ** 2 + (y - 14 - 0.3 * x) ** 2) / 2)
    return np.maximum(0.6 * ball, tube).astype(np.float32)


def views(peak: float, offset: float = 0.0) -> NDArray[np.float32]:
    clean = (
        PsfProjector.same(torch.from_numpy(psf(offset)), SIZE[1:]).forward(torch.from_numpy(truth())).clamp_min(0).numpy()
    )
    light = clean / clean.max() * peak + 0.02 * peak
    return np.random.default_rng(1).poisson(light).astype(np.float32)


def fitted(data: NDArray[np.float32] | Counts, **options: object) -> tuple[SceneFit, Optics, list[Done]]:
    counts = data if isinstance(data, Counts) else Counts.of(data, CPU)
    optics = Optics(psf(), SIZE[1:], CPU, bool(options.get("refine_views")))
    fit = SceneFit(counts, optics, **{"penalty": 0.02, **options})  # type: ignore[arg-type]
    done = [Done(**{**each.__dict__, "volume": each.volume.clone()}) for each in fit.steps()]
    return fit, optics, done


def psnr(volume: torch.Tensor, optics: Optics) -> float:
    found, wanted = optics.inner(volume).double().numpy(), truth().astype(np.float64)
    found = found * (found * wanted).sum() / (found * found).sum()
    return float(10 * np.log10(wanted.max() ** 2 / ((found - wanted) ** 2).mean()))


def test_the_roughness_has_its_own_gradient_and_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = torch.rand(6, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    value, gradient = roughness(volume, 0.1)
    step = torch.rand(volume.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.5
    up, down = (roughness(volume + sign * 1e-5 * step, 0.1)[0] for sign in (1, -1))
    assert (up - down) / 2e-5 == pytest.approx(float((gradient * step).sum()), rel=1e-6)
    monkeypatch.setattr("napari_recon.engines.lightfield_inr.fast.penalty.BLOCK_VOXELS", 1)
    again, pieces = roughness(volume, 0.1)
    assert again == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(pieces, gradient)


def test_planes_that_change_evenly_are_not_rough() -> None:
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (5, 6, 7)), indexing="ij")
    assert roughness(2 * x + 3 * y - z, 1e-3)[0] == pytest.approx(0, abs=1e-9)
    assert roughness(x * y, 1e-9)[0] == pytest.approx(3 * 4 * 5 * 2**0.5, rel=1e-6)


def problem(data: NDArray[np.float32]) -> tuple[Problem, torch.Tensor]:
    optics, counts = Optics(psf(), SIZE[1:], CPU), Counts.of(data, CPU)
    projector = optics.projector()
    weight, seen = sensitivity_weight(projector, counts.views, lambda: None)
    start = 0.5 + torch.rand(projector.volume_shape, generator=torch.Generator().manual_seed(2))
    return Problem(projector, counts.views, counts.background, counts.read_variance, weight, 0.05, 0.01), seen * start


def test_the_objective_has_its_own_gradient_and_falls() -> None:
    stated, start = problem(views(300))
    refinement = Refinement(stated, start)
    root = start.sqrt()
    loss, gradient, _ = refinement._evaluated(root, lambda: None)
    up, down = (refinement._evaluated(root + sign * 1e-3 * gradient, lambda: None)[0] for sign in (1, -1))
    assert (up - down) / 2e-3 == pytest.approx(float(gradient.square().sum()), rel=0.02)
    losses = [refinement.step().loss for _ in range(12)]
    assert losses[0] < loss and losses == sorted(losses, reverse=True)
    assert float(refinement.volume.min()) >= 0


def test_a_cancelled_step_leaves_the_state_as_it_was() -> None:
    refinement = Refinement(*problem(views(300)))
    refinement.step()
    before, calls = refinement.volume.clone(), 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        refinement.step(check)
    torch.testing.assert_close(refinement.volume, before, rtol=0, atol=0)
    assert refinement.step_number == 1


@pytest.mark.parametrize(("peak", "gain"), [(1000.0, 0.8), (20.0, 0.6)])
def test_the_refinement_is_better_than_the_deconvolution_it_starts_from(peak: float, gain: float) -> None:
    _, optics, done = fitted(views(peak))
    start = [each for each in done if each.stage == "deconvolution"][-1]
    assert psnr(done[-1].volume, optics) > psnr(start.volume, optics) + gain
    assert done[-1].step <= 60 and done[-1].residual > 0


def test_displaced_views_are_found() -> None:
    moved = views(1000, 0.6)
    plain, _, _ = fitted(moved)
    fit, optics, _ = fitted(moved, refine_views=True)
    assert fit.offsets is not None
    known = np.zeros((5, 2))
    known[1] = 0.6, -0.6
    from napari_recon.engines.deconvolution.view_positions import remove_gauge

    left = fit.offsets - remove_gauge(torch.from_numpy(known), optics.slope_v2)
    assert float(left.square().mean().sqrt()) < 0.05
    assert fit.deviance < plain.deviance


def test_views_that_are_settled_do_not_slow_the_refinement_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was learnt of the curvature is kept while positions hardly move: the same objective in fewer steps."""
    data = views(300, 0.6)
    _, _, done = fitted(data, refine_views=True)
    monkeypatch.setattr("napari_recon.engines.lightfield_inr.fast.scene.SETTLED", 0.0)
    _, _, forgetful = fitted(data, refine_views=True, steps=done[-1].step)
    assert done[-1].loss < forgetful[-1].loss


def test_residuals_tell_a_wrong_psf_from_another_gain() -> None:
    right, _, _ = fitted(views(300), steps=30)
    gain, _, _ = fitted(3 * views(300), steps=30)
    wrong, _, _ = fitted(views(300, 1.5), steps=30)
    assert not right.unlike_noise and not right.doubtful and right.deviance < 1.2
    assert not gain.unlike_noise and not gain.doubtful and gain.deviance > 1.5
    assert wrong.unlike_noise and wrong.doubtful and wrong.deviance > 1.2


@pytest.mark.parametrize("width", [0.75, 1.5])
def test_a_psf_that_is_too_narrow_or_too_wide_is_found_and_the_right_one_left(width: float) -> None:
    data = Counts.of(views(1000), CPU)
    right, _, _ = fitted(data, find_width=True, steps=1)
    assert right.optics.width == 1.0
    given = Optics(psf(), SIZE[1:], CPU).widened(width)
    fit = SceneFit(data, Optics(given._psf.numpy(), SIZE[1:], CPU), penalty=0.02, find_width=True)
    *_, last = fit.steps()
    assert abs(fit.optics.width * width - 1) < 0.5 * abs(width - 1)
    plain = SceneFit(data, Optics(given._psf.numpy(), SIZE[1:], CPU), penalty=0.02)
    *_, other = plain.steps()
    assert psnr(last.volume, fit.optics) > psnr(other.volume, plain.optics) + 0.2


def test_a_background_that_is_taken_too_high_comes_down() -> None:
    high = replace(Counts.of(views(1000), CPU), background=60.0)
    fit, _, _ = fitted(high)
    assert fit.background < 40.0 and not fit.doubtful
    state = fit.state()
    assert state is not None and state["background"] == fit.background


def test_a_view_that_is_held_out_does_not_touch_the_fit_and_is_predicted() -> None:
    data = Counts.of(views(300), CPU)
    spoilt = replace(data, views=torch.cat([data.views[:2], data.views[2:3].flip(1), data.views[3:]]))
    (_, _, done), (_, _, other) = fitted(data, held_out=2, steps=6), fitted(spoilt, held_out=2, steps=6)
    assert all(np.isfinite(each.held_out) for each in done if each.stage == "refinement")
    torch.testing.assert_close(done[-1].volume, other[-1].volume, rtol=0, atol=0)
    assert done[-1].held_out < 0.3 * other[-1].held_out
