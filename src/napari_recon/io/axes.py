"""What the dimensions of a file are: its own names, the caller's, or the engine's declared ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from napari_recon.core.errors import InputError
from napari_recon.core.grid import AXIS_NAMES, SPATIAL, check_axes

NOT_IN_FILES = "VAPN"
"""Axes that most file formats can't name, so that their stacks pretend to be Z, C or T."""

_TO_UM = {
    "micrometer": 1.0, "micron": 1.0, "microns": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0,
    "nanometer": 1e-3, "nm": 1e-3, "millimeter": 1e3, "mm": 1e3, "meter": 1e6, "m": 1e6, "angstrom": 1e-4,
    "ångström": 1e-4, "Å": 1e-4, "centimeter": 1e4, "cm": 1e4, "inch": 25400.0, "picometer": 1e-6, "pm": 1e-6,
}  # fmt: skip
_TO_S = {
    "second": 1.0, "seconds": 1.0, "sec": 1.0, "s": 1.0, "millisecond": 1e-3, "ms": 1e-3, "msec": 1e-3,
    "microsecond": 1e-6, "us": 1e-6, "µs": 1e-6, "minute": 60.0, "min": 60.0, "hour": 3600.0, "h": 3600.0,
}  # fmt: skip


def in_standard_unit(value: float, unit: str) -> tuple[float, str]:
    """Return `value` in micrometers or seconds with the unit's pint name; other units stay as they are."""
    unit = unit.strip()
    for table, name in ((_TO_UM, "micrometer"), (_TO_S, "second")):
        factor = table.get(unit, table.get(unit.lower()) if len(unit) > 2 else None)
        if factor is not None:
            return (value if factor == 1.0 else value * factor), name
    return value, unit or "pixel"


def checked_voxel_size(voxel_size_um: Any) -> dict[str, float]:
    """Return a voxel size by axis letter in upper case; None gives an empty one.

    Parameters
    ----------
    voxel_size_um : mapping or None
        ``{"z": 0.3, "y": 0.1, "x": 0.1}`` in micrometers; any case, any of the three.

    Raises
    ------
    InputError
        No mapping, another axis than z, y, x, or a size that is not above 0.
    """
    if voxel_size_um is None:
        return {}
    if not isinstance(voxel_size_um, Mapping):
        raise InputError(
            f"a voxel size is given per axis, found {voxel_size_um!r}; give z=0.3,y=0.1,x=0.1 (a dict in Python)"
        )
    for axis, size in voxel_size_um.items():
        if str(axis).upper() not in [*SPATIAL]:
            raise InputError(f"a voxel size is given per axis z, y or x, found {axis!r}; give z=0.3,y=0.1,x=0.1")
        if isinstance(size, str) or not (math.isfinite(size) and size > 0):
            raise InputError(f"the voxel size along {axis} should be above 0 um, found {size!r}; give z=0.3,y=0.1,x=0.1")
    return {str(axis).upper(): float(size) for axis, size in voxel_size_um.items()}


def name_axes(
    found: str | None,
    shape: tuple[int, ...],
    axes: str | None = None,
    default_axes: str | None = None,
    what: str = "the image",
) -> str:
    """Return one axis letter per dimension.

    Parameters
    ----------
    found : str or None
        What the file says, in any alphabet; letters that are not ours (Q, I, S ...) mean "some dimension".
    shape : tuple of int
    axes : str, optional
        Named by the user: wins.
    default_axes : str, optional
        What the reader of the data declares. Unnamed dimensions, and Z, C or T where a V, A, P or N is declared that no
        file format can express, get the declared names; one dimension more becomes T in front.
    what : str
        Name of the data for messages.

    Raises
    ------
    InputError
        RGB images; unnamed dimensions without (fitting) `default_axes`.
    """
    ndim = len(shape)
    if axes:
        return check_axes(axes, ndim, what)
    letters = list((found or "Q" * ndim).upper())
    if len(letters) != ndim:
        letters = ["Q"] * ndim
    if letters[-1] == "S" and shape[-1] in (3, 4):
        raise InputError(
            f"{what} is a colour (RGB) image of shape {shape}, a single intensity per pixel was expected; "
            "convert it to grey values or split the channels first"
        )
    seen: set[str] = set()
    for i, letter in enumerate(letters):
        if letter not in AXIS_NAMES or letter in seen:
            letters[i] = "?"
        seen.add(letter)
    if default_axes:
        letters = _named_like(letters, default_axes)
    if "?" in letters:
        expected = f"; {default_axes} was expected" if default_axes else ""
        raise InputError(
            f"{what} has {ndim} dimensions of shape {shape} without names{expected}; name one letter per dimension "
            f"with --axes, for example --axes {_example(ndim, default_axes)}"
        )
    return "".join(letters)


def _named_like(letters: list[str], default: str) -> list[str]:
    """Return `letters` with unnamed and ambiguous ones replaced by the declared names that are missing."""
    letters = list(letters)
    missing = [a for a in default if a not in letters]
    unnamed = [i for i, a in enumerate(letters) if a == "?"]
    extra = len(unnamed) - len(missing)
    if extra > 0:
        free = [a for a in "TC" if a not in letters and a not in missing]
        for i, axis in zip(unnamed[:extra], free, strict=False):
            letters[i] = axis
        unnamed = unnamed[extra:] if extra <= len(free) else []
    if len(unnamed) == len(missing) or (extra > 0 and unnamed):
        for i in unnamed:
            letters[i] = missing.pop(0)
    hidden = [a for a in missing if a in NOT_IN_FILES]
    pretending = [a for a in "ZCT" if a in letters and a not in default]
    if len(pretending) >= len(hidden):
        for axis, stand_in in zip(hidden, sorted(pretending[: len(hidden)], key=letters.index), strict=True):
            letters[letters.index(stand_in)] = axis
    return letters


def _example(ndim: int, default: str | None) -> str:
    if default and len(default) == ndim:
        return default
    return {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TCZYX"}.get(ndim, "TZYX")


def to_standard_units(
    scale: Mapping[str, float], translate: Mapping[str, float], units: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Return scale, translate and units per axis with lengths in micrometers and times in seconds."""
    new_scale, new_translate, new_units = {}, {}, {}
    for axis in {*scale, *translate, *units}:
        unit = units.get(axis, "pixel")
        new_scale[axis], new_units[axis] = in_standard_unit(scale.get(axis, 1.0), unit)
        new_translate[axis], _ = in_standard_unit(translate.get(axis, 0.0), unit)
    return new_scale, new_translate, new_units
