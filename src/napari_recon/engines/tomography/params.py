"""Parameters that all of tomography shares, and what they say before a run. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from napari_recon.core.errors import InputError
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.engines.tomography import angles as lists
from napari_recon.io.suffixes import suffix_of

Signal = Literal["auto", "emission", "transmission", "density"]


def _texts(value: Any) -> Any:
    return value.as_posix() if isinstance(value, Path) else value


AngleList = Annotated[tuple[float, ...] | str, BeforeValidator(_texts)]


class TomographyParams(EngineParams):
    """Where the projections come from and what their values mean."""

    angles: AngleList = param(
        "",
        "One angle per projection: a list, start:stop:step, or a file (.tlt, .rawtlt, .mdoc, .txt, .csv); empty takes "
        "the angles input, those in an MRC header, or the list beside the stack.",
        unit="degree",
        file=lists.SUFFIXES,
    )
    axis: Literal["y", "x"] = param("y", "Axis of rotation on the projections: along their columns (y) or rows (x).")
    centre: float | Literal["auto"] = param(
        "auto",
        "Where the axis appears, in pixels from the projections' middle; auto finds where projections agree with each "
        "other.",
        unit="pixel",
    )
    thickness: int = param(
        0, "Planes of the volume, along the beam at angle 0; 0 takes as many as a projection is wide.", unit="voxel", ge=0
    )
    signal: Signal = param(
        "auto",
        "What values are: emission (counted light adds up), transmission (light that is left of the flat field; its "
        "logarithm is taken), density (sums that may fall below zero). auto follows the modality.",
    )
    flat: Annotated[float, Field(gt=0)] | Literal["auto"] = param(
        "auto", "Light without sample, for transmission; auto takes the brightest places.", unit="counts", advanced=True
    )


def size_zyx(params: TomographyParams, views: Grid) -> tuple[int, int, int]:
    """Return the voxels of the volume that projections are of."""
    across = views.size("X" if params.axis == "y" else "Y")
    return params.thickness or across, views.size("Y"), views.size("X")


def volume_grid(params: TomographyParams, views: Grid) -> Grid:
    """Return where the volume lies: voxels as large as pixels, z around the axis of rotation."""
    planes, _, _ = size_zyx(params, views)
    across = "X" if params.axis == "y" else "Y"
    step, unit = abs(views.step(across)), views.unit(across)
    depth = Grid.of("Z", (planes,), {"Z": step}, {"Z": -step * (planes - 1) / 2}, {"Z": unit})
    return depth.joined(views.only("YX"))


def resolved_angles(value: Sequence[float] | str, refs: Refs, views: Grid) -> tuple[float, ...] | str:
    """Return the angles that can be told from parameters and files; ``""`` when only an input in memory says them.

    Raises
    ------
    InputError
        Nothing says the angles, or what does has another number of them.
    """
    count = views.size("V")
    if value != "" and len(value):
        return lists.angles_for(value, count)
    for ref in refs.get("angles", ()):
        path = Path(ref.uri)
        if not ref.uri or not path.is_file():
            return ""
        return lists.checked(lists.read_angles(path), count, path.name)
    for ref in refs["views"]:
        stack = Path(ref.uri)
        if suffix_of(stack) == ".mrc" and stack.is_file() and (found := lists.mrc_angles(stack)):
            return lists.checked(found, count, f"the header of {stack.name}")
        if ref.uri and (near := lists.beside(stack)) is not None:
            return lists.checked(lists.read_angles(near), count, near.name)
    raise InputError(
        f"tomography needs the angle of each of the {count} projections, found none; set angles to a list in degrees, to "
        "start:stop:step, or to a file (.tlt, .rawtlt, .txt, .csv)"
    )


def angles_of_input(thing: Any, views: int) -> tuple[float, ...]:
    """Return the angles that an input in memory (or a file) says."""
    found = lists.read_angles(thing) if isinstance(thing, Path) else lists.of_rows(thing, "the input angles")
    return lists.checked(found, views, "the input angles")


def check_pixels(params: TomographyParams, views: Grid) -> None:
    """Raise an InputError when there is a single projection, or one whose pixels across the axis are too few."""
    across = views.size("X" if params.axis == "y" else "Y")
    if across < 4:
        raise InputError(
            f"projections should have 4 pixels across the axis ({params.axis}) at least, found {across}; choose another axis"
        )
    if params.centre != "auto" and not abs(params.centre) < across:
        raise InputError(
            f"centre should be less than {across} pixels, a projection's size, from the projections' middle, found "
            f"{params.centre:g}; set it to where the axis appears, counted from the middle"
        )
    if views.size("V") < 2:
        raise InputError(
            f"tomography needs two projections at least, found shape {views.shape} ({views.axes}); name the axis of angles "
            "V (--axes VYX)"
        )
