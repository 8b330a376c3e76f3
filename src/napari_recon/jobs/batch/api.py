"""``napari_recon.batch(...)``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from napari_recon.core.token import CancelToken
from napari_recon.jobs.batch.run import BatchEvent, BatchFinished, prepare_batch, run_batch


def batch(
    recipe: Any,
    source: str | Path,
    out: str | Path,
    *,
    workers: int = 1,
    scheduler: str = "",
    token: CancelToken | None = None,
    on_event: Callable[[BatchEvent], None] | None = None,
    **options: Any,
) -> BatchFinished:
    """Run a recipe over every recording in a folder.

    Parameters
    ----------
    recipe : path, mapping, Recipe or Result
        What is run; its first step's main input is replaced by each recording.
    source : path
        A folder, a glob or an OME-Zarr with several positions.
    out : path
        A folder for results, ``report.csv`` and ``report.html``.
    workers : int
        Processes on this machine; more than one need the extra ``cluster``.
    scheduler : str
        Address of a running dask scheduler instead.
    token : CancelToken, optional
        Cancels or pauses from another thread; ``resume=True`` goes on later.
    on_event : callable, optional
        Called with every `ItemChanged`, and `BatchFinished` at the end.
    **options
        As `prepare_batch` takes them: `resume`, `each`, `name`, `existing`, `params`, `device`.

    Returns
    -------
    BatchFinished
        Outcomes per recording; one that fails does not stop the others.

    Raises
    ------
    InputError, DiskFull
    """
    prepared = prepare_batch(recipe, source, out, **options)
    end: BatchFinished | None = None
    with workers_for(workers, scheduler) as helpers:
        for event in run_batch(prepared, token, helpers):
            if on_event is not None:
                on_event(event)
            if isinstance(event, BatchFinished):
                end = event
    assert end is not None  # run_batch ends with it
    return end


def workers_for(count: int, scheduler: str) -> Any:
    """Return a context that gives worker processes, or None where this process does the work."""
    if count <= 1 and not scheduler:
        return nullcontext()
    from napari_recon.jobs.batch.cluster import Workers

    return Workers(count, scheduler)
