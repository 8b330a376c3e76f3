"""What napari calls: writers, the reader of recipes, "Open with napari-recon...", sample data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer

from napari_recon.core.errors import InputError, ReconError
from napari_recon.core.provenance import KEY
from napari_recon.viewer.files import LayerData, layer_stack, opened_layer

PLUGIN = "napari-recon"
DOCKS = {
    "serenet": "Light field",
    "deconvolution": "Light field",
    "sim": "SIM",
    "simulate.sim": "SIM",
    "lightfield_inr": "Neural field",
    "inr4d": "4D field",
    "segmentation": "Cells",
    "fusion": "Light sheet",
    "deconvolution.rl": "Light sheet",
    "simulate.flfm_psf": "Microscope",
    "simulate.lfm_psf": "Microscope",
    "batch": "Batch",
}
#: Of the network in a fit of the sample, which is to be ready within a minute; recordings get the default number.
SAMPLE_STEPS = 200
RECIPE_SUFFIXES = (".recipe.yaml", ".recipe.yml")


def write_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image or labels layer as ``.ome.tif`` or ``.ome.zarr``: place in the world and provenance kept.

    Raises
    ------
    InputError, DiskFull
        See `napari_recon.io.write_stack`.
    """
    from napari_recon.io import write_stack

    record = attributes.get("metadata", {}).get(KEY)
    return [str(write_stack(path, layer_stack(data, attributes), record))]


def get_recipe_reader(path: str | list[str]) -> Callable[[str], list[Any]] | None:
    """Return `read_recipe` for ``*.recipe.yaml``; None for everything else."""
    if isinstance(path, list) or not str(path).lower().endswith(RECIPE_SUFFIXES):
        return None
    return read_recipe


def read_recipe(path: str) -> list[Any]:
    """Open the dock of the recipe's engine with its settings, and the data it was made from as layers."""
    from napari_recon.viewer.restore import restore

    restore(napari.current_viewer(), path, lambda error: show_error(str(error)))
    return [(None,)]


def get_zarr_reader(path: str | list[str]) -> Callable[[str], list[Any]] | None:
    """Return `read_zarr` for an OME-Zarr that this package wrote; None for everything else, which others may open."""
    from napari_recon.io.omezarr import is_ours
    from napari_recon.io.output import is_zarr

    mine = not isinstance(path, list) and Path(path).is_dir() and is_zarr(Path(path)) and is_ours(Path(path))
    return read_zarr if mine else None


def read_zarr(path: str) -> list[Any]:
    """Open an OME-Zarr lazily, or follow one that is being written; a store without an image says so and gives no layer."""
    from napari_recon.viewer.growing import follow, is_growing
    from napari_recon.viewer.restore import watch

    viewer = napari.current_viewer()
    if viewer is not None and is_growing(Path(path)):
        follow(viewer, path)
        return [(None,)]
    watch(viewer)
    try:
        return [opened_layer(path)]
    except ReconError as error:
        show_error(str(error))
        return [(None,)]


def open_dock(viewer: Any, engine: str) -> Any:
    """Open (or show) the dock that offers `engine` and return its widget.

    Raises
    ------
    InputError
        When no dock offers it.
    """
    name = DOCKS.get(engine) or DOCKS.get(engine.partition(".")[0])
    if name is None or viewer is None:
        raise InputError(f"a dock for {engine} was expected, found none; run the recipe with: napari-recon rerun")
    return show_dock(viewer, name)


def show_dock(viewer: Any, name: str) -> Any:
    """Open a dock as a tab of those beside it, or bring the open one to the front, and return its widget."""
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
    dock.show()
    dock.raise_()
    return widget


def open_with(viewer: Any = None, paths: list[str] | None = None) -> None:
    """Ask for files and open them with axes, voxel size and provenance, in a worker."""
    from qtpy.QtWidgets import QFileDialog

    from napari_recon.io import supported_suffixes

    viewer = viewer or napari.current_viewer()
    if paths is None:
        patterns = " ".join(f"*{suffix}" for suffix in supported_suffixes())
        choices = f"Images ({patterns});;Recipes (*.recipe.yaml);;All files (*)"
        paths, _ = QFileDialog.getOpenFileNames(viewer.window._qt_window, "Open with napari-recon", "", choices)
    for path in paths:
        if path.lower().endswith(RECIPE_SUFFIXES):
            read_recipe(path)
            continue
        open_path(viewer, path, lambda error: show_error(str(error)))


def open_path(viewer: Any, path: str, failed: Callable[[Exception], None], parent: Any = None) -> None:
    """Open a file in a worker and add it, lazily when it is large; `parent` as in `call_in_background`."""
    from napari_recon.viewer.worker import call_in_background

    call_in_background(opened_layer, path, done=lambda layer: add_layer(viewer, layer), failed=failed, parent=parent)


def add_layer(viewer: Any, layer_data: LayerData) -> Any:
    """Add layer data to the viewer and return the layer."""
    from napari.layers import Layer

    return viewer.add_layer(Layer.create(*layer_data))


def sample_light_field() -> list[LayerData]:
    """Open the Light field dock, then return the simulated recording and its hidden ground truth."""
    from napari_recon.samples import light_field

    return _in_dock("deconvolution.lightfield_rl", reconcile_units(light_field()))


def sample_flfm() -> list[LayerData]:
    """Open the Neural field dock, then return the simulated time-lapse, its PSF and its hidden ground truth."""
    from napari_recon.samples import flfm

    return _in_dock("lightfield_inr.fit", reconcile_units(flfm()))


def sample_sim() -> list[LayerData]:
    """Open the SIM dock, then return the simulated raw frames and their hidden ground truth."""
    from napari_recon.samples import sim

    return _in_dock("sim.wiener", reconcile_units(sim()))


def sample_light_sheet() -> list[LayerData]:
    """Open the Light sheet dock, then return a simulated raw light-sheet stack and its hidden ground truth."""
    from napari_recon.samples import light_sheet

    begin = "fusion.background"
    return _in_dock(begin, reconcile_units(light_sheet()), lambda dock: dock.start_with(begin))


def sample_dual_view() -> list[LayerData]:
    """Open the Light sheet dock at its last step, then return two simulated views and, hidden, their PSFs and the truth."""
    from napari_recon.samples import dual_view

    begin = "fusion.multiview_rl"
    return _in_dock(begin, reconcile_units(dual_view()), lambda dock: dock.start_with(begin))


def sample_moving_cells() -> list[LayerData]:
    """Open the 4D field dock, then return a simulated movie of cells and, hidden, its truth, which has frames between."""
    from napari_recon.samples import moving_cells

    return _in_dock("inr4d.fit", moving_cells(), lambda dock: dock.settings.change({"steps": SAMPLE_STEPS}))


def sample_cells() -> list[LayerData]:
    """Open the Cells dock, then return a drawn embryo: membranes, named nuclei, and, hidden, nucleus channel and truth."""
    from napari_recon.samples import cells

    return _in_dock("segmentation.seeded", cells())


def _in_dock(engine: str, layers: list[LayerData], begin: Callable[[Any], None] | None = None) -> list[LayerData]:
    """Open the dock of a sample; its data will be the first of `layers`, whatever else is open, once napari adds it."""
    viewer = napari.current_viewer()
    if viewer is None or not hasattr(viewer, "window"):
        return layers
    dock = open_dock(viewer, engine)
    if begin is not None:
        begin(dock)
    inserted = viewer.layers.events.inserted

    def take(event: Any) -> None:
        if event.value.data is layers[0][0]:
            inserted.disconnect(take)
            dock.data.combo.choose(event.value)
            QTimer.singleShot(0, lambda: select(event.value))

    def select(layer: Any) -> None:
        active = viewer.layers.selection.active
        if layer in viewer.layers and active is not None and not active.visible:  # napari selects what came last
            viewer.layers.selection.active = layer

    inserted.connect(take, position="last")  # when the dock has listed it
    return layers


def reconcile_units(layers: list[LayerData]) -> list[LayerData]:
    """Give equal axes (counted from the last) one kind of unit: views and planes share a slider, and napari insists."""
    reference = max((attributes["units"] for _, attributes, _ in layers), key=_said)
    for _, attributes, _ in layers:
        units = list(attributes["units"])
        for k in range(1, min(len(units), len(reference)) + 1):
            if units[-k] == "pixel":
                units[-k] = reference[-k]
        attributes["units"] = tuple(units)
    return layers


def _said(units: tuple[str, ...]) -> int:
    return sum(unit != "pixel" for unit in units)
