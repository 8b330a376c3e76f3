"""Neural layers: a saved field as a layer that shows newly computed values wherever one zooms and scrubs. Main thread only.

The layer's data are `FieldArray` levels: napari's indexing is answered at once from what is known, exact values are computed
in a thread, and the layer is shown again when they land.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.utils.notifications import show_error, show_info, show_warning

from napari_recon.core.errors import InputError, ReconError
from napari_recon.core.grid import Grid
from napari_recon.engines.inr4d.checkpoint import FILES
from napari_recon.engines.inr4d.lattice import AXES
from napari_recon.engines.live_fields import SUFFIXES, FieldSource, field_source, may_be_field
from napari_recon.fields.live import Landed, LiveField
from napari_recon.fields.live_array import FieldArray
from napari_recon.viewer import preferences
from napari_recon.viewer.files import opened_layer
from napari_recon.viewer.layer_input import stack_from_layer
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
    source = field_source(path, recording, params)
    if source.note and recording is None:
        source = _of_recording_in(viewer, path) or source
    return add_field(viewer, source, name, time_steps)


def add_field(viewer: ViewerModel, source: FieldSource, name: str | None = None, time_steps: int = 0) -> Image:
    """Add a field to the viewer; `field_source` may have been called in a worker."""
    data, attributes, _ = field_layer(source, name, time_steps, next(iter(viewer.layers[::-1]), None))
    watch(viewer)
    alone = not len(viewer.layers)
    with selection_kept(viewer):
        layer = viewer.add_image(data, **attributes)
    if source.note:
        show_warning(source.note)
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
        "interpolation2d": "linear",  # samples are as near as pixels of the screen: no blocks where they are not quite
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


def get_field_reader(path: str | list[str]) -> Callable[[str], list[Any]] | None:
    """Return `read_field` for a saved field, and for folders; None for everything else."""
    if isinstance(path, list) and len(path) != 1:
        return None
    place = Path(path if isinstance(path, str) else path[0])
    if place.is_dir():
        return read_field if place.suffix not in (".zarr", ".partial") else None
    return read_field if place.suffix in SUFFIXES and may_be_field(place) else None


def read_field(path: str | list[str]) -> list[tuple[Any, ...]]:
    """Return a saved field as a layer; a folder that holds none is opened as images.

    What is neither gives no layer and says why.
    """
    place = Path(path if isinstance(path, str) else path[0])
    try:
        return [_read(place)]
    except ReconError as error:
        show_error(str(error))
        return [(None,)]


def _read(place: Path) -> tuple[Any, ...]:
    import napari

    if place.is_dir() and not may_be_field(place):
        return opened_layer(str(place))
    if place.name in FILES:  # of a published save folder, in which both belong together
        place = place.parent
    source, viewer = field_source(place), napari.current_viewer()
    if viewer is not None:
        watch(viewer)
        source = (_of_recording_in(viewer, place) if source.note else None) or source
    if source.note:
        show_warning(source.note)
    beside = next(iter(viewer.layers[::-1]), None) if viewer is not None else None
    return field_layer(source, beside=beside, immediate=viewer is not None)


def export_view(viewer: Any = None) -> None:
    """Compute what is seen of the selected neural layer as a layer of its own."""
    import napari

    viewer = viewer or napari.current_viewer()
    selection = viewer.layers.selection
    live = live_field(selection.active or next(iter(selection), None))
    if live is None:
        fields = [found for layer in viewer.layers if (found := live_field(layer)) is not None]
        live = fields[0] if len(fields) == 1 else None
    if live is None:
        show_error("a neural layer was expected, found none selected; select one in the layer list")
        return
    show_info(f"what is seen of {live.layer.name} is being computed")
    live.export_view()


def _of_recording_in(viewer: ViewerModel, path: str | Path) -> FieldSource | None:
    """Return a published field as that of the one movie in the viewer that it may have been fitted to."""
    found = []
    for layer in viewer.layers:
        if type(layer).__name__ == "Image" and layer.ndim == len(AXES) and not layer.rgb and not layer.multiscale:
            with suppress(InputError):
                found.append(field_source(path, stack_from_layer(layer, AXES).grid))
    return found[0] if len(found) == 1 else None


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
    device = preferences.compute()
    return LiveField(lambda: source.open(device), source.levels(time_steps), immediate, source)


def _title(source: FieldSource) -> str:
    path = Path(source.model.path)
    plain = ("model", "weights", "current")
    return f"{path.parent.name if path.stem in plain else path.stem} · field"
