"""One job of the Jobs dock: its title, where it stands, and what can be done about it."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QContextMenuEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QMenu, QProgressBar, QToolButton, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_recon.jobs.estimates import describe_seconds
from napari_recon.viewer.batch_job import CLUSTER, WATCH, BatchJob
from napari_recon.viewer.queue_entry import Entry
from napari_recon.widgets.look import Level, Line, bold, describe, small_button
from napari_recon.widgets.run_bar import clock

LEVELS: dict[str, Level] = {"finished": "good", "partial": "warning", "failed": "error"}
DEVICES = {
    "cpu": "On the processor",
    "gpu": "On the graphics card",
    CLUSTER: "On a cluster, beside everything else",
    WATCH: "Makes what lands, beside everything else",
}
WIDTH = 24
LINE = "JobRow {border: none; border-bottom: 1px solid rgba(128, 128, 128, 90);}"


class JobRow(QFrame):
    """Title above, state and buttons below; the menu (also on right click) has the rest.

    Signals
    -------
    asked : str
        One of up, down, pause, resume, cancel, duplicate, smaller, again, show.
    """

    asked = Signal(str)

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self.title = bold(QElidingLabel(entry.job.title or "job"))
        self.title.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.title.setToolTip(entry.job.title)
        self.line = Line("waiting")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        describe(self.bar, "Progress")
        self.buttons: dict[str, QToolButton] = {}
        for action, sign, name, tip in (
            ("up", "▲", "Earlier", "Run it before the job above"),
            ("down", "▼", "Later", "Run it after the job below"),
            ("pause", "❚❚", "Pause", "Wait; what is done stays"),
            ("resume", "▶", "Resume", "Go on"),
            ("smaller", "↻", "Retry with smaller tiles", "Memory was not enough: run it again with tiles of half the size"),
            ("cancel", "✕", "Cancel", "Stop; what is done stays"),
        ):
            button = small_button(sign, name, tip)
            button.setFixedWidth(WIDTH)
            button.clicked.connect(lambda _=False, a=action: self.asked.emit(a))
            self.buttons[action] = button
        self.more = small_button("⋯", "More", "More about this job")
        self.more.setFixedWidth(WIDTH)
        self.more.clicked.connect(lambda: self.menu().exec(self.more.mapToGlobal(self.more.rect().bottomLeft())))
        self._lay_out()

    def show_entry(self, first: bool, last: bool) -> None:
        """Show where the job stands; `first` and `last` of those that wait."""
        entry = self.entry
        state = entry.state
        shown = {
            "up": entry.waits and not first,
            "down": entry.waits and not last,
            "pause": state in ("waiting", "running"),
            "resume": state in ("held", "paused"),
            "smaller": entry.smaller is not None,
            "cancel": state != "stopping",
        }
        for action, button in self.buttons.items():
            button.setVisible(shown[action])
        words = ("Cancel", "Stop; what is done stays") if entry.active else ("Remove", "Take it off the list")
        describe(self.buttons["cancel"], *words)
        self.show_progress()

    def show_progress(self) -> None:
        """Show how far the job is."""
        entry, now = self.entry, self.entry.progress
        self.bar.setVisible(entry.active)
        if entry.active and now is not None:
            self.bar.setRange(0, 0 if now.fraction is None else 1000)
            self.bar.setValue(round(1000 * (now.fraction or 0)))
        self.line.say(state_text(entry), LEVELS.get(entry.state, "info"))
        self.line.setToolTip(DEVICES.get(entry.device, ""))

    def menu(self) -> QMenu:
        """Return what can be done about this job, in words."""
        entry = self.entry
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for action, button in self.buttons.items():
            if not button.isHidden():
                self._offer(menu, button.accessibleName(), action, button.toolTip())
        menu.addSeparator()
        batch = isinstance(entry.job, BatchJob)
        if batch:
            self._offer(menu, "Show in the Batch dock", "show", "Its recordings, their results and its report")
        elif entry.layers:
            self._offer(menu, "Show the result", "show", "Select its layers")
        if entry.state in ("partial", "failed"):
            text, tip = ("Go on", "Make what is left") if batch else ("Run again", "The same once more")
            self._offer(menu, text, "again", f"{tip}, behind those that wait")
        tip = "Open the dock with the settings of this job; change them there and run it"
        known = batch or entry.plan is not None
        self._offer(menu, "Duplicate with changes…", "duplicate", tip if known else "Not planned yet").setEnabled(known)
        return menu

    def contextMenuEvent(self, event: QContextMenuEvent | None) -> None:
        """Open the menu."""
        if event is not None:
            self.menu().exec(event.globalPos())

    def _offer(self, menu: QMenu, text: str, action: str, tip: str) -> Any:
        entry = menu.addAction(text)
        entry.setToolTip(tip)
        entry.triggered.connect(lambda: self.asked.emit(action))
        return entry

    def _lay_out(self) -> None:
        self.setStyleSheet(LINE)
        below = QHBoxLayout()
        below.setSpacing(1)
        below.addWidget(self.line, 1)
        for button in (*self.buttons.values(), self.more):
            below.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 4, 4)
        column.setSpacing(3)
        column.addWidget(self.title)
        column.addWidget(self.bar)
        column.addLayout(below)


def state_text(entry: Entry) -> str:
    """Return ``"frame 2/5 · iteration 31/64 · 0:19 left"``, or why it does not run, or how it ended."""
    if entry.waits:
        words = "paused" if entry.state == "held" else "waiting"
        return f"{words} · about {describe_seconds(entry.expected_s)}" if entry.expected_s is not None else words
    if not entry.active:
        return entry.text or entry.state
    now = entry.progress
    parts = [] if entry.state == "running" else [entry.state]
    if now is not None and entry.state != "planning":
        parts += [now.message] if now.message else []
        parts += [f"{now.unit} {now.done:g}/{now.total:g}"] if now.total else []
        left = f"{clock(now.remaining_s)} left" if now.remaining_s is not None else f"{clock(now.elapsed_s)} elapsed"
        parts.append(left)
    return " · ".join(parts)


def frame(*widgets: QWidget) -> QFrame:
    """Return `widgets` below each other in a frame."""
    whole = QFrame()
    whole.setObjectName("framed")
    whole.setStyleSheet("#framed {border: 1px solid rgba(128, 128, 128, 160); border-radius: 3px;}")
    column = QVBoxLayout(whole)
    column.setContentsMargins(6, 6, 6, 6)
    for widget in widgets:
        column.addWidget(widget)
    return whole
