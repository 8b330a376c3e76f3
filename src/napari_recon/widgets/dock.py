"""EngineDock: the panels of one dock put together. A family's dock is a subclass with a title and a list of methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_recon.core.engine import EngineInfo
from napari_recon.core.errors import describe as describe_error
from napari_recon.core.region import Box
from napari_recon.engines import registry
from napari_recon.viewer import preferences
from napari_recon.viewer.alone import show_alone
from napari_recon.viewer.layer_input import Problem
from napari_recon.viewer.run import Offer, RunController, job_title
from napari_recon.widgets.curve_panel import CurvePanel
from napari_recon.widgets.data_panel import DataPanel
from napari_recon.widgets.estimate_line import EstimateLine, result_text
from napari_recon.widgets.fixes import fix_label, fixes_in
from napari_recon.widgets.layout import scrolled, section
from napari_recon.widgets.leaving import LeavingWidget
from napari_recon.widgets.look import bold, describe, guard_wheel, tab_in_order
from napari_recon.widgets.model_panel import ModelPanel
from napari_recon.widgets.pixel_row import PixelRow
from napari_recon.widgets.planner import Planner
from napari_recon.widgets.region_panel import RegionPanel
from napari_recon.widgets.request import Estimate, Request
from napari_recon.widgets.run_bar import PREVIEW_KEYS, RUN_KEYS, RunBar
from napari_recon.widgets.settings_panel import SettingsPanel
from napari_recon.widgets.sharing import Sharing

if TYPE_CHECKING:
    import napari.viewer

RUN_TEXTS = {"train": "T&rain", "fit": "&Fit", "query": "&Query", "simulate": "Simulate", "preprocess": "&Run"}


class EngineDock(LeavingWidget):
    """Data, model, region, settings and estimate in a scroll area; the run bar below it, always in sight.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        Anything with its public API (a `ViewerModel` in tests).
    controller : RunController, optional

    Attributes
    ----------
    methods : mapping
        Engine name -> text in the method menu; the first is the default.
    made : mapping
        Engine name -> what its result is called where the menu's text is too long for a layer.
    what : str
        The data the dock asks for.
    sample : tuple of str
        Plugin and key of the sample that the first-run button opens.
    preview_size : int
        Widest preview along y and x, in pixels of the data.
    preview_params : mapping
        Engine name -> parameters that make a preview lighter.
    needs_pixel_size : bool
        Data without a pixel size can't be used at all.
    of_this_run : tuple of str
        Parameters that are not remembered for the next session.
    """

    methods: ClassVar[Mapping[str, str]] = {}
    made: ClassVar[Mapping[str, str]] = {}
    what: ClassVar[str] = "image"
    sample: ClassVar[tuple[str, str] | None] = None
    preview_size: ClassVar[int] = 64
    preview_params: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    needs_pixel_size: ClassVar[bool] = False
    of_this_run: ClassVar[tuple[str, ...]] = ()

    def __init__(self, napari_viewer: napari.viewer.Viewer, controller: Any = None) -> None:
        super().__init__()
        # napari hands plugins a proxy that wraps every layer anew, so that no layer would be identical to itself
        self.viewer: Any = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.engine = next(iter(self.methods))
        self.controller = controller or RunController(self.viewer, parent=self)
        self.method_combo = QComboBox()
        describe(self.method_combo, "Method", "How to reconstruct")
        guard_wheel(self.method_combo)
        for at, (name, text) in enumerate(self.methods.items()):
            self.method_combo.addItem(text, name)
            self.method_combo.setItemData(at, registry.get(name).info.summary, Qt.ItemDataRole.ToolTipRole)
        self.data = DataPanel(
            self.viewer,
            self.info,
            self.what,
            self._open_sample if self.sample else None,
            self.needs_pixel_size,
            self.input_rows(),
            self.judge,
            self.pixel_row(),
        )
        self.model, self.region, self.settings = ModelPanel(), RegionPanel(self.viewer), SettingsPanel()
        self.estimate, self.run_bar, self.curves = EstimateLine(), RunBar(), CurvePanel()
        self.planner = Planner(parent=self)
        self._closed, self._jobs_done = False, 0
        self._in_work: Request | None = None
        self._spoken_of: Any = None
        self.sharing = Sharing(self)
        self._lay_out()
        self._connect()
        self._set_method()

    @property
    def info(self) -> EngineInfo:
        """What the chosen engine declares."""
        return registry.get(self.engine).info

    def sections(self) -> list[QWidget]:
        """Return the parts of the form from top to bottom; a family's dock may add its own."""
        self._data_section, self._model_section = section("Data", self.data), section("Model", self.model)
        self._region_section = section("Region", self.region)
        return [self._data_section, self._model_section, self._region_section, section("Settings", self.settings)]

    def input_rows(self) -> dict[str, Any]:
        """Return what stands in for the rows of further inputs, by their names; `sections` shows them."""
        return {}

    def judge(self, layer: Any, axes: str) -> list[Problem]:
        """Return what is wrong with the main input besides what is wrong for every method."""
        return []

    def pixel_row(self) -> Any:
        """Return what shows and gives the pixel size."""
        return PixelRow()

    def chooser(self) -> QWidget:
        """Return what chooses the method, at the top."""
        whole = QWidget()
        row = QHBoxLayout(whole)
        row.setContentsMargins(0, 0, 0, 0)
        label = bold(QLabel("&Method"))
        label.setBuddy(self.method_combo)
        row.addWidget(label)
        row.addWidget(self.method_combo, 1)
        return whole

    def footer(self) -> list[QWidget]:
        """Return what stays in sight above the estimate."""
        return []

    def choose_method(self, engine: str) -> None:
        """Choose an engine of the method menu."""
        self.method_combo.setCurrentIndex(self.method_combo.findData(engine))
        self._set_method()

    def request(self) -> Request | None:
        """Return what the form asks for, None while something is missing."""
        inputs = self.data.inputs()
        if (not inputs and self.data.needed) or self._reason():
            return None
        region = self.region if self.asks_where else None
        return Request(
            engine=self.engine,
            inputs=inputs,
            params=self.settings.values(),
            boxes=tuple(region.boxes()) if region is not None else (Box(),),
            time=region.region.time if region is not None else None,
            model=self.model.ref(),
            compute=preferences.compute(),
        )

    @property
    def asks_where(self) -> bool:
        """Whether there is something to choose a region of."""
        return self.data.needed

    def subject(self) -> str:
        """Return what a result is of, for its name."""
        layers = self.data.layers()
        return layers[0].name if layers else ""

    def parents(self) -> tuple[Any, ...]:
        """Return the layers that a result is made from or lies on, the main one first."""
        return self.data.layers()

    def title_of_model(self) -> str:
        """Return what a model that comes now is called in the menus; empty to keep it out of them."""
        return f"trained {datetime.now():%Y-%m-%d %H:%M}"

    def model_kept(self, card: Any) -> None:
        """Take note of a model that a run made and that is in the menus now."""

    def load_settings(self, path: str) -> None:
        """Show the settings of a file, a recipe or a result (InputError when they do not fit)."""
        self.sharing.load(path)

    def start_preview(self) -> None:
        """Reconstruct the centre of the box touched last at the current frame, with lighter settings."""
        request = self._ready()
        if request is not None and not self._no_preview():
            lighter = self.preview_params.get(self.engine, {})
            here = replace(request, boxes=(self.preview_box(self.region.region.box or Box()),))
            size = preferences.preview_size(self.preview_size)
            self._start(here.preview(self.region.current_frame(), size, lighter), preview=True)

    def preview_box(self, box: Box) -> Box:
        """Return the box whose middle a preview shows; a family's dock may limit it further."""
        return box

    def start_run(self) -> None:
        """Reconstruct everything that is asked for; behind a run that goes on, where that is possible."""
        request = self._ready(self._may_queue())
        if request is not None:
            self.settings.remember(request.model.id if request.model else None, self.of_this_run)
            self._start(request, preview=False)

    def sizeHint(self) -> QSize:
        """Ask for room for every row."""
        return QSize(370, 760)

    def let_go(self) -> None:
        """Stop everything and disconnect; the dock can't be used afterwards."""
        if self._closed:
            return
        self._closed = True
        self.setEnabled(False)
        self.controller.leave()
        self.planner.close()
        self.sharing.let_go()
        self.data.let_go()
        self.model.let_go()
        self.region.close_layers()
        self.viewer.events.theme.disconnect(self._theme_changed)
        for keys in (PREVIEW_KEYS, RUN_KEYS):
            self.viewer.bind_key(keys, None)

    def _ready(self, behind: bool = False) -> Request | None:
        """Return the request when a run can start; else say why not (a shortcut has no tooltip)."""
        request = self.request() if self.controller.state == "idle" or behind else None
        if request is None and not self._closed:
            self.run_bar.say(self.run_bar.run_button.toolTip(), "warning")
        return request

    def _may_queue(self) -> bool:
        """Return whether a run may be put behind the one that goes on."""
        return self.controller.state != "stopping"

    def _start(self, request: Request, preview: bool) -> None:
        layers, jobs = self.parents(), []
        for box in request.boxes:
            limited = None if preview or not any(True for _ in box.items()) else box
            title = job_title(self.subject(), self.made.get(self.engine, self.methods[self.engine]), limited, preview)
            jobs.append(replace(request.job(box, title, layers, preview), asked=request))
        self.controller.start(jobs)

    def _job_begins(self, job: Any) -> None:
        if job.asked is not None and job.asked is not self._in_work:
            self._in_work = job.asked
            self._begin(job.asked, job.preview)

    def _begin(self, request: Request, preview: bool) -> None:
        """Let go of what was said of the run before: another one begins."""
        self.curves.clear()
        self._jobs_done = 0

    def _set_method(self, _: int = 0) -> None:
        self.engine = self.method_combo.currentData()
        info = self.info
        self.curves.clear()
        self.method_combo.setToolTip(info.summary)
        self.data.set_engine(info)
        self.settings.set_engine(self.engine, registry.get(self.engine).Params)
        self.model.set_engine(self.engine, info.needs_model)
        self._model_section.setVisible(info.needs_model != "none")
        self._data_section.setVisible(bool(info.inputs))
        self._region_section.setVisible(self.asks_where)
        self.run_bar.set_kind(RUN_TEXTS.get(info.kind, "&Reconstruct"), self._no_preview(), info.kind == "fit")
        last = self.settings.store.last(self.engine).get("model")
        if last:
            self.model.choose(last)
        self._order_focus()
        self._data_changed()

    def _no_preview(self) -> str:
        """Return why there is no preview; empty when there is."""
        return "" if self.asks_where else "There is nothing to preview"

    def _order_focus(self) -> None:
        tab_in_order(self)

    def _data_changed(self) -> None:
        if self.data.layer is not self._spoken_of and self.controller.state == "idle":
            self.run_bar.forget()
        self._spoken_of = self.data.layer
        self._set_region()
        self._ask()

    def _set_region(self) -> None:
        stack = self.data.stack()
        self.region.set_source(self.data.layer if stack else None, self.data.axes, stack.grid if stack else None)

    def _ask(self) -> None:
        """Plan again, soon; meanwhile say what is missing."""
        reason = self._reason()
        self.run_bar.set_reason(reason)
        request = self.request()
        if request is None:
            self.planner.drop()
            self.estimate.clear()
            self.region.set_output(None)
            return
        self.estimate.wait()
        refs = self.model.refs()
        self.planner.request(lambda: request.estimate(refs))

    def _reason(self) -> str:
        return self.data.reason() or self.model.reason() or self.settings.reason()

    def _planned(self, estimate: Estimate) -> None:
        # of several boxes the one whose numbers are in the panel
        boxes = self.region.boxes()
        shown = boxes.index(self.region.region.box) if self.region.region.box in boxes else 0
        plan = estimate.plans[min(shown, len(estimate.plans) - 1)]
        name = plan.outputs[0].name
        self.estimate.show_estimate(estimate)
        self.model.set_unfit(estimate.unfit)
        box = plan.selection.box
        self.region.set_output(plan.whole.get(name), box if isinstance(box, Box) else None, result_text(plan))
        self.run_bar.set_reason("")
        self.run_bar.hint("Preview shows the centre of the current frame first; draw a box to look elsewhere.")

    def _not_planned(self, error: Exception) -> None:
        self.model.set_unfit(getattr(error, "unfit", {}))
        self.estimate.show_error(str(error))
        self.region.set_output(None)
        self.run_bar.set_reason(str(error))
        self._offer_fix(str(error))

    def _add_metric(self, name: str, step: int, value: float, series: str) -> None:
        parts = (f"job {self._jobs_done + 1}" if self._jobs_done else "", series)
        self.curves.add(name, step, value, ", ".join(part for part in parts if part))

    def _finished(self, result: Any) -> None:
        self._jobs_done += 1
        if result.error is not None:
            self._offer_fix(str(result.error))
        if result.error is not None or not result.layers:
            return
        if not result.job.preview:
            self.viewer.layers.selection.active = result.layers[0]
        if any(
            layer.visible and layer._type_string == "image" for layer in self.viewer.layers if layer not in result.layers
        ):
            self._offer_alone(result.layers)
        self._ask()

    def _offer_fix(self, sentence: str) -> None:
        """Offer the settings that an error's remedy names."""
        if values := fixes_in(sentence, self.settings.form.fields):
            self.run_bar.offer(Offer(sentence, fix_label(values), lambda: self._change(values)))

    def _change(self, values: Mapping[str, Any]) -> None:
        self.settings.change(values)
        self.run_bar.say("Changed: " + ", ".join(f"{name} = {value}" for name, value in values.items()))

    def _offer_alone(self, layers: tuple[Any, ...]) -> None:
        def alone() -> None:
            again = show_alone(self.viewer, layers)
            self.run_bar.offer(Offer("The layers that were hidden", "Show the other &layers again", again))

        text = "Hides the other images, which lie in the same place"
        self.run_bar.offer(Offer(text, "Show the result a&lone", alone))

    def _take_checkpoint(self, event: Any) -> None:
        self.run_bar.say(f"step {event.step} saved to {event.path}; the run can resume from there")

    def _failed(self, error: Exception) -> None:
        self.run_bar.say(str(describe_error(error)), "error")

    def _open_sample(self) -> None:
        assert self.sample is not None
        try:
            self.viewer.open_sample(*self.sample)
        except Exception as error:
            self._failed(error)

    def _theme_changed(self, _: Any = None) -> None:
        from napari.utils.theme import get_theme

        self.curves.set_foreground(get_theme(self.viewer.theme).text.as_hex())

    def _connect(self) -> None:
        self.method_combo.activated.connect(self._set_method)
        self.data.changed.connect(self._data_changed)
        for panel in (self.model, self.region, self.settings):
            panel.changed.connect(self._ask)
        for panel in (self.model, self.settings):
            panel.message.connect(self.run_bar.say)
        self.planner.ready.connect(self._planned)
        self.planner.failed.connect(self._not_planned)
        bar, controller = self.run_bar, self.controller
        bar.set_queue(True)
        bar.preview.connect(self.start_preview)
        bar.run.connect(self.start_run)
        bar.pause.connect(controller.pause)
        bar.resume.connect(controller.resume)
        bar.finish.connect(controller.finish)
        bar.cancel.connect(controller.cancel)
        bar.copy_python.connect(lambda: self.sharing.copy("as_python"))
        bar.copy_command.connect(lambda: self.sharing.copy("as_command"))
        bar.save_settings.connect(self.sharing.ask_and_save)
        bar.load_settings.connect(self.sharing.ask_and_load)
        controller.began.connect(self._job_begins)
        controller.state_changed.connect(bar.set_state)
        controller.progressed.connect(bar.set_progress)
        controller.message.connect(bar.say)
        controller.offered.connect(bar.offer)
        controller.metric.connect(self._add_metric)
        controller.artifact.connect(self.sharing.keep_model)
        controller.saved.connect(self._take_checkpoint)
        controller.finished.connect(self._finished)
        self.viewer.events.theme.connect(self._theme_changed)
        self._theme_changed()
        for keys, action in ((PREVIEW_KEYS, self.start_preview), (RUN_KEYS, self.start_run)):
            self.viewer.bind_key(keys, lambda _, a=action: a(), overwrite=True)
            qt_keys = QKeySequence(keys.replace("-", "+").replace("Control", "Ctrl"))
            QShortcut(qt_keys, self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut).activated.connect(action)

    def _lay_out(self) -> None:
        form = QWidget()
        column = QVBoxLayout(form)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(10)
        column.addWidget(self.chooser())
        for part in self.sections():
            column.addWidget(part)
        column.addStretch(1)
        scroll = scrolled(form)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(8, 8, 8, 8)
        outer.addWidget(scroll, 1)
        for part in self.footer():
            outer.addWidget(part)
        outer.addWidget(self.curves)
        outer.addWidget(self.estimate)
        outer.addWidget(self.run_bar)
        self.scroll, self.form = scroll, form
