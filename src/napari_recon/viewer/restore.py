"""A recipe or a result that somebody opens brings back its dock, its settings and the recordings it was made from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, QTimer

from napari_recon.core.errors import InputError, ReconError
from napari_recon.core.grid import AXIS_NAMES, Grid
from napari_recon.core.provenance import KEY, Recipe
from napari_recon.io.suffixes import TIFF, ZARR, suffix_of
from napari_recon.viewer import preferences
from napari_recon.viewer.files import LayerData, opened_layer
from napari_recon.viewer.layer_input import PATH
from napari_recon.viewer.worker import call_in_background

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

PATIENCE_MS = 1500
"""Of several files that are dropped together, each may take a second to open."""
OTHERS = ("napari", "napari-recon")
"""Readers whose layers may be results of ours."""


@dataclass(frozen=True)
class Origin:
    """How a file was made.

    Attributes
    ----------
    path : str
    recipe : Recipe
    record : dict
        The provenance of a result; empty for a recipe.
    grid : Grid, optional
        Of a result.
    sources : dict
        Input of the first step -> layer data of the recordings that are there and not open yet.
    notes : tuple of str
        What could not be brought back.
    """

    path: str
    recipe: Recipe
    record: dict[str, Any] = field(default_factory=dict)
    grid: Grid | None = None
    sources: dict[str, list[LayerData]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def origin_of(path: str, shown: Collection[str] = ()) -> Origin | None:
    """Return how a file was made, with what it was made from; None when it does not say (called in a worker).

    Parameters
    ----------
    path : str
        A recipe or a result.
    shown : collection of str
        Files that are open already.

    Raises
    ------
    ReconError
        A damaged recipe.
    """
    from napari_recon.io import open_stack, read_provenance
    from napari_recon.jobs.recipes import read_recipe

    if path.lower().endswith((".yaml", ".yml")):
        recipe = read_recipe(path)
        return Origin(path, recipe, {}, None, *sources_of(recipe, shown))
    record = read_provenance(path)
    if record is None or "recipe" not in record:
        return None
    recipe = Recipe.from_dict(record, path)
    return Origin(path, recipe, record, open_stack(path).grid, *sources_of(recipe, shown))


def sources_of(recipe: Recipe, shown: Collection[str] = ()) -> tuple[dict[str, list[LayerData]], tuple[str, ...]]:
    """Return what a recipe starts from as layer data by input, and a sentence about what is no longer there."""
    from napari_recon.engines import registry

    found: dict[str, list[LayerData]] = {}
    lost: list[str] = []
    first = recipe.steps[0]
    for spec in registry.get(first.engine).info.inputs:
        for source in first.inputs.get(spec.name, []):
            if not source.axes or source.path in shown:
                continue
            if not source.path or source.path.startswith("layer:"):
                lost.append(f"a layer without a file (its {spec.name})")
                continue
            try:
                found.setdefault(spec.name, []).append(opened_layer(source.path, source.axes, source.voxel_size_um))
            except (ReconError, OSError):
                lost.append(source.path)
    if not lost:
        return found, ()
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return found, (f"it was made from {lost[0]}{more}, which can't be opened; open it from where it is now",)


def shown_files(viewer: ViewerModel) -> frozenset[str]:
    """Return the files whose layers are open."""
    places = ((layer.source.path, layer.metadata.get(PATH)) for layer in viewer.layers)
    return frozenset(str(place) for both in places for place in both if place)


def bring_back(viewer: Any, origin: Origin, result: Layer | None = None, dock: Any = None) -> Any:
    """Show the settings of a file in its dock, and what it was made from as layers below `result`; returns the dock.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    origin : Origin
    result : Layer, optional
    dock : QWidget, optional
        Instead of the one that offers the engine.

    Raises
    ------
    InputError
        No dock for it, or one that is busy, or settings that do not fit.
    """
    from napari_recon.viewer.plugin import open_dock

    name, steps = Path(origin.path).name, origin.recipe.steps
    own = dock is None
    dock = open_dock(viewer, steps[-1].engine) if own else dock
    if getattr(getattr(dock, "controller", None), "state", "idle") != "idle":
        raise InputError(f"the dock of {name} should be idle, found it running; its settings are left alone")
    problem = None
    try:
        dock.load_settings(origin.path)
    except InputError as error:
        if not own:  # it may be another dock's
            raise
        problem = error
    below = viewer.layers.index(result) if result is not None and result in viewer.layers else len(viewer.layers)
    for input_name, layers in origin.sources.items():
        for number, data in enumerate(layers):
            layer = _insert(viewer, below, data)
            if len(steps) == 1 and number == 0:
                _choose(dock, input_name, layer)
    then = "what it was made from is open" if origin.sources else "choose the data and press Run"
    chain = f"; of its {len(steps)} steps the last one, all are repeated by: napari-recon rerun" if len(steps) > 1 else ""
    show_info(f"The settings of {name} are in the dock{chain}; {then}")
    for note in origin.notes:
        show_warning(f"{name}: {note}")
    if problem is not None:
        raise problem
    return dock


def restore(viewer: Any, path: str, failed: Callable[[Exception], None], dock: Any = None) -> None:
    """Bring back what is behind a recipe or a result; `failed` hears why not."""

    def done(origin: Origin | None) -> None:
        try:
            if origin is None:
                raise InputError(
                    f"{path} should carry a recipe, found none in or beside it; choose the *.recipe.yaml of its run"
                )
            bring_back(viewer, origin, dock=dock)
        except ReconError as error:
            failed(error)

    call_in_background(origin_of, path, shown_files(viewer), done=done, failed=failed)


class Restorer(QObject):
    """Waits for single results that are dropped onto napari; made by `watch`.

    Several files at once are somebody looking at results, and nothing happens but that they open.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._opened: list[Layer] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(PATIENCE_MS)
        self._timer.timeout.connect(self._settle)
        viewer.layers.events.inserted.connect(self._inserted)

    def _inserted(self, event: Any) -> None:
        layer = event.value
        source = layer.source
        if source.path and source.reader_plugin in OTHERS and not source.sample:
            self._opened.append(layer)
            self._timer.start()

    def _settle(self) -> None:
        opened, self._opened = self._opened, []
        files = {str(layer.source.path) for layer in opened}
        path = next(iter(files))
        if len(files) == 1 and suffix_of(Path(path)) in TIFF + ZARR and preferences.restores():
            known = shown_files(self._viewer)
            call = (origin_of, path, known)
            call_in_background(*call, done=lambda origin: self._found(origin, opened[0]), failed=_ignore, parent=self)

    def _found(self, origin: Origin | None, layer: Layer) -> None:
        if origin is None or layer not in self._viewer.layers:
            return
        if describe(layer, origin) and len(self._viewer.layers) == 1:
            self._viewer.reset_view()
        try:
            bring_back(self._viewer, origin, layer)
        except ReconError as error:
            show_info(str(error))


def describe(layer: Layer, origin: Origin) -> bool:
    """Give a result that another reader opened its place in the world, and how it was made; returns whether it has moved."""
    if KEY in layer.metadata:
        return False
    layer.metadata.update({KEY: origin.record, PATH: origin.path})
    grid = origin.grid
    if grid is not None and tuple(layer.data.shape) == grid.shape and not layer.multiscale:
        layer.axis_labels = tuple(AXIS_NAMES[a] for a in grid.axes)
        layer.units = grid.units
        layer.scale, layer.translate = grid.scale, grid.translate
        return True
    return False


_watching: WeakKeyDictionary[Any, Restorer] = WeakKeyDictionary()


def watch(viewer: Any) -> None:
    """From now on let results that are dropped onto napari bring back their dock."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    if viewer is not None and hasattr(viewer, "window") and viewer not in _watching:
        _watching[viewer] = Restorer(viewer)


def _insert(viewer: ViewerModel, at: int, data: LayerData) -> Layer:
    from napari.layers import Layer as AnyLayer

    active = viewer.layers.selection.active
    layer = AnyLayer.create(*data)
    viewer.layers.insert(at, layer)
    if active is not None:
        viewer.layers.selection.active = active
    return layer


def _choose(dock: Any, name: str, layer: Layer) -> None:
    """Choose a layer as an input of the dock, where it has a list for that."""
    data = getattr(dock, "data", None)
    if data is None:
        return
    row = data if name == data.spec.name else data.extras.get(name)
    combo = getattr(row, "combo", None)
    if combo is not None and hasattr(combo, "choose"):
        combo.choose(layer)


def _ignore(_: Exception) -> None:
    """A file that says nothing we understand is just a layer."""
