"""File > Open Sample: the simulated light field and, hidden, what it was made from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from napari_recon.core.grid import AXIS_NAMES, Grid
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack
from napari_recon.samples.files import path

LayerData = tuple[Any, dict[str, Any], str]


def light_field() -> list[LayerData]:
    """Return the layers of the light-field sample.

    Returns
    -------
    list of (data, attributes, layer type)
        The recording (T, V, Y, X) and its ground truth (T, Z, Y, X), in micrometers and seconds, one over the other.
    """
    views, truth = open_stack(path("lightfield")), open_stack(path("lightfield_truth"))
    return [
        _layer(_spread(views, truth.grid), "light field", colormap="gray"),
        _layer(truth, "light field, ground truth", colormap="magma", blending="additive", visible=False),
    ]


def _spread(views: ImageStack, volume: Grid) -> ImageStack:
    """Return the recording with its views spread over the depth of the volume.

    A viewer has one slider for V and Z; so both layers are visible wherever it stands.
    """
    grid = views.grid
    at, step = grid.axes.index("V"), volume.step("Z") * (volume.size("Z") - 1) / (grid.size("V") - 1)
    changed = {"scale": step, "translate": volume.origin("Z"), "units": volume.unit("Z")}
    fields = {name: (*getattr(grid, name)[:at], value, *getattr(grid, name)[at + 1 :]) for name, value in changed.items()}
    return replace(views, grid=grid.model_copy(update=fields))


def _layer(stack: ImageStack, name: str, **look: Any) -> LayerData:
    data = np.asarray(stack.data[:])
    brightest = float(np.percentile(data[0][data[0] > 0], 99.8))
    attributes = {
        "name": name,
        "scale": stack.grid.scale,
        "translate": stack.grid.translate,
        "units": stack.grid.units,
        "axis_labels": tuple(AXIS_NAMES[axis] for axis in stack.grid.axes),
        "contrast_limits": (0.0, brightest),
        "metadata": {**stack.metadata, "path": stack.uri, "sample": stack.name},
        **look,
    }
    return data, attributes, "image"
