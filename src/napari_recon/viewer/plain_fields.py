"""Fields of plain interpolations of the recording that a field was fitted to, to be looked at beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.engines.inr4d.lattice import AXES
from napari_recon.viewer.layer_input import guess_axes, stack_from_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_recon.core.token import CancelToken

PLAIN = {"linear": "Linear", "cubic": "Cubic", "flow": "Flow"}
"""Ways to fit that only interpolate -> what they are called."""


def recording_of(viewer: ViewerModel, options: Mapping[str, Any]) -> tuple[Layer, ImageStack] | None:
    """Return the layer that a field with these options (of its card) was fitted to, None when it is not there."""
    from napari_recon.engines import registry

    try:
        fitted = Grid.model_validate(options["grid"])
        whole, region = tuple(options["recording"]["shape"]), _bounds(options)
    except (KeyError, ValueError):
        return None
    spec = registry.get("inr4d.fit").info.input("movie")
    for layer in viewer.layers:
        axes = guess_axes(layer, spec) if layer._type_string == "image" and layer.ndim >= len(AXES) else ""
        if not axes or getattr(layer, "rgb", False):
            continue
        try:
            stack = stack_from_layer(layer, axes)
            grid = stack.grid.only(AXES)
        except InputError:
            continue
        if grid.shape == whole and grid.cropped(region).alike(fitted):
            return layer, stack
    return None


def plain_field(stack: ImageStack, options: Mapping[str, Any], method: str, path: Path, token: CancelToken) -> Path:
    """Fit a plain interpolation to the same part of the same recording, write it and return where; for a worker.

    Parameters
    ----------
    stack : ImageStack
        The recording, (C)TZYX.
    options : mapping
        Of the card of the field that it will stand beside.
    method : str
        Of `PLAIN`.
    path : Path
    token : CancelToken
    """
    from napari_recon.jobs.api import train

    part = _bounds(options)
    params = {"method": method, "judge": False, "axes_checked": True}
    box = {axis.lower(): part[axis] for axis in "ZYX"}
    train("inr4d.fit", stack, out=path, token=token, params=params, roi=box, roi_space="input", time=part["T"])
    return path


def _bounds(options: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    region = options["recording"]["region"]
    return {axis: (int(start), int(stop)) for axis, (start, stop) in zip(AXES, region, strict=True)}
