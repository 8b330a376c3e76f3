"""Layers as engine inputs: their axes, their place in the world, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_recon.core.errors import InputError
from napari_recon.core.grid import AXIS_NAMES, Grid, check_axes
from napari_recon.core.provenance import KEY
from napari_recon.core.stack import ImageStack
from napari_recon.viewer.file_facts import file_facts
from napari_recon.viewer.placement import PLACEMENT, is_plain, to_world

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_recon.core.engine import InputSpec

_LETTER = {name: letter for letter, name in AXIS_NAMES.items()} | {"channels": "C", "views": "V", "t": "T", "c": "C"}
_LETTER |= {letter.lower(): letter for letter in AXIS_NAMES}
PATH = "napari-recon-path"
"""Key of `Layer.metadata`: the file that "Open with napari-recon" read."""
_TYPES = {"image": "image", "psf": "image", "labels": "labels", "points": "points"}


@dataclass(frozen=True)
class Problem:
    """Why a layer is unfit, or what to know before using it.

    Attributes
    ----------
    text : str
        One sentence: expected, found, remedy.
    severity : str
        ``"error"`` blocks Run, ``"warning"`` does not.
    fix_label : str
        Text of a button; empty when there is no one-click fix.
    fix_axes : str
        Axes that the button should set (the fix changes the form, never the layer).
    offers : tuple of (str, callable)
        Further buttons: their text, and what they do.
    """

    text: str
    severity: Literal["error", "warning"] = "error"
    fix_label: str = ""
    fix_axes: str = ""
    offers: tuple[tuple[str, Callable[[], None]], ...] = ()


def fits(layer: Layer, spec: InputSpec) -> bool:
    """Return whether the layer belongs in the drop-down list of input `spec` (its type alone decides)."""
    return layer._type_string in {_TYPES[kind] for kind in spec.accepts if kind in _TYPES}


def guess_axes(layer: Layer, spec: InputSpec) -> str:
    """Return the likely axis letters of `layer` as input `spec`: labels first, else the declared axes behind T and C.

    Empty when the number of dimensions can't be explained.
    """
    labelled = letters_of(layer.axis_labels)
    if labelled and any(set(axes) <= set(labelled) for axes in (spec.axes, *spec.also)):
        return labelled
    declared = next((axes for axes in spec.also if len(axes) == layer.ndim < len(spec.axes)), "")
    declared = declared or spec.axes or "ZYX"[-layer.ndim :]
    extra = layer.ndim - len(declared)
    outer = "".join(a for a in "TC" if a not in declared)
    if extra == 0:
        return declared
    if extra == 1 and "T" in outer:
        return "T" + declared
    return outer + declared if extra == len(outer) else ""


def letters_of(labels: Iterable[Any]) -> str:
    """Return axis letters for a layer's axis labels (letters or names); empty unless all are understood."""
    letters = [_LETTER.get(str(label).strip().lower(), "?") for label in labels]
    return "".join(letters) if "?" not in letters and len(set(letters)) == len(letters) else ""


def check_layer(layer: Layer, spec: InputSpec, axes: str) -> list[Problem]:
    """Return what is wrong with `layer` as input `spec` under `axes`, from headers alone."""
    if not fits(layer, spec):
        wanted = " or ".join(spec.accepts)
        return [
            Problem(
                f"{spec.name} should be an {wanted} layer, found the {layer._type_string} layer {layer.name}; choose another"
            )
        ]
    if getattr(layer, "rgb", False):
        return [Problem(_rgb_sentence(layer))]
    shape = _shape(layer)
    guess = guess_axes(layer, spec)
    try:
        axes = check_axes(axes, len(shape), layer.name)
    except InputError as error:
        return [_axes_problem(str(error), guess, axes)]
    problems = []
    known = [letters for letters in (*spec.also, spec.axes) if set(letters) <= set(axes)]
    frame = max(known, key=len, default=spec.axes)
    missing = [a for a in frame if a not in axes]
    extra = [a for a in axes if a not in frame and a not in spec.loops]
    if missing or extra:
        text = (
            f"{spec.name} should have axes {spec.axes} ({' and '.join(spec.loops)} may come in front), found {axes} for "
            f"shape {shape}; set what each dimension of the layer means"
        )
        problems.append(_axes_problem(text, guess, axes))
    if np.dtype(layer.dtype).kind not in "uif":
        problems.append(
            Problem(f"{layer.name} should hold intensities (integers or floats), found {layer.dtype}; convert it first")
        )
    if not problems and any(str(u) == "pixel" for u, a in zip(layer.units, axes, strict=True) if a in "YX"):
        problems.append(
            Problem(
                f"{layer.name} has no pixel size, so the result is placed in pixels; set the layer's scale and units",
                "warning",
            )
        )
    return problems


def stack_from_layer(layer: Layer, axes: str) -> ImageStack:
    """Return the layer as a lazy stack (level 0 of a multiscale image); pixels are read later, in the worker.

    A layer that is only scaled and translated gives a grid in world coordinates. Otherwise (rotation, shear, affine)
    the grid is scaled but unrotated and ``metadata["placement"]`` holds the matrix from there to the world, which
    `results` composes onto what is made from it.

    Raises
    ------
    InputError
        RGB or non-image layers, or axes that do not fit.
    """
    if getattr(layer, "rgb", False):
        raise InputError(_rgb_sentence(layer))
    if layer._type_string not in ("image", "labels"):
        raise InputError(f"an image layer was expected, found the {layer._type_string} layer {layer.name}; choose another")
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    axes = check_axes(axes, len(data.shape), layer.name)
    matrix = to_world(layer)
    metadata: dict[str, Any] = {"layer": layer.name, "layer_id": str(layer.unique_id)}
    said = layer.metadata.get("optics") or layer.metadata.get(KEY, {}).get("optics")
    if optics := said or file_facts(layer).optics:
        metadata["optics"] = optics
    scale, translate = np.diag(matrix)[:-1], matrix[:-1, -1]
    if not is_plain(matrix):
        scale, translate = np.abs(np.asarray(layer.scale, dtype=float)), np.zeros(len(axes))
        metadata[PLACEMENT] = (matrix @ np.diag([*1 / scale, 1.0])).tolist()
    grid = Grid(
        axes=axes,
        shape=tuple(int(n) for n in data.shape),
        scale=tuple(float(s) for s in scale),
        translate=tuple(float(t) for t in translate),
        units=tuple(str(u) for u in layer.units),
    )
    return ImageStack(data, grid, layer.name, uri_of(layer), metadata)


def result_stack(layer: Any) -> ImageStack:
    """Return a result as an input, without the axes of length one that line it up with its data in the viewer."""
    stack = stack_from_layer(layer, Grid.model_validate(layer.metadata[KEY]["grid"]).axes)
    axes = "".join(a for a in stack.grid.axes if a in "TCZYX")
    place = tuple(slice(None) if a in axes else 0 for a in stack.grid.axes)
    return replace(stack, data=stack.data[place], grid=stack.grid.only(axes))


def uri_of(layer: Layer) -> str:
    """Return where the layer was read from when that is one file or folder, else ``layer:ID``."""
    path = (
        layer.source.path or layer.metadata.get(PATH) or (layer.metadata.get("path") if "sample" in layer.metadata else None)
    )
    return str(path) if path else f"layer:{layer.unique_id}"


def _shape(layer: Layer) -> tuple[int, ...]:
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return tuple(int(n) for n in data.shape)


def _rgb_sentence(layer: Layer) -> str:
    return (
        f"{layer.name} is an RGB picture, intensities were expected; load the original data, or split it into channels "
        "(right click, Split RGB) and choose one"
    )


def _axes_problem(text: str, guess: str, axes: str) -> Problem:
    usable = guess and guess != axes
    return Problem(text, fix_label=f"Use {guess}" if usable else "", fix_axes=guess if usable else "")
