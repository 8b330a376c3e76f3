"""Spline fields: exact on what they hold, the same by points and lattices, smooth between samples, and quick."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.fields.spline import Axis, SplineField

SHAPE = (5, 6, 17, 14)


def smooth() -> torch.Tensor:
    """A bead that moves and grows (t, z, y, x)."""
    t, z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SHAPE), indexing="ij")
    away = (z - 2.5) ** 2 / 4 + (y - 8 - 0.5 * t) ** 2 / 12 + (x - 6 - 0.3 * t) ** 2 / 12
    return 100 * (1 + 0.1 * t) * torch.exp(-away / 2)


def field(density: float = 0.7, density_t: float = 0.5) -> SplineField:
    return SplineField.fitted(smooth(), SHAPE, density, density_t)


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.1, 1.0), st.floats(-5, 70))
def test_weights_sum_to_one_and_lie_inside(samples: int, density: float, position: float) -> None:
    axis = Axis.of(samples, density)
    first, weights = axis.weights(torch.tensor([position]))
    assert float(weights.sum()) == pytest.approx(1)
    assert 0 <= int(first[0]) and int(first[0]) + weights.shape[1] <= axis.coefficients <= samples
    straight = axis.matrix(torch.arange(samples)) @ (axis.inverse @ torch.arange(samples).double())
    torch.testing.assert_close(straight, torch.arange(samples).double(), rtol=0, atol=1e-6)


def test_it_holds_a_smooth_movie_in_fewer_numbers() -> None:
    found = field()
    assert found.coefficients.numel() < smooth().numel() / 1.4
    again = found.evaluate_lattice(*(torch.arange(n) for n in SHAPE))
    assert float((again - smooth()).square().mean().sqrt()) < 0.004 * float(smooth().max())
    assert float(again.min()) >= 0


def test_full_density_is_the_samples_and_lines_between_their_roots() -> None:
    exact = field(1.0, 1.0)
    torch.testing.assert_close(exact.evaluate_lattice(*(torch.arange(n) for n in SHAPE)), smooth(), rtol=1e-4, atol=1e-4)
    between = exact.evaluate(torch.tensor([[0.5, 2.0, 8.0, 6.0]]))
    expected = ((smooth()[0, 2, 8, 6].sqrt() + smooth()[1, 2, 8, 6].sqrt()) / 2).square()
    assert float(between) == pytest.approx(float(expected), rel=1e-5)


def test_points_and_lattices_of_any_box_agree() -> None:
    found = field()
    axes = torch.tensor([0.3, 2.7]), torch.tensor([1.0, 4.5, 5.0]), torch.linspace(3, 9, 8), torch.linspace(-1, 15, 9)
    lattice = found.evaluate_lattice(*axes)
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 4)
    torch.testing.assert_close(found.evaluate(points).view(lattice.shape), lattice, rtol=1e-4, atol=1e-4)
    part = found.evaluate_lattice(axes[0][1:], axes[1][2:], axes[2][3:5], axes[3][1:4])
    torch.testing.assert_close(part, lattice[1:, 2:, 3:5, 1:4], rtol=1e-5, atol=1e-5)


def test_time_between_samples_follows_the_motion() -> None:
    plane = field().evaluate_lattice(torch.tensor([1.5]), torch.tensor([2.5]), torch.arange(17), torch.arange(14))[0, 0]
    centre = (plane.sum(dim=1) * torch.arange(17)).sum() / plane.sum()
    assert float(centre) == pytest.approx(8 + 0.5 * 1.5, abs=0.1)


def test_half_precision_is_enough_and_a_single_frame_and_plane_work() -> None:
    found = field()
    half = SplineField(found.coefficients.half(), SHAPE).evaluate_lattice(*(torch.arange(n) for n in SHAPE))
    full = found.evaluate_lattice(*(torch.arange(n) for n in SHAPE))
    assert float((half - full).abs().max()) < 2e-3 * float(full.max())
    one = SplineField.fitted(smooth()[:1, :1], (1, 1, 17, 14), 0.7)
    assert one.evaluate_lattice(*(torch.arange(n) for n in (1, 1, 17, 14))).shape == (1, 1, 17, 14)


def test_a_raising_check_stops_an_evaluation() -> None:
    def check() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        field().evaluate_lattice(*(torch.arange(n) for n in SHAPE), check)
