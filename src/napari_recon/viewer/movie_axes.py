"""Which axis of a movie is which: what is wrong with a layer as a movie of volumes, and what its content says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_recon.core.errors import InputError
from napari_recon.core.grid import AXIS_NAMES
from napari_recon.engines.inr4d.lattice import AXES
from napari_recon.engines.inr4d.place import looks_like_time
from napari_recon.viewer.layer_input import Problem, letters_of, stack_from_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_recon.core.grid import Grid

WORDS = {"T": "time points", "Z": "planes", "Y": "rows", "X": "columns", "C": "channels"}
LOOKED_AT = 24
"""Places along each axis that are looked at to tell depth from time."""
UNEVEN = 3.0
"""Depth changes the mean brightness more than time does; by this factor the other way round is suspicious."""
NOTICED = 0.03
"""Changes of the mean brightness (standard deviation, relative) below this say nothing."""


def movie_problems(
    layer: Layer, axes: str, reorder: Callable[[str], None], accept: Callable[[], None] | None
) -> list[Problem]:
    """Return what is wrong with a layer as a movie of volumes under `axes`, from its header alone.

    Parameters
    ----------
    layer : Layer
    axes : str
        One letter per dimension.
    reorder : callable
        ``reorder(axes)``: what a button does that knows better what each dimension is.
    accept : callable or None
        What a button does that says that odd sizes are right; None when somebody has said so.
    """
    if getattr(layer, "rgb", False) or layer._type_string not in ("image", "labels"):
        return []
    if layer.ndim < len(AXES):
        sizes = " × ".join(str(n) for n in _shape(layer))
        return [
            Problem(
                f"A movie of volumes with the dimensions T, Z, Y, X was expected, found {layer.ndim} dimensions ({sizes}) "
                f"in {layer.name}: a single volume has no time, a movie of planes no depth; choose the whole movie"
            )
        ]
    if not set(AXES) <= set(axes) or len(axes) != layer.ndim:
        return []
    try:
        grid = stack_from_layer(layer, axes).grid
    except InputError:
        return []
    for axis in AXES:
        if grid.size(axis) < 2:
            return [_single(layer, grid, axis, reorder)]
    problems = []
    odd = looks_like_time(grid)
    if odd and accept is not None:
        text = f"{odd} looks like time: {layer.name} has {grid.size(odd)} {WORDS[odd]} and {grid.size('T')} time points"
        offers = ((f"{odd} is time", partial(reorder, moved_to(axes, odd))), ("The axes are right", accept))
        problems.append(Problem(text, offers=offers))
    elif (order := "".join(axis for axis in axes if axis in AXES)) != AXES:
        text = f"The dimensions of {layer.name} are {', '.join(order)}, those of a result will be {', '.join(AXES)}"
        problems.append(Problem(text, offers=(("Put them in this order", partial(reorder, axes)),)))
    if any(grid.unit(axis) == "pixel" for axis in "ZYX"):
        said = "The voxel size is not known, so neither is how far planes are apart beside pixels: type it here"
        problems.append(Problem(said, "warning"))
    return problems


def _single(layer: Layer, grid: Grid, axis: str, reorder: Callable[[str], None]) -> Problem:
    """Return the problem that there is one place only along an axis."""
    other = _what_time_may_be(grid) if axis == "T" else ""
    said = f", but {grid.size(other)} along {other}" if other else ""
    remedy = "choose a movie" if axis == "T" else "choose volumes"
    offers = ((f"{other} is time", partial(reorder, swapped(grid.axes, "T", other))),) if other else ()
    return Problem(f"Several {WORDS[axis]} were expected, found one in {layer.name}{said}; {remedy}", offers=offers)


def depth_hint(layer: Layer, axes: str, uneven: float, reorder: Callable[[str], None]) -> Problem | None:
    """Return a hint that time and depth are swapped; None when they are named by the layer or look right.

    Parameters
    ----------
    layer : Layer
    axes : str
    uneven : float
        How `unevenness` judges T beside Z.
    reorder : callable
        As in `movie_problems`.
    """
    named = set(letters_of(layer.axis_labels))
    if {"T", "Z"} <= named or not {"T", "Z"} <= set(axes) or uneven < UNEVEN:
        return None
    return Problem(
        f"T looks like depth: the mean brightness changes {uneven:.0f} times as much along it as along Z",
        "warning",
        offers=(("Swap T and Z", partial(reorder, swapped(axes, "T", "Z"))),),
    )


def unevenness(data: Any, axes: str) -> float:
    """Return how many times as much the mean brightness changes along T as along Z; 0 when neither does much.

    Reads `LOOKED_AT` places along each axis at most.
    """
    index = tuple(slice(None, None, max(1, -(-n // LOOKED_AT))) for n in data.shape)
    part = np.moveaxis(np.asarray(data[index], dtype=np.float64), (axes.index("T"), axes.index("Z")), (0, 1))
    level = part.reshape(*part.shape[:2], -1).mean(axis=2) - np.quantile(part, 0.02)
    mean = max(float(level.mean()), 1e-12)
    along = [float(np.std(level.mean(axis=1 - axis))) / mean for axis in (0, 1)]
    return along[0] / max(along[1], 1e-6) if along[0] > NOTICED else 0.0


def swapped(axes: str, one: str, other: str) -> str:
    """Return axes with two letters exchanged."""
    return axes.translate({ord(one): other, ord(other): one})


def moved_to(axes: str, odd: str) -> str:
    """Return axes when time lies where `odd` is now: x, y, z, t read as t, z, y, x, or the two exchanged."""
    return axes[::-1] if axes == AXES and odd == "X" else swapped(axes, "T", odd)


def _what_time_may_be(grid: Grid) -> str:
    """Return the axis of fewest places that could be time when T has one, empty when none could."""
    several = [axis for axis in "CZ" if axis in grid.axes and grid.size(axis) > 1]
    return min(several, key=grid.size, default="")


def reordered(layer: Layer, axes: str) -> tuple[Any, dict[str, Any]]:
    """Return data and attributes of an image layer that shows another with its dimensions in the order (C) T, Z, Y, X.

    Nothing is copied; `axes` says what the dimensions of `layer` are.
    """
    order = [axes.index(axis) for axis in ("".join(a for a in axes if a not in AXES) + AXES)]
    data: Any = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    if not hasattr(data, "transpose"):
        import dask.array

        data = dask.array.from_array(data)
    attributes = {
        "name": f"{layer.name} ({''.join(axes[at] for at in order)})",
        "scale": [float(layer.scale[at]) for at in order],
        "translate": [float(layer.translate[at]) for at in order],
        "units": [str(layer.units[at]) for at in order],
        "axis_labels": [AXIS_NAMES[axes[at]] for at in order],
        "contrast_limits": tuple(layer.contrast_limits),
        "colormap": layer.colormap.name,
    }
    return data.transpose(order), attributes


def reorder(viewer: ViewerModel, layer: Layer, axes: str) -> Layer:
    """Add a layer that shows another with its dimensions in the order (C) T, Z, Y, X; hide that one."""
    data, attributes = reordered(layer, axes)
    layer.visible = False
    return viewer.add_image(data, **attributes)


def _shape(layer: Layer) -> tuple[int, ...]:
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return tuple(int(n) for n in data.shape)
