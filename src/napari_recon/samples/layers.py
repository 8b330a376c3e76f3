"""From a sample file to a napari layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_recon.core.grid import AXIS_NAMES
from napari_recon.core.stack import ImageStack

LayerData = tuple[Any, dict[str, Any], str]


def layer(stack: ImageStack, name: str, **look: Any) -> LayerData:
    """Return (data, attributes, layer type) of a sample: in place, in its units, with a contrast that shows it."""
    data = np.asarray(stack.data[:])
    lit = data[0][data[0] > 0]
    brightest = float(np.percentile(lit if lit.size else data[data > 0], 99.8))
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
