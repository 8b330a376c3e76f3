"""Workers of dask.distributed: on this machine, or of any cluster that runs already."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self

from napari_recon.core.errors import Cancelled, InputError, OutOfMemory, ReconError, describe
from napari_recon.core.token import CancelToken
from napari_recon.jobs.batch.item_run import ItemRun, Order
from napari_recon.jobs.batch.parts import in_worker, watched
from napari_recon.jobs.batch.records import BatchFolder
from napari_recon.jobs.batch.run import ItemChanged, failure

#: Tasks per worker that are under way, so that none waits for the client.
AHEAD = 2
POLL_S = 0.01
COUNT_EVERY_S = 2.0
#: One thread each, and nothing about malloc: what dask sets there gives every large array back to the system at once,
#: and a frame takes two to three times as long.
WORKER_ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)


@dataclass(frozen=True)
class Task:
    """A frame of a recording, or a whole one (`number` None)."""

    run: ItemRun
    number: int | None


class Workers:
    """Makes frames of a batch in worker processes, which write straight into the results' stores.

    A worker that dies loses its frame only: another one makes it again.

    Parameters
    ----------
    count : int
        Processes to start on this machine, one thread each; ignored with `scheduler`.
    scheduler : str
        Address of a running scheduler, ``tcp://host:8786``, or its scheduler file. Its workers need this package and the
        same file system.

    Raises
    ------
    InputError
        dask.distributed is not installed, or nobody answers at the address.
    """

    def __init__(self, count: int = 2, scheduler: str = "") -> None:
        try:
            distributed: Any = import_module("distributed")
        except ImportError:
            raise InputError(
                'workers need dask.distributed, which is not installed; pip install "napari-recon[cluster]"'
            ) from None
        self._cluster: Any = None
        self._client: Any
        try:
            if scheduler.endswith(".json"):
                self._client = distributed.Client(scheduler_file=scheduler, timeout="10s")
            elif scheduler:
                self._client = distributed.Client(scheduler, timeout="10s")
            else:
                with import_module("dask").config.set({"distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT}):
                    self._cluster = distributed.LocalCluster(
                        n_workers=count,
                        threads_per_worker=1,
                        processes=True,
                        memory_limit=0,
                        dashboard_address=None,
                        scheduler_kwargs={"dashboard_address": ":0"},  # its fixed port is taken when two batches run
                    )
                self._client = distributed.Client(self._cluster)
        except (OSError, ValueError) as error:
            raise InputError(
                f"a scheduler was expected at {scheduler}, nobody answered ({error}); check the address"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def count(self) -> int:
        """Number of workers there are now."""
        return len(self._client.scheduler_info(n_workers=-1)["workers"])

    def close(self) -> None:
        """Let go of the cluster; workers that were started here end."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def made(self, todo: list[ItemRun], folder: BatchFolder, token: CancelToken) -> Iterator[ItemChanged]:
        """Make recordings and yield how it goes.

        Raises
        ------
        Cancelled
            After running frames were told to stop; what was finished is noted.
        DiskFull
        """
        queue = deque(todo)
        tasks = self._tasks(queue)
        running: dict[Any, Task] = {}
        workers, looked = self.count, time.monotonic()
        try:
            while True:
                token.check()
                if time.monotonic() - looked > COUNT_EVERY_S:  # asking the scheduler costs it time
                    workers, looked = self.count, time.monotonic()
                while len(running) < AHEAD * max(1, workers) and (task := next(tasks)) is not None:
                    if isinstance(task, ItemChanged):
                        yield task
                    else:
                        running[self._submitted(task, folder)] = task
                if not running:
                    break
                for future in [f for f in running if f.done()]:
                    yield from self._taken(running.pop(future), future, queue)
                time.sleep(POLL_S)
        except Cancelled:
            self._stop(running, folder)
            raise
        finally:
            if running:
                self._client.cancel(list(running))

    def _tasks(self, queue: deque[ItemRun]) -> Iterator[Task | ItemChanged | None]:
        """Yield the work of each recording when its turn comes, None while there is none; what can't be opened says so."""
        while True:
            if not queue:
                yield None
                continue
            run = queue.popleft()
            yield ItemChanged(run.item, "running", message="opening")
            try:
                run.open()
            except (ReconError, OSError) as error:
                yield failure(run, error)
                continue
            numbers: list[int | None] = list(run.missing) if run.apart else [None]
            if not numbers:
                yield self._finished(run, queue)
            for number in numbers:
                if run.given_up:  # what failed once would fail for every frame
                    break
                yield Task(run, number)

    def _submitted(self, task: Task, folder: BatchFolder) -> Any:
        keep = {"pure": False, "retries": 0}
        if task.number is None:
            return self._client.submit(whole_in_worker, task.run.order(), str(folder.stop_file), **keep)
        part = task.run.part(task.number, task.number + 1, str(folder.stop_file))
        return self._client.submit(in_worker, part, **keep)

    def _taken(self, task: Task, future: Any, queue: deque[ItemRun]) -> Iterator[ItemChanged]:
        run = task.run
        if run.given_up:
            return
        error = future.exception()
        if error is not None:
            run.given_up = True
            yield failure(run, _described(error, run))
            return
        if task.number is None:
            run.done = future.result()
            yield self._next(run, queue)
            return
        for record in future.result():
            run.took(record)
        yield ItemChanged(run.item, "running", len(run.frames), run.plan.frames, run.where)
        if not run.missing:
            yield self._finished(run, queue)

    def _finished(self, run: ItemRun, queue: deque[ItemRun]) -> ItemChanged:
        """End a gathered step; a recording that has another goes back to the front of the queue."""
        try:
            run.finish()
        except (ReconError, OSError) as error:
            return failure(run, error)
        return self._next(run, queue)

    def _next(self, run: ItemRun, queue: deque[ItemRun]) -> ItemChanged:
        if run.done:
            return ItemChanged(run.item, "done", 1.0, 1.0)
        queue.appendleft(run)
        return ItemChanged(run.item, "running", 1.0, 1.0, run.where)

    def _stop(self, running: dict[Any, Task], folder: BatchFolder) -> None:
        """Tell running frames to stop, and note those that came to their end meanwhile."""
        folder.stop_file.touch()
        end = time.monotonic() + 10
        while any(not f.done() for f in running) and time.monotonic() < end:
            time.sleep(0.05)
        for future in [f for f in running if f.status == "finished" and running[f].number is not None]:
            with suppress(ReconError, OSError):
                for record in future.result():
                    running[future].run.took(record)


def whole_in_worker(order: Order, stop_file: str) -> bool:
    """Make the next step of a recording as a whole in a worker process; returns whether it was the last one."""
    with watched(stop_file) as token:
        run = ItemRun.of(order)
        run.open()
        for _ in run.run_whole(token):
            token.check()
        run.finish()
        return run.done


def _described(error: BaseException, run: ItemRun) -> Exception:
    if isinstance(error, ReconError):
        return error
    if type(error).__name__ == "KilledWorker":
        return OutOfMemory(
            f"several workers ended one after the other while they made {run.item.label}, as happens when memory runs out; "
            "take fewer workers or smaller tiles"
        )
    return describe(error)
