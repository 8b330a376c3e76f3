"""File > Open Sample: the simulated light field and, hidden, what it was made from."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_recon.core.grid import AXIS_NAMES
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
    return [
        _layer("lightfield", "light field", colormap="gray"),
        _layer("lightfield_truth", "light field, ground truth", colormap="magma", blending="additive", visible=False),
    ]


def _layer(file: str, name: str, **look: Any) -> LayerData:
    stack = open_stack(path(file))
    data = np.asarray(stack.data[:])
    brightest = float(np.percentile(data[0][data[0] > 0], 99.8))
    attributes = {
        "name": name,
        "scale": stack.grid.scale,
        "translate": stack.grid.translate,
        "units": stack.grid.units,
        "axis_labels": tuple(AXIS_NAMES[axis] for axis in stack.grid.axes),
        "contrast_limits": (0.0, brightest),
        "metadata": {**stack.metadata, "path": stack.uri, "sample": file},
        **look,
    }
    return data, attributes, "image"
