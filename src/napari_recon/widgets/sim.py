"""The SIM dock: frames by angle and phase, the microscope, the pattern, and sliders on the result."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtWidgets import QStackedWidget, QVBoxLayout, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.plan import Plan
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.engines.sim.layout import Layout
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.sim_diagnosis import Diagnoser, Diagnosis
from napari_recon.viewer.sim_frames import Pages
from napari_recon.viewer.sim_spectrum import SpectrumLayers
from napari_recon.widgets.adjuster import Adjuster
from napari_recon.widgets.dock import EngineDock, section
from napari_recon.widgets.live_panel import LivePanel
from napari_recon.widgets.look import Line
from napari_recon.widgets.planner import Planner
from napari_recon.widgets.sim_frames import FramesPanel, swapped
from napari_recon.widgets.sim_pattern import PatternPanel, calibration_in

METHODS = {
    "sim.wiener": "Wiener (needs no model)",
    "sim.network": "Network (ML-SIM)",
}
FRAME_ROWS = ("angles", "phases", "frame_order")
OPTICS_ROWS = ("na", "wavelength_um")
SHARED = (*FRAME_ROWS, *OPTICS_ROWS, "pattern", "refractive_index")


class SimWidget(EngineDock):
    """Super-resolved images from structured illumination: by physics, by network, and side by side."""

    methods: ClassVar[Mapping[str, str]] = {name: text for name, text in METHODS.items() if name in registry.names()}
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
        self._diagnoser = Diagnoser()
        self._calibration_file: Path | None = None
        self._seen: Any = None
        self._asked_inputs: Mapping[str, Any] = {}
        self._adjust_section = section("Adjust the result", self.live)
        self._adjust_section.hide()
        return [
            data,
            section("Raw frames", _column(self.frames, self.frame_rows)),
            section("Microscope", _column(self.optics_rows, self.optics_line)),
            section("Pattern", self.pattern),
            model,
            region,
            settings,
            self._adjust_section,
        ]

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.frames.let_go()
            self.looker.close()
            self.adjuster.close()
            self.spectrum.close()
            if self._calibration_file is not None:
                self._calibration_file.unlink(missing_ok=True)
        super().let_go()

    def pages(self) -> Pages | None:
        """Return the raw stack and how its pages are read; it need not have a pixel size yet."""
        layer, axes = self.data.layer, self.data.axes
        values = self.settings.values()
        if layer is None or not set(FRAME_ROWS) <= set(values) or self.data.combo.layer is None:
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
        self.adjuster.available.connect(self._adjust_section.setVisible)
        self.controller.artifact.connect(self._take_artifact)
        self.viewer.dims.events.current_step.connect(self._look)

    def _set_method(self, _: int = 0) -> None:
        before = self.settings.values() if self.settings._engine else {}
        chosen = self.method_combo.currentData()
        super()._set_method()
        form = self.settings.form
        self.frame_rows.show_rows(chosen, form, FRAME_ROWS)
        self.optics_rows.show_rows(chosen, form, OPTICS_ROWS)
        self.settings.change({name: before[name] for name in SHARED if name in before and name in form.fields})
        self.live.set_model(registry.get(chosen).Params)
        self._settings_changed()

    def _data_changed(self) -> None:
        super()._data_changed()
        pages = self.pages()
        key = (self.data.layer, self.data.axes)
        if pages is not None and self._seen != key:
            self._seen = key
            self.pattern.clear()
            self.frames.recognise(pages.stack, pages.layout, pages.order)
        self._settings_changed()

    def _settings_changed(self) -> None:
        """Bring what is shown in line with data and settings; cheap."""
        pages, values = self.pages(), self.settings.values()
        if pages is None:
            self.frames.show_pages(None, Layout(3, 3), "ap")
        else:
            self.frames.show_pages(pages.stack, pages.layout, pages.order)
            self.pattern.set_angles(pages.layout.angles)
        self._show_optics(pages.stack if pages is not None else None)
        self.live.show_values(values)
        self.adjuster.change(self.engine, values)
        self._look()

    def _show_optics(self, stack: ImageStack | None) -> None:
        """Show what the file says of the microscope, and what is missing."""
        form, values = self.settings.form, self.settings.values()
        said = {name: v[0] for name, v in (stack.metadata.get("optics", {}) if stack is not None else {}).items() if v}
        form.show_automatic(said)
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
            self.pattern.show_problem(diagnosis.problem)
            self._offer_fix(diagnosis.problem)

    def _frame_on_show(self) -> dict[str, int]:
        """Return the index of what the viewer shows, of the axes T, C and Z that the layer has."""
        layer, axes = self.data.layer, self.data.axes
        at = layer.world_to_data(self.viewer.dims.point[-layer.ndim :])
        sizes = layer.data[0].shape if layer.multiscale else layer.data.shape
        found = {a: round(float(x)) for a, x in zip(axes, at, strict=True) if a in "TCZ"}
        return {a: min(max(i, 0), sizes[axes.index(a)] - 1) for a, i in found.items()}

    def _offer_fix(self, sentence: str) -> None:
        """See `EngineDock._offer_fix`; the other page order depends on the present one."""
        order = self.settings.values().get("frame_order", "ap")
        super()._offer_fix(sentence.replace("frame_order=pa", f"frame_order={swapped(order)}"))

    def _start(self, request: Any, preview: bool) -> None:
        self._asked_inputs = request.inputs
        self.adjuster.drop()
        super()._start(request, preview)

    def _take_artifact(self, event: Any) -> None:
        found = calibration_in(event.payload)
        if found is None:
            return
        self.pattern.show_calibration(found)
        if self._calibration_file is None:
            with tempfile.NamedTemporaryFile(prefix="napari-recon-", suffix=".json", delete=False) as file:
                self._calibration_file = Path(file.name)
        self._calibration_file.write_text(json.dumps(found.model_dump(mode="json")), encoding="utf-8")

    def _finished(self, result: Any) -> None:
        super()._finished(result)
        if result.error is None:
            self.adjuster.take(result, self._asked_inputs)

    def _known(self, plan: Plan) -> dict[str, Any]:
        """Return what spares a live session the search: frames come in order, and the calibration is there."""
        known: dict[str, Any] = {"frame_order": "ap"}
        if self._calibration_file is not None and plan.params.get("calibration") == "auto":
            known["calibration"] = str(self._calibration_file)
        return known


class Rows(QStackedWidget):
    """Rows taken out of the forms of several engines, those of one on show."""

    def __init__(self) -> None:
        super().__init__()
        self._pages: dict[str, QWidget] = {}

    def show_rows(self, engine: str, form: Any, names: tuple[str, ...]) -> None:
        """Show the rows of an engine, taken from its form the first time."""
        if engine not in self._pages:
            self._pages[engine] = form.take(names)
            self.addWidget(self._pages[engine])
        self.setCurrentWidget(self._pages[engine])


def _column(*widgets: QWidget) -> QWidget:
    whole = QWidget()
    column = QVBoxLayout(whole)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(4)
    for widget in widgets:
        column.addWidget(widget)
    return whole
