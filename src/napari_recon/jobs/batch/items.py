"""What a batch works through: files, folders that are series, positions of an OME-Zarr; and what the results are called."""

from __future__ import annotations

import glob
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen
from napari_recon.io.omezarr import positions
from napari_recon.io.open import natural_key
from napari_recon.io.output import is_zarr
from napari_recon.io.suffixes import IMAGES, WRITABLE, stem_of, suffix_of

Each = Literal["auto", "file", "folder"]
DEFAULT_NAME = "{folder}/{stem}.ome.zarr"
_FIELDS = "{folder} {stem} {position} {index}"


class Item(Frozen):
    """One recording of a batch.

    Attributes
    ----------
    source : str
        What is opened: a file, a folder, or ``FILE::POSITION``.
    folder : str
        Where it lies below the folder that was given; ``"."`` at the top.
    stem : str
        File or folder name without suffix.
    position : str
        Path of the image inside an OME-Zarr; empty otherwise.
    """

    source: str
    folder: str
    stem: str
    position: str = ""

    @property
    def id(self) -> str:
        """A file name of its own, the same in every session."""
        words = re.sub(r"[^\w-]+", "_", self.label)[-80:]
        return f"{words}-{zlib.crc32(self.source.encode()):08x}"

    @property
    def label(self) -> str:
        """What people call it."""
        name = self.stem if self.folder == "." else f"{self.folder}/{self.stem}"
        return f"{name} {self.position}".strip()


def find_items(source: str | Path, each: Each = "auto") -> tuple[Item, ...]:
    """Return the recordings in a folder, below a glob, or in one file.

    Parameters
    ----------
    source : str or Path
        A folder (searched with everything below it), a quoted glob, or one file. Images inside one OME-Zarr that holds
        several (positions of a plate) are recordings of their own.
    each : {"auto", "file", "folder"}
        ``"file"``: every file is a recording. ``"folder"``: the files of one folder are a series along T. ``"auto"``:
        files; folders where only folders below hold files.

    Raises
    ------
    InputError
        When there is nothing.
    """
    root = Path(source).expanduser()
    if root.is_dir() and not is_zarr(root):
        files = sorted(_images_below(root), key=lambda p: natural_key(str(p)))
        series = each == "folder" or (each == "auto" and bool(files) and all(f.parent != root for f in files))
    elif root.exists():
        files, root, series = [root], root.parent, False
    else:
        files = [Path(p) for p in glob.glob(str(root), recursive=True)]
        files = sorted((p for p in files if suffix_of(p) in IMAGES), key=lambda p: natural_key(str(p)))
        root, series = _fixed_part(root), each == "folder"
    if not files:
        raise InputError(
            f"{source} should hold images ({' '.join(IMAGES[:6])} ...), found none; check the folder or pattern"
        )
    found = list(_series(files, root)) if series else [item for file in files for item in _of_file(file, root)]
    return tuple(found)


def result_paths(items: Iterable[Item], out: Path, name: str = DEFAULT_NAME) -> dict[str, Path]:
    """Return item id -> where its result goes, after a naming pattern.

    Parameters
    ----------
    name : str
        May hold ``{folder} {stem} {position} {index}``; its suffix chooses the format.

    Raises
    ------
    InputError
        An unknown field or suffix, a place outside of `out`, or two recordings that would write the same file.
    """
    found: dict[str, Path] = {}
    if suffix_of(name) not in WRITABLE:
        raise InputError(f"a naming pattern should end in one of {' '.join(WRITABLE)}, found {name!r}; mend its end")
    for index, item in enumerate(items):
        position = item.position.replace("/", "_")
        stem = item.stem if "{position}" in name or not position else f"{item.stem}_{position}"
        try:
            text = name.format(folder=item.folder, stem=stem, position=position, index=f"{index:04d}")
        except (KeyError, IndexError, ValueError):
            raise InputError(f"a naming pattern may hold {_FIELDS}, found {name!r}; mend it") from None
        path = Path(out, text)
        if Path(text).is_absolute() or ".." in Path(text).parts:
            raise InputError(f"results should lie below {out}, found the pattern {name!r}; leave out .. and roots")
        found[item.id] = path
    twice = [path for path, count in Counter(found.values()).items() if count > 1]
    if twice:
        names = [Path(item.source).name for item in items if found[item.id] == twice[0]]
        suffix = suffix_of(name)
        numbered = name.removesuffix(suffix) + "_{index}" + suffix
        raise InputError(
            f"every recording should get a file of its own, found {twice[0].name} for {names[0]} and for {names[1]}; "
            f"name them otherwise, with their number for example (--name {numbered!r})"
        )
    return found


def _images_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Yield images in a folder and below; links that lead back are not followed, nor folders one may not read."""
    here = folder.resolve()
    if here in above or not os.access(folder, os.R_OK | os.X_OK):
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if suffix_of(path) in IMAGES or (path.is_dir() and is_zarr(path)):
            yield path
        elif path.is_dir():
            yield from _images_below(path, above | {here})


def _series(files: list[Path], root: Path) -> Iterator[Item]:
    for folder in dict.fromkeys(f.parent for f in files):
        inside = [f for f in files if f.parent == folder]
        if len(inside) == 1 or any(f.is_dir() for f in inside):  # stores and single files are whole recordings
            yield from (item for file in inside for item in _of_file(file, root))
        else:
            yield Item(source=str(folder), folder=_relative(folder.parent, root), stem=folder.name)


def _of_file(file: Path, root: Path) -> Iterator[Item]:
    base = Item(source=str(file), folder=_relative(file.parent, root), stem=stem_of(file))
    inside = positions(file) if file.is_dir() and is_zarr(file) else ()
    if not inside:
        yield base
    for position in inside:
        yield base.model_copy(update={"source": f"{file}::{position}", "position": position})


def _relative(folder: Path, root: Path) -> str:
    try:
        return folder.relative_to(root).as_posix()
    except ValueError:
        return "."


def _fixed_part(pattern: Path) -> Path:
    parts = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts) if parts else Path()
