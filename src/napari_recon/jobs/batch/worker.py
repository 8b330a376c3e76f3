"""What runs inside the worker processes of a cluster."""

from __future__ import annotations

import ctypes
import hashlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_recon import __version__
from napari_recon.core.compute import SHARE, Machine, planning_for
from napari_recon.core.errors import InputError
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.jobs.batch.item_run import ItemRun, Order
from napari_recon.jobs.batch.parts import FrameRecord, Part, frames_of

POLL_S = 0.3
#: A file that another machine wrote a moment ago may take this long to be seen on a network share.
PATIENCE_S = 3.0
#: A worker makes one frame at a time with all its threads: what an engine holds is not for two at once.
_one_at_a_time = threading.Lock()


class WorkerUnfit(InputError):
    """A worker can't take part; another one may make its frame."""


@dataclass(frozen=True)
class Home:
    """What a batch looks like from where it is driven: the file of its settings, and some recordings."""

    settings: str
    digest: str
    recordings: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Path, sources: list[str]) -> Home:
        """Return it for the file of settings, with one recording of each folder."""
        files = (Path(source.partition("::")[0]) for source in sources)
        first = {file.parent: str(file) for file in files}
        return cls(str(settings), _digest(settings), tuple(first.values())[:20])

    def check(self) -> None:
        """Raise WorkerUnfit when this process does not see the same."""
        end = time.monotonic() + PATIENCE_S
        while _digest(Path(self.settings)) != self.digest:
            if time.monotonic() > end:
                out = Path(self.settings).parent.parent
                raise WorkerUnfit(f"{here()} should see the folder of results {out} and does not; {_SHARE_IT}")
            time.sleep(0.1)
        for path in self.recordings:
            if not Path(path).exists():
                raise WorkerUnfit(f"{here()} should see the recording {path} and does not; {_SHARE_IT}")


_SHARE_IT = "give every worker the same shared folders, at the same paths"


def here() -> str:
    """Return what this worker is called in messages."""
    return f"the worker on {socket.gethostname()}"


def version() -> str:
    """Return the version of this package where it runs."""
    return __version__


def look_around(home: Home, version: str, at_most: int, dask_worker: Any) -> Machine:
    """Return what a worker can do (WorkerUnfit when it can't take part); `at_most` as for `Machine.here`."""
    if version != __version__:
        raise WorkerUnfit(
            f"{here()} should have napari-recon {version} as here, found {__version__}; install the same there"
        )
    home.check()
    keep_memory()
    limit = dask_worker.memory_manager.memory_limit
    return Machine.here(dask_worker.state.nthreads, at_most or int(SHARE * (limit or 0)))


def keep_memory() -> None:
    """Keep freed memory for the next array of this process.

    What dask sets in the environment of its workers gives every large array back to the system at once, and a frame then
    takes two to three times as long. These are the largest values that the C library finds by itself elsewhere.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            library = ctypes.CDLL(None)
            library.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
            library.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD


def frames_in_worker(part: Part, home: Home) -> list[FrameRecord]:
    """Make frames; a cancelled worker gives those that were finished."""
    with _at(home), watched(part.stop_file) as token:
        return list(frames_of(replace(part, plan=_with_model(part.plan)), token))


def whole_in_worker(order: Order, machine: Machine, stop_file: str, home: Home) -> bool:
    """Make the next step of a recording as a whole, its files included; returns whether it was the last one."""
    with _at(home), watched(stop_file) as token, planning_for(machine):
        run = ItemRun.of(order)
        run.open()
        for _ in run.run_whole(token):
            token.check()
        run.finish()
        return run.done


@contextmanager
def _at(home: Home) -> Iterator[None]:
    """One task at a time, with the folder of results there before and after: what is not may swallow what is written."""
    with _one_at_a_time:
        home.check()
        yield
        home.check()


class watched:
    """A token that is cancelled when a file appears: what a cancel looks like to processes that share nothing else."""

    def __init__(self, stop_file: str) -> None:
        self._file, self._token, self._end = stop_file, CancelToken(), threading.Event()

    def __enter__(self) -> CancelToken:
        threading.Thread(target=self._watch, daemon=True).start()
        return self._token

    def __exit__(self, *error: object) -> None:
        self._end.set()

    def _watch(self) -> None:
        while not Path(self._file).exists():
            if self._end.wait(POLL_S):
                return
        self._token.cancel()


def _with_model(plan: Plan) -> Plan:
    """Return the plan with its model where this machine has it: built-in models lie in every environment of their own."""
    if plan.model is None or Path(plan.model.path).exists():
        return plan
    from napari_recon.hub import resolve

    found = resolve(plan.model.id, engine=plan.engine)
    if found.sha256 != plan.model.sha256:
        raise WorkerUnfit(f"{here()} should have the model {plan.model.id} as here, found another file {found.path}")
    return plan.model_copy(update={"model": plan.model.model_copy(update={"path": found.path})})


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
