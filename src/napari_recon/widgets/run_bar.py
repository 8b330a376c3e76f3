"""The sticky foot of every dock: Preview, Run, a menu, progress with pause and cancel, and the message line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_recon.widgets.look import PRIMARY, Level, Line, allow, describe

PREVIEW_KEYS, RUN_KEYS = "Shift-R", "Control-Shift-R"
BEHIND, BEHIND_TIP = "Add to the &queue", "Run this too, behind what runs and waits; the Jobs dock has the list"


class RunBar(QWidget):
    """Buttons and read-outs of a run; it knows nothing about engines.

    Signals
    -------
    preview, run, pause, resume, finish, cancel, copy_python, copy_command, save_settings, load_settings, batch
    """

    preview = Signal()
    run = Signal()
    pause = Signal()
    resume = Signal()
    finish = Signal()
    cancel = Signal()
    copy_python = Signal()
    copy_command = Signal()
    save_settings = Signal()
    load_settings = Signal()
    batch = Signal()

    def __init__(self, run_text: str = "&Reconstruct") -> None:
        super().__init__()
        self._state = "idle"
        self._reason = self._no_preview = ""
        self._run_text, self._queues, self._behind = run_text, False, (BEHIND, BEHIND_TIP)
        self._log: list[str] = []
        self.preview_button = QPushButton("Pr&eview")
        self.run_button = QPushButton(run_text)
        self.run_button.setStyleSheet(PRIMARY)
        self.menu_button = QPushButton("More")
        describe(self.menu_button, "More actions", "Copy as Python or as a command, save or load the settings")
        self.menu_button.setMenu(self._make_menu())
        self.pause_button = QPushButton("Pa&use")
        self.finish_button, self.cancel_button = QPushButton("&Finish now"), QPushButton("&Cancel")
        describe(self.finish_button, "Finish now", "Be content with the result as it is, and end the run properly")
        self.finish_button.hide()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        describe(self.bar, "Progress")
        self.progress_line = Line()
        self.message_line = Line()
        self.message_line.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
        self.message_line.setCursor(Qt.CursorShape.PointingHandCursor)
        self.message_line.setToolTip("Click to see every message")
        self.message_line.installEventFilter(self)
        self.log_view = QPlainTextEdit()
        self.log_view.setReadOnly(True)
        self.log_view.setFixedHeight(96)
        describe(self.log_view, "Messages")
        self.log_view.hide()
        self.offer_button = QPushButton()
        self.offer_button.hide()
        self._offer: Any = None
        self._state = "idle"
        self._lay_out()
        self.offer_button.clicked.connect(self._take_offer)
        self.preview_button.clicked.connect(self.preview)
        self.run_button.clicked.connect(self.run)
        self.pause_button.clicked.connect(self._pause_or_resume)
        self.finish_button.clicked.connect(self.finish)
        self.cancel_button.clicked.connect(self.cancel)
        self.set_state("idle")

    def set_reason(self, reason: str) -> None:
        """Say why nothing can run; empty when it can."""
        self._reason = reason
        self._allow()

    def set_kind(self, run_text: str, no_preview: str = "", stepwise: bool = False) -> None:
        """Name the run button after what the method does, and say why it has no preview (empty when it has).

        Methods that improve a result step by step (`stepwise`) can be told that it is good enough.
        """
        self._run_text = run_text
        self._no_preview = no_preview
        self.finish_button.setVisible(stepwise)
        self._allow()

    def set_queue(self, possible: bool, text: str = BEHIND, tip: str = BEHIND_TIP) -> None:
        """Say whether another run may be put behind the one that goes on, and what the button is called then."""
        self._queues, self._behind = possible, (text, tip)
        self._allow()

    def set_state(self, state: str) -> None:
        """Follow the controller: idle, planning, running, paused or stopping."""
        if state == "planning":
            self.offer_button.hide()
            if self._state == "idle":  # a waiting job leaves what was said of the one before it
                self.forget()
        self._state = state
        busy = state != "idle"
        self._running.setVisible(busy)
        if not busy:
            self.progress_line.say("")
        elif self.bar.maximum() != 0 and state == "planning":
            self.bar.setRange(0, 0)
        self.pause_button.setText("Res&ume" if state == "paused" else "Pa&use")
        allow(
            self.pause_button,
            "" if state in ("running", "paused") else f"Nothing to pause while {state}",
            "Go on" if state == "paused" else "Wait; what is done stays",
        )
        tip = "Be content with the result as it is, and end the run properly"
        allow(self.finish_button, "" if state in ("running", "paused") else f"Nothing to finish while {state}", tip)
        allow(self.cancel_button, "Already stopping" if state == "stopping" else "", "Stop; what is done stays")
        self._allow()

    def set_progress(self, progress: Any) -> None:
        """Show a `ProgressState`."""
        if progress.fraction is not None:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * progress.fraction))
        else:
            self.bar.setRange(0, 0)
        unknown = self._state == "running" and not (progress.message or progress.total)
        self.progress_line.say(("starting · " if unknown else "") + progress_text(progress))

    def say(self, text: str, level: Level = "info") -> None:
        """Show the last message and keep it in the log."""
        self.message_line.say(text, level)
        if text:
            self._log.append(f"{datetime.now():%H:%M:%S}  {text}")
            self.log_view.setPlainText("\n".join(self._log[-500:]))
            self.log_view.verticalScrollBar().setValue(self.log_view.verticalScrollBar().maximum())

    def forget(self) -> None:
        """Take back the last message and its remedy, which are about something else by now; the log keeps them."""
        self.message_line.say("")
        self.offer_button.hide()

    def hint(self, text: str) -> None:
        """Show what could be done next, when nothing else was said yet."""
        if not self._log:
            self.message_line.say(text)

    def offer(self, offer: Any) -> None:
        """Show a remedy as a button until it is pressed or the next run starts."""
        self._offer = offer
        self.offer_button.setText(offer.label)
        describe(self.offer_button, offer.label, offer.text)
        self.offer_button.show()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Open or close the log when the message line is clicked."""
        if watched is self.message_line and event is not None and event.type() == QEvent.Type.MouseButtonRelease:
            self.log_view.setVisible(self.log_view.isHidden())
        return False

    def _allow(self) -> None:
        reason = "A run is going on: cancel it or wait" if self._state != "idle" else self._reason
        allow(
            self.preview_button,
            reason or self._no_preview,
            f"Reconstruct a small part of the current frame ({PREVIEW_KEYS})",
        )
        behind = self._queues and self._state not in ("idle", "stopping")
        self.run_button.setText(self._behind[0] if behind else self._run_text)
        what = f"{self._run_text.replace('&', '')} the whole region" if not self._no_preview else "Start"
        tip = self._behind[1] if behind else f"{what} ({RUN_KEYS})"
        allow(self.run_button, self._reason if behind else reason, tip)

    def _take_offer(self) -> None:
        self.offer_button.hide()
        self._offer.action()

    def _pause_or_resume(self) -> None:
        (self.resume if self._state == "paused" else self.pause).emit()

    def _make_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for text, signal, tip in (
            ("Copy as &Python", self.copy_python, "The same run as a script, on the clipboard"),
            ("Copy as &command", self.copy_command, "The same run as a command line, on the clipboard"),
            ("&Save settings…", self.save_settings, "Write engine, model and parameters to a YAML file"),
            ("&Load settings…", self.load_settings, "Read them from a settings file, a recipe or a result"),
            ("&Batch…", self.batch, "The same for every recording in a folder"),
        ):
            action = menu.addAction(text)
            action.setToolTip(tip)
            action.triggered.connect(lambda _=False, s=signal: s.emit())
        return menu

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.preview_button, 1)
        buttons.addWidget(self.run_button, 2)
        buttons.addWidget(self.menu_button)
        controls = QHBoxLayout()
        controls.setContentsMargins(0, 0, 0, 0)
        for button in (self.pause_button, self.finish_button, self.cancel_button):
            controls.addWidget(button)
        self._running = QWidget()
        running = QVBoxLayout(self._running)
        running.setContentsMargins(0, 0, 0, 0)
        running.setSpacing(4)
        running.addWidget(self.bar)
        running.addWidget(self.progress_line)
        running.addLayout(controls)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(6)
        column.addLayout(buttons)
        column.addWidget(self._running)
        column.addWidget(self.message_line)
        column.addWidget(self.offer_button)
        column.addWidget(self.log_view)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)


def progress_text(progress: Any) -> str:
    """Return ``"tile 31/64 · 0:24 elapsed · 0:19 left"``."""
    parts = []
    if progress.message:
        parts.append(progress.message)
    if progress.total:
        parts.append(f"{progress.unit} {progress.done:g}/{progress.total:g}")
    parts.append(f"{clock(progress.elapsed_s)} elapsed")
    if progress.remaining_s is not None:
        parts.append(f"{clock(progress.remaining_s)} left")
    if progress.queued:
        parts.append(f"{len(progress.queued)} waiting")
    return " · ".join(parts)


def clock(seconds: float) -> str:
    """Return ``0:07``, ``12:34`` or ``1:02:03``."""
    whole = round(max(0.0, seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
