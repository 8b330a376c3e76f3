"""File > Open Sample: the simulated light field and, hidden, what it was made from."""

from __future__ import annotations

from dataclasses import replace

from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack
from napari_recon.samples.files import path
from napari_recon.samples.layers import LayerData, layer


def light_field() -> list[LayerData]:
    """Return the layers of the light-field sample.

    Returns
    -------
    list of (data, attributes, layer type)
        The recording (T, V, Y, X) and its ground truth (T, Z, Y, X), in micrometers and seconds, one over the other.
    """
    views, truth = open_stack(path("lightfield")), open_stack(path("lightfield_truth"))
    return [
        layer(spread(views, truth.grid), "light field", colormap="gray"),
        layer(truth, "light field, ground truth", colormap="magma", blending="additive", visible=False),
    ]


def spread(views: ImageStack, volume: Grid) -> ImageStack:
    """Return the recording with its views spread over the depth of the volume.

    A viewer has one slider for V and Z; so both layers are visible wherever it stands.
    """
    grid = views.grid
    at, step = grid.axes.index("V"), volume.step("Z") * (volume.size("Z") - 1) / (grid.size("V") - 1)
    changed = {"scale": step, "translate": volume.origin("Z"), "units": volume.unit("Z")}
    fields = {name: (*getattr(grid, name)[:at], value, *getattr(grid, name)[at + 1 :]) for name, value in changed.items()}
    return replace(views, grid=grid.model_copy(update=fields))
