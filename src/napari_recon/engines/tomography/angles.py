"""Angles of projections: a list, start:stop:step, or a file as IMOD, SerialEM and MRC headers know them. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_recon.core.errors import InputError
from napari_recon.io.suffixes import suffix_of

SUFFIXES = (".tlt", ".rawtlt", ".txt", ".csv", ".mdoc", ".json")
BESIDE = (".tlt", ".rawtlt", ".mrc.mdoc", ".mdoc")
"""Suffixes of lists that are looked for beside a stack."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_NAMES = re.compile(r"angle|tilt|theta|deg", re.IGNORECASE)
_REMEDY = "set angles to a list in degrees, to start:stop:step, or to a file (.tlt, .rawtlt, .txt, .csv)"

Angles = tuple[float, ...]


def angles_for(value: Sequence[float] | str, views: int) -> Angles:
    """Return one angle in degrees per view.

    Parameters
    ----------
    value : sequence of float or str
        The angles; ``"start:stop:step"``, whose end is among them when the number of views says so; numbers between commas;
        or the path of a list.
    views : int

    Raises
    ------
    InputError
        Angles that are none, or another number of them.
    """
    if not isinstance(value, str):
        return checked(value, views, "angles")
    text = value.strip()
    parts = [part.strip() for part in text.split(":")]
    if len(parts) == 3 and all(_NUMBER.fullmatch(part) for part in parts):
        return _stepped([float(part) for part in parts], views, text)
    numbers = [part for part in re.split(r"[\s,;]+", text.strip("[]()")) if part]
    if len(numbers) > 1 and all(_NUMBER.fullmatch(part) for part in numbers):
        return checked(map(float, numbers), views, "angles")
    return checked(read_angles(text), views, Path(text).name)


def in_range(text: str) -> Angles | None:
    """Return the angles of ``"start:stop:step"``, stop not among them; None for another text."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) != 3 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    start, stop, step = map(float, parts)
    count = math.ceil(round((stop - start) / step, 6)) if step else 0
    return checked((start + step * n for n in range(count)), max(count, 2), f"angles {text}")


def checked(values: Iterable[Any], views: int, what: str) -> Angles:
    """Return angles after checking that they are numbers, one per view, and more than one."""
    try:
        angles = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise InputError(f"{what} should be numbers in degrees, found something else; {_REMEDY}") from None
    if len(angles) != views:
        raise InputError(
            f"{what} should say one angle per projection ({views}), found {len(angles)}; give the list of this stack"
        )
    if not all(math.isfinite(angle) and abs(angle) <= 3600 for angle in angles):
        raise InputError(f"{what} should be in degrees, found {max(angles, key=abs):g}; mend the list")
    if len({round(angle, 6) for angle in angles}) < 2:
        raise InputError(f"{what} should differ between projections, found {angles[0]:g} for all; give the real ones")
    return angles


def read_angles(path: str | Path) -> list[float]:
    """Return the angles in a file: a number per line, a column named like an angle, or a list (JSON)."""
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"angles should be a list or a readable file, found {str(path)!r} ({reason}); {_REMEDY}") from None
    suffix = suffix_of(path)
    if suffix == ".mdoc":
        return [float(found[1]) for found in re.finditer(r"^\s*TiltAngle\s*=\s*(\S+)", text, re.MULTILINE)]
    if suffix == ".json":
        import json

        try:
            return of_rows(json.loads(text), path.name)
        except json.JSONDecodeError:
            raise InputError(f"{path.name} should hold a list of angles, found no JSON; {_REMEDY}") from None
    rows = [re.split(r"[\s,;]+", line.strip(" \t,;")) for line in text.splitlines()]
    return _of_columns([row for row in rows if row != [""] and not row[0].startswith("#")], path.name)


def of_rows(rows: Any, what: str) -> list[float]:
    """Return the angles in what a table holds: a list of numbers, or of rows that name an angle."""
    if isinstance(rows, Mapping):
        rows = next((value for name, value in rows.items() if _NAMES.search(str(name))), rows)
    if isinstance(rows, Sequence) and rows and all(isinstance(row, Mapping) for row in rows):
        header = [str(name) for name in rows[0]]
        return _of_columns([header, *([str(row[name]) for name in rows[0]] for row in rows)], what)
    try:
        return [float(value) for value in np.asarray(rows, dtype=float).ravel()]
    except (TypeError, ValueError):
        raise InputError(f"{what} should hold a list of angles, found {type(rows).__name__}; {_REMEDY}") from None


def mrc_angles(path: str | Path) -> list[float]:
    """Return the tilt angles in the extended header of an MRC stack; empty when it holds none that can be read."""
    import mrcfile

    try:
        with mrcfile.open(path, permissive=True, header_only=True) as file:
            kind = bytes(file.header.exttyp).decode("ascii", "replace").strip()
            sections, extended = int(file.header.nz), file.extended_header
            if extended.dtype.names and "Alpha tilt" in extended.dtype.names:
                return [float(value) for value in extended["Alpha tilt"][:sections]]
            words = np.frombuffer(bytes(file.header.extra2), "<i2")  # bytes 112 on; sizes of a section are at 128 and 130
            raw = extended.tobytes()
        if kind in ("SERI", "AGAR") and len(raw):
            return _per_section(raw, sections, int(words[8]), int(words[9]), kind)
    except (OSError, ValueError, UnicodeDecodeError):
        pass
    return []


def beside(path: str | Path) -> Path | None:
    """Return the list of angles that lies beside a stack under its name; None when there is none."""
    path = Path(path)
    stem = path.name[: -len(suffix_of(path))] if suffix_of(path) else path.name
    return next((found for suffix in BESIDE if (found := path.with_name(stem + suffix)).is_file()), None)


def _per_section(raw: bytes, sections: int, integers: int, flags: int, kind: str) -> list[float]:
    """Return the first value of each section: SerialEM's short numbers of hundredths, or Agard's floats."""
    if kind == "SERI" and flags & 1 and integers > 0 and len(raw) >= integers * sections:
        firsts = [raw[integers * n : integers * n + 2] for n in range(sections)]
        return [float(np.frombuffer(first, "<i2")[0]) / 100 for first in firsts]
    size = 4 * (integers + flags)
    if kind == "AGAR" and size and len(raw) >= size * sections:
        firsts = [raw[size * n + 4 * integers : size * n + 4 * integers + 4] for n in range(sections)]
        return [float(np.frombuffer(first, "<f4")[0]) for first in firsts]
    return []


def _stepped(parts: Sequence[float], views: int, text: str) -> Angles:
    start, stop, step = parts
    if step == 0:
        raise InputError(f"angles should be start:stop:step with a step that is not 0, found {text}; set it")
    count = (stop - start) / step
    fitting = round(count) if abs(count - round(count)) < 1e-6 else math.ceil(count)
    last = views - 1 == fitting and abs(count - fitting) < 1e-6
    return checked((start + step * n for n in range(max(0, fitting + last))), views, f"angles {text}")


def _of_columns(rows: list[list[str]], what: str) -> list[float]:
    header: list[str] = []
    if rows and not all(_NUMBER.fullmatch(cell) for cell in rows[0]):
        header, rows = rows[0], rows[1:]
    column = next((n for n, name in enumerate(header) if _NAMES.search(name)), 0)
    if rows and len(rows[0]) > 1 and not (header and _NAMES.search(header[column])):
        raise InputError(f"{what} has {len(rows[0])} columns, none named angle; name it in a first line, or keep it alone")
    try:
        return [float(row[column]) for row in rows]
    except (ValueError, IndexError):
        raise InputError(f"{what} should hold one angle per line, found another kind of line; mend it") from None
