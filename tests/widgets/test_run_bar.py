from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import Qt

from napari_recon.viewer.run import Offer, ProgressState
from napari_recon.widgets.run_bar import RunBar, clock, progress_text


@pytest.fixture
def bar(qtbot: Any) -> RunBar:
    made = RunBar()
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (754, "12:34"), (3723, "1:02:03"), (-1, "0:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_what_was_said_of_an_older_run_goes(bar: RunBar) -> None:
    bar.say("pattern not found", "error")
    bar.offer(Offer("other order", "Set frame order to pa", lambda: None))
    bar.set_state("planning")
    assert bar.message_line.text() == "" and not bar.offer_button.isVisible()
    bar.set_state("running")
    bar.say("first job failed", "error")
    bar.set_state("planning")  # the next of the same queue
    assert "first job failed" in bar.message_line.text() and "pattern not found" in bar.log_view.toPlainText()


def test_progress_in_words_and_bar(bar: RunBar) -> None:
    state = ProgressState(0.5, 31, 62, "tile", "frame 1/2", 24, 19, queued=("a", "b"))
    bar.set_state("running")
    bar.set_progress(state)
    assert bar.progress_line.text() == "frame 1/2 · tile 31/62 · 0:24 elapsed · 0:19 left · 2 waiting"
    assert bar.bar.value() == 500
    bar.set_progress(ProgressState())
    assert bar.bar.maximum() == 0  # busy
    assert bar.progress_line.text() == "starting · 0:00 elapsed"  # nobody knows yet of how many steps
    assert progress_text(ProgressState(elapsed_s=3)) == "0:03 elapsed"


@pytest.mark.parametrize("state", ["planning", "running", "paused", "stopping"])
def test_while_busy_only_the_right_buttons_work(bar: RunBar, state: str) -> None:
    bar.set_reason("")
    bar.set_state(state)
    assert not bar.run_button.isEnabled() and not bar.preview_button.isEnabled()
    assert bar.pause_button.isEnabled() == (state in ("running", "paused"))
    assert bar.cancel_button.isEnabled() == (state != "stopping")
    for button in (bar.run_button, bar.preview_button, bar.pause_button, bar.cancel_button):
        assert button.isEnabled() or button.toolTip()
    bar.set_state("idle")
    assert bar.run_button.isEnabled() and not bar.cancel_button.isVisible()


def test_message_line_opens_the_log(bar: RunBar, qtbot: Any) -> None:
    bar.say("first", "info")
    bar.say("second; do this", "error")
    assert bar.message_line.text() == "✕ second; do this" and not bar.log_view.isVisible()
    qtbot.mouseClick(bar.message_line, Qt.MouseButton.LeftButton)
    assert bar.log_view.isVisible()
    assert [line[10:] for line in bar.log_view.toPlainText().splitlines()] == ["first", "second; do this"]


def test_offer_is_a_button_that_works_once(bar: RunBar) -> None:
    done: list[int] = []
    bar.offer(Offer("out of memory", "Retry with tile_size 32", lambda: done.append(1)))
    assert bar.offer_button.isVisible() and bar.offer_button.toolTip() == "out of memory"
    bar.offer_button.click()
    assert done == [1] and not bar.offer_button.isVisible()


def test_menu_entries_emit(bar: RunBar, qtbot: Any) -> None:
    signals = [bar.copy_python, bar.copy_command, bar.save_settings, bar.load_settings, bar.batch]
    for action, signal in zip(bar.menu_button.menu().actions(), signals, strict=True):
        with qtbot.waitSignal(signal):
            action.trigger()
