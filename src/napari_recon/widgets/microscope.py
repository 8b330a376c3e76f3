"""The Microscope panel: describe a light-field microscope in numbers, see what follows from them, compute its PSF."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QCloseEvent, QImage, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
)

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.engines import registry
from napari_recon.engines.simulate import flfm_psf, lfm_psf
from napari_recon.viewer import preferences
from napari_recon.viewer.files import SAVE_FILTER, with_suffix
from napari_recon.viewer.light_field_views import mismatch
from napari_recon.viewer.psf_picture import psf_picture, shown_views
from napari_recon.viewer.run import Offer, RunController
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.estimate_line import EstimateLine, result_text
from napari_recon.widgets.files import read_settings
from napari_recon.widgets.fixes import fix_label, fixes_in
from napari_recon.widgets.leaving import LeavingWidget
from napari_recon.widgets.look import Line, allow, bold, describe, guard_wheel
from napari_recon.widgets.planner import Planner
from napari_recon.widgets.request import Estimate, Request
from napari_recon.widgets.run_bar import RunBar
from napari_recon.widgets.settings_panel import SettingsPanel

if TYPE_CHECKING:
    import napari.viewer

    from napari_recon.core.plan import Plan

KINDS = {"simulate.flfm_psf": "Fourier light field", "simulate.lfm_psf": "Light field (also scanning)"}
Facts = list[tuple[str, str, str]]


class MicroscopePanel(LeavingWidget):
    """Parameters with presets, what follows from them, and a button that computes the PSF into a layer.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
    controller : RunController, optional

    Signals
    -------
    made : Layer
        A whole PSF is in the viewer: axes VZYX, the point at the origin.
    """

    made = Signal(object)

    def __init__(self, napari_viewer: napari.viewer.Viewer, controller: Any = None) -> None:
        super().__init__()
        self.viewer: Any = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.controller = controller or RunController(self.viewer, parent=self)
        self.layer: Any = None
        self._kind = ""
        self.kind_combo = QComboBox()
        describe(self.kind_combo, "Kind of microscope", "Where the microlenses stand: in the pupil's image or in the image")
        self.kind_combo.setMinimumContentsLength(8)  # long names may not widen the dock
        self.kind_combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        guard_wheel(self.kind_combo)
        for engine, text in KINDS.items():
            self.kind_combo.addItem(text, engine)
            summary = registry.get(engine).info.summary
            self.kind_combo.setItemData(self.kind_combo.count() - 1, summary, Qt.ItemDataRole.ToolTipRole)
        self.settings, self.estimate, self.bar = SettingsPanel(), EstimateLine(), MakeBar()
        self.planner = Planner(parent=self)
        self.picture, self.picture_line = QLabel(), Line()
        self.picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.save_button = QPushButton("Save PSF…")
        self.save_button.hide()
        self._facts = QFormLayout()
        self._recording: Grid | None = None
        self._report: Mapping[str, Any] = {}
        self._covers = self._closed = False
        self._lay_out()
        self._connect()
        self.set_kind(next(iter(KINDS)))

    @property
    def engine(self) -> str:
        """The engine that simulates the chosen kind."""
        return str(self.kind_combo.currentData())

    def set_kind(self, engine: str) -> None:
        """Show the parameters of another kind of microscope."""
        self.kind_combo.setCurrentIndex(self.kind_combo.findData(engine))
        self.kind_combo.setToolTip(registry.get(engine).info.summary)
        if self._kind not in ("", engine):  # the picture is one of the other kind's PSF
            self.bar.forget()
            for part in (self.picture, self.picture_line, self.save_button):
                part.hide()
        self._kind = engine
        self.settings.set_engine(engine, registry.get(engine).Params)

    def expect(self, views: Grid | None) -> None:
        """Say before anything is computed whether the PSF would be one of these views."""
        if views != self._recording:
            self._recording = views
            self._ask()

    def load_settings(self, path: str) -> None:
        """Show the microscope of a settings file, a recipe or a result (InputError when it is none)."""
        found = read_settings(path)
        if found.engine not in KINDS:
            raise InputError(f"a microscope was expected ({', '.join(KINDS)}), found settings of {found.engine}")
        self.set_kind(found.engine)
        if refused := self.settings.set_values(found.params):
            raise InputError(f"{', '.join(refused)} did not fit and kept the default; check them")

    def request(self) -> Request:
        """Return what the form asks for."""
        return Request(engine=self.engine, inputs={}, params=self.settings.values(), compute=preferences.compute())

    def make(self) -> None:
        """Compute the PSF; it streams into a new layer, plane by plane."""
        if not self.bar.run_button.isEnabled():
            return
        self.settings.remember(None)
        request = self.request()
        # beside data the camera stays where it is, and the PSF out of sight
        beside = tuple(self.viewer.layers[-1:])
        title = f"PSF · {KINDS[self.engine]}"
        self.controller.start([request.job(request.boxes[0], title, beside)])

    def _begin(self, job: Any) -> None:
        self._report, self._covers = {}, bool(job.parent_layers)

    def let_go(self) -> None:
        """Stop everything; the panel can't be used afterwards."""
        if not self._closed:
            self._closed = True
            self.setEnabled(False)
            self.controller.leave()
            self.planner.close()

    def _ask(self) -> None:
        """Say at once what follows from the numbers, and soon what the PSF would cost."""
        reason = self.settings.reason()
        facts: Facts = []
        if not reason:
            try:
                facts = microscope_facts(self.engine, self.settings.values())
            except InputError as error:
                reason = str(error)
        self._show_facts(facts)
        self.bar.set_reason(reason)
        if reason:
            self.planner.drop()
            self._refused(reason)
            return
        self.estimate.wait()
        self.planner.request(self.request().estimate)

    def _planned(self, estimate: Estimate) -> None:
        self.estimate.show_estimate(estimate)
        self.bar.set_reason("")
        self._size_line.say(result_text(estimate.plans[0]))
        self._say_misfit(estimate.plans[0])
        self.bar.offer_button.hide()

    def _refused(self, reason: Any) -> None:
        sentence = str(reason)
        self.estimate.show_error(sentence)
        self._size_line.say("")
        self._misfit_line.say("")
        self.bar.set_reason(sentence)
        if values := fixes_in(sentence, self.settings.form.fields):
            self.bar.offer(Offer(sentence, fix_label(values), lambda: self.settings.change(values)))

    def _say_misfit(self, plan: Plan) -> None:
        made = plan.whole.get(plan.outputs[0].name)
        if made is None or self._recording is None:
            self._misfit_line.say("")
            return
        self._misfit_line.say(mismatch(made, self._recording), "warning")

    def _show_facts(self, facts: Facts) -> None:
        while self._facts.rowCount():
            self._facts.removeRow(0)
        for name, value, why in facts:
            label, shown = QLabel(name), Line(value)
            label.setToolTip(why)
            describe(shown, name, why)
            self._facts.addRow(label, shown)

    def _progressed(self, state: Any) -> None:
        self.bar.set_progress(state)
        if self._covers and (layers := self.controller.results.layers):
            self._covers = False
            for layer in layers:
                layer.visible = False

    def _artifact(self, event: Any) -> None:
        if event.kind == "report":
            self._report = event.payload

    def _finished(self, result: Any) -> None:
        if result.error is not None or result.partial or not result.layers:
            return
        self.layer = result.layers[0]
        self._show_picture(self.layer)
        self.picture.show()
        self.save_button.show()
        self.made.emit(self.layer)

    def _show_picture(self, layer: Any) -> None:
        shifts = self._report.get("view_shift_um", self._report.get("view_shift_fine_pixels"))
        views = (
            shown_views(np.asarray(shifts)) if shifts is not None else (0, layer.data.shape[0] // 2, layer.data.shape[0] - 1)
        )
        gray = psf_picture(layer.data, views, z_over_x=layer.scale[-3] / layer.scale[-1])
        image = QImage(gray.data, gray.shape[1], gray.shape[0], gray.shape[1], QImage.Format.Format_Grayscale8)
        self.picture.setPixmap(QPixmap.fromImage(image))  # copies, so `gray` may go
        of = f"views {views[0]}, {views[1]} and {views[2]}"
        describe(self.picture, "PSF", f"Maximum projections of {of}: along z above, along y below")
        self.picture_line.say(f"{of[0].upper()}{of[1:]}: along z above, along y (z down) below")

    def _save(self) -> None:
        path, chosen = QFileDialog.getSaveFileName(self, "Save PSF", "psf.ome.tif", SAVE_FILTER)
        if path and self.layer is not None:
            data, attributes, _ = self.layer.as_layer_data_tuple()
            call_in_background(
                partial(_write, with_suffix(path, chosen), data, attributes),
                done=lambda name: self.bar.say(f"PSF saved to {name}", "good"),
                failed=lambda error: self.bar.say(str(error), "error"),
                parent=self,
            )

    def _connect(self) -> None:
        self.kind_combo.activated.connect(lambda _: self.set_kind(self.engine))
        self.settings.changed.connect(self._ask)
        self.settings.message.connect(self.bar.say)
        self.planner.ready.connect(self._planned)
        self.planner.failed.connect(self._refused)
        self.save_button.clicked.connect(self._save)
        bar, controller = self.bar, self.controller
        bar.run.connect(self.make)
        bar.pause.connect(controller.pause)
        bar.resume.connect(controller.resume)
        bar.cancel.connect(controller.cancel)
        bar.set_queue(True)
        controller.began.connect(self._begin)
        controller.state_changed.connect(bar.set_state)
        controller.progressed.connect(self._progressed)
        controller.message.connect(bar.say)
        controller.artifact.connect(self._artifact)
        controller.finished.connect(self._finished)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        kind = QHBoxLayout()
        label = bold(QLabel("&Microscope"))
        label.setBuddy(self.kind_combo)
        kind.addWidget(label)
        kind.addWidget(self.kind_combo, 1)
        self._facts.setContentsMargins(0, 0, 0, 0)
        self._facts.setVerticalSpacing(2)
        self._size_line, self._misfit_line = Line(), Line()
        column.addLayout(kind)
        column.addWidget(self.settings)
        column.addWidget(bold(QLabel("What follows")))
        column.addLayout(self._facts)
        for part in (self._size_line, self._misfit_line, self.estimate, self.bar):
            column.addWidget(part)
        for part in (self.picture, self.picture_line, self.save_button):
            column.addWidget(part)
        column.addStretch(1)


class MakeBar(RunBar):
    """The run bar without what only docks have: preview, menu and shortcuts."""

    def __init__(self) -> None:
        super().__init__("&Make PSF")
        self.preview_button.hide()
        self.menu_button.hide()

    def _allow(self) -> None:
        super()._allow()
        if self.run_button.isEnabled() and self._state == "idle":
            allow(self.run_button, "", "Compute the PSF of every view by wave optics")


class MicroscopeWidget(QScrollArea):
    """The panel as a dock of its own."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.panel = MicroscopePanel(napari_viewer)
        self.panel.setContentsMargins(8, 8, 8, 8)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidget(self.panel)

    def load_settings(self, path: str) -> None:
        """See `MicroscopePanel.load_settings`."""
        self.panel.load_settings(path)

    def sizeHint(self) -> QSize:
        """Ask for room for every row."""
        return QSize(370, 760)

    def changeEvent(self, event: QEvent | None) -> None:
        """Let go when napari takes the dock out."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.panel.let_go()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Let go."""
        self.panel.let_go()
        super().closeEvent(event)


def microscope_facts(engine: str, values: Mapping[str, Any]) -> Facts:
    """Return (name, value, how it comes about) of what the parameters of a microscope imply.

    Raises
    ------
    InputError
        When its parts do not fit together.
    """
    if engine == "simulate.flfm_psf":
        fourier = flfm_psf.microscope_of(flfm_psf.FlfmPsfParams.model_validate(values))
        depth = fourier.depth_of_field_um
        return [
            ("Pixel in sample", _um(fourier.voxel_um), "Sensor pixel (pitch / pixels per lens) over magnification"),
            ("Magnification", f"{fourier.total_magnification:.3g} ×", "From the sample to the sensor"),
            ("Resolution", _resolution(fourier), "Of one view sideways (wavelength / 2 NA of a microlens), of all in depth"),
            ("Field of view", f"⌀ {_um(2 * fourier.field_radius_um)}", "Where neighbouring views begin to overlap"),
            ("Depth of field", f"± {_um(depth / 2)}", "Where a view is sharp; beyond, it blurs and resolution falls"),
        ]
    lenses = lfm_psf.microscope_of(lfm_psf.LfmPsfParams.model_validate(values))
    field = 1000 / lenses.nnum * lenses.lens_um
    return [
        ("Pixel of the PSF", _um(lenses.fine_pixel_um), "Microlens / pixels per lens / magnification"),
        ("Microlens in sample", _um(lenses.lens_um), "Sampling of one unscanned view"),
        ("Resolution", _resolution(lenses), "Of one view sideways (wavelength / 2 NA of a pixel), of all in depth"),
        ("Field of view", f"{_um(field)} per 1000 pixels", "Of the sensor; in the sample"),
        (
            "Depth range",
            f"± {_um(lenses.depth_of_field_um / 2)}",
            "Over which views add up sharply: (2 + Nnum²) λ n / 2 NA²",
        ),
    ]


def _um(length: float) -> str:
    return f"{length:.3g} µm"


def _resolution(microscope: Any) -> str:
    return f"≈ {_um(microscope.resolution_um)}, in depth {_um(microscope.axial_resolution_um)}"


def _write(path: str, data: Any, attributes: dict[str, Any]) -> str:
    from napari_recon.viewer.plugin import write_layer

    return Path(write_layer(path, data, attributes)[0]).name
