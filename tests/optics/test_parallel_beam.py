"""Parallel-beam projector: transpose, geometry, blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_recon.optics import parallel_beam
from napari_recon.optics.parallel_beam import ParallelBeam

sizes = st.integers(1, 9)


@settings(max_examples=25, deadline=None)
@given(
    detector=st.tuples(sizes, sizes),
    planes=sizes,
    axis=st.sampled_from("yx"),
    centre=st.floats(-3, 3),
    margin=st.integers(0, 3),
    angles=st.lists(st.floats(-200, 200), min_size=1, max_size=5),
)
def test_forward_and_adjoint_are_transposes(detector, planes, axis, centre, margin, angles) -> None:
    beam = ParallelBeam(angles, detector, planes, axis=axis, centre=centre, margin=margin, dtype=torch.float64)
    make = torch.Generator().manual_seed(1)
    volume = torch.rand(beam.shape_zyx, generator=make, dtype=torch.float64)
    views = torch.rand(len(angles), *detector, generator=make, dtype=torch.float64)
    there = torch.dot(beam.forward(volume).flatten(), views.flatten())
    back = torch.dot(volume.flatten(), beam.adjoint(views).flatten())
    assert float(there) == pytest.approx(float(back), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("axis", ["y", "x"])
def test_a_view_is_the_sum_along_the_beam_of_the_turned_volume(axis: str) -> None:
    volume = ndimage.gaussian_filter(np.random.default_rng(0).random((25, 25, 25)), 3) ** 2
    place = np.hypot(*np.mgrid[-12:13, -12:13])
    inside = np.expand_dims(np.clip(12 - place, 0, 1), 1 if axis == "y" else 2)
    volume = (volume * inside).astype(np.float32)
    for angle in (0.0, 30.0, 90.0, 137.0):
        plane = (0, 2) if axis == "y" else (0, 1)
        turned = ndimage.rotate(volume, angle, axes=plane, reshape=False, order=3).sum(axis=0)
        view = ParallelBeam([angle], (25, 25), 25, axis=axis).forward(torch.from_numpy(volume))[0].numpy()
        assert np.abs(view - turned).max() < 0.02 * turned.max(), angle


def test_the_axis_may_lie_beside_the_middle_of_the_detector() -> None:
    volume = torch.rand(6, 5, 7, generator=torch.Generator().manual_seed(0))
    middle = ParallelBeam([0, 40, 90], (5, 13), 6, margin=-3).forward(volume)
    aside = ParallelBeam([0, 40, 90], (5, 13), 6, margin=-3, centre=2.0).forward(volume)
    torch.testing.assert_close(aside[..., 2:], middle[..., :-2])


def test_a_wider_volume_sees_what_is_beside_the_detector() -> None:
    volume = torch.zeros(5, 3, 9)
    volume[0, 1, 0] = 1.0
    beam = ParallelBeam([60.0], (3, 5), 5, margin=2)
    assert beam.shape_zyx == volume.shape
    assert float(ParallelBeam([0.0], (3, 5), 5, margin=2).forward(volume).sum()) == 0.0
    assert float(beam.forward(volume.flip(0)).sum()) > 0.5


def test_blocks_and_kept_weights_do_not_change_values(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = torch.rand(8, 6, 10, generator=torch.Generator().manual_seed(0))
    angles = [0, 20, 45, 100, 170]
    whole = ParallelBeam(angles, (6, 10), 8)
    views = whole.forward(volume)
    torch.testing.assert_close(whole.forward(volume), views, rtol=0, atol=0)
    monkeypatch.setattr(parallel_beam, "BLOCK_WORK", 1)
    monkeypatch.setattr(parallel_beam, "WEIGHT_BYTES", 0)
    pieces = ParallelBeam(angles, (6, 10), 8)
    calls: list[int] = []
    torch.testing.assert_close(pieces.forward(volume, lambda: calls.append(1)), views, rtol=1e-6, atol=1e-6)
    assert len(calls) == len(angles)
    torch.testing.assert_close(pieces.adjoint(views), whole.adjoint(views), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(whole.some([1, 3]).forward(volume), views[[1, 3]])
