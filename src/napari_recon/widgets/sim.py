"""The SIM dock: frames by angle and phase, the microscope, the pattern, and sliders on the result."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtWidgets import QWidget

from napari_recon import hub
from napari_recon.core.errors import InputError
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import KEY
from napari_recon.core.region import Box, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.engines.sim.layout import Layout
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.sim_diagnosis import Diagnoser, Diagnosis
from napari_recon.viewer.sim_frames import Pages
from napari_recon.viewer.sim_spectrum import SpectrumLayers
from napari_recon.widgets.adjuster import Adjuster
from napari_recon.widgets.dock import EngineDock
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.layout import section
from napari_recon.widgets.live_panel import LivePanel
from napari_recon.widgets.look import Line
from napari_recon.widgets.planner import Planner
from napari_recon.widgets.request import Request
from napari_recon.widgets.rows import Rows
from napari_recon.widgets.sim_compare import RESIDUAL, SimComparePanel, SimComparison
from napari_recon.widgets.sim_frames import FramesPanel, swapped
from napari_recon.widgets.sim_pattern import PatternPanel, calibration_in

METHODS = {
    "sim.wiener": "Wiener SIM",
    "sim.network": "Network SIM",
    "sim.train": "Train a network",
    "simulate.sim": "Simulate a recording",
}
FRAME_ROWS = ("angles", "phases", "frame_order")
OPTICS_ROWS = ("na", "wavelength_um")
SHARED = (*FRAME_ROWS, *OPTICS_ROWS, "pattern", "refractive_index")


class SimWidget(EngineDock):
    """Super-resolved images from structured illumination: by physics, by network, and side by side."""

    methods: ClassVar[Mapping[str, str]] = METHODS
    what: ClassVar[str] = "raw SIM stack"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "sim")
    preview_size: ClassVar[int] = 256
    needs_pixel_size: ClassVar[bool] = True
    slider_ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"wiener": (0.003, 1.0), "attenuation_fwhm": (0.1, 5.0)}

    def sections(self) -> list[QWidget]:
        """See `EngineDock.sections`."""
        data, model, region, settings = super().sections()
        self.frames, self.pattern, self.live = FramesPanel(), PatternPanel(), LivePanel(self.slider_ranges)
        self.frame_rows, self.optics_rows, self.optics_line = Rows(), Rows(), Line()
        self.spectrum = SpectrumLayers(self.viewer, self)
        self.looker = Planner(40, self)
        self.adjuster = Adjuster(self.viewer, self.live, self._known, self)
        self.compare = SimComparePanel()
        self.comparison = SimComparison(self.viewer, self.controller, self.compare, self._calibration_path, self)
        self._diagnoser = Diagnoser()
        self._calibration_file: Path | None = None
        self._seen: Any = None
        self._calibrated: Any = None
        self._asked_inputs: Mapping[str, Any] = {}
        self.adjust_fold = Fold("Adjust the result", self.live, folded=False)
        self.adjust_fold.hide()
        self._microscope: dict[str, Any] = {}
        frames = section("Raw frames", self.frames, self.frame_rows)
        optics = section("Microscope", self.optics_rows, self.optics_line)
        pattern, compare = section("Pattern", self.pattern), section("Can it be believed?", self.compare)
        self._of_data = (frames, optics, pattern, compare)
        return [data, frames, optics, pattern, model, region, settings, compare]

    def footer(self) -> list[QWidget]:
        """See `EngineDock.footer`."""
        return [self.adjust_fold]

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.frames.let_go()
            self.looker.close()
            self.adjuster.close()
            self.comparison.close()
            self.spectrum.close()
            self.viewer.layers.selection.events.active.disconnect(self._allow_compare)
            self.viewer.dims.events.current_step.disconnect(self._look)
            if self._calibration_file is not None:
                self._calibration_file.unlink(missing_ok=True)
        super().let_go()

    def request(self) -> Request | None:
        """See `EngineDock.request`; time points may be in the pages."""
        found, pages = super().request(), self.pages()
        return found if found is None or pages is None else replace(found, arranged=pages.arranged)

    def preview_box(self, box: Box) -> Box:
        """See `EngineDock.preview_box`: of a stack of planes, the one on show."""
        pages = self.pages()
        if pages is None or pages.arranged is None or "Z" not in pages.arranged.axes:
            return box
        plane = self._frame_on_show()["Z"]
        return box.model_copy(update={"z": (plane, plane + 1)})

    def pages(self) -> Pages | None:
        """Return the raw stack and how its pages are read; it need not have a pixel size yet."""
        layer, axes = self.data.layer, self.data.axes
        values = self.settings.values()
        if layer is None or not self.data.needed or not set(FRAME_ROWS) <= set(values):
            return None
        try:
            params = registry.get(self.engine).Params.model_validate(values)
            layout = getattr(params, "layout", None) or Layout(values["angles"], values["phases"])
            return Pages(stack_from_layer(layer, axes), layout, values["frame_order"])
        except (InputError, ValueError):
            return None

    def _connect(self) -> None:
        super()._connect()
        self.settings.changed.connect(self._settings_changed)
        self.frames.proposed.connect(self.settings.change)
        self.pattern.wanted.connect(self._show_spectrum)
        self.pattern.angle_chosen.connect(self._look)
        self.spectrum.removed.connect(lambda: self.pattern.button.setChecked(False))
        self.looker.ready.connect(self._looked)
        self.looker.failed.connect(lambda error: self.pattern.show_problem(str(error)))
        self.live.moved.connect(self.settings.change)
        self.adjuster.available.connect(self.adjust_fold.setVisible)
        self.adjuster.decided.connect(lambda values: self.settings.form.show_automatic(values))
        self.controller.artifact.connect(self._take_artifact)
        self.controller.state_changed.connect(self._allow_compare)
        self.compare.compare_button.clicked.connect(self.compare_methods)
        self.compare.check_button.clicked.connect(self.check_result)
        self.viewer.layers.selection.events.active.connect(self._allow_compare)
        self.viewer.dims.events.current_step.connect(self._look)

    def _set_method(self, _: int = 0) -> None:
        if self.settings.engine and self.data.needed:
            values = self.settings.values()
            self._microscope = {name: values[name] for name in SHARED if name in values}
        chosen = self.method_combo.currentData()
        super()._set_method()
        for part in self._of_data:
            part.setVisible(self.data.needed)
        if self.data.needed:
            form = self.settings.form
            self.frame_rows.show_rows(chosen, form, FRAME_ROWS)
            self.optics_rows.show_rows(chosen, form, OPTICS_ROWS)
            self.settings.change({name: value for name, value in self._microscope.items() if name in form.fields})
        else:
            self.pattern.button.setChecked(False)
        self.live.set_model(registry.get(chosen).Params)
        self._order_focus()  # rows were moved between panels
        self._settings_changed()

    def _data_changed(self) -> None:
        super()._data_changed()
        pages = self.pages()
        key = (self.data.layer, self.data.axes)
        if pages is not None and self._seen != key:
            self._seen = key
            self.pattern.clear()
            self.frames.recognise(pages.stack, pages.layout, pages.order)
        elif pages is None and self.data.needed and self._seen is not None:
            self._seen = None
            self.pattern.clear()
        self._settings_changed()

    def _set_region(self) -> None:
        """See `EngineDock._set_region`; time points and planes that are in the pages have rows of their own."""
        pages = self.pages()
        grid = pages.arranged if pages is not None and not self.data.reason() else None
        self.region.set_source(self.data.layer if grid else None, self.data.axes, grid, self._time_on_show)

    def _settings_changed(self) -> None:
        """Bring what is shown in line with data and settings; cheap."""
        pages, values = self.pages(), self.settings.values()
        self._set_region()
        self.pattern.set_reason("" if pages is not None else "Choose raw frames first")
        if pages is None:
            self.frames.show_pages(None, Layout(3, 3), "ap")
        else:
            self.frames.show_pages(pages.stack, pages.layout, pages.order)
            self.pattern.set_angles(pages.layout.angles)
        if self.data.needed:
            self._show_optics(pages.stack if pages is not None else None)
        self.live.show_values(values)
        self._allow_compare()
        self.adjuster.change(self.engine, values)
        self._look()

    def _show_optics(self, stack: ImageStack | None) -> None:
        """Show what the file says of the microscope, and what is missing."""
        form, values = self.settings.form, self.settings.values()
        said = {name: v[0] for name, v in (stack.metadata.get("optics", {}) if stack is not None else {}).items() if v}
        form.show_automatic({**dict.fromkeys(OPTICS_ROWS), **said})
        words = {"na": "numerical aperture", "wavelength_um": "emission wavelength"}
        missing = [word for name, word in words.items() if values.get(name) == "auto" and name not in said]
        verb = f"does not say the {' and the '.join(missing)}: untick auto and type"
        text = f"{stack.name} {verb}" if stack is not None and missing else ""
        self.optics_line.say(text, "warning")

    def _show_spectrum(self, wanted: bool) -> None:
        if wanted:
            self.pattern.wait()
            self._look()
        else:
            self.looker.drop()
            self.spectrum.hide()

    def _look(self, _: Any = None) -> None:
        """Look at the pattern again, soon and in a thread, while the spectrum is shown."""
        pages = self.pages()
        if pages is None or not self.pattern.button.isChecked():
            return
        index = self._frame_on_show()
        self.looker.request(partial(self._diagnoser.look, pages, index, self.settings.values(), self.pattern.angle))

    def _looked(self, diagnosis: Diagnosis) -> None:
        if self.data.layer is None or not self.pattern.button.isChecked():
            return
        self.spectrum.show(diagnosis, self.data.layer)
        if diagnosis.calibration is not None:
            self.pattern.show_calibration(diagnosis.calibration, "measured on the middle of the field")
        else:
            self.pattern.show_problem(self._in_place(diagnosis.problem))
            self._offer_fix(diagnosis.problem)

    def _frame_on_show(self) -> dict[str, int]:
        """Return the index of what the viewer shows, of the axes T, C and Z that the frames have."""
        layer, pages = self.data.layer, self.pages()
        if pages is None or pages.arranged is None:
            return {}
        at = layer.world_to_data(self.viewer.dims.point[-layer.ndim :])
        return pages.at([round(float(x)) for x in at])

    def _time_on_show(self) -> int:
        return self._frame_on_show().get("T", 0)

    def _offer_fix(self, sentence: str) -> None:
        """See `EngineDock._offer_fix`."""
        super()._offer_fix(self._in_place(sentence))

    def _in_place(self, sentence: str) -> str:
        """Return a sentence that asks for the other page order with the name of the one that is other now."""
        order = self.settings.values().get("frame_order", "ap")
        return re.sub(r"frame_order=pa( \(or ap, if it is pa\))?", f"frame_order={swapped(order)}", sentence)

    def compare_methods(self) -> None:
        """Reconstruct the image on show with every method that can run, then check each against the raw frames."""
        request = self.request()
        if request is None or self.controller.state != "idle":
            return
        requests = {}
        for name, title in self.methods.items():
            model = self._model_for(name)
            if registry.get(name).info.kind == "reconstruct" and (model or registry.get(name).info.needs_model == "none"):
                requests[title] = self._alone(request, name, model)
        self.comparison.compare(requests, self._alone(request, RESIDUAL, None), self.data.layer)

    def check_result(self) -> None:
        """Show where the raw frames disagree with the selected result."""
        request, layer = self.request(), self.viewer.layers.selection.active
        if request is None or self._not_checkable():
            return
        title = self.methods.get(layer.metadata[KEY]["engine"], layer.name)
        self.comparison.check(layer, title, self._alone(request, RESIDUAL, None), self.data.layer)

    def _alone(self, request: Request, engine: str, model: Any) -> Request:
        """Return the request for another engine, limited to the image on show."""
        values = self.settings.values()
        params = {**self.settings.values_of(engine), **{name: values[name] for name in SHARED if name in values}}
        params = {name: value for name, value in params.items() if name in registry.get(engine).Params.model_fields}
        index = self._frame_on_show()
        time = TimeRange(start=index["T"], stop=index["T"] + 1) if "T" in index else None
        box = Box(z=(index["Z"], index["Z"] + 1)) if "Z" in index else Box()
        return Request(engine, {"raw": request.inputs["raw"]}, params, (box,), time, model, request.compute)

    def _model_for(self, engine: str) -> Any:
        """Return the model that an engine would use: the one chosen, or the first of the menu that is there."""
        if registry.get(engine).info.needs_model == "none":
            return None
        if engine == self.engine:
            return self.model.ref()
        last = self.settings.store.last(engine).get("model")
        cards = sorted((c for c in hub.catalogue(engine) if c.available), key=lambda card: card.id != last)
        return cards[0].ref() if cards else None

    def _allow_compare(self, _: Any = None) -> None:
        missing = self._reason() or ("" if self.controller.state == "idle" else "A run is going on: cancel it or wait")
        self.compare.set_reasons(missing, missing or self._not_checkable())

    def _not_checkable(self) -> str:
        layer = self.viewer.layers.selection.active
        record = getattr(layer, "metadata", {}).get(KEY, {})
        made = record.get("output", "sr") == "sr" and record.get("engine") in self.methods and "grid" in record
        sources = [place.get("id") for place in record.get("layers", {}).get("raw", ())]
        ours = self.data.layer is not None and str(self.data.layer.unique_id) in sources
        return "" if made and ours else "Select a layer first that was reconstructed from the raw frames above"

    def _calibration_path(self) -> str | None:
        """Return the file of the calibration found last, None when data or microscope have changed since."""
        return str(self._calibration_file) if self._calibrated == self._described() else None

    def _described(self) -> Any:
        values = self.settings.values()
        return self.data.layer, {name: values.get(name) for name in SHARED}

    def _begin(self, request: Any, preview: bool) -> None:
        self._asked_inputs = request.inputs
        self.adjuster.drop()
        super()._begin(request, preview)

    def _take_artifact(self, event: Any) -> None:
        found, job = calibration_in(event.payload), self.controller.job
        if found is None or job is None or self.data.layer not in job.parent_layers:
            return  # of a simulation, or of frames that are not on show any more
        self.pattern.show_calibration(found)
        if self._calibration_file is None:
            with tempfile.NamedTemporaryFile(prefix="napari-recon-", suffix=".json", delete=False) as file:
                self._calibration_file = Path(file.name)
        self._calibrated = self._described()
        self._calibration_file.write_text(json.dumps(found.model_dump(mode="json")), encoding="utf-8")

    def _finished(self, result: Any) -> None:
        if self.comparison.owns(result.job):
            return
        super()._finished(result)
        if result.error is None:
            self.adjuster.take(result, self._asked_inputs)

    def _known(self, plan: Plan) -> dict[str, Any]:
        """Return what spares a live session the search: frames come in order, and the calibration is there."""
        known: dict[str, Any] = {"frame_order": "ap"}
        path = self._calibration_path()
        channels = plan.outputs[0].grid.size("C")  # each has a calibration of its own
        if path and channels == 1 and plan.params.get("calibration") == "auto" and plan.params.get("calibrate_on") != "each":
            known["calibration"] = path
        return known
