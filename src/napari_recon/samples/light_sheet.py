"""File > Open Sample: a skewed light-sheet stack, and two views of one volume; both made when they are opened."""

from __future__ import annotations

from typing import Any

from napari_recon.core.stack import ImageStack
from napari_recon.jobs.api import simulate
from napari_recon.samples.layers import LayerData, layer

SEED = 4
SCAN: dict[str, Any] = {"planes": 72, "height": 40, "width": 96, "tubes": 6, "beads": 24, "bubbles": 2}
VIEWS: dict[str, Any] = {"planes": 32, "height": 64, "width": 64}


def light_sheet() -> list[LayerData]:
    """Return the layers of the reflective light-sheet sample.

    Returns
    -------
    list of (data, attributes, layer type)
        The raw stack (Z, Y, X): z is the stage, whose steps are its voxel size; and, hidden, the truth in the frame of the
        coverslip.
    """
    made = simulate("llsm", seed=SEED, **SCAN).outputs
    return [
        _layer(made["raw"], "light sheet, raw stack", colormap="gray"),
        _layer(made["truth"], "light sheet, ground truth", colormap="magma", blending="additive", visible=False),
    ]


def dual_view() -> list[LayerData]:
    """Return the layers of the dual-view sample.

    Returns
    -------
    list of (data, attributes, layer type)
        Both views (Z, Y, X) and, hidden, their PSFs and the truth.
    """
    made = simulate("dual-view", seed=SEED, **VIEWS).outputs
    hidden = {"blending": "additive", "visible": False, "colormap": "magma"}
    return [
        _layer(made["view_a"], "view A", colormap="green", blending="additive"),
        _layer(made["view_b"], "view B", colormap="magenta", blending="additive"),
        _layer(made["psf_a"], "PSF A", **hidden),
        _layer(made["psf_b"], "PSF B", **hidden),
        _layer(made["truth"], "views, ground truth", **hidden),
    ]


def _layer(stack: ImageStack, name: str, **look: Any) -> LayerData:
    """Return the layer of a made stack: one without a file."""
    data, attributes, kind = layer(stack, name, **look)
    attributes["contrast_limits"] = (float(data.min()), float(data.max()))
    del attributes["metadata"]["path"]
    return data, attributes, kind
