"""The Light sheet dock: from the raw skewed stack to one volume in four steps, each alone or all in a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from qtpy.QtWidgets import QComboBox, QPushButton, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.region import Box
from napari_recon.engines import registry
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.widgets.dock import EngineDock
from napari_recon.widgets.files import read_settings
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.layout import beside, column, section
from napari_recon.widgets.light_sheet_chain import Chain, has_model
from napari_recon.widgets.light_sheet_pipeline import PIPELINE, pipeline_of, show_pipeline
from napari_recon.widgets.light_sheet_sources import ALL_PSF_ROWS, PSF_ROWS, PsfSource, SourceRow, Sources
from napari_recon.widgets.light_sheet_steps import (
    BACKGROUND,
    DESKEW,
    ESSENTIAL,
    MULTIVIEW,
    RESULTS,
    RLDFN,
    SHARED,
    SINGLE,
    SPLIT,
    STEPS,
    VSI,
    WIENER,
    Stepper,
)
from napari_recon.widgets.look import Line, allow, describe, guard_wheel, small_button
from napari_recon.widgets.request import Request

FEWEST_VIEWS, MOST_VIEWS = 2, 4
NETWORK_PLANES = 3
PREVIEWED_PLANES = 1


class LightSheetWidget(EngineDock):
    """Background and deskew, super-resolution, splitting of views, fusion: as a column of steps."""

    methods: ClassVar[Mapping[str, str]] = RESULTS
    what: ClassVar[str] = "light-sheet stack"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "light_sheet")
    preview_size: ClassVar[int] = 64
    preview_params: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        SPLIT: {"refine": False},
        MULTIVIEW: {"iterations": 5},
        SINGLE: {"iterations": 5},
    }
    of_this_run: ClassVar[tuple[str, ...]] = ("psf_model", "psf_angle_deg", "transform", "na", "wavelength_um")

    def input_rows(self) -> dict[str, Any]:
        """See `EngineDock.input_rows`."""
        view, psf = registry.get(RLDFN).info.input("view_b"), registry.get(MULTIVIEW).info.input("psf")
        others = [SourceRow(self.viewer, view, f"View {x}", (f"view {x}".lower(), f"view_{x}".lower())) for x in "BCD"]
        self.others = Sources(others)
        self.psf = PsfSource([SourceRow(self.viewer, psf, f"PSF {x}", ("psf",), n) for n, x in enumerate("ABCD")])
        transfer = {
            spec.name: SourceRow(self.viewer, spec, spec.name.upper() if "otf" in spec.name else "Apodisation", (spec.name,))
            for spec in registry.get(VSI).info.inputs[1:]
        }
        measured = registry.get(WIENER).info.input("views")
        degrees = ("0", "60", "120")
        self.measured = Sources([SourceRow(self.viewer, measured, f"{d}°", (f"rot{d}", f"{d} deg")) for d in degrees])
        self.transfer_rows, self.transfer = transfer, column(*transfer.values())
        return {
            "view_b": self.others.rows[0],
            "psf_a": self.psf.rows[0],
            "psf_b": self.psf.rows[1],
            "psf": self.psf,
            "views": self.measured,
            **transfer,
        }

    def chooser(self) -> QWidget:
        """See `EngineDock.chooser`: the steps choose the method; above them is what does all."""
        self.all_button = QPushButton("Run a&ll steps")
        describe(self.all_button, "Run all steps", "Do the ticked steps one after the other")
        self.all_button.clicked.connect(lambda: self.chain.run_all())
        return self.all_button

    def sections(self) -> list[QWidget]:
        """See `EngineDock.sections`."""
        self.kind_combo = QComboBox()
        describe(self.kind_combo, "How", "How to do this step")
        guard_wheel(self.kind_combo)
        self.kind_combo.setMinimumContentsLength(10)
        self.kind_combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.more_button = small_button("+ view", "Add a view", "Fuse one more view")
        self.less_button = small_button("− view", "Remove a view", "Fuse one view less")
        self._data_section = section("Input", self.data)
        self._views_section = section("Other views", self.others, beside(self.more_button, self.less_button))
        self._measured_section = section("Orientations", self.measured)
        self._transfer_section = section("Transfer functions", self.transfer)
        self._psf_section = section("PSF", self.psf)
        self._model_section = section("Model", self.model)
        self._region_section = Fold("Region", self.region)
        self.views = FEWEST_VIEWS
        parts = (self._data_section, self._views_section, self._measured_section, self._transfer_section, self._psf_section)
        self._body = column(
            self.kind_combo, *parts, self._model_section, section("Settings", self.settings), self._region_section
        )
        self.stepper = Stepper(STEPS, self._body)
        self._left: dict[int, str] = {}
        self._choosing = False
        self._shown: set[str] = set()
        self._suggested: dict[tuple[str, str], Any] = {}
        self._shared: dict[str, Any] = {}
        self._optics: Mapping[str, Any] = {}
        self.chain = Chain(self)
        return [self.stepper]

    def footer(self) -> list[QWidget]:
        """See `EngineDock.footer`."""
        self.need = Line()
        return [self.need]

    @property
    def at(self) -> int:
        """The open step."""
        return next(n for n, step in enumerate(STEPS) if self.engine in step.methods)

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.chain.let_go()
            for rows in (self.others, self.measured, self.psf):
                rows.let_go()
        super().let_go()

    def engine_of(self, at: int) -> str:
        """Return the method a step was left with."""
        return self._left.get(at) or next(iter(STEPS[at].methods))

    def start_with(self, engine: str) -> None:
        """Open the step of `engine` for new data; Run all does it and what follows."""
        if self.controller.state == "idle":
            self.chain.forget()
        self.choose_method(engine)
        self.stepper.tick([step.number for step in STEPS[self.at :]])

    def load_settings(self, path: str) -> None:
        """See `EngineDock.load_settings`; those of a pipeline fill every step."""
        found = read_settings(path)
        if found.engine == PIPELINE:
            show_pipeline(self, found.params)
        else:
            super().load_settings(path)

    def copy_all(self, how: str) -> None:
        """Put the ticked steps as one pipeline onto the clipboard, written by the function `how` of `jobs.code`."""
        try:
            self.sharing.copy_request(pipeline_of(self), how)
        except InputError as error:
            self.run_bar.say(str(error), "warning")

    def batch_all(self) -> None:
        """Open the Batch dock with the ticked steps as one pipeline."""
        try:
            self.sharing.batch_request(pipeline_of(self), "all steps")
        except InputError as error:
            self.run_bar.say(str(error), "warning")

    def open_step(self, at: int) -> None:
        """Show a step, with the method it was left with."""
        self.choose_method(self.engine_of(at))

    def subject(self) -> str:
        """See `EngineDock.subject`: the data that everything was made from."""
        return self.chain.root_of(super().subject())

    def request(self) -> Request | None:
        """See `EngineDock.request`; several views are one input."""
        found = super().request()
        if found is None or self.engine != MULTIVIEW:
            return found
        return replace(found, inputs={**found.inputs, "views": (*found.inputs["views"], *self.others.value())})

    def parents(self) -> tuple[Any, ...]:
        """See `EngineDock.parents`."""
        others = [row.layer for row in self.others.shown if row.layer is not None] if self.engine == MULTIVIEW else []
        return (*super().parents(), *others)

    def preview_box(self, box: Box) -> Box:
        """See `EngineDock.preview_box`: networks see whole planes, so one plane is enough."""
        stack = self.data.stack()
        if self.engine not in (VSI, WIENER) or stack is None or "Z" not in stack.grid.axes:
            return box
        planes, layer = stack.grid.size("Z"), self.data.layer
        at = layer.world_to_data(self.viewer.dims.point[-layer.ndim :])[self.data.axes.index("Z")]
        edge = NETWORK_PLANES if self.engine == VSI else 0
        plane = min(max(round(float(at)), edge), max(edge, planes - edge - 1))
        return box.model_copy(update={"z": (plane, plane + PREVIEWED_PLANES)})

    def lacks(self, at: int, first: bool) -> str:
        """Return what a step needs that no step before it can give; empty when nothing is missing."""
        engine = self.engine_of(at)
        if first and self.chain.input_for(at) is None and self.data.layer is None:
            return "open data, or the sample"
        if engine == RLDFN and not has_model(engine):
            return "it needs a trained model"
        if engine not in (MULTIVIEW, SINGLE):
            return ""
        optics = self._optics_known()
        self.psf.settle(bool(optics))
        values = registry.get(engine).Params().model_dump(mode="json") | self.settings.values_of(engine)
        return self.psf.missing(self._views_of(engine), values, optics)

    def _views_of(self, engine: str) -> int:
        if engine == SINGLE:
            return 1
        stack = self.data.stack() if engine == MULTIVIEW and self.engine == MULTIVIEW else None
        return stack.grid.size("V") if stack is not None and "V" in stack.grid.axes else self.views

    def _optics_known(self) -> Mapping[str, Any]:
        """Return what the data, or those they were made from, say about the microscope."""
        layer = self.data.layer
        if layer is not None and not self.data.problems and (found := self._said(layer)):
            self._optics = found
        return self._optics

    def _said(self, layer: Any) -> Mapping[str, Any]:
        optics: Mapping[str, Any] = stack_from_layer(layer, self.data.axes).metadata.get("optics", {})
        return {name: values[0] for name, values in optics.items() if values}

    def _connect(self) -> None:
        super()._connect()
        for text, how in (("Copy all steps as P&ython", "as_python"), ("Copy all steps as comman&d", "as_command")):
            action = self.run_bar.menu_button.menu().addAction(text)
            action.setToolTip("The ticked steps as one run of fusion.pipeline, on the clipboard")
            action.triggered.connect(lambda _=False, how=how: self.copy_all(how))
        action = self.run_bar.menu_button.menu().addAction("Batch of a&ll steps…")
        action.setToolTip("The ticked steps for every recording in a folder")
        action.triggered.connect(lambda: self.batch_all())
        self.stepper.opened.connect(self.open_step)
        self.stepper.included.connect(self._inclusion_changed)
        self.kind_combo.activated.connect(lambda _: self.choose_method(self.kind_combo.currentData()))
        self.settings.changed.connect(self._settings_changed)
        self.others.changed.connect(self._data_changed)
        self.more_button.clicked.connect(lambda: self._set_views(self.views + 1))
        self.less_button.clicked.connect(lambda: self._set_views(self.views - 1))
        self.psf.kind_chosen.connect(self._psf_kind)
        self.data.combo.activated.connect(lambda _: self.chain.chosen_by_hand.add(self.at))
        self.controller.artifact.connect(self.chain.take_report)
        self.controller.state_changed.connect(self._state_changed)

    def _set_method(self, _: int = 0) -> None:
        """See `EngineDock._set_method`; afterwards the step's own rows, input and words."""
        if self.stepper.at >= 0 and self.data.layer is not None:
            self.chain.remember_input(self.stepper.at, self.data.layer)
        self._choosing = True
        super()._set_method()
        self._choosing = False
        at, step = self.at, STEPS[self.at]
        self._left[at] = self.engine
        self.stepper.open(at)
        self.kind_combo.clear()
        for engine, text in step.methods.items():
            self.kind_combo.addItem(text, engine)
        self.kind_combo.setCurrentIndex(self.kind_combo.findData(self.engine))
        self.kind_combo.setVisible(len(step.methods) > 1)
        several, rl = self.engine in (MULTIVIEW, RLDFN), self.engine in (MULTIVIEW, SINGLE)
        self._views_section.setVisible(several)
        self.more_button.setVisible(self.engine == MULTIVIEW)
        self._measured_section.setVisible(self.engine == WIENER)
        self._transfer_section.setVisible(self.engine in (VSI, WIENER))
        self._psf_section.setVisible(rl or self.engine == RLDFN)
        self._show_essentials(rl)
        self.run_bar.set_kind("Deconvol&ve" if self.engine == SINGLE else step.verb)
        self.run_bar.preview_button.setText("Pr&eview on box")
        self._choose_input(at)
        self._suggest()
        self._data_changed()
        self._order_focus()

    def _show_essentials(self, rl: bool) -> None:
        form = self.settings.form
        if self.engine not in self._shown:
            self._shown.add(self.engine)
            if self.engine in ESSENTIAL:
                form.tuck({*ESSENTIAL[self.engine], *(ALL_PSF_ROWS if rl else ())})
        if rl:
            self.psf.settings.show_rows(self.engine, form, ALL_PSF_ROWS)

    def _choose_input(self, at: int) -> None:
        """Take the result of the last ticked step before, unless a person chose something else for this step."""
        found = self.chain.input_for(at)
        if found is not None and found is not self.data.layer:
            self.data.combo.choose(found)
        views = self.chain.made_before(at)
        if "view_b" in views and views.get("view_a") is self.data.layer:
            self.others.rows[0].combo.choose(views["view_b"])

    def _suggest(self) -> None:
        """Fill in what earlier steps found, where nobody has typed anything else."""
        said = {name: value for name, value in self._shared.items() if name in self.settings.form.fields}
        if said:
            self.settings.change(said)
        if self.engine == SPLIT and self.chain.reports.get(DESKEW):
            found = self.chain.reports[DESKEW]
            self._fill("angle_deg", found["direction"] * abs(found["angle_deg"]))
        elif self.engine in (MULTIVIEW, SINGLE):
            self._suggest_psf()

    def _suggest_psf(self) -> None:
        optics = self._optics_known()
        self.psf.settle(bool(optics))
        for name in ("na", "wavelength_um"):
            if optics.get(name):
                self._fill(name, optics[name])
        if self.psf.kind != "layers":
            self.settings.change({"psf_model": self.psf.kind})
        views = self.chain.made_before(self.at)
        if "view_a" in views and self.data.layer is views["view_a"] and self.engine == MULTIVIEW:
            self._fill("psf_angle_deg", self._tilts())
            if BACKGROUND in self.chain.reports:
                self._fill("background", 0.0)  # the camera's offset is gone

    def _tilts(self) -> list[float]:
        """Return by how much the axis of each view is tilted after a split: against the turn, and mirrored."""
        split = self.settings.values_of(SPLIT)
        angle = float(split.get("angle_deg", 30.8)) * (-1 if split.get("orientation") == "published" else 1)
        return [-angle, angle]

    def _fill(self, name: str, value: Any) -> None:
        """Set a parameter that still has its default, or what was filled in before."""
        form, key = self.settings.form, (self.engine, name)
        if form.values().get(name) in (form.default(name), self._suggested.get(key, value)):
            self._suggested[key] = value
            self.settings.change({name: value})

    def _settings_changed(self) -> None:
        values = self.settings.values()
        if not self._choosing:
            self._shared.update({name: values[name] for name in SHARED if name in values})
        if self.engine in (MULTIVIEW, SINGLE):
            form = self.settings.form
            form.show_only(set(form.fields) - {"psf_model", *ALL_PSF_ROWS} | set(PSF_ROWS[self.psf.kind]))

    def _psf_kind(self, kind: str) -> None:
        if kind != "layers":
            self.settings.change({"psf_model": kind})
        self._settings_changed()
        self._data_changed()

    def _set_views(self, views: int) -> None:
        self.views = min(max(views, FEWEST_VIEWS), MOST_VIEWS)
        self._data_changed()

    def _data_changed(self) -> None:
        """See `EngineDock._data_changed`."""
        if self.stepper.at < 0:
            super()._data_changed()
            return
        if not self._choosing:
            self.chain.check(self.at, self.data.layer)
        views = self._views_of(self.engine)
        several, apart = self.engine in (MULTIVIEW, RLDFN), views == self.views
        self.others.set_count(0 if not several or not apart else 1 if self.engine == RLDFN else self.views - 1)
        for row in self.others.rows:
            row.needed = several
        self.more_button.setEnabled(self.views < MOST_VIEWS)
        self.less_button.setVisible(self.engine == MULTIVIEW and self.views > FEWEST_VIEWS)
        for row in self.psf.rows:
            row.needed = self.engine == RLDFN
        if self.engine in (MULTIVIEW, SINGLE):
            self.psf.settle(bool(self._optics_known()))
            self._settings_changed()
        if several or self.engine == SINGLE:
            self.psf.show_for(views if self.engine != RLDFN else 2, self.engine != RLDFN)
        super()._data_changed()

    def _reason(self) -> str:
        """See `EngineDock._reason`."""
        found = super()._reason()
        if found or self.engine not in (MULTIVIEW, SINGLE):
            return found
        if self.engine == MULTIVIEW and (text := self.others.problem()):
            return text
        return self.psf.missing(self._views_of(self.engine), self.settings.values(), self._optics_known())

    def _ask(self) -> None:
        """See `EngineDock._ask`; what is missing is said, too, once there are data."""
        super()._ask()
        missing = self._reason() if self.data.layer is not None and not self.data.problems else ""
        self.need.say(missing, "warning")
        self._allow_all()

    def _allow_all(self) -> None:
        busy = "A run is going on: cancel it or wait" if self.controller.state != "idle" else ""
        nothing = "" if self.data.layer is not None else "Open data first, or open the sample"
        allow(self.all_button, busy or nothing, "Do the ticked steps one after the other; Cancel keeps what is done")

    def _inclusion_changed(self) -> None:
        self._choose_input(self.at)
        self._data_changed()

    def _may_queue(self) -> bool:
        """See `EngineDock._may_queue`; the steps of Run all start each other."""
        return super()._may_queue() and not self.chain.goes_on

    def _job_begins(self, job: Any) -> None:
        """See `EngineDock._job_begins`."""
        if job.asked is not None and job.asked is not self._in_work:
            at = next(n for n, step in enumerate(STEPS) if job.asked.engine in step.methods)
            self.chain.begun(at, job.parent_layers[0], job.preview)
            self.run_bar.set_queue(not self.chain.goes_on)
        super()._job_begins(job)

    def _state_changed(self, _: str) -> None:
        if not self._closed:
            self._allow_all()

    def _finished(self, result: Any) -> None:
        """See `EngineDock._finished`."""
        if not self._closed:
            self.chain.put_in_place(result)
            super()._finished(result)
            self.chain.finished(result)
