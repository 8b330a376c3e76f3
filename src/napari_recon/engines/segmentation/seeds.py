"""Traced nuclei: the layouts of tracing tables, cells by time point, and who is whose sister."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isfinite
from typing import Any, NamedTuple

from napari_recon.core.errors import InputError

_MOTHERS = {
    frozenset(("AB", "P1")): "P0",
    frozenset(("ABa", "ABp")): "AB",
    frozenset(("EMS", "P2")): "P1",
    frozenset(("MS", "E")): "EMS",
    frozenset(("P3", "C")): "P2",
    frozenset(("P4", "D")): "P3",
    frozenset(("Z2", "Z3")): "P4",
}
"""Mothers in the lineage of C. elegans whose daughters are not named after them."""
_DAUGHTERS = ({"a", "p"}, {"l", "r"}, {"d", "v"})
_GUI = {"Cell & Time": "cell", "X (Pixel)": "x", "Y (Pixel)": "y", "Z (Pixel)": "z"}
_NEEDED = ("z", "y", "x")
_NAPARI = {3: "zyx", 4: ("time", *"zyx")}
"""Axes of a Points layer that napari saved, by their number; its own columns are axis-0, axis-1 ..."""


class Nucleus(NamedTuple):
    """One traced nucleus.

    Attributes
    ----------
    name : str
        Of its cell.
    zyx : tuple of float
        Place in voxels of the raw stack, 0 at the centre of the first.
    mother : str
        The cell it came from, where the table says so.
    """

    name: str
    zyx: tuple[float, float, float]
    mother: str = ""


class When(NamedTuple):
    """A time point.

    Attributes
    ----------
    frame : int
        Of the recording, from 0.
    time : int
        Of the table of nuclei.
    """

    frame: int
    time: int


def nuclei_by_time(rows: Any) -> dict[int, list[Nucleus]]:
    """Return the nuclei of every time point of a tracing table; a table without times is time point 1.

    Parameters
    ----------
    rows : sequence of mapping
        With columns ``cell, time, z, y, x`` (``mother`` may be there, others are left aside), or ``Cell & Time, X (Pixel),
        Y (Pixel), Z (Pixel)``, or those of a Points layer that napari saved: ``index, axis-0, axis-1, axis-2``, where
        four axes are time, z, y, x, and ``name``, ``cell`` or ``label`` may be there.

    Raises
    ------
    InputError
        Other columns, no rows, places that are no numbers, a cell twice at one time.
    """
    if not isinstance(rows, Sequence) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise InputError("seeds should be a table with one row per nucleus, found none; choose another file")
    found: dict[int, list[Nucleus]] = {}
    for number, row in enumerate(rows, 1):
        row = {_GUI.get(str(name).strip(), str(name).strip().lower()): value for name, value in row.items()}
        row = _of_napari(row)
        missing = [name for name in _NEEDED if name not in row]
        if missing:
            raise InputError(
                f"seeds should have the columns cell, time, z, y, x, found {', '.join(map(str, row))}; rename them "
                f"({', '.join(missing)} missing)"
            )
        name, time = _name_and_time(row, number)
        try:
            place = (float(row["z"]), float(row["y"]), float(row["x"]))
        except (TypeError, ValueError):
            found_zyx = ", ".join(f"{axis}={row[axis]!r}" for axis in _NEEDED)
            raise InputError(
                f"row {number} of the seeds should have numbers for z, y and x, found {found_zyx}; mend it"
            ) from None
        cells = found.setdefault(time, [])
        if any(cell.name == name for cell in cells):
            raise InputError(f"the cell {name} should have one nucleus at time {time}, found two; rename or remove one")
        if not all(map(isfinite, place)):
            raise InputError(f"row {number} of the seeds should have finite numbers for z, y and x, found {place}; mend it")
        cells.append(Nucleus(name, place, str(row.get("mother") or "").strip()))
    return found


def _of_napari(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of a Points layer that napari saved with our names."""
    own = [name for name in row if name.startswith("axis-")]
    if not own:
        return row
    if len(own) not in _NAPARI:
        raise InputError(
            f"nuclei that napari saved should have three axes (z, y, x) or four (time before them), found {', '.join(own)}; "
            "save a layer of the stack's axes"
        )
    places = {axis: row.get(f"axis-{number}") for number, axis in enumerate(_NAPARI[len(own)])}
    named = {"cell": row["label"]} if "label" in row and not {"cell", "name"} & set(row) else {}
    return {**row, **places, **named}


def _name_and_time(row: Mapping[str, Any], number: int) -> tuple[str, int]:
    name = str(row.get("cell", row.get("name", f"cell{number}"))).strip()
    if ":" in name and "time" not in row:  # "ABa:1", the layout of tracing programs
        name, _, time = name.rpartition(":")
    else:
        time = row.get("time", row.get("t", 1))
    try:
        return name or f"cell{number}", round(float(time))
    except (TypeError, ValueError):
        raise InputError(f"row {number} of the seeds should have a number as its time, found {time!r}; mend it") from None


def mother_of(one: str, other: str) -> str | None:
    """Return the name of the mother of two cells, or None when their names are not those of sisters."""
    named = _MOTHERS.get(frozenset((one, other)))
    if named:
        return named
    if len(one) > 1 and one[:-1] == other[:-1] and {one[-1], other[-1]} in _DAUGHTERS:
        return one[:-1]
    return None


def mother_between(one: Nucleus, other: Nucleus) -> str | None:
    """Return the mother of two nuclei: the one the table says both have, else the one their names tell; None for others."""
    if one.mother or other.mother:
        return one.mother if one.mother == other.mother else None
    return mother_of(one.name, other.name)


def mothers_in(cells: Sequence[Nucleus]) -> list[str]:
    """Return the mothers that two of these could be."""
    return [mother for pair in combinations(cells, 2) if (mother := mother_between(*pair))]
