"""The Neural field dock: PSF and views, a fit one watches sharpening, and queries of what it left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from qtpy.QtWidgets import QHBoxLayout, QRadioButton, QTabBar, QWidget

from napari_recon.core.grid import Grid
from napari_recon.core.params import nested
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.viewer.layer_input import letters_of, stack_from_layer
from napari_recon.viewer.run import Offer
from napari_recon.widgets.dock import EngineDock
from napari_recon.widgets.fit_rows import APART, KIND, VIEWS, kind_of, query_rows, unused
from napari_recon.widgets.layout import section
from napari_recon.widgets.look import describe
from napari_recon.widgets.psf_panel import PsfPanel
from napari_recon.widgets.request import Estimate, Request
from napari_recon.widgets.verdict import VerdictPanel
from napari_recon.widgets.views_panel import ViewsPanel

FIT, QUERY = "lightfield_inr.fit", "lightfield_inr.query"
DEVIANCE = " deviance"
"""The fit's stages log the same quantity under names that end so."""


class NeuralFieldWidget(EngineDock):
    """A scene or sequence as a neural field: fitted to a light field and its PSF, then queried at will."""

    methods: ClassVar[Mapping[str, str]] = {FIT: "Fit", QUERY: "Query"}
    what: ClassVar[str] = "light-field recording"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "flfm")
    of_this_run: ClassVar[tuple[str, ...]] = ("resume",)

    def input_rows(self) -> dict[str, Any]:
        """See `EngineDock.input_rows`."""
        self.psf = PsfPanel(self.viewer, registry.get(FIT).info.input("psf"), self._recording_layer)
        return {"psf": self.psf}

    def chooser(self) -> QWidget:
        """See `EngineDock.chooser`: few methods, so tabs."""
        self.tabs = QTabBar()
        describe(self.tabs, "What to do", "Fit a field to a recording, or query one that was fitted")
        for number, (name, text) in enumerate(self.methods.items()):
            self.tabs.addTab(text)
            self.tabs.setTabToolTip(number, registry.get(name).info.summary)
        self.tabs.currentChanged.connect(lambda at: self.choose_method(self.method_combo.itemData(at)))
        return self.tabs

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
        self._lattice: Grid | None = None
        self._lattice_of = ""
        self._fitted = ""
        self._settings_before: Mapping[str, Any] = {}
        self._saved: Any = None
        self._positions: dict[int, list[Mapping[str, Any]]] = {}
        self._taken: dict[str, int] = {}
        self._asked: Mapping[str, Any] = {}
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

    @property
    def asks_where(self) -> bool:
        """See `EngineDock.asks_where`."""
        return self.engine == QUERY or super().asks_where

    def request(self) -> Request | None:
        """See `EngineDock.request`; what belongs to another method keeps its default."""
        found = super().request()
        if found is None:
            return None
        if self.engine == QUERY:
            return replace(found, arranged=self._lattice)
        form, values = self.settings.form, self.settings.values()
        other = unused(form.model, values["method"], kind_of(values))
        params = nested({name: form.default(name) if name in other else f.value() for name, f in form.fields.items()})
        return replace(found, params=params)

    def subject(self) -> str:
        """See `EngineDock.subject`."""
        card = self.model.card if self.engine == QUERY else None
        return card.name if card is not None else super().subject()

    def parents(self) -> tuple[Any, ...]:
        """See `EngineDock.parents`; a query lies on what its field was fitted to."""
        reference = self._reference() if self.engine == QUERY else None
        return super().parents() if reference is None else (reference,)

    def title_of_model(self) -> str:
        """See `EngineDock.title_of_model`; a cancelled fit goes on from its checkpoint."""
        name = self.controller.job.title if self.controller.job is not None else ""
        return f"{name} · {datetime.now():%d %b %H:%M}" if self.controller.state != "stopping" else ""

    def model_kept(self, card: Any) -> None:
        """See `EngineDock.model_kept`."""
        self._fitted = card.id
        if self.engine == QUERY and self.controller.state == "idle":
            self.model.choose(card.id)

    def fit_again(self, values: Mapping[str, Any]) -> None:
        """Change settings and fit."""
        self.settings.change({**values, "resume": ""})
        self.start_run()

    def _connect(self) -> None:
        super()._connect()
        self.settings.changed.connect(self._settings_changed)
        self.views.held_out.connect(self._hold_out)
        self.fast_button.clicked.connect(lambda: self.settings.change({"method": "fast"}))
        self.published_button.clicked.connect(lambda: self.settings.change({"method": "upstream"}))
        self.verdict.remedy.connect(self.fit_again)
        self.controller.artifact.connect(self._take_artifact)
        self.controller.state_changed.connect(lambda state: self.estimate.setVisible(state == "idle"))
        self.viewer.dims.events.current_step.connect(self._show_views)

    def _set_method(self, _: int = 0) -> None:
        super()._set_method()
        self.tabs.blockSignals(True)
        self.tabs.setCurrentIndex(self.method_combo.currentIndex())
        self.tabs.blockSignals(False)
        fit = self.engine == FIT
        for part in (self._how, self._psf_section):
            part.setVisible(fit)
        if fit and self._kind_rows is None:
            self._kind_rows = self.settings.form.take(KIND)
            self._data_rows.addWidget(self._kind_rows)
        self.verdict.setVisible(fit and bool(self.verdict.reports))
        self.run_bar.preview_button.setVisible(not fit)
        if not fit and self._fitted:
            self.model.choose(self._fitted)
        self._settings_changed()
        self._order_focus()
        self.scroll.verticalScrollBar().setValue(0)

    def _no_preview(self) -> str:
        return "A fit shows its estimate from the first second: press Fit" if self.engine == FIT else ""

    def _ask(self) -> None:
        card = self.model.card if self.engine == QUERY else None
        if card is not None and card.id != self._lattice_of:
            self._lattice_of, self._lattice = card.id, None
            self._set_region()
            self._settings_changed()
        super()._ask()

    def _planned(self, estimate: Estimate) -> None:
        plan = estimate.plans[0]
        if plan.engine == QUERY:
            engine = registry.get(QUERY)
            lattice = engine.main_grid({}, engine.params_of(plan), plan.model)  # type: ignore[attr-defined]
            if lattice != self._lattice:
                self._lattice = lattice
                self._set_region()
        super()._planned(estimate)
        if plan.engine == FIT:
            self.run_bar.hint("Fit shows the volume from the first second; stop it whenever it is good enough.")

    def _set_region(self) -> None:
        if self.engine != QUERY:
            super()._set_region()
            return
        layer = self._reference()
        self.region.set_source(layer, letters_of(layer.axis_labels) if layer is not None else "", self._lattice)

    def _reference(self) -> Any:
        """Return the newest layer whose voxels are those of the field to be queried."""
        lattice = self._lattice
        if lattice is None:
            return None
        for layer in reversed(self.viewer.layers):
            axes = letters_of(layer.axis_labels)
            if layer._type_string == "image" and {"Z", "Y", "X"} <= set(axes):
                grid = stack_from_layer(layer, axes).grid
                if _alike(grid.only("ZYX"), lattice.only("ZYX")):
                    return layer
        return None

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

    def _start(self, request: Any, preview: bool) -> None:
        self._saved, self._asked = None, request.params
        self._taken.clear()
        self.controller.results.follow = request.engine == FIT
        if request.engine == FIT:
            self._positions.clear()
            self.verdict.clear(self._time_points(request))
            self.views.show_offsets(())
        super()._start(request, preview)

    def _take_artifact(self, event: Any) -> None:
        if event.name == "report" and "verdict" in event.payload:
            self.verdict.add(event.payload, self._asked)
            self.verdict.setVisible(self.engine == FIT)
        elif event.name == "positions" and event.payload:
            time = self.region.region.time
            frame = int(event.payload[0].get("frame", 0)) + (time.start if time is not None else 0)
            self._positions[frame] = event.payload
            self._show_views()

    def _take_checkpoint(self, event: Any) -> None:
        """See `EngineDock._take_checkpoint`; a cancelled fit offers to go on, so the file need not be spoken of."""
        self._saved = event

    def _add_metric(self, name: str, step: int, value: float, series: str) -> None:
        """See `EngineDock._add_metric`; the stages of a fit are one curve."""
        if name.endswith(DEVIANCE):
            name = "reduced deviance"
            self._taken[series] = step = self._taken.get(series, 0) + 1
        super()._add_metric(name, step, value, series)

    def _finished(self, result: Any) -> None:
        super()._finished(result)
        if result.plan is None or result.plan.engine != FIT:
            return
        self.verdict.note(result.warned)
        if result.error is not None:
            return
        if result.partial and self._saved is not None:
            self._offer_to_continue(result.layers)
        elif not result.partial and self.engine == FIT and self.settings.values()["resume"]:
            self.settings.change({"resume": ""})

    def _time_points(self, request: Request) -> int:
        if request.time is not None:
            return len(request.time)
        stack = self._recording()
        return stack.grid.size("T") if stack is not None else 1

    def _offer_to_continue(self, partial: tuple[Any, ...]) -> None:
        saved = self._saved

        def go_on() -> None:
            for layer in partial:
                layer.visible = False
            self.choose_method(FIT)
            self.settings.change({"resume": saved.path})
            self.start_run()
            if self.controller.state != "idle":  # the next fit is a new one
                self.settings.change({"resume": ""})

        self.run_bar.offer(Offer(f"Go on exactly from step {saved.step}", "Contin&ue the fit", go_on))


def _alike(grid: Grid, other: Grid) -> bool:
    """Return whether two grids have the same voxels."""
    pairs = zip((*grid.scale, *grid.translate), (*other.scale, *other.translate), strict=True)
    return grid.shape == other.shape and all(abs(a - b) <= 1e-6 * max(abs(a), abs(b), 1e-3) for a, b in pairs)
