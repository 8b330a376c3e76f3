"""The next batches, made in a thread while the network learns from the present one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from types import TracebackType

from napari_recon.core.token import CancelToken
from napari_recon.training.task import Batch

AHEAD = 3
"""Batches kept ready."""


class Prefetch:
    """Batches of the steps ``first ... last - 1``, in order.

    Parameters
    ----------
    make : callable
        Step number -> batch.
    first, last : int
    """

    def __init__(self, make: Callable[[int], Batch], first: int, last: int) -> None:
        self._make, self._next, self._last = make, first, last
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="examples")
        self._waiting: deque[Future[Batch]] = deque()

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def get(self, token: CancelToken) -> Batch:
        """Return the next batch; errors of its making are raised here."""
        while len(self._waiting) < AHEAD and self._next < self._last:
            self._waiting.append(self._pool.submit(self._make, self._next))
            self._next += 1
        while True:
            token.check()
            try:
                batch = self._waiting[0].result(timeout=0.1)
            except NotYet:
                continue
            self._waiting.popleft()
            return batch
