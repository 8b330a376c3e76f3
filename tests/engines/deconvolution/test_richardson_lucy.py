"""The iteration itself, on small light fields."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_recon.engines.deconvolution.richardson_lucy import (
    AutomaticStop,
    Estimate,
    acceleration,
    flat_start,
    richardson_lucy,
    sensitivity_weight,
)
from napari_recon.engines.deconvolution.start import prepared, refocused
from napari_recon.optics.lightfield_projector import FourierProjector, projector_from_shift
from tests.engines.deconvolution.scenes import S, beads, psf_shift, views_of

FIELD = (24, 27)


def _nothing() -> None:
    return None


@pytest.fixture(scope="module")
def scene() -> tuple[FourierProjector, torch.Tensor, torch.Tensor]:
    truth = beads(FIELD)
    projector = projector_from_shift(torch.from_numpy(psf_shift()), FIELD, upsampling=S, voxels_per_pixel=2.0)
    return projector, torch.from_numpy(views_of(truth, FIELD)), truth


def _iterate(projector: FourierProjector, data: torch.Tensor, count: int, **options: object) -> list[Estimate]:
    weight, seen = sensitivity_weight(projector, data, _nothing)
    start = options.pop("start", None)
    found = []
    for estimate in richardson_lucy(
        projector,
        data,
        background=1.2,
        iterations=count,
        weight=weight,
        start=flat_start(data, 1.2, seen) if start is None else start,
        **options,  # type: ignore[arg-type]
    ):
        found.append(Estimate(estimate.iteration, estimate.volume.clone(), estimate.deviance))
    return found


def test_the_deviance_falls_to_the_noise(scene: tuple[FourierProjector, torch.Tensor, torch.Tensor]) -> None:
    found = _iterate(*scene[:2], 16)
    deviances = [estimate.deviance for estimate in found]
    assert all(later < 1.02 * earlier for earlier, later in pairwise(deviances))
    assert deviances[-1] < 1.3 < 10 < deviances[0]
    assert all(float(estimate.volume.min()) >= 0 for estimate in found)


def test_the_estimate_approaches_the_truth(scene: tuple[FourierProjector, torch.Tensor, torch.Tensor]) -> None:
    projector, data, truth = scene
    expected = projector.grid.average(truth)
    found = [
        float(torch.corrcoef(torch.stack([e.volume.ravel(), expected.ravel()]))[0, 1]) for e in _iterate(projector, data, 20)
    ]
    assert found[-1] > 0.97 and found[-1] > found[4] + 0.05
    assert found == sorted(found)


def test_acceleration_saves_iterations(scene: tuple[FourierProjector, torch.Tensor, torch.Tensor]) -> None:
    projector, data, _ = scene
    fast = _iterate(projector, data, 12)[-1].deviance
    weight, seen = sensitivity_weight(projector, data, _nothing)
    volume = flat_start(data, 1.2, seen)
    for _ in range(11):
        model = projector.forward(volume).clamp_min(0) + 1.2
        volume = volume * (projector.adjoint(data / model) * weight).clamp_min(0)
    model = projector.forward(volume).clamp_min(0) + 1.2
    plain = float(((data - model) ** 2 / (model + 5)).mean())
    assert fast < 0.8 * plain


def test_light_is_kept(scene: tuple[FourierProjector, torch.Tensor, torch.Tensor]) -> None:
    projector, data, truth = scene
    volume = _iterate(projector, data, 20)[-1].volume
    assert float(volume.sum()) / 4 == pytest.approx(float(truth.sum()) / S**2, rel=0.05)


@pytest.mark.parametrize("factor", [1e-3, 100.0])
def test_the_result_scales_with_the_data(scene: tuple[FourierProjector, torch.Tensor, torch.Tensor], factor: float) -> None:
    projector, data, _ = scene
    weight, seen = sensitivity_weight(projector, data, _nothing)
    volumes = []
    for scale in (1.0, factor):
        start = flat_start(data * scale, 1.2 * scale, seen)
        *_, last = richardson_lucy(projector, data * scale, background=1.2 * scale, iterations=6, weight=weight, start=start)
        volumes.append(last.volume / scale)
    assert torch.allclose(volumes[0], volumes[1], rtol=2e-3, atol=1e-3 * float(volumes[0].max()))


@pytest.mark.parametrize(("plane", "row", "column"), [(10, 52, 58), (4, 40, 70), (17, 61, 45)])
def test_a_point_is_found_where_it_is(plane: int, row: int, column: int) -> None:
    truth = torch.zeros(21, 104, 117)
    truth[plane, row, column] = 20_000.0
    projector = projector_from_shift(torch.from_numpy(psf_shift()), FIELD, upsampling=S, voxels_per_pixel=3.0)
    volume = _iterate(projector, torch.from_numpy(views_of(truth, FIELD)), 30)[-1].volume
    bright = (volume - volume.max() / 2).clamp_min(0)
    y, x = projector.grid.centres(0), projector.grid.centres(1)
    found = [
        float((bright.sum(dim=others).double() * place).sum() / bright.sum())
        for others, place in (((1, 2), torch.arange(21.0).double()), ((0, 2), y), ((0, 1), x))
    ]
    assert found[0] == pytest.approx(plane, abs=1.0)
    assert found[1] == pytest.approx((row + 0.5) / S, abs=0.12)  # half a fine voxel
    assert found[2] == pytest.approx((column + 0.5) / S, abs=0.12)


def test_automatic_stop_at_the_noise_and_on_stagnation() -> None:
    def ends(deviances: list[float], beyond: float = 1.0) -> int:
        stop = AutomaticStop(beyond=beyond)
        for number, deviance in enumerate(deviances, 1):
            if stop(Estimate(number, torch.zeros(1), deviance)):
                return number
        return 0

    assert ends([9, 4, 2, 1.2, 1.09, 1.0]) == 5
    assert ends([9.0] + [3.0] * 20) == 8
    assert ends([1000 * 0.9**n for n in range(30)]) == 0
    assert ends([9, 4, 2, 1.05] + [1.0] * 9, beyond=2.0) == 8


def test_the_iteration_stops_when_told(scene: tuple[FourierProjector, torch.Tensor, torch.Tensor]) -> None:
    projector, data, _ = scene
    found = _iterate(projector, data, 30, stop=lambda estimate: estimate.iteration == 3)
    assert [estimate.iteration for estimate in found] == [1, 2, 3]


def test_acceleration_is_bounded() -> None:
    assert acceleration(5.0, 2.0) == 1.0 and acceleration(-1.0, 2.0) == 0.0
    assert acceleration(1.0, 0.0) == 0.0 and acceleration(1.0, 2.0) == 0.5


@pytest.mark.parametrize("kind", ["refocus", "file"])
def test_better_starts_are_ahead_of_flat(scene: tuple[FourierProjector, torch.Tensor, torch.Tensor], kind: str) -> None:
    projector, data, truth = scene
    _, seen = sensitivity_weight(projector, data, _nothing)
    if kind == "file":
        volume = projector.grid.average(truth)
    else:
        volume = refocused(data, torch.from_numpy(psf_shift()).double(), projector.grid, 1.2, _nothing)
    start = prepared(volume, seen, projector, data, 1.2, _nothing)
    assert float(start[seen].min()) > 0 and not float(start[~seen].sum())
    assert float(projector.forward(start).sum()) == pytest.approx(float((data - 1.2).sum()), rel=1e-3)
    assert _iterate(projector, data, 4, start=start)[-1].deviance < 0.8 * _iterate(projector, data, 4)[-1].deviance


def test_nothing_changes_the_data(scene: tuple[FourierProjector, torch.Tensor, torch.Tensor]) -> None:
    projector, data, _ = scene
    before = data.clone()
    weight, seen = sensitivity_weight(projector, data, _nothing)
    start = flat_start(data, 1.2, seen)
    kept = start.clone()
    list(richardson_lucy(projector, data, background=1.2, iterations=3, weight=weight, start=start))
    assert torch.equal(before, data) and torch.equal(start, kept)
    assert np.isfinite(float(weight.max()))
