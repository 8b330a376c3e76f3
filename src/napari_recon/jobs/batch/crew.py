"""Who works on a batch: workers of a cluster that can take part, and what all of them can do."""

from __future__ import annotations

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from napari_recon import __version__
from napari_recon.core.compute import Machine
from napari_recon.core.errors import InputError
from napari_recon.jobs.batch.worker import Home, look_around, version

ANSWER_S = 5.0


class Crew:
    """Gets to know workers as they come, and lets those go that can't take part.

    Parameters
    ----------
    client : distributed.Client
    home : Home
        What each of them has to see.
    at_most : int
        Memory of one worker in bytes, 0 for what it says itself.
    """

    def __init__(self, client: Any, home: Home, at_most: int = 0) -> None:
        self._client, self._home, self._at_most = client, home, at_most
        self._machines: dict[str, Machine] = {}
        self._all: Machine | None = None

    def __len__(self) -> int:
        return len(self._machines)

    @property
    def machine(self) -> Machine:
        """What each of the first ones can do, which plans are made for."""
        if self._all is None:
            self._all = reduce(Machine.and_also, self._machines.values())
        return self._all

    def look(self, again: bool = False) -> list[str]:
        """Get to know new workers (`again`: all of them); returns a sentence for each that was let go.

        Raises
        ------
        InputError
            None of them can take part, or one of the first can't: somebody is there to mend it. Or the scheduler is gone.
        """
        try:
            there = set(self._client.scheduler_info(n_workers=-1)["workers"])
            known = {} if again else {at: m for at, m in self._machines.items() if at in there}
            strangers = sorted(there - set(known))
            found = self._asked(strangers) if strangers else {}
            unfit = {at: str(said) for at, said in found.items() if not isinstance(said, Machine)}
            first = self._all is None
            self._machines = known | {at: said for at, said in found.items() if isinstance(said, Machine)}
            if unfit and (first or not self._machines):
                raise InputError(next(iter(unfit.values())))
            if unfit:
                self._client.retire_workers(list(unfit))
        except OSError as error:
            raise gone(error) from error
        return list(unfit.values())

    def _asked(self, workers: list[str]) -> dict[str, Machine | str]:
        """Return what workers can do, or why they can't take part; those that went meanwhile are left out."""
        arguments = (self._home, __version__, self._at_most)
        answers = self._client.run(look_around, *arguments, workers=workers, on_error="return")
        found: dict[str, Machine | str] = {}
        for at, answer in answers.items():
            if isinstance(answer, InputError):
                found[at] = str(answer)
            elif isinstance(answer, Machine) and self._all is not None and self._all.backend not in (answer.backend, "cpu"):
                found[at] = f"the worker at {at} should have {self._all.backend} as the first ones, found {answer.backend}"
            elif isinstance(answer, Machine):
                found[at] = answer
            elif not isinstance(answer, OSError):
                found[at] = (
                    f"the worker at {at} should have napari-recon {__version__} in its environment, found none or another "
                    f"version ({str(answer) or type(answer).__name__}); install it there"
                )
        return found


def check_scheduler(client: Any, address: str) -> None:
    """Raise InputError unless the scheduler has this package: it unpacks what it hands on."""
    try:
        found = client.run_on_scheduler(version)
    except Exception as error:
        found = f"none ({error})"
    if found != __version__:
        raise InputError(
            f"the scheduler at {address} should have napari-recon {__version__} in its environment, found {found}; "
            "install it there and start it again"
        )


def gone(error: Exception) -> InputError:
    """Return what is said when the scheduler does not answer any more."""
    said = f" ({error})" if str(error) else ""
    return InputError(f"the scheduler no longer answers{said}; start it again")


def address_of(scheduler: str) -> str:
    """Return the address in `scheduler`, which may be the file that a scheduler wrote, after checking that somebody listens.

    Raises
    ------
    InputError
    """
    path = Path(scheduler)
    if path.suffix == ".json":
        try:
            scheduler = str(json.loads(path.read_text("utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"the file of a running scheduler was expected at {path}, found none; start it with --scheduler-file {path}"
            ) from None
    text = scheduler if "://" in scheduler else f"tcp://{scheduler}"
    if text.startswith("inproc://"):  # of this very process
        return text
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise InputError(f"an address such as tcp://host:8786 was expected, found {scheduler!r}; mend it")
    try:
        socket.create_connection((host, port), timeout=ANSWER_S).close()
        with ThreadPoolExecutor(1) as thread:  # a notebook has a loop that runs
            said = thread.submit(asyncio.run, _greeted(text)).result()
    except Exception as error:
        why = str(error) or "it did not answer"
        raise InputError(f"a dask scheduler was expected at {text}, found none ({why}); check the address") from None
    if said != "Scheduler":
        raise InputError(f"a dask scheduler was expected at {text}, found a {said.lower()}; give the scheduler's address")
    return text


async def _greeted(address: str) -> str:
    """Return what somebody at an address says to be; a client would try it for minutes."""
    rpc: Any = import_module("distributed.core").rpc
    async with asyncio.timeout(ANSWER_S), rpc(address, timeout=ANSWER_S) as there:
        return str((await there.identity())["type"])
