"""A guard against a crash of the canvas, outside of napari's public interface and harmless where it does not apply."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

_kept: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()


def keep_drawable(viewer: Any, layer: Any) -> None:
    """Keep what the canvas draws for `layer` until the viewer goes, also when the layer is removed.

    Removing Shapes, or a layer with a bounding box, deletes vertex buffers that OpenGL still holds as enabled; Mesa
    drivers then crash in the next draw of any other layer (napari 0.9.2, vispy 0.17).
    """
    with suppress(AttributeError, KeyError, TypeError):
        _kept.setdefault(viewer, []).append(viewer.window._qt_viewer.canvas.layer_to_visual[layer])
