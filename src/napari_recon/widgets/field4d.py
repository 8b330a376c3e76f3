"""The 4D field dock: a field fitted to a movie of volumes, its score, queries of it, and scrubbing between its frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from qtpy.QtWidgets import QButtonGroup, QLabel, QRadioButton, QWidget

from napari_recon.core.grid import Grid
from napari_recon.core.plan import Plan
from napari_recon.engines import registry
from napari_recon.engines.inr4d.place import data_grid
from napari_recon.viewer.layer_input import Problem
from napari_recon.viewer.movie_axes import depth_hint, movie_problems, reorder, unevenness
from napari_recon.viewer.run import Offer
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.field4d_beside import Beside
from napari_recon.widgets.field4d_score import ScorePanel
from napari_recon.widgets.field4d_scrub import ScrubPanel
from napari_recon.widgets.field_dock import FieldDock
from napari_recon.widgets.fit_rows import rows_of_method
from napari_recon.widgets.layout import beside, column, section
from napari_recon.widgets.look import describe
from napari_recon.widgets.movie_row import MovieRow
from napari_recon.widgets.request import Estimate, Request
from napari_recon.widgets.sampling_row import SamplingRow

FIT, QUERY = "inr4d.fit", "inr4d.query"
WAYS = {
    "fast": ("F&ast", "Motion between frames, and a network through the planes that learns in them: seconds to minutes"),
    "upstream": ("As pu&blished", "The published networks and schedule: hours, work for a graphics card"),
    "flow": ("Flo&w", "To compare with: frames warped by optical flow"),
    "cubic": ("C&ubic", "To compare with: each voxel interpolated with cubic splines"),
    "linear": ("&Linear", "To compare with: each voxel interpolated linearly"),
}
"""Ways to fit -> text and tooltip of the button."""
SCRUB = "Scrub"
APART = {"method", "axes_checked"}
"""Settings of a fit that have a place of their own in the dock."""
PUBLISHED_ONLY = {"samples", "radius", "jitter", "compat", "intensities", "shape_tzyx", "tables"}
"""Settings of a query that only fields of the published program leave open."""


class Field4DWidget(FieldDock):
    """A continuous movie: fitted to a recording of volumes over time, asked at will, scrubbed between its frames."""

    methods: ClassVar[Mapping[str, str]] = {FIT: "Fit", QUERY: "Query"}
    what: ClassVar[str] = "movie of volumes"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "moving_cells")
    fit: ClassVar[str] = FIT
    query: ClassVar[str] = QUERY
    _scrubbing = False
    _new = False

    def judge(self, layer: Any, axes: str) -> list[Problem]:
        """See `EngineDock.judge`."""
        if self.engine != FIT:
            return []
        accepted = self._accepted.get(layer) == axes
        found = movie_problems(layer, axes, self._reorder, None if accepted else self._accept)
        if not any(problem.severity == "error" for problem in found):
            hint = depth_hint(layer, axes, self._unevenness_of(layer, axes), self._reorder)
            found += [hint] if hint is not None else []
        return found

    def pixel_row(self) -> Any:
        """See `EngineDock.pixel_row`."""
        self._accepted: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._uneven: WeakKeyDictionary[Any, tuple[str, float]] = WeakKeyDictionary()
        return MovieRow()

    def chooser(self) -> QWidget:
        """See `EngineDock.chooser`; scrubbing asks the same field as a query."""
        tabs = super().chooser()
        self.tabs.addTab(SCRUB)
        self.tabs.setTabToolTip(self.tabs.count() - 1, "Look at a field between its frames, beside plain interpolation")
        return tabs

    def sections(self) -> list[QWidget]:
        """See `EngineDock.sections`."""
        data, model, region, settings = super().sections()
        self.ways = {name: QRadioButton(text) for name, (text, _) in WAYS.items()}
        self._group = QButtonGroup(self)
        for name, button in self.ways.items():
            describe(button, WAYS[name][0].replace("&", ""), WAYS[name][1])
            self._group.addButton(button)
        buttons = list(self.ways.values())
        how = column(beside(*buttons[:2]), beside(QLabel("or plain:"), *buttons[2:]))
        settings.layout().insertWidget(1, how)
        self.sampling, self.scrub, self.score = SamplingRow(), ScrubPanel(self.viewer), ScorePanel()
        self._sampling_section = section("Sampling", self.sampling)
        self.beside = Beside(self)
        self._how, self._settings_section = how, settings
        return [data, model, self.scrub, self._sampling_section, region, settings]

    def footer(self) -> list[QWidget]:
        """See `EngineDock.footer`."""
        return [column(self.score)]

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.beside.let_go()
            self.scrub.let_go()
        super().let_go()

    def request(self) -> Request | None:
        """See `EngineDock.request`."""
        return None if self._scrubbing else super().request()

    def unused_settings(self, values: Mapping[str, Any]) -> frozenset[str]:
        """See `FieldDock.unused_settings`."""
        form = self.settings.form
        return frozenset(form.fields) - rows_of_method(form.model, tuple(WAYS), values["method"]) - APART

    def lattice_of(self, plan: Plan) -> Grid:
        """See `FieldDock.lattice_of`: a query's box and times count the recording's voxels and frames."""
        assert plan.model is not None
        return data_grid(registry.get(QUERY).params_of(plan), plan.model, None)

    def model_kept(self, card: Any) -> None:
        """See `EngineDock.model_kept`; the obvious next step is to look at it."""
        super().model_kept(card)
        self._new = card.training.get("complete", True)
        self._offer_to_scrub()

    def _offer_to_scrub(self) -> None:
        """Offer it once both the fit and the keeping of its field have ended, in whatever order."""
        if self._new and self.engine == FIT and self.controller.state == "idle":
            text = "Open the field as a layer that has a picture at any time"
            self.run_bar.offer(Offer(text, "&Scrub between frames", self.start_scrubbing))

    def start_scrubbing(self) -> None:
        """Show the tab Scrub and open the field that was fitted or chosen last."""
        self.tabs.setCurrentIndex(self.tabs.count() - 1)
        self.beside.open()

    def start_run(self) -> None:
        """See `EngineDock.start_run`; while scrubbing it opens the field."""
        if self._scrubbing:
            self.beside.open()
        else:
            super().start_run()

    def fit_again(self, values: Mapping[str, Any]) -> None:
        """Change settings and fit."""
        self.settings.change({**values, "resume": ""})
        self.start_run()

    def _connect(self) -> None:
        super()._connect()
        for name, button in self.ways.items():
            button.clicked.connect(lambda _=False, name=name: self.settings.change({"method": name}))
        self.sampling.changed.connect(lambda scale: self.settings.change({"scale": scale}))
        self.score.remedy.connect(self.fit_again)
        self.controller.artifact.connect(self._take_artifact)
        self.model.changed.connect(self.beside.field_changed)

    def _tab_chosen(self, at: int) -> None:
        self._scrubbing = at == self.tabs.count() - 1
        self.choose_method(QUERY if self._scrubbing else self.method_combo.itemData(at))

    def choose_method(self, engine: str) -> None:
        """See `EngineDock.choose_method`."""
        self._scrubbing = self._scrubbing and engine == QUERY
        super().choose_method(engine)

    def _show_tab(self) -> None:
        if not self._scrubbing:
            super()._show_tab()

    def _show_parts(self, fit: bool) -> None:
        """See `FieldDock._show_parts`."""
        scrubbing = self._scrubbing
        self._how.setVisible(fit)
        self.scrub.setVisible(scrubbing)
        self._sampling_section.setVisible(not fit and not scrubbing)
        for part in (self._settings_section, self._region_section):
            part.setVisible(not scrubbing)
        self.score.setVisible(fit and bool(self.score.report))
        for button in (self.run_bar.run_button, self.run_bar.menu_button):
            button.setVisible(not scrubbing)
        self._data_section.setVisible(fit)
        if scrubbing:
            self.estimate.clear()
        self.beside.field_changed()

    def _set_method(self, _: int = 0) -> None:
        super()._set_method()
        if self._scrubbing:
            self.run_bar.preview_button.hide()

    def _settings_changed(self) -> None:
        form, values = self.settings.form, self.settings.values()
        if self.engine == QUERY:
            card = self.model.card
            own = card is not None and "grid" in card.options
            self._data_section.setVisible(not own and not self._scrubbing)
            form.show_only(set(form.fields) - {"scale"} - (PUBLISHED_ONLY if own else set()))
            self.sampling.show_scale(values["scale"])
            self.sampling.set_grid(self._lattice)
            return
        self.ways[values["method"]].setChecked(True)
        form.show_only(rows_of_method(form.model, tuple(WAYS), values["method"]) - APART)

    def _set_region(self) -> None:
        super()._set_region()
        if self.engine == QUERY:
            self.sampling.set_grid(self._lattice)

    def _data_changed(self) -> None:
        if self.engine == FIT:
            layer = self.data.layer
            if layer is not self._spoken_of and self.controller.state == "idle":
                self.score.clear()
                self.curves.clear()
            accepted = layer is not None and self._accepted.get(layer) == self.data.axes
            if self.settings.values()["axes_checked"] != accepted:
                self.settings.change({"axes_checked": accepted})
        super()._data_changed()

    def _planned(self, estimate: Estimate) -> None:
        if not self._scrubbing:
            super()._planned(estimate)

    def _begin(self, request: Any, preview: bool) -> None:
        self._new = False
        if request.engine == FIT:
            self.score.clear()
        super()._begin(request, preview)

    def _take_artifact(self, event: Any) -> None:
        if event.name == "report" and self.engine == FIT:
            self.score.show_report(event.payload, self._asked)

    def _finished(self, result: Any) -> None:
        super()._finished(result)
        if result.plan is not None and result.plan.engine == FIT:
            self.score.note(result.warned)
            self._offer_to_scrub()

    def _offer_alone(self, layers: tuple[Any, ...]) -> None:
        """See `EngineDock._offer_alone`; after a fit something better is offered."""
        if self.engine != FIT:
            super()._offer_alone(layers)

    def _accept(self) -> None:
        self._accepted[self.data.layer] = self.data.axes
        self.data.judge_again()

    def _reorder(self, axes: str) -> None:
        """Show the movie with its dimensions in the order T, Z, Y, X, and work on that."""
        self.data.combo.choose(reorder(self.viewer, self.data.layer, axes))

    def _unevenness_of(self, layer: Any, axes: str) -> float:
        """Return what the content says of T and Z; 0 until it was looked at."""
        known = self._uneven.get(layer)
        if known is not None and known[0] == axes:
            return known[1]
        if {"T", "Z"} <= set(axes):
            self._uneven[layer] = axes, 0.0
            data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data

            def done(found: float) -> None:
                self._uneven[layer] = axes, found
                if found and self.data.layer is layer and not self._closed:
                    self.data.judge_again()

            call_in_background(unevenness, data, axes, done=done, failed=lambda _: None, parent=self)
        return 0.0
