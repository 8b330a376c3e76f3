"""The folder in which a chain keeps what its steps made: whole or not at all, named by all that it follows from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_recon.core.events import BlockReady
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.core.stack import ImageStack
from napari_recon.hub import cache_folder

RECORD = "record.json"
#: What interrupted runs left in the cache is removed after so many days.
KEPT_DAYS = 14
#: Voxels of a piece that is handed over at once.
PIECE = 2**22


@dataclass
class Record:
    """What a step said besides its voxels.

    Attributes
    ----------
    grids : dict
        Output name -> grid.
    decided : dict
        Parameters that were automatic.
    transform : dict
        Payload of a transform, empty without one.
    reports : list of dict
    warnings : list of str
    seconds : float
    """

    grids: dict[str, Any] = field(default_factory=dict)
    decided: dict[str, Any] = field(default_factory=dict)
    transform: dict[str, Any] = field(default_factory=dict)
    reports: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Kept:
    """What a step made of one frame, as it lies in the folder."""

    folder: Path
    record: Record

    @property
    def whole(self) -> bool:
        """Whether the voxels are there still, besides the record."""
        return all((self.folder / f"{name}.npy").exists() for name in self.record.grids)

    def stack(self, output: str, name: str, metadata: Mapping[str, Any]) -> ImageStack:
        """Return an output, read when asked for."""
        array = np.load(self.folder / f"{output}.npy", mmap_mode="c")  # torch wants arrays it could write to
        return ImageStack(array, Grid.model_validate(self.record.grids[output]), name, metadata=metadata)

    def blocks(self, output: str) -> Iterator[BlockReady]:
        """Yield an output's voxels in pieces along its first axis."""
        array = np.load(self.folder / f"{output}.npy", mmap_mode="r")
        each = max(1, PIECE // max(1, array[0].size))
        rest = tuple(slice(0, n) for n in array.shape[1:])
        for start in range(0, len(array), each):
            part = np.array(array[start : start + each])
            yield BlockReady(output, (slice(start, start + len(part)), *rest), part)

    def drop_voxels(self) -> None:
        """Remove the voxels and keep what was said."""
        for name in self.record.grids:
            (self.folder / f"{name}.npy").unlink(missing_ok=True)


class Making:
    """A step's result while it is made: in a folder that nobody takes for a whole one."""

    def __init__(self, target: Path, specs: Sequence[OutputSpec]) -> None:
        self._target = target
        self._folder = target.with_name(f".{target.name}.{os.getpid()}.part")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self.record = Record(grids={spec.name: spec.grid.model_dump(mode="json") for spec in specs})
        self._arrays: dict[str, Any] = {
            spec.name: np.lib.format.open_memmap(
                self._folder / f"{spec.name}.npy", mode="w+", dtype=spec.dtype, shape=spec.grid.shape
            )
            for spec in specs
        }

    def write(self, block: BlockReady) -> None:
        """Write a block of an output that is kept; others are passed over."""
        if block.output in self._arrays:
            self._arrays[block.output][block.slices] = block.array

    def done(self) -> Kept:
        """Close the result and give it its name, in one step of the file system."""
        for array in self._arrays.values():
            array.flush()
        self._arrays.clear()
        (self._folder / RECORD).write_text(json.dumps(asdict(self.record), default=_plain), encoding="utf-8")
        shutil.rmtree(self._target, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run of the same was quicker
            self._folder.replace(self._target)
        return Kept(self._target, self.record)

    def drop(self) -> None:
        """Remove what is not whole."""
        self._arrays.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


class WorkFolder:
    """Results of steps by digest, in a folder of the user's (kept) or in the cache (removed when a run is complete).

    Parameters
    ----------
    folder : str
        Empty for the cache.
    """

    def __init__(self, folder: str) -> None:
        self.own = not folder
        self._folder = cache_folder() / "pipeline" if self.own else Path(folder).expanduser()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._used: set[str] = set()
        if self.own:
            self._prune()

    def find(self, digest: str) -> Kept | None:
        """Return what was kept under a digest, None when there is nothing whole."""
        self._used.add(digest)
        try:
            values = json.loads((self._folder / digest / RECORD).read_text(encoding="utf-8"))
            return Kept(self._folder / digest, Record(**values))
        except (OSError, ValueError, TypeError):
            return None

    def making(self, digest: str, specs: Sequence[OutputSpec]) -> Making:
        """Return a result to be made."""
        self._used.add(digest)
        return Making(self._folder / digest, specs)

    def file(self, digest: str, payload: Any) -> Path:
        """Return a JSON file of a payload beside the results."""
        path = self._folder / f"{digest}.json"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        temporary.write_text(json.dumps(payload, default=_plain), encoding="utf-8")
        temporary.replace(path)
        return path

    def close(self) -> None:
        """Remove what a complete run no longer needs, unless the folder is the user's."""
        if self.own:
            for digest in self._used:
                shutil.rmtree(self._folder / digest, ignore_errors=True)
                (self._folder / f"{digest}.json").unlink(missing_ok=True)

    def _prune(self) -> None:
        oldest = time.time() - KEPT_DAYS * 86400
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def digest_of(*things: Any) -> str:
    """Return a digest of JSON values and bytes."""
    digest = hashlib.sha256()
    for thing in things:
        digest.update(thing if isinstance(thing, bytes) else json.dumps(thing, sort_keys=True, default=_plain).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


def identity(stack: ImageStack) -> str:
    """Return a digest of a frame: of its files' sizes and times where it has some, else of its content."""
    where = [stack.grid.model_dump(mode="json"), str(stack.dtype)]
    path = Path(stack.uri.partition("::")[0]) if stack.uri else None
    if path is not None and path.exists():
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        stamps = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]
        return digest_of(stack.uri, stamps, *where)
    content = hashlib.sha256()
    for number in range(stack.grid.shape[0]):
        content.update(np.ascontiguousarray(stack.data[number]).tobytes())
    return digest_of(content.digest(), *where)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
