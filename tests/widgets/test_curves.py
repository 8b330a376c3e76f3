"""Curves: one per frame, logarithmic where values span decades, never an empty or endless axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from qtpy.QtGui import QColor

from napari_recon.widgets.curve_panel import CurvePanel
from napari_recon.widgets.curve_plot import CURVE, MOST_TICKS, decades, is_wide, labelled, spread, ticks

numbers = st.floats(-1e9, 1e9).map(lambda x: round(x, 6))


@given(numbers, numbers)
def test_ticks_are_few_round_and_inside(a: float, b: float) -> None:
    low, high = spread([a, b])
    assume(high - low > 1e-6 * max(1, abs(high)))
    found = ticks(low, high)
    assert 1 <= len(found) <= MOST_TICKS
    slack = (high - low) * 1e-6
    assert all(low - slack <= t <= high + slack for t in found)


@pytest.mark.parametrize(
    ("low", "high", "labels"), [(-0.2, 1.8, [1, 10]), (0, 4, [1, 10, 100, 1000, 10000]), (0, 1.05, [1, 2, 5, 10])]
)
def test_decades_are_labelled_with_powers_of_ten(low: float, high: float, labels: list[float]) -> None:
    found = [10**y for y in decades(low, high)]
    assert set(np.round(labels, 6)) <= set(np.round(found, 6)) and len(found) < 8


@pytest.mark.parametrize(
    ("places", "labels"), [([43.46, 43.48], ["43.46", "43.48"]), ([1, 2], ["1", "2"]), ([0.1 * 3], ["0.3"]), ([], [])]
)
def test_numbers_on_an_axis_differ(places: list[float], labels: list[str]) -> None:
    assert [label for _, label in labelled(places)] == labels


def test_only_positive_values_beyond_a_decade_are_logarithmic() -> None:
    assert is_wide([60, 1.1]) and not is_wide([60, 7]) and not is_wide([60, 0]) and not is_wide([])


def test_frames_are_curves_over_each_other(qtbot: Any) -> None:
    panel = CurvePanel()
    qtbot.addWidget(panel)
    for frame in range(2):
        for step, value in enumerate((60.0, 5.0, 1.0)):
            panel.add("deviance", 30 * frame + step + 1, value, f"frame {frame + 1}")
    assert panel.curve("deviance", "frame 1") == panel.curve("deviance", "frame 2") == [(1, 60.0), (2, 5.0), (3, 1.0)]
    assert panel.plot.logarithmic
    panel.add("deviance", 99, float("nan"), "frame 2")
    assert len(panel.curve("deviance", "frame 2")) == 3


def test_the_curve_is_really_painted_also_for_one_point(qtbot: Any) -> None:
    panel = CurvePanel()
    qtbot.addWidget(panel)
    panel.add("loss", 0, 1.0)
    panel.add("loss", 1, 0.2)
    panel.resize(300, 150)
    image = panel.plot.grab().toImage()
    wanted = QColor(CURVE)
    colours = {image.pixelColor(x, y).name() for x in range(image.width()) for y in range(image.height())}
    assert wanted.name() in colours
    panel.clear()
    panel.add("loss", 0, 1.0)
    panel.plot.grab()
