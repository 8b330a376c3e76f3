"""Adding layers without taking the user's selection, and with it the tool in hand, away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel


@contextmanager
def selection_kept(viewer: ViewerModel) -> Iterator[None]:
    """Restore selected and active layers afterwards, if there were any."""
    selection = viewer.layers.selection
    before, active = set(selection), selection.active
    yield
    if before:
        selection.intersection_update(before)
        selection.update(before & set(viewer.layers))
        selection.active = active
