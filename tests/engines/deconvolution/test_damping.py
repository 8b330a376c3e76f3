"""The mean of an early and a late estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.engines.deconvolution.damping import EARLY, WEIGHTS, Snapshots, damped, early_iteration
from napari_recon.engines.deconvolution.richardson_lucy import AutomaticStop, Estimate


class Same:
    """A projector that shows the volume as it is."""

    def forward(self, volume: torch.Tensor, check: Callable[[], None] = lambda: None, /) -> torch.Tensor:
        check()
        return volume

    def adjoint_planes(self, data: torch.Tensor, check: Callable[[], None] = lambda: None, /) -> Iterator[object]:
        raise NotImplementedError


def _mix(weight: float | None, target: float = 1.1, light: float | None = None) -> tuple[torch.Tensor, float, float]:
    early, late = torch.tensor([[40.0, 40.0]]), torch.tensor([[10.0, 90.0]])
    data = torch.tensor([[10.0, 90.0]])
    return damped(  # type: ignore[arg-type]
        Same(), data, 0.0, early, late, weight=weight, light=light, target=target, check=lambda: None
    )


@given(st.integers(1, 2000))
def test_the_early_estimate_is_early(iterations: int) -> None:
    early = early_iteration(iterations)
    assert 1 <= early <= max(1, EARLY * iterations) and 2 * early > EARLY * iterations - 1
    assert early_iteration(iterations + 1) >= early


@given(explained=st.integers(1, 60), beyond=st.sampled_from([1.0, 1.5, 2.0]))
def test_few_estimates_are_kept_and_the_needed_one_is_among_them(explained: int, beyond: float) -> None:
    stop = AutomaticStop(beyond=beyond)
    snapshots = Snapshots(stop.earliest_end)
    for iteration in range(1, 200):
        snapshots.keep(iteration, torch.full((1,), float(iteration)))
        assert len(snapshots._kept) <= 6
        if stop(Estimate(iteration, torch.zeros(1), 1.0 if iteration >= explained else 1e6 * 0.9**iteration)):
            break
    assert iteration == round(beyond * explained)
    assert float(snapshots.early(iteration)) == early_iteration(iteration)


def test_the_mean_is_geometric_and_keeps_the_light() -> None:
    volume, weight, factor = _mix(0.5)
    assert weight == 0.5 and float(volume.sum()) == pytest.approx(100, rel=1e-5)
    assert (volume[0] / factor).tolist() == pytest.approx([20.0, 60.0], rel=1e-5)
    assert _mix(0.5, light=2.0)[0][0].tolist() == pytest.approx([40.0, 120.0], rel=1e-5)


def test_the_weight_is_what_the_noise_allows() -> None:
    weights = [_mix(None, target)[1] for target in (1e-3, 0.3, 1.0, 4.0, 1e6)]
    assert weights == sorted(weights)
    assert weights[0] == 0.0 and weights[-1] == WEIGHTS[-1] and len(set(weights)) > 2


def test_dark_voxels_stay_dark() -> None:
    early, late = torch.tensor([5.0, 0.0, 5.0]), torch.tensor([0.0, 5.0, 5.0])
    data = torch.tensor([0.0, 0.0, 10.0])
    volume, _, _ = damped(  # type: ignore[arg-type]
        Same(), data, 0.0, early, late, weight=0.5, light=1.0, target=1.0, check=lambda: None
    )
    assert volume[0] < 1e-3 and volume[1] < 1e-3 and volume[2] == pytest.approx(5.0)
