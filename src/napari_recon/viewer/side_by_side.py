"""Two kinds of pictures beside each other: results, and what the raw frames say against each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from napari.layers.utils._link_layers import link_layers

from napari_recon.viewer.alone import show_alone

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

SIGMAS = 8.0
ALIKE = 3.0
"""Results whose brightness differs by more than this factor keep contrast limits of their own."""


def dress_significance(layer: Image, name: str) -> None:
    """Make a picture of signed standard deviations readable: white agrees, pink below, green above."""
    layer.colormap, layer.contrast_limits, layer.name = "PiYG", (-SIGMAS, SIGMAS), name


def link_looks(results: Sequence[Image], significances: Sequence[Image]) -> None:
    """Let results share contrast and gamma if they are about as bright, and significances theirs."""
    if len(results) > 1 and _alike(results):
        link_layers(results, ("contrast_limits", "gamma"))
    if len(significances) > 1:
        link_layers(significances, ("contrast_limits", "colormap"))


def show_pairs(viewer: ViewerModel, pairs: Sequence[tuple[Image, Image]]) -> Callable[[], None]:
    """Show each result beside its significance in a grid, everything else hidden; return what ends it."""
    layers, grid = viewer.layers, viewer.canvas.grid
    pairs = [pair for pair in pairs if all(layer in layers for layer in pair)]
    for result, significance in pairs:
        layers.move(layers.index(significance), layers.index(result) + 1)
    show_again = show_alone(viewer, [layer for pair in pairs for layer in pair], kinds=())
    grid.stride, grid.shape, grid.enabled = 1, (len(pairs), 2), True
    viewer.reset_view()

    def end() -> None:
        show_again()
        for _, significance in pairs:
            significance.visible = False  # it would cover its result
        grid.enabled = False
        viewer.reset_view()

    return end


def dress_alike(layer: Image, like: Image) -> None:
    """Let a layer look as another does."""
    if layer is not like:
        for name in ("colormap", "gamma", "interpolation2d", "contrast_limits_range", "contrast_limits"):
            setattr(layer, name, getattr(like, name))


def show_row(viewer: ViewerModel, shown: Sequence[Image]) -> Callable[[], None]:
    """Show layers beside each other, the first on the left, everything else hidden; return what ends it."""
    layers, grid = viewer.layers, viewer.canvas.grid
    shown = [layer for layer in shown if layer in layers]
    for layer in shown:  # the grid begins with the lowest, and leaves hidden ones out
        layers.move(layers.index(layer), len(layers))
    hidden_before = [layer for layer in shown if not layer.visible]
    show_again = show_alone(viewer, shown, kinds=())
    grid.stride, grid.shape, grid.enabled = 1, (1, len(shown)), True
    viewer.reset_view()

    def end() -> None:
        show_again()
        for layer in hidden_before:
            layer.visible = False
        grid.enabled = False
        viewer.reset_view()

    return end


def take_away(viewer: ViewerModel, layers: Sequence[Image]) -> None:
    """Remove layers, those that are still there."""
    for layer in layers:
        if layer in viewer.layers:
            viewer.layers.remove(layer)


def _alike(layers: Sequence[Image]) -> bool:
    """Return whether the layers are about as bright."""
    tops = [float(np.percentile(np.asarray(layer.data), 99.8)) for layer in layers]
    return min(tops) > 0 and max(tops) / min(tops) < ALIKE
