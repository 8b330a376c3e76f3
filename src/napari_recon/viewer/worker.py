"""The worker thread: ReconWorker for runs, `call_in_background` for planning, probing and opening files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtCore import QObject, QThreadPool
from superqt.utils import FunctionWorker
from superqt.utils import create_worker as create_plain_worker

from napari_recon.core.errors import describe
from napari_recon.core.token import CancelToken

MIN_POOL_THREADS = 4


class ReconWorker(GeneratorWorker):
    """A generator worker whose three traps are closed.

    The stock worker swallows a RuntimeError (most torch errors are one) without any signal, leaves the generator's
    ``finally`` blocks to the garbage collector, and ignores `quit` until the next yield.
    """

    token: CancelToken | None = None
    closing = False

    def quit(self) -> None:
        """Stop also inside a step: napari calls this when its window closes, so layers may be gone (`closing`)."""
        self.closing = True
        self.stop()

    def stop(self) -> None:
        """Cancel the token, and end at the next yield even if the engine never looks at it."""
        if self.token is not None:
            self.token.cancel()
        super().quit()

    def work(self) -> Any:
        """Iterate the job; see the class."""
        try:
            result = super().work()
        finally:
            self._gen.close()
        if isinstance(result, RuntimeError):
            raise describe(result) from result
        return result


def make_worker(job: Callable[..., Any], *args: Any, token: CancelToken) -> ReconWorker:
    """Return a worker for the generator function `job`, not started yet: connect every signal first."""
    _widen_pool()
    worker = create_worker(job, *args, _worker_class=ReconWorker, _ignore_errors=True, _start_thread=False)
    worker.token = token
    return worker


class Background(QObject):
    """One call in another thread; see `call_in_background`."""

    _alive: set[Background] = set()

    def __init__(
        self, worker: Any, done: Callable[[Any], None], failed: Callable[[Exception], None], parent: QObject | None
    ) -> None:
        super().__init__(parent)
        self._done, self._failed, self._dropped = done, failed, False
        worker.returned.connect(self._on_returned)
        worker.errored.connect(self._on_errored)
        worker.finished.connect(self._on_finished)
        self._alive.add(self)

    def drop(self) -> None:
        """Make both callbacks never happen."""
        self._dropped = True

    def _on_returned(self, result: Any) -> None:
        if not self._dropped:
            self._done(result)

    def _on_errored(self, error: Exception) -> None:
        if not self._dropped:
            self._failed(describe(error))

    def _on_finished(self) -> None:
        self._alive.discard(self)


def call_in_background(
    function: Callable[..., Any],
    *args: Any,
    done: Callable[[Any], None],
    failed: Callable[[Exception], None],
    parent: QObject | None = None,
) -> Background:
    """Call ``function(*args)`` in a worker thread, then `done(result)` or `failed(error)` in the main thread.

    Parameters
    ----------
    function : callable
        Must not touch layers, widgets or the viewer.
    done, failed : callable
        `failed` gets a `ReconError`, whose text can be shown.
    parent : QObject, optional
        Neither callback happens after its deletion.

    Returns
    -------
    Background
        Its ``drop()`` makes both callbacks never happen (a newer request replaced this one).
    """
    _widen_pool()

    def call() -> Any:
        return function(*args)

    worker = create_plain_worker(call, _worker_class=FunctionWorker, _ignore_errors=True, _start_thread=False)
    background = Background(worker, done, failed, parent)
    worker.start()
    return background


def _widen_pool() -> None:
    """Let planning go on beside a (paused) run, also on machines with one or two cores."""
    pool = QThreadPool.globalInstance()
    pool.setMaxThreadCount(max(pool.maxThreadCount(), MIN_POOL_THREADS))
