"""Phantoms of beads, bubbles and tubes: repeatable, of any size, as much of everything per volume as published."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.engines.simulate.phantom import PLANE_STEP, PUBLISHED, SCHEDULE, bubtub, contents, room_of, scene
from napari_recon.engines.simulate.scene import Canvas

SHAPE = (21, 64, 60)


@given(
    entry=st.integers(1, 15),
    shape=st.tuples(st.integers(1, 24), st.integers(8, 80), st.integers(8, 80)),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_every_entry_fills_any_size(entry: int, shape: tuple[int, int, int], seed: int) -> None:
    volume = bubtub(shape, np.random.default_rng(seed), entry=entry)
    assert volume.shape == shape
    assert volume.dtype == np.float32
    assert np.isfinite(volume).all()
    assert volume.min() >= 0


def test_the_same_state_gives_the_same_phantom_and_another_another() -> None:
    one, same, other = (bubtub(SHAPE, np.random.default_rng(seed), lines=3, beads=5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 50


def test_the_schedule_is_the_published_one() -> None:
    whole = [entry.scaled(room_of(PUBLISHED, PLANE_STEP)) for entry in SCHEDULE]
    assert tuple(whole) == SCHEDULE
    assert [entry.lines for entry in SCHEDULE] == [100, 96, 92, 88, 84, 80, *[0] * 9]
    assert [entry.beads for entry in SCHEDULE[9:14]] == [5000, 4000, 3000, 2000, 1000]
    assert (SCHEDULE[8].bubbles, SCHEDULE[8].bubble_diameter, SCHEDULE[14].big_beads) == (100, 50, 50)
    assert [entry.blur for entry in SCHEDULE[:9]] == [0.5, 1, 1.5, 2, 2.5, 3, 0.5, 1, 1.5]


def test_numbers_follow_the_size() -> None:
    half, shallow = (room_of(shape, PLANE_STEP) for shape in ((101, 1989, 995), (50, 1989, 1989)))
    assert contents(half, 10).beads == pytest.approx(2500, abs=3)
    assert contents(shallow, 8).bubbles == pytest.approx(75, abs=2)
    assert contents(half, 10, beads=7).beads == 7


def test_balls_are_round_in_space_and_flat_ones_flat() -> None:
    rng = np.random.default_rng(0)
    for what, extent in (({"bubbles": 1, "bubble_diameter": 24.0}, 1.0), ({"big_beads": 1}, PLANE_STEP / 8)):
        volume = bubtub((61, 120, 120), rng, **what, blur=0.0)
        lit = np.argwhere(volume > 0.5 * volume.max())
        height, rows, columns = np.ptp(lit, axis=0) + 1
        assert abs(rows - columns) <= 1
        assert height * PLANE_STEP == pytest.approx(extent * rows, abs=3)


def test_tubes_do_not_add_up_where_they_cross() -> None:
    volume = bubtub(SHAPE, np.random.default_rng(3), lines=40, line_radius=3.0, blur=0.0)
    assert volume.max() <= 520


def test_structures_move_and_stay_in_the_room() -> None:
    room = room_of(SHAPE, PLANE_STEP)
    moving = scene(contents(room, beads=6, blur=0.0), room, np.random.default_rng(1), speed=2.0)
    paths = [ball.path for ball in moving.structures]  # type: ignore[attr-defined]
    for path in paths:
        assert 0.9 <= np.linalg.norm(path.velocity) <= 2.0
        assert (np.abs(path.at(500.0)) <= room + 1e-9).all()
    canvas = Canvas(SHAPE, PLANE_STEP)
    assert np.abs(moving.draw(canvas, 0.0) - moving.draw(canvas, 3.0)).max() > 20


def test_bad_entries_and_empty_phantoms_are_refused() -> None:
    with pytest.raises(InputError, match="entry should be 1 to 15"):
        bubtub(SHAPE, np.random.default_rng(0), entry=16)
    with pytest.raises(InputError, match="needs something to see"):
        bubtub(SHAPE, np.random.default_rng(0), entry=0)
