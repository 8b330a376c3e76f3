"""Cooperative cancel and pause, over threads and processes."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any, Protocol

from napari_recon.core.errors import Cancelled


class _Event(Protocol):
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class CancelToken:
    """Tells a running engine to stop or to wait; engines call `check` at least every 200 ms of work.

    Parameters
    ----------
    stop, go, enough : event objects, optional
        `threading.Event` by default; `CancelToken.shared` makes one that crosses process borders.
    """

    def __init__(self, stop: Any = None, go: Any = None, enough: Any = None) -> None:
        self._stop: _Event = threading.Event() if stop is None else stop
        self._go: _Event = threading.Event() if go is None else go
        self._enough: _Event = threading.Event() if enough is None else enough
        if go is None:
            self._go.set()

    @classmethod
    def shared(cls, context: Any = None) -> CancelToken:
        """Return a token that child processes of `context` (default: spawn) obey too."""
        context = context or multiprocessing.get_context("spawn")
        go = context.Event()
        go.set()
        return cls(context.Event(), go, context.Event())

    def cancel(self) -> None:
        """Ask the engine to stop; a pause is released."""
        self._stop.set()
        self._go.set()

    def finish(self) -> None:
        """Ask an engine that improves its result step by step to be content with the one it has; a pause is released.

        It is no error to go on: engines without such steps never look at it.
        """
        self._enough.set()
        self._go.set()

    def pause(self) -> None:
        """Make the next `check` wait until `resume` or `cancel`."""
        if not self.cancelled:
            self._go.clear()

    def resume(self) -> None:
        """Let a paused engine go on."""
        self._go.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._stop.is_set()

    @property
    def finishing(self) -> bool:
        """Whether `finish` was called."""
        return self._enough.is_set()

    @property
    def paused(self) -> bool:
        """Whether the engine is asked to wait."""
        return not self._go.is_set()

    def check(self) -> None:
        """Wait while paused.

        Raises
        ------
        Cancelled
            When the run was cancelled, also during a pause.
        """
        self._go.wait()
        if self._stop.is_set():
            raise Cancelled
