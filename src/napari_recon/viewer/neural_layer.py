"""Neural layers: a saved field as a layer that shows newly computed values wherever one zooms and scrubs. Main thread only.

The layer's data are `FieldArray` levels: napari's indexing is answered at once from what is known, exact values are computed
in a thread, and the layer is shown again when they land.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari_recon.core.compute import Compute
from napari_recon.core.grid import Grid
from napari_recon.engines.live_fields import FieldSource, field_source
from napari_recon.fields.live import Landed, LiveField
from napari_recon.fields.live_array import FieldArray
from napari_recon.viewer.neural_driver import NeuralLayer
from napari_recon.viewer.placement import layer_geometry
from napari_recon.viewer.selection import selection_kept

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

__all__ = ["FIELD", "Landed", "NeuralLayer", "add_field", "field_layer", "field_source", "live_field", "open_field", "watch"]

FIELD = "napari-recon field"
"""Key of a layer's metadata under which the file of the field stands."""
TIME_STEPS = 10
"""Samples per time point of a new layer."""
COLORMAP = "magma"

_LIVE: WeakKeyDictionary[Layer, NeuralLayer] = WeakKeyDictionary()
_WATCHED: weakref.WeakSet[ViewerModel] = weakref.WeakSet()


def open_field(
    viewer: ViewerModel,
    path: str | Path,
    name: str | None = None,
    time_steps: int = 0,
    recording: Grid | None = None,
    params: Mapping[str, Any] | None = None,
) -> Image:
    """Open a saved field as a layer; its weights are loaded in the layer's own thread.

    Parameters
    ----------
    viewer : ViewerModel
    path : path
        A file, a folder (published save folder, or results of a fit) or a model's id.
    name : str, optional
    time_steps : int
        Samples per time point; 0 chooses.
    recording : Grid, optional
        Of what a published 4-D field was fitted to, which its files do not say.
    params : mapping, optional
        See `field_source`.

    Raises
    ------
    InputError, CheckpointError
        It is no field.
    """
    return add_field(viewer, field_source(path, recording, params), name, time_steps)


def add_field(viewer: ViewerModel, source: FieldSource, name: str | None = None, time_steps: int = 0) -> Image:
    """Add a field to the viewer; `field_source` may have been called in a worker."""
    data, attributes, _ = field_layer(source, name, time_steps, next(iter(viewer.layers[::-1]), None))
    watch(viewer)
    alone = not len(viewer.layers)
    with selection_kept(viewer):
        layer = viewer.add_image(data, **attributes)
    if alone:
        viewer.reset_view()
    return layer


def field_layer(
    source: FieldSource,
    name: str | None = None,
    time_steps: int = 0,
    beside: Layer | None = None,
    immediate: bool = True,
) -> tuple[Any, dict[str, Any], str]:
    """Return a field as layer data; `watch` the viewer it is added to.

    Parameters
    ----------
    source : FieldSource
    name : str, optional
    time_steps : int
    beside : Layer, optional
        napari wants the layer's units to be of the same kind as those of another one.
    immediate : bool
        False without a viewer: indexing then waits for exact values.
    """
    live = _live(source, time_steps or TIME_STEPS, immediate)
    low, high = source.limits or (0.0, 1.0)
    attributes = {
        **layer_geometry(live.levels.grid, None, beside),
        "name": name or _title(source),
        "multiscale": True,
        "rgb": False,
        "colormap": COLORMAP,
        "blending": "translucent_no_depth",
        "projection_mode": "none",
        "contrast_limits": (low, high if high > low else low + 1),
        "metadata": {FIELD: source.model.path},
    }
    return list(live.arrays), attributes, "image"


def watch(viewer: ViewerModel) -> None:
    """Drive every neural layer that is, or will be, in the viewer."""
    if viewer not in _WATCHED:
        _WATCHED.add(viewer)
        viewer.layers.events.inserted.connect(lambda event: _attach(weakref.ref(viewer), event.value))
    for layer in viewer.layers:
        _attach(weakref.ref(viewer), layer)


def live_field(layer: Layer | None) -> NeuralLayer | None:
    """Return what drives a neural layer, None for other layers and closed ones."""
    return _LIVE.get(layer) if layer is not None else None


def compute() -> Compute:
    """Return device and threads from napari's preferences."""
    from napari.settings import get_plugin_settings

    try:
        settings = get_plugin_settings("napari-recon").compute
        return Compute(device=str(settings.device), threads=int(settings.threads))
    except (KeyError, ValueError, AttributeError):
        return Compute()


def _attach(viewer: weakref.ref[ViewerModel], layer: Layer) -> None:
    """Drive a layer if its data are a field's; each layer has its own."""
    levels = getattr(layer, "data", None) if getattr(layer, "multiscale", False) else None
    first = levels[0] if levels is not None else None
    shown = viewer()
    if not isinstance(first, FieldArray) or layer in _LIVE or shown is None:
        return
    live = first.live
    if any(other.drives(live) for other in _LIVE.values()):  # a copy of a layer
        assert isinstance(live.about, FieldSource)
        live = _live(live.about, live.levels.time_steps, True)
        layer.data = list(live.arrays)
    _LIVE[layer] = driver = NeuralLayer(shown, layer, live)
    driver.closed.connect(lambda: _LIVE.pop(layer, None))


def _live(source: FieldSource, time_steps: int, immediate: bool) -> LiveField:
    device = compute()
    return LiveField(lambda: source.open(device), source.levels(time_steps), immediate, source)


def _title(source: FieldSource) -> str:
    path = Path(source.model.path)
    plain = ("model", "weights", "current")
    return f"{path.parent.name if path.stem in plain else path.stem} · field"
