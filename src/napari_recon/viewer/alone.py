"""Looking at a result alone: hides the other layers, and shows again exactly those that were hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


def show_alone(
    viewer: ViewerModel, layers: Iterable[Layer], kinds: tuple[str, ...] = ("image", "labels")
) -> Callable[[], None]:
    """Hide every layer of these kinds but `layers`, and return what shows the hidden ones again.

    By default the outline of the computed region stays: it has no voxels and says where the result lies.
    """
    kept = [layer for layer in layers if layer in viewer.layers]
    others = [layer for layer in viewer.layers if layer.visible and (not kinds or layer._type_string in kinds)]
    hidden = [layer for layer in others if kept and layer not in kept]
    for layer in kept:
        layer.visible = True
    for layer in hidden:
        layer.visible = False

    def show_again() -> None:
        for layer in hidden:
            if layer in viewer.layers:
                layer.visible = True

    return show_again
