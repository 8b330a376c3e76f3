"""Writing results: block by block, under a temporary name beside the target, renamed when finished."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray

from napari_recon.core.errors import DiskFull, InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.core.stack import ImageStack
from napari_recon.io.found import writing
from napari_recon.io.suffixes import IMAGES, TIFF, WRITABLE, ZARR, stem_of, suffix_of

#: A finished result waits at most so long for readers of its place.
PATIENCE_S = 10.0


class OutputFile(ABC):
    """A result file that exists under its own name only once it is finished.

    Attributes
    ----------
    path : Path
        Where the result will be.
    spec : OutputSpec
        Shape, axes and dtype of what `write` expects.
    """

    carries_provenance = False

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        self.path, self.spec = path, spec
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        self._done = False

    def write(self, slices: tuple[slice, ...], array: NDArray[Any]) -> None:
        """Store one block: ``output[slices] = array``.

        Raises
        ------
        DiskFull, InputError
            When there is no space, or the place became unwritable.
        """
        with writing(self.path):
            self._write(slices, np.asarray(array))

    def finish(self, provenance: Mapping[str, Any] | None = None) -> Path:
        """Store the provenance, give the file its name and return it; a partial result is finished the same way."""
        if not self._done:
            with writing(self.path):
                self._finish(dict(provenance or {}))
                replace(self._temporary, self.path)
                beside = recipe_path(self.path)
                beside.unlink(missing_ok=True)
                if not self.carries_provenance:
                    values = {**_plain(provenance or {}), "grid": self.spec.grid.model_dump(mode="json")}
                    beside.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), "utf-8")
            self._done = True
        return self.path

    def discard(self) -> None:
        """Remove what was written; an older file under the same name stays untouched."""
        if not self._done:
            self._done = True
            self._close()
            remove(self._temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.discard()

    @abstractmethod
    def _write(self, slices: tuple[slice, ...], array: NDArray[Any]) -> None: ...

    @abstractmethod
    def _finish(self, provenance: dict[str, Any]) -> None:
        """Complete and close the temporary file."""

    @abstractmethod
    def _close(self) -> None:
        """Release the temporary file so that it can be removed."""


def create_output(path: str | Path, spec: OutputSpec) -> OutputFile:
    """Create a result file of zeros to write blocks into.

    Parameters
    ----------
    path : path
        Its suffix chooses the format; missing folders are made.
    spec : OutputSpec

    Raises
    ------
    InputError
        Unknown suffix, unwritable folder, or axes the format can't hold.
    DiskFull
        When the disk has less room than the result needs.
    """
    path = check_writable(path)
    suffix = suffix_of(path)
    with writing(path):
        if suffix in TIFF:
            from napari_recon.io.tiff_write import TiffOutput

            return TiffOutput(path, spec)
        if suffix in ZARR:
            from napari_recon.io.omezarr import ZarrOutput

            return ZarrOutput(path, spec)
        from napari_recon.io.array_write import ArrayOutput

        return ArrayOutput(path, spec)


def write_stack(path: str | Path, stack: ImageStack, provenance: Mapping[str, Any] | None = None) -> Path:
    """Write a whole stack, one outermost index at a time, and return the path.

    Raises
    ------
    InputError, DiskFull
        As `create_output`.
    """
    spec = OutputSpec(name=stack.name, grid=stack.grid, dtype=stack.dtype.name)
    with create_output(path, spec) as output:
        for i in range(stack.grid.shape[0]):
            slices = (slice(i, i + 1), *(slice(0, n) for n in stack.grid.shape[1:]))
            output.write(slices, np.asarray(stack.data[i : i + 1]))
        return output.finish(provenance)


def check_writable(path: str | Path) -> Path:
    """Return `path` after checking, by trying, that a result can be written there; missing folders are made.

    Raises
    ------
    InputError
        Unknown suffix, a folder in the way, or no permission.
    """
    path = Path(path).expanduser()
    suffix = suffix_of(path)
    if suffix not in WRITABLE:
        raise InputError(f"{path} should end in one of {' '.join(WRITABLE)}, found {suffix or 'no suffix'!r}; rename it")
    if path.is_dir() and not (suffix in ZARR and is_zarr(path)):
        raise InputError(f"{path} should be a file to write, found a folder that is no result; choose another name")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{secrets.token_hex(6)}.probe")
        probe.touch()
        probe.unlink()
    return path


def output_path(out: str | Path, name: str, first: bool, default_ext: str = ".ome.tif") -> Path:
    """Return where output `name` goes.

    Parameters
    ----------
    out : path
        ``FILE``: the first output is FILE, others ``FILE-stem.NAME.ext``. ``FOLDER/`` (or an existing folder):
        ``FOLDER/NAME.ext``.
    name : str
    first : bool
    default_ext : str
        Used in folders and for outputs that are no images (``.csv``); other images keep FILE's suffix.
    """
    path = Path(out).expanduser()
    is_folder = str(out).endswith(("/", os.sep)) or (path.is_dir() and suffix_of(path) not in ZARR)
    if is_folder:
        return path / f"{name}{default_ext}"
    if first:
        return path
    suffix = suffix_of(path) if default_ext in IMAGES else default_ext
    return path.with_name(f"{stem_of(path)}.{name}{suffix or default_ext}")


def partial_path(path: Path) -> Path:
    """Return the name of a partial result that must not take the place of another."""
    return path.with_name(f"{stem_of(path)}.partial{suffix_of(path)}")


def recipe_path(path: Path) -> Path:
    """Return the recipe's place beside a result whose format can't carry it."""
    return path.with_name(f"{path.name}.recipe.yaml")


def read_recipe_beside(path: Path) -> tuple[dict[str, Any] | None, Grid | None]:
    """Return provenance and grid of ``FILE.recipe.yaml`` beside a result; None where there is none or it is unreadable."""
    beside = recipe_path(path)
    if not beside.is_file():
        return None, None
    try:
        values = yaml.safe_load(beside.read_text("utf-8"))
        grid = values.pop("grid", None)
        return values or None, Grid.model_validate(grid) if grid else None
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, ValueError, InputError):
        return None, None


def is_zarr(folder: Path) -> bool:
    """Return whether a folder is a zarr store (v2 or v3)."""
    return any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zarray", ".zattrs"))


def reserve(path: Path, nbytes: int) -> None:
    """Raise DiskFull now rather than crash later: a memory map on a full disk can't report it."""
    free = shutil.disk_usage(path.parent).free
    if free < nbytes:
        raise DiskFull(
            f"{path} needs {nbytes / 1e9:.2g} GB, its disk has {free / 1e9:.2g} GB left; free some or write elsewhere"
        )


def allocate(path: Path) -> None:
    """Make the file system promise the bytes of a sparse file (where it can)."""
    if hasattr(os, "posix_fallocate") and (size := path.stat().st_size):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def replace(temporary: Path, path: Path) -> None:
    """Give `temporary` its final name; an older result under that name goes away only afterwards."""
    if path.is_dir():
        old = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
        _renamed(path, old)
        try:
            _renamed(temporary, path)
        except OSError:
            old.rename(path)
            raise
        remove(old)
    else:
        _renamed(temporary, path)


def _renamed(path: Path, to: Path) -> None:
    """Rename; Windows refuses as long as somebody reads in a folder, which a viewer that shows it does now and then."""
    end = time.monotonic() + (PATIENCE_S if os.name == "nt" else 0.0)
    while True:
        try:
            os.replace(path, to)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.05)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def stored_axes(grid: Grid, order: str = "TCNAPVZYX") -> str:
    """Return the grid's axes in the order formats agree on: time first, space last."""
    return "".join(sorted(grid.axes, key=order.index))


def _plain(value: Any) -> Any:
    """Return JSON-like values (tuples as lists, numpy scalars as numbers) that safe YAML can hold."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
