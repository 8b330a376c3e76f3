"""The moving scene: soft edges, smooth and reflected motion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.engines.simulate.scene import Ball, Canvas, Path, Tube, random_scene

CANVAS = Canvas((31, 61, 61), plane_step=1.64)


def _still(position: tuple[float, float, float]) -> Path:
    return Path(np.array(position), np.zeros(3), np.full(3, 100.0))


def _centroid(volume: np.ndarray) -> np.ndarray:
    indices = np.indices(volume.shape).reshape(3, -1)
    return (indices * volume.ravel()).sum(axis=1) / volume.sum()


@given(st.tuples(*[st.floats(-8, 8)] * 3))
@settings(max_examples=25, deadline=None)
def test_a_ball_lies_where_it_is_put_to_a_fraction_of_a_voxel(position: tuple[float, float, float]) -> None:
    volume = np.zeros(CANVAS.shape_zyx, np.float32)
    Ball(_still(position), radius=4.0, brightness=2.0).draw(volume, CANVAS, 0.0)
    error = (_centroid(volume) - CANVAS.to_index(np.array(position))) * CANVAS.spacing
    assert np.abs(error).max() < 0.05


def test_a_solid_ball_has_its_volume_and_a_shell_is_empty_inside() -> None:
    solid, shell = np.zeros(CANVAS.shape_zyx, np.float32), np.zeros(CANVAS.shape_zyx, np.float32)
    Ball(_still((0, 0, 0)), 10.0, 1.0).draw(solid, CANVAS, 0.0)
    Ball(_still((0, 0, 0)), 10.0, 1.0, wall=2.0).draw(shell, CANVAS, 0.0)
    assert solid.sum() * CANVAS.plane_step == pytest.approx(4 / 3 * math.pi * 10**3, rel=0.02)
    assert solid[15, 30, 30] == 1 and shell[15, 30, 30] == 0 and shell.max() == 1


def test_a_tube_is_drawn_once_per_voxel_and_is_as_thick_as_asked() -> None:
    volume = np.zeros(CANVAS.shape_zyx, np.float32)
    ends = (0, 0, -20), (0, 0, 0), (0, 0, 20)
    Tube((_still(ends[0]), _still(ends[1]), _still(ends[2])), radius=2.0, brightness=3.0).draw(volume, CANVAS, 0.0)
    assert volume.max() == pytest.approx(3.0)
    assert volume[15, 28:33, 30] == pytest.approx([1.5, 3, 3, 3, 1.5], abs=0.06)
    assert volume[15, 30, :8].max() == 0


def test_what_leaves_the_canvas_is_cut_off_without_wrapping() -> None:
    volume = np.zeros(CANVAS.shape_zyx, np.float32)
    Ball(_still((0, 0, 30)), 4.0, 1.0).draw(volume, CANVAS, 0.0)
    Ball(_still((0, 99, 0)), 4.0, 1.0).draw(volume, CANVAS, 0.0)
    assert volume[:, :, -3:].sum() > 0 and volume[:, :, :50].sum() == 0


@given(st.floats(-9, 9), st.floats(-20, 20), st.floats(0, 100))
def test_motion_is_bounded_and_never_faster_than_its_velocity(start: float, velocity: float, time: float) -> None:
    path = Path(np.full(3, start), np.full(3, velocity), np.array([9.0, 10.0, 50.0]))
    before, after = path.at(time), path.at(time + 0.1)
    assert (np.abs(after) <= path.room + 1e-9).all()
    assert (np.abs(after - before) <= abs(velocity) * 0.1 + 1e-6).all()
    assert path.at(0.0) == pytest.approx(np.full(3, start))


def test_consecutive_frames_overlap_and_differ() -> None:
    scene = random_scene(np.array([20.0, 25, 25]), 3, tubes=2, beads=4, bubbles=1, speed=1.0, bubble_radius=8)
    frames = [scene.draw(CANVAS, t) for t in (0, 1, 30)]
    near, far = (np.corrcoef(frames[0].ravel(), f.ravel())[0, 1] for f in frames[1:])
    assert 0.6 < near < 0.999 and far < near - 0.2


def test_drawing_stops_when_told() -> None:
    scene = random_scene(np.array([20.0, 25, 25]), 3, tubes=2, beads=4, bubbles=1, speed=1.0)

    def stop() -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError):
        scene.draw(CANVAS, 0, stop)
