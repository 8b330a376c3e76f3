"""Workers of dask.distributed: on this machine, or of any cluster that runs already."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from multiprocessing import current_process
from statistics import median
from typing import Any, Self

from napari_recon.core import settings
from napari_recon.core.compute import SHARE, free_memory, planning_for
from napari_recon.core.errors import Cancelled, InputError, OutOfMemory, ReconError, describe
from napari_recon.core.provenance import Recipe
from napari_recon.core.token import CancelToken
from napari_recon.jobs.batch.crew import Crew, address_of, check_scheduler, gone
from napari_recon.jobs.batch.item_run import ItemRun
from napari_recon.jobs.batch.records import BatchFolder
from napari_recon.jobs.batch.run import ItemChanged, failure
from napari_recon.jobs.batch.worker import Home, WorkerUnfit, frames_in_worker, whole_in_worker

#: Tasks per worker that are under way, so that none waits for the client ...
AHEAD = 2
#: ... and some more where others decide on the number of workers, which grows with what is waiting.
WAITING = 32
POLL_S = 0.01
LOOK_EVERY_S = 2.0
#: Frames that are quicker than this go together into one task, since handing one out costs milliseconds of this machine too.
TASK_S = 0.5
#: A frame that so many unfit workers could not make has a fault of its own.
TRIES = 5


_GUARD = "processes could not be started; in a script, the call belongs below: if __name__ == '__main__':"


@dataclass
class Task:
    """Some frames of a recording, one unless they are quick; or a whole step of it (None)."""

    run: ItemRun
    frames: range | None
    tries: int = 0


class Workers:
    """Makes frames of a batch in worker processes, which write straight into the results' stores.

    A worker that dies loses its frame only: another one makes it again.

    Parameters
    ----------
    count : int
        Processes to start on this machine, one thread each; ignored with `scheduler`.
    scheduler : str
        Address of a running scheduler, ``tcp://host:8786``, or its scheduler file. Its workers need this package and the
        same file system. Each makes one frame at a time, with as many threads as it was given.

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
        self._share = self._spare = 0
        if scheduler:
            address, self._spare = address_of(scheduler), WAITING
            self._client = distributed.Client(address, set_as_default=False)
            try:
                check_scheduler(self._client, address)
            except InputError:
                self.close()
                raise
            return
        if getattr(current_process(), "_inheriting", False):
            raise InputError(_GUARD)
        self._share = int((settings.memory_bytes() or SHARE * free_memory("cpu")) / count)
        try:
            self._cluster = distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": ":0"},  # its fixed port is taken when two batches run
            )
        except RuntimeError as error:
            raise InputError(_GUARD) from error
        self._client = distributed.Client(self._cluster, set_as_default=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

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
        if not todo:
            return
        home = Home.of(folder.notes / "batch.json", [run.item.source for run in todo])
        crew = Crew(self._client, home, self._share)
        yield from self._awaited(crew, todo[0], token)
        for run in todo:
            run.recipe = _for_worker(run.recipe, crew.machine.threads)
        queue = deque(todo)
        tasks, again = self._tasks(queue, crew), deque[Task]()
        running: dict[Any, Task] = {}
        looked = time.monotonic()
        try:
            while True:
                token.check()
                if time.monotonic() - looked > LOOK_EVERY_S:  # asking the scheduler costs it time
                    yield from _warned(crew.look(), todo[0])
                    looked = time.monotonic()
                while len(running) < AHEAD * max(1, len(crew)) + self._spare:
                    task = again.popleft() if again else next(tasks)
                    if task is None:
                        break
                    if isinstance(task, ItemChanged):
                        yield task
                    elif not task.run.given_up:
                        running[self._submitted(task, crew, home, folder)] = task
                if not running:
                    break
                for future in [f for f in running if f.done()]:
                    if (task := running.pop(future, None)) is None:  # of a recording that was given up meanwhile
                        continue
                    if _unfit(error := _error_of(future)) and task.tries < TRIES:
                        again.append(Task(task.run, task.frames, task.tries + 1))
                        yield from _warned(crew.look(again=True), task.run)
                        continue
                    yield from self._taken(task, future, error, queue)
                    if task.run.given_up:  # what failed once would fail for every frame
                        others = [f for f, t in running.items() if t.run is task.run]
                        self._client.cancel(others)
                        for other in others:
                            del running[other]
                time.sleep(POLL_S)
        except Cancelled:
            self._stop(running, folder)
            raise
        finally:
            if running and self._client.status == "running":
                self._client.cancel(list(running))

    def _awaited(self, crew: Crew, run: ItemRun, token: CancelToken) -> Iterator[ItemChanged]:
        """Wait for the first worker; a cluster that starts workers for what there is to do gets something."""
        call: Any = None
        crew.look()
        while not len(crew):
            token.check()
            if call is None or call.done():
                yield ItemChanged(run.item, "running", message="waiting for workers")
                call = self._client.submit(time.sleep, 0, pure=False)
            time.sleep(10 * POLL_S)
            crew.look()

    def _tasks(self, queue: deque[ItemRun], crew: Crew) -> Iterator[Task | ItemChanged | None]:
        """Yield the work of each recording when its turn comes, None while there is none; what can't be opened says so."""
        while True:
            if not queue:
                yield None
                continue
            run = queue.popleft()
            yield ItemChanged(run.item, "running", message="opening")
            try:
                with planning_for(crew.machine):
                    run.open()
            except (ReconError, OSError) as error:
                yield failure(run, error)
                continue
            if not run.apart:
                yield Task(run, None)
                continue
            if not (missing := run.missing):
                yield self._finished(run, queue)
            while missing and not run.given_up:
                most = _together(run, len(missing), len(crew))
                count = next((n for n in range(1, most) if missing[n] != missing[0] + n), most)
                yield Task(run, range(missing[0], missing[0] + count))
                missing = missing[count:]

    def _submitted(self, task: Task, crew: Crew, home: Home, folder: BatchFolder) -> Any:
        keep, stop_file = {"pure": False, "retries": 0}, str(folder.stop_file)
        if task.frames is None:
            return self._client.submit(whole_in_worker, task.run.order(), crew.machine, stop_file, home, **keep)
        part = task.run.part(task.frames.start, task.frames.stop, stop_file)
        return self._client.submit(frames_in_worker, part, home, **keep)

    def _taken(self, task: Task, future: Any, error: BaseException | None, queue: deque[ItemRun]) -> Iterator[ItemChanged]:
        run = task.run
        if error is not None:
            run.given_up = True
            yield failure(run, _described(error, run))
            return
        if task.frames is None:
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
        for future in [f for f in running if f.status == "finished" and running[f].frames is not None]:
            with suppress(ReconError, OSError):
                for record in future.result():
                    running[future].run.took(record)


def _error_of(future: Any) -> BaseException | None:
    """Return why a task failed, None when it did not (InputError when the scheduler went away)."""
    if future.status in ("cancelled", "lost"):
        raise gone(OSError())
    error: BaseException | None = future.exception()
    return error


def _together(run: ItemRun, missing: int, workers: int) -> int:
    """Return how many frames the next task has: about `TASK_S` of work, and enough tasks left for every worker."""
    known = [record.seconds for record in islice(reversed(run.frames.values()), 9) if record.seconds > 0]
    if not known:
        return 1
    quick = int(TASK_S / median(known))
    return max(1, min(quick, missing // (2 * AHEAD * max(1, workers))))


def _unfit(error: BaseException | None) -> bool:
    return isinstance(error, WorkerUnfit)


def _warned(sentences: list[str], run: ItemRun) -> Iterator[ItemChanged]:
    for sentence in sentences:
        yield ItemChanged(run.item, "running", warning=f"{sentence}; the others go on")


def _for_worker(recipe: Recipe, threads: int) -> Recipe:
    """Return the recipe for workers, each of which has one device and so many threads."""
    steps = []
    for step in recipe.steps:
        kept = {**step.resolved, "threads": threads}
        if str(kept.get("device", "")).startswith("cuda:"):  # the card of another machine
            kept["device"] = "cuda"
        steps.append(step.model_copy(update={"resolved": kept}))
    return recipe.model_copy(update={"steps": tuple(steps)})


def _described(error: BaseException, run: ItemRun) -> Exception:
    if isinstance(error, ReconError):
        return error
    if type(error).__name__ == "KilledWorker":
        return OutOfMemory(
            f"several workers ended one after the other while they made {run.item.label}, as happens when memory runs out; "
            "take fewer workers or smaller tiles"
        )
    return describe(error)
