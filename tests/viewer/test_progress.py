"""Elapsed and remaining time."""

from __future__ import annotations

import pytest

from napari_recon.core.events import Progress
from napari_recon.viewer.progress import Estimator, Stopwatch


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_pauses_do_not_count(clock):
    watch = Stopwatch(clock)
    clock.now = 2
    watch.pause()
    watch.pause()
    clock.now = 10
    assert watch.seconds == 2
    watch.resume()
    clock.now = 11
    assert watch.seconds == 3


def test_the_first_unit_is_ignored_and_three_are_needed(clock):
    estimator = Estimator(Stopwatch(clock))
    for done, now in ((0, 0), (1, 30), (2, 31)):
        clock.now = now
        estimator.update(Progress(done, 10))
        assert estimator.remaining_s is None
    clock.now = 32
    estimator.update(Progress(3, 10))
    assert estimator.remaining_s == pytest.approx(7)
    clock.now = 32.5
    assert estimator.remaining_s == pytest.approx(6.5)
    clock.now = 60
    assert estimator.remaining_s == 0


def test_messages_without_progress_and_new_stages(clock):
    estimator = Estimator(Stopwatch(clock))
    for done in range(5):
        clock.now = done
        estimator.update(Progress(done, 10))
    clock.now = 4.5
    estimator.update(Progress(4, 10, message="still there"))
    assert estimator.remaining_s == pytest.approx(5.5) and estimator.latest.message == "still there"
    estimator.update(Progress(0, 100, "voxel"))
    assert estimator.remaining_s is None
