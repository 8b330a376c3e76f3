"""The Cells dock: membranes and nuclei become cells, which follow the nuclei when these are edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QMenu, QPushButton, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import KEY, Recipe
from napari_recon.engines.segmentation.kept import MEMBRANES
from napari_recon.engines.segmentation.seeded import has_micro_sam
from napari_recon.viewer.files import SAVE_FILTER, layer_stack, with_suffix
from napari_recon.viewer.live_cells import LiveCells
from napari_recon.viewer.seeds import lay_over
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.cells_seeds import SeedsPanel
from napari_recon.widgets.cells_table import CellTable, DivisionsPanel
from napari_recon.widgets.dock import EngineDock
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.layout import section
from napari_recon.widgets.look import Line, describe
from napari_recon.widgets.request import Estimate, Request

SEEDED = "segmentation.seeded"
ESSENTIAL = ("divisions", "one_cell", "pull")
LIVE = ("divisions", "one_cell", "pull", "nucleus_radius", "together", "apart")
"""Parameters that the cells on show follow, without another run."""
OWN = ("time_point", "together", "apart")
"""Parameters that are said elsewhere in the dock."""
CSV = "Table (*.csv)"
CONTOUR = 1
OUTLINED, FILLED = 0.9, 0.4
"""Opacities."""


class CellsWidget(EngineDock):
    """Cells of a membrane channel, one for each nucleus: run once, then edit nuclei and watch."""

    methods: ClassVar[Mapping[str, str]] = {SEEDED: "Cells"}
    what: ClassVar[str] = "membrane stack"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "cells")
    of_this_run: ClassVar[tuple[str, ...]] = OWN

    def input_rows(self) -> dict[str, Any]:
        """See `EngineDock.input_rows`."""
        self.seeds = SeedsPanel(self.viewer, self._membranes)
        return {"seeds": self.seeds}

    def chooser(self) -> QWidget:
        """See `EngineDock.chooser`: there is one method."""
        return QWidget()

    def sections(self) -> list[QWidget]:
        """See `EngineDock.sections`."""
        data, model, region, settings = super().sections()
        self.live = LiveCells(self)
        MEMBRANES.begin()
        self.table, self.divisions, self.live_line = CellTable(), DivisionsPanel(), Line()
        self.outline_box = QCheckBox("&Outlines")
        self.outline_box.setChecked(True)
        describe(self.outline_box, "Outlines", "Draw the borders of cells, or fill them")
        self.export_button = QPushButton("E&xport")
        describe(self.export_button, "Export", "Labels, one mask per cell, the table, the nuclei")
        self.export_button.setMenu(self._export_menu())
        tools = QWidget()
        row = QHBoxLayout(tools)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.outline_box)
        row.addStretch(1)
        row.addWidget(self.export_button)
        self.divisions_fold = Fold("Divisions", self.divisions, folded=False)
        self.divisions_fold.hide()
        self._cells_section = section("Cells", self.table, tools, self.live_line, self.divisions_fold)
        self._cells_section.hide()
        region.layout().itemAt(0).widget().hide()  # its title is the fold's
        self._region_fold = Fold("Region and times", region)
        self._rows: list[Mapping[str, Any]] = []
        self._sisters: dict[int, list[Mapping[str, Any]]] = {}
        self._asked: tuple[Any, list[dict[str, Any]]] | None = None
        self._nuclei: dict[int, list[dict[str, Any]]] = {}
        self._shown_frame = -1
        self._edits = False
        return [data, section("Nuclei", self.seeds), self._cells_section, model, settings, self._region_fold]

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.live.close()
            MEMBRANES.end()
            self.viewer.dims.events.current_step.disconnect(self._time_moved)
            self.viewer.dims.events.ndisplay.disconnect(self._outline)
            self.viewer.layers.events.removed.disconnect(self._layer_removed)
            self.viewer.mouse_drag_callbacks.remove(self._clicked)
        super().let_go()

    def request(self) -> Request | None:
        """See `EngineDock.request`; decisions about sisters that are no more are left out."""
        found = super().request()
        if found is None:
            return None
        own = {"time_point": self.seeds.first, **self._decided(found.params)}
        return replace(found, params={**found.params, **own})

    def parents(self) -> tuple[Any, ...]:
        """See `EngineDock.parents`; the nuclei are no picture."""
        return super().parents()[:1]

    def frame(self) -> int:
        """Return the frame of the membranes on show."""
        layer, axes = self._membranes()
        if layer is None or "T" not in axes:
            return 0
        at = layer.world_to_data(self.viewer.dims.point[-layer.ndim :])[axes.index("T")]
        return min(max(round(float(at)), 0), layer.data.shape[axes.index("T")] - 1)

    def go_to(self, label: int) -> None:
        """Bring a cell into the slice on show, and select its label and its nucleus."""
        layer = self.live.layer
        if layer is None:
            return
        layer.selected_label = label
        names = {row["name"] for row in self._rows_now() if row["label"] == label}
        for sisters in self._sisters_now():
            if sisters["mother"] in names:
                names |= set(sisters["sisters"])
        stack, axes = self._membranes()
        try:
            own = [row for row in self.seeds.rows() if row["cell"] in names and row["time"] == self.frame()]
        except InputError:
            own = []
        if stack is None or not own:
            return
        dims = self.viewer.dims
        world = stack.data_to_world([own[0]["time"] if a == "T" else own[0][a.lower()] for a in axes])
        for axis in dims.not_displayed:
            if axis >= dims.ndim - stack.ndim:
                dims.set_point(axis, float(world[axis - dims.ndim + stack.ndim]))

    def _membranes(self) -> tuple[Any, str]:
        """Return the membrane layer and its axes once they fit; None and "" before."""
        data = getattr(self, "data", None)
        if data is None or data.layer is None or any(p.severity == "error" for p in data.problems):
            return None, ""
        return data.layer, data.axes

    def _connect(self) -> None:
        super()._connect()
        self.settings.changed.connect(self._follow)
        self.controller.artifact.connect(self._take_artifact)
        self.live.shown.connect(self._live_shown)
        self.live.failed.connect(lambda text: self.live_line.say(text, "warning"))
        self.table.chosen.connect(self.go_to)
        self.divisions.decided.connect(self._decide)
        self.outline_box.toggled.connect(self._outline)
        self.viewer.dims.events.current_step.connect(self._time_moved)
        self.viewer.dims.events.ndisplay.connect(self._outline)
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self.viewer.mouse_drag_callbacks.append(self._clicked)

    def _set_method(self, _: int = 0) -> None:
        super()._set_method()
        form = self.settings.form
        form.tuck(ESSENTIAL)
        hidden = set(OWN) | (set() if has_micro_sam() else {"method"})
        form.show_only(set(form.fields) - hidden)
        self.run_bar.set_kind("&Find cells", self._no_preview())
        self.run_bar.preview_button.hide()
        self._region_section.setVisible(self._region_fold.is_open)

    def _no_preview(self) -> str:
        return "Cells meet everywhere, so there is no preview: press Find cells"

    def _data_changed(self) -> None:
        super()._data_changed()
        self.seeds.refresh()
        self._follow()

    def _planned(self, estimate: Estimate) -> None:
        super()._planned(estimate)
        self.run_bar.hint("Find cells once; then move, add or delete nuclei and the cells follow.")
        layer = self.live.layer
        if self._edits and not self.live.busy and layer is not None and KEY in layer.metadata:
            # what was edited is what a repeated run should start from
            self.seeds.keep_file()
            layer.metadata[KEY] = {**layer.metadata[KEY], "recipe": Recipe.of(estimate.plans[0]).to_dict()}

    def _start(self, request: Request, preview: bool) -> None:
        self.seeds.keep_file()
        self._nuclei[id(request)] = self.seeds.rows()  # they may be edited before its turn comes
        super()._start(request, preview)

    def _begin(self, request: Request, preview: bool) -> None:
        self.live.close()
        self.live_line.say("")
        self._rows, self._sisters, self._edits = [], {}, False
        self._asked = request.inputs["stack"][0], self._nuclei.pop(id(request), None) or self.seeds.rows()
        super()._begin(request, preview)

    def _take_artifact(self, event: Any) -> None:
        if event.name == "cells" and isinstance(event.payload, list):
            self._rows += event.payload
        elif event.name == "report" and "sisters" in event.payload:
            self._sisters[int(event.payload["frame"])] = list(event.payload["sisters"])

    def _finished(self, result: Any) -> None:
        super()._finished(result)
        labels = [layer for layer in result.layers if layer._type_string == "labels"]
        if result.error is not None or not labels or result.plan is None or self._asked is None:
            return
        layer, (stack, seeds) = labels[0], self._asked
        self._outline_layer(layer)
        if not result.partial and result.plan.params.get("method") != "micro_sam":
            self.live.open(result.plan, stack, seeds, layer, self._rows)
            self.live.sisters.update(self._sisters)
        else:
            self.live.layer = layer
        if not self._rows:
            return
        self._cells_section.show()
        self._show_cells()
        self._order_focus()
        count = len({row["name"] for row in self._rows})
        if not result.partial:
            self.run_bar.say(f"{count} {'cell' if count == 1 else 'cells'} found; edit nuclei and they follow", "good")
        nuclei = self.seeds.layer
        if nuclei is not None and nuclei in self.viewer.layers:
            lay_over(self.viewer, nuclei, layer)
            self.viewer.layers.selection.active = nuclei  # what there is to edit
        self._follow()

    def _follow(self) -> None:
        """Let the cells follow nuclei and settings."""
        if not self.live.active or self.controller.state != "idle" or self.seeds.problem():
            if self.live.active and (text := self.seeds.problem()):
                self.live_line.say(text, "warning")
            return
        try:
            rows = self.seeds.rows()
        except InputError:
            return
        values = self.settings.values()
        params = {
            **self.live.params,
            "time_point": self.seeds.first,
            **{name: values[name] for name in LIVE if name in values},
        }
        if not self.settings.reason():
            self.live.update(rows, params)

    def _live_shown(self, milliseconds: float) -> None:
        self._edits = True
        which = "Cells near the edit" if self.live.near else "All cells"
        self.live_line.say(f"{which} followed in {milliseconds / 1000:.2g} s")
        self._show_cells()
        self._ask()

    def _rows_now(self) -> list[Any]:
        frame = self.frame()
        if self.live.active:
            return list(self.live.rows.get(frame, ()))
        return [row for row in self._rows if row["frame"] == frame]

    def _sisters_now(self) -> list[Any]:
        frame = self.frame()
        return list((self.live.sisters if self.live.active else self._sisters).get(frame, ()))

    def _show_cells(self) -> None:
        stack = self._membranes()[0]
        self.table.show_rows(self._rows_now(), str(stack.units[-1]) if stack is not None else "")
        sisters = self._sisters_now()
        self.divisions.show_sisters(self.frame() + self.seeds.first, sisters, self.settings.values())
        self.divisions_fold.setVisible(bool(sisters))

    def _time_moved(self, _: Any = None) -> None:
        stack, seeds = self._membranes()[0], self.seeds.layer
        if seeds is not None and stack is not None and seeds.ndim > stack.ndim:
            self.seeds.changed.emit()  # the slider says which of its points count
        frame = self.frame()
        if self._rows and self._shown_frame != frame:
            self._shown_frame = frame
            self.live.show_time(frame)
            self._show_cells()

    def _clicked(self, _: Any, event: Any) -> None:
        """Select the row of the cell that was clicked in the picture."""
        layer = self.live.layer
        if layer is None or event.type != "mouse_press" or layer not in self.viewer.layers:
            return
        value = layer.get_value(
            event.position, view_direction=event.view_direction, dims_displayed=event.dims_displayed, world=True
        )
        if value:
            self.table.choose(int(value))

    def _decided(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a person decided about sisters that are there."""
        said = {name: params[name] for name in ("together", "apart") if params.get(name)}
        if not said:
            return {}
        from napari_recon.engines.segmentation.seeded import mothers_of
        from napari_recon.engines.segmentation.seeds import nuclei_by_time

        try:
            rows = self.seeds.timed()
            known = set(mothers_of(nuclei_by_time(rows))) if rows else set()
        except InputError:
            return {}  # said elsewhere
        return {name: [mother for mother in mothers if mother in known] for name, mothers in said.items()}

    def _decide(self, values: Mapping[str, Any]) -> None:
        self.settings.change(values)

    def _layer_removed(self, event: Any) -> None:
        if event.value is self.live.layer:
            self.live.close()
            self._rows, self._sisters = [], {}
            self._cells_section.hide()

    def _outline(self, _: Any = None) -> None:
        if self.live.layer is not None:
            self._outline_layer(self.live.layer)

    def _outline_layer(self, layer: Any) -> None:
        outlined = self.outline_box.isChecked() and self.viewer.dims.ndisplay == 2  # volumes have none
        layer.contour = CONTOUR if outlined else 0
        layer.opacity = OUTLINED if self.outline_box.isChecked() else FILLED

    def _export_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        for text, action, tip in (
            ("&Labels…", self.export_labels, "All cells in one file: OME-TIFF, OME-Zarr, NIfTI"),
            ("&One NIfTI per cell…", self.export_masks, "A folder with one mask per cell and time (.nii.gz)"),
            ("&Table…", self.export_table, "Name, volume, surface and contacts of every cell as CSV"),
            ("&Nuclei…", self.export_nuclei, "The nuclei as they are now, as CSV that can be opened again"),
        ):
            item = menu.addAction(text)
            item.setToolTip(tip)
            item.triggered.connect(lambda _=False, a=action: a())
        return menu

    def export_labels(self, path: str = "") -> None:
        """Write all labels into one file."""
        layer = self.live.layer
        if layer is not None and not path:
            path, chosen = QFileDialog.getSaveFileName(self, "Export labels", f"{layer.name}.ome.tif", SAVE_FILTER)
            path = with_suffix(path, chosen)
        if layer is not None and path:
            from napari_recon.io import write_stack

            stack = layer_stack(layer.data, layer.as_layer_data_tuple()[1])
            self._write(write_stack, path, stack, layer.metadata.get(KEY))

    def export_masks(self, folder: str = "") -> None:
        """Write one mask per cell and time into a folder."""
        from napari_recon.viewer.cell_export import write_masks

        layer = self.live.layer
        folder = folder or QFileDialog.getExistingDirectory(self, "Folder for one NIfTI per cell")
        if layer is not None and folder:
            names = {int(row["label"]): str(row["name"]) for row in self._all_rows()}
            self._write(
                write_masks,
                folder,
                layer_stack(layer.data, layer.as_layer_data_tuple()[1]),
                names,
                "cells",
                self.seeds.first,
            )

    def export_table(self, path: str = "") -> None:
        """Write what was measured, and in what unit."""
        stack = self._membranes()[0]
        unit = str(stack.units[-1]) if stack is not None else ""
        self._write_rows(path, "cells.csv", [{**row, "unit": unit} for row in self._all_rows()])

    def export_nuclei(self, path: str = "") -> None:
        """Write the nuclei as they are."""
        self._write_rows(path, "nuclei.csv", self.seeds.timed())

    def _all_rows(self) -> list[Any]:
        rows = [row for _, rows in sorted(self.live.rows.items()) for row in rows]
        return rows if self.live.active else list(self._rows)

    def _write_rows(self, path: str, name: str, rows: list[Any]) -> None:
        from napari_recon.viewer.cell_export import write_rows

        path = path or with_suffix(*QFileDialog.getSaveFileName(self, "Export", name, CSV))
        if path:
            self._write(write_rows, path, rows)

    def _write(self, function: Any, place: str, *args: Any) -> None:
        def done(written: Any) -> None:
            what = f"{len(written)} files were" if isinstance(written, list) else f"{Path(place).name} was"
            self.run_bar.say(f"{what} written to {place if isinstance(written, list) else Path(place).parent}", "good")

        call_in_background(function, place, *args, done=done, failed=self._failed, parent=self)
