"""The worker thread: ReconWorker for runs, `call_in_background` for planning, probing and opening files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject


def call_in_background(
    function: Callable[..., Any],
    *args: Any,
    done: Callable[[Any], None],
    failed: Callable[[Exception], None],
    parent: QObject | None = None,
) -> Any:
    """Call ``function(*args)`` in a worker thread, then `done(result)` or `failed(error)` in the main thread.

    Returns
    -------
    Background
        Its ``drop()`` makes both callbacks never happen (a newer request replaced this one).
    """
    raise NotImplementedError
