"""The Neural field dock: PSF and views, a fit one watches sharpening, and queries of what it left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from qtpy.QtWidgets import QHBoxLayout, QRadioButton, QWidget

from napari_recon.core.grid import Grid
from napari_recon.core.plan import Plan
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.widgets.field_dock import FieldDock
from napari_recon.widgets.fit_rows import APART, KIND, VIEWS, kind_of, query_rows, unused
from napari_recon.widgets.layout import section
from napari_recon.widgets.look import describe
from napari_recon.widgets.psf_panel import PsfPanel
from napari_recon.widgets.request import Request
from napari_recon.widgets.verdict import VerdictPanel
from napari_recon.widgets.views_panel import ViewsPanel

FIT, QUERY = "lightfield_inr.fit", "lightfield_inr.query"
DEVIANCE = " deviance"
"""The fit's stages log the same quantity under names that end so."""


class NeuralFieldWidget(FieldDock):
    """A scene or sequence as a neural field: fitted to a light field and its PSF, then queried at will."""

    methods: ClassVar[Mapping[str, str]] = {FIT: "Fit", QUERY: "Query"}
    what: ClassVar[str] = "light-field recording"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "flfm")
    fit: ClassVar[str] = FIT
    query: ClassVar[str] = QUERY

    def input_rows(self) -> dict[str, Any]:
        """See `EngineDock.input_rows`."""
        self.psf = PsfPanel(self.viewer, registry.get(FIT).info.input("psf"), self._recording_layer)
        return {"psf": self.psf}

    def sections(self) -> list[QWidget]:
        """See `EngineDock.sections`."""
        data, model, region, settings = super().sections()
        self.views, self.verdict = ViewsPanel(), VerdictPanel()
        self.fast_button, self.published_button = QRadioButton("F&ast"), QRadioButton("As pu&blished")
        describe(self.fast_button, "Fast", "Deconvolution, then voxels refined under a smoothness penalty: seconds")
        describe(self.published_button, "As published", "The published network and schedule: minutes to hours")
        how = QWidget()
        row = QHBoxLayout(how)
        row.setContentsMargins(0, 0, 0, 0)
        for button in (self.fast_button, self.published_button):
            row.addWidget(button)
        row.addStretch(1)
        settings.layout().insertWidget(1, how)
        self._settings_before: Mapping[str, Any] = {}
        self._positions: dict[int, list[Mapping[str, Any]]] = {}
        self._taken: dict[str, int] = {}
        psf, views = section("PSF", self.psf), section("Views", self.views)
        self._how, self._psf_section, self._views_section, self._data_rows = how, psf, views, data.layout()
        self._kind_rows: QWidget | None = None
        return [data, psf, views, model, region, settings]

    def footer(self) -> list[QWidget]:
        """See `EngineDock.footer`."""
        return [self.verdict]

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.views.let_go()
            self.viewer.dims.events.current_step.disconnect(self._show_views)
        super().let_go()

    def unused_settings(self, values: Mapping[str, Any]) -> frozenset[str]:
        """See `FieldDock.unused_settings`."""
        return unused(self.settings.form.model, values["method"], kind_of(values))

    def lattice_of(self, plan: Plan) -> Grid:
        """See `FieldDock.lattice_of`."""
        engine = registry.get(QUERY)
        found: Grid = engine.main_grid({}, engine.params_of(plan), plan.model)  # type: ignore[attr-defined]
        return found

    def fit_again(self, values: Mapping[str, Any]) -> None:
        """Change settings and fit."""
        self.settings.change({**values, "resume": ""})
        self.start_run()

    def _connect(self) -> None:
        super()._connect()
        self.views.held_out.connect(self._hold_out)
        self.fast_button.clicked.connect(lambda: self.settings.change({"method": "fast"}))
        self.published_button.clicked.connect(lambda: self.settings.change({"method": "upstream"}))
        self.verdict.remedy.connect(self.fit_again)
        self.controller.artifact.connect(self._take_artifact)
        self.viewer.dims.events.current_step.connect(self._show_views)

    def _show_parts(self, fit: bool) -> None:
        """See `FieldDock._show_parts`."""
        for part in (self._how, self._psf_section):
            part.setVisible(fit)
        if fit and self._kind_rows is None:
            self._kind_rows = self.settings.form.take(KIND)
            self._data_rows.addWidget(self._kind_rows)
        self.verdict.setVisible(fit and bool(self.verdict.reports))

    def _data_changed(self) -> None:
        stack = self._recording()
        if self.data.layer is not self._spoken_of and self.controller.state == "idle":
            self.verdict.clear()
            self.curves.clear()
        self.psf.set_recording(stack.grid if stack is not None else None)
        super()._data_changed()
        self._show_views()

    def _recording_layer(self) -> Any:
        return self.data.layer if hasattr(self, "data") else None

    def _recording(self) -> ImageStack | None:
        """Return the views; they can be looked at while the PSF is still missing."""
        layer = self.data.layer if self.data.needed else None
        if layer is None or any(problem.severity == "error" for problem in self.data.problems):
            return None
        return stack_from_layer(layer, self.data.axes)

    def _show_views(self, _: Any = None) -> None:
        if self.engine != FIT:
            self._views_section.hide()
            return
        frame = self.region.current_frame()
        recording = self._recording()
        self.views.show_views(recording, frame)
        self._views_section.setVisible(recording is not None)
        if self._positions:
            near = min(self._positions, key=lambda fitted: abs(fitted - frame))
            self.views.show_offsets(self._positions[near])

    def _settings_changed(self) -> None:
        form, values = self.settings.form, self.settings.values()
        if self.engine == QUERY:
            card = self.model.card
            form.show_only(query_rows(form.model, card.options if card is not None else {}))
            return
        before, self._settings_before = self._settings_before, values
        if values["refine_views"] and values["held_out"] is not None:
            # a view that is held out has no refined position: what was asked for last holds
            refined_now = not before.get("refine_views", True)
            self.settings.change({"held_out": None} if refined_now else {"refine_views": False})
            return
        method, kind = values["method"], kind_of(values)
        (self.fast_button if method == "fast" else self.published_button).setChecked(True)
        form.show_only(set(form.fields) - unused(form.model, method, kind) - APART)
        self._psf_section.setVisible(kind == VIEWS)
        self.data.optional.hide()  # angles are among the settings, as a list or a file
        if self.psf.needed != (kind == VIEWS):
            self.psf.set_needed(kind == VIEWS)
        held = method == "fast" and kind == VIEWS
        self.views.set_held_out(values["held_out"] if held else None, held)

    def _hold_out(self, view: int | None) -> None:
        self.settings.change({"held_out": view})

    def _begin(self, request: Any, preview: bool) -> None:
        self._taken.clear()
        if request.engine == FIT:
            self._positions.clear()
            self.verdict.clear(self._time_points(request))
            self.views.show_offsets(())
        super()._begin(request, preview)

    def _take_artifact(self, event: Any) -> None:
        if event.name == "report" and "verdict" in event.payload:
            self.verdict.add(event.payload, self._asked)
            self.verdict.setVisible(self.engine == FIT)
        elif event.name == "positions" and event.payload:
            time = self.region.region.time
            frame = int(event.payload[0].get("frame", 0)) + (time.start if time is not None else 0)
            self._positions[frame] = event.payload
            self._show_views()

    def _add_metric(self, name: str, step: int, value: float, series: str) -> None:
        """See `EngineDock._add_metric`; the stages of a fit are one curve."""
        if name.endswith(DEVIANCE):
            name = "reduced deviance"
            self._taken[series] = step = self._taken.get(series, 0) + 1
        super()._add_metric(name, step, value, series)

    def _finished(self, result: Any) -> None:
        super()._finished(result)
        if result.plan is not None and result.plan.engine == FIT:
            self.verdict.note(result.warned)

    def _time_points(self, request: Request) -> int:
        if request.time is not None:
            return len(request.time)
        stack = self._recording()
        return stack.grid.size("T") if stack is not None else 1
