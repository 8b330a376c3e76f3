"""Plans made in the background while a person edits: debounced, and only the newest answer counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QRunnable, QThreadPool, QTimer, Signal

from napari_recon.core.errors import describe


class _Answers(QObject):
    ready = Signal(int, object)
    failed = Signal(int, object)


class _Task(QRunnable):
    def __init__(self, number: int, make: Callable[[], Any], answers: _Answers) -> None:
        super().__init__()
        self._number, self._make, self._answers = number, make, answers

    def run(self) -> None:
        try:
            result = self._make()
        except Exception as error:
            self._send(self._answers.failed, describe(error))
        else:
            self._send(self._answers.ready, result)

    def _send(self, signal: Any, answer: Any) -> None:
        try:
            signal.emit(self._number, answer)
        except RuntimeError:  # the dock was closed while this was computed
            return


class Planner(QObject):
    """Runs the newest of several requests in a thread.

    Parameters
    ----------
    delay_ms : int
        Quiet time after the last request before work starts.

    Signals
    -------
    ready : object
        What the newest request returned.
    failed : ReconError
        What the newest request raised.
    """

    ready = Signal(object)
    failed = Signal(object)

    def __init__(self, delay_ms: int = 250, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._number = 0
        self._make: Callable[[], Any] | None = None
        self._answers = _Answers(self)
        self._answers.ready.connect(self._take)
        self._answers.failed.connect(self._take_failure)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(delay_ms)
        self._timer.timeout.connect(self._start)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)

    def request(self, make: Callable[[], Any]) -> None:
        """Ask for `make()` in a thread; earlier requests that have not answered are dropped."""
        self.drop()
        self._make = make
        self._timer.start()

    def drop(self) -> None:
        """Forget every request; nothing is emitted for them any more."""
        self._number += 1
        self._timer.stop()
        self._make = None

    @property
    def busy(self) -> bool:
        """Whether the newest request has not answered yet."""
        return self._make is not None

    def close(self) -> None:
        """Drop everything and wait for what runs."""
        self.drop()
        self._pool.clear()
        self._pool.waitForDone(2000)

    def _start(self) -> None:
        if self._make is not None:
            self._pool.start(_Task(self._number, self._make, self._answers))

    def _take(self, number: int, result: Any) -> None:
        if number == self._number:
            self._make = None
            self.ready.emit(result)

    def _take_failure(self, number: int, error: object) -> None:
        if number == self._number:
            self._make = None
            self.failed.emit(error)
