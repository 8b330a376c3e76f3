"""What a layer's file says that napari's readers drop: the microscope and the pixel size. Read once, in a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_recon.core.errors import ReconError
from napari_recon.viewer.worker import call_in_background

if TYPE_CHECKING:
    from napari.layers import Layer
    from qtpy.QtCore import QObject


@dataclass(frozen=True)
class FileFacts:
    """What was found; empty when there is no file, or it says nothing.

    Attributes
    ----------
    optics : mapping
        As in `InputRef.optics`.
    pixel_um : tuple of float or None
        (y, x).
    """

    optics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    pixel_um: tuple[float, float] | None = None


_FOUND: WeakKeyDictionary[Layer, FileFacts] = WeakKeyDictionary()


def file_facts(layer: Layer | None) -> FileFacts:
    """Return what is known of the layer's file so far."""
    return _FOUND.get(layer, FileFacts()) if layer is not None else FileFacts()


def look_up(layer: Layer, done: Callable[[], None], parent: QObject | None = None) -> Any:
    """Read the header of the layer's file in a worker and call `done`; nothing happens when it is known or absent."""
    path = layer.source.path
    if layer in _FOUND or not path or "::" in path or not Path(path).exists():
        return None

    def found(facts: FileFacts) -> None:
        _FOUND[layer] = facts
        done()

    return call_in_background(read_facts, path, done=found, failed=lambda _: None, parent=parent)


def read_facts(path: str) -> FileFacts:
    """Return what the header of a file says; empty for files of unknown kinds."""
    from napari_recon.io import open_stack

    try:
        stack = open_stack(path)
    except ReconError:
        return FileFacts()
    grid = stack.grid
    known = {"Y", "X"} <= set(grid.axes) and grid.unit("Y") == grid.unit("X") == "micrometer"
    return FileFacts(stack.metadata.get("optics", {}), (grid.step("Y"), grid.step("X")) if known else None)
