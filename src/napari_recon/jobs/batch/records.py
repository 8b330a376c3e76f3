"""What a batch knows on disk: its settings, and per recording a log that survives the end of the process at any point."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from napari_recon import __version__
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen
from napari_recon.io.found import writing
from napari_recon.jobs.batch.items import DEFAULT_NAME, Each, Item

FOLDER = ".napari-recon-batch"
State = Literal["waiting", "running", "done", "failed", "skipped"]


class Settings(Frozen):
    """What a batch was asked for; a resumed one keeps to it."""

    recipe: dict[str, Any]
    source: str
    each: Each = "auto"
    name: str = DEFAULT_NAME
    device: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    version: str = __version__


class Outcome(Frozen):
    """How a recording ended, as the report shows it.

    Attributes
    ----------
    result : str
        The main one of its `outputs`.
    apart : bool
        Its frames were kept one by one; what is made in one piece begins anew when it is interrupted.
    """

    state: State = "waiting"
    result: str = ""
    outputs: dict[str, str] = Field(default_factory=dict)
    frames: int = 1
    apart: bool = True
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    device: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    message: str = ""
    thumbnail: str = Field(default="", repr=False)


class BatchFolder:
    """The folder that results go to, with the batch's own notes in a hidden one inside.

    Parameters
    ----------
    out : Path
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.notes = out / FOLDER
        self.stop_file = self.notes / "stop"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second batch away from this folder; a killed process lets go by itself.

        Raises
        ------
        InputError
            When another batch works here, or the folder can't be made.
        """
        with writing(self.notes):
            (self.notes / "items").mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.notes / "lock")
        try:
            with lock.acquire(timeout=0):
                self.stop_file.unlink(missing_ok=True)
                yield
        except Timeout:
            raise InputError(f"another batch is writing to {self.out}; wait for it, or choose another folder") from None

    def settings(self) -> Settings | None:
        """Return what the batch in this folder was asked for, None when there is none.

        Raises
        ------
        InputError
            When its notes are unreadable.
        """
        path = self.notes / "batch.json"
        if not path.exists():
            return None
        try:
            return Settings.model_validate_json(path.read_text("utf-8"))
        except (ValidationError, UnicodeDecodeError):
            raise InputError(
                f"{path} should hold the settings of a batch, found something else; use another folder"
            ) from None

    def begin(self, settings: Settings) -> None:
        """Store what is asked for; notes of an earlier batch go away."""
        with writing(self.notes):
            for name in ("items", "work"):
                shutil.rmtree(self.notes / name, ignore_errors=True)
            (self.notes / "items").mkdir()
            write_text(self.notes / "batch.json", settings.model_dump_json(indent=1))

    def log(self, item: Item, step: str = "") -> Log:
        """Return the log of a recording, or of one of its earlier steps."""
        return Log(self.notes / "items" / f"{item.id}{step}.jsonl")

    def check(self) -> None:
        """Raise an InputError when the folder has gone, as a network share may, and only its place is left."""
        if not (self.notes / "items").is_dir():
            raise InputError(f"the folder of results {self.out} was expected with what was begun in it, found it gone")

    def work(self, item: Item) -> Path:
        """Return the folder where frames of a recording are gathered."""
        return self.notes / "work" / item.id

    def tidy(self) -> None:
        """Remove what only an unfinished batch needs."""
        shutil.rmtree(self.notes / "work", ignore_errors=True)
        self.stop_file.unlink(missing_ok=True)


class Log:
    """Lines of JSON of one recording, each on disk before the next begins; a torn last one does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        """Return what was noted, in order."""
        found: list[dict[str, Any]] = []
        if not self.path.exists():
            return found
        for line in self.path.read_bytes().split(b"\n"):
            try:
                values = json.loads(line)
            except ValueError:
                continue
            if isinstance(values, dict):
                found.append(values)
        return found

    def add(self, values: Mapping[str, Any]) -> None:
        """Note one thing; it is on disk when this returns.

        Raises
        ------
        InputError, DiskFull
            Also when the folder has gone: it is not made again where a network share was.
        """
        with writing(self.path):
            with self.path.open("ab") as file:
                file.write(b"\n" + json.dumps(values).encode())  # in front: what a killed process left torn ends here
                file.flush()
                os.fsync(file.fileno())

    def clear(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)

    def outcome(self) -> Outcome:
        """Return how the recording ended the last time, "waiting" when it did not."""
        ends = [line["outcome"] for line in self.lines() if "outcome" in line]
        with suppress(ValidationError):  # what another version noted is made again
            return Outcome.model_validate(ends[-1]) if ends else Outcome()
        return Outcome()


def write_text(path: Path, text: str) -> None:
    """Write a small file that appears complete or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
