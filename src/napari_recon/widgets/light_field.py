"""The Light field dock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from qtpy.QtWidgets import QWidget

from napari_recon import hub
from napari_recon.core.region import TimeRange
from napari_recon.engines import registry
from napari_recon.jobs.methods import microscope_of
from napari_recon.viewer import preferences
from napari_recon.viewer.run import Offer
from napari_recon.widgets.aberration import AberrationPanel, wavefront_of
from napari_recon.widgets.dock import EngineDock
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.go_on import offer_to_continue
from napari_recon.widgets.layout import section
from napari_recon.widgets.light_field_compare import LightFieldComparePanel, LightFieldComparison
from napari_recon.widgets.light_field_train import TRAIN, FineTuneButton, TrainPanel
from napari_recon.widgets.psf_panel import PsfPanel
from napari_recon.widgets.raw_light_field import RawLightField
from napari_recon.widgets.refine import NETWORK, PHYSICS, RefinePanel
from napari_recon.widgets.request import Request

REFOCUS, AO = "serenet.refocus", "serenet.predao"
FIRST = (AO, "serenet.twnet", "serenet.vsnet")
"""Steps before a reconstruction, which give views."""
COMPARED = (PHYSICS, NETWORK, REFOCUS)


class LightFieldWidget(EngineDock):
    """Volumes from light-field recordings: Richardson-Lucy (no weights needed), SeReNet networks, plain refocusing."""

    methods: ClassVar[Mapping[str, str]] = {
        "deconvolution.lightfield_rl": "Richardson-Lucy",
        "serenet.reconstruct": "Network",
        "serenet.refocus": "Refocus",
        "serenet.train": "Train a network",
        "serenet.predao": "Aberration correction",
        "serenet.twnet": "Motion correction (TW-Net)",
        "serenet.vsnet": "Finer views (VsNet)",
        "serenet.realign": "Realign a raw picture",
    }
    made: ClassVar[Mapping[str, str]] = {
        "serenet.predao": "corrected views",
        "serenet.twnet": "still views",
        "serenet.vsnet": "finer views",
        "serenet.realign": "views",
    }
    what: ClassVar[str] = "light-field recording"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "lightfield")
    preview_size: ClassVar[int] = 63
    preview_params: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deconvolution.lightfield_rl": {"iterations": 6}}
    of_this_run: ClassVar[tuple[str, ...]] = ("resume",)
    _saved: Any = None
    _trained: Any = None

    def input_rows(self) -> dict[str, Any]:
        """See `EngineDock.input_rows`."""
        spec = registry.get(TRAIN).info.input("psf")
        self.psf = PsfPanel(self.viewer, spec, self._recording_layer, optional=True, kind="simulate.lfm_psf")
        return {"psf": self.psf}

    def sections(self) -> list[QWidget]:
        """See `EngineDock.sections`."""
        data, model, region, settings = super().sections()
        self.train, self.fine_tune = TrainPanel(self), FineTuneButton(self)
        model.layout().addWidget(self.fine_tune)
        self.psf_fold = Fold("PSF and microscope (optional)", self.psf)
        self._train_section = section("Training", self.train)
        self.compare = LightFieldComparePanel(self.viewer)
        self.comparison = LightFieldComparison(self.viewer, self.controller, self.compare, self)
        self.compare_fold = Fold("Compare methods", self.compare)
        return [self._train_section, data, self.psf_fold, model, region, settings, self.compare_fold]

    def footer(self) -> list[QWidget]:
        """See `EngineDock.footer`."""
        self.raw, self.refine, self.aberration = RawLightField(self), RefinePanel(self), AberrationPanel()
        return [self.raw, self.aberration, self.refine]

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.raw.let_go()
            self.refine.let_go()
            self.train.let_go()
            self.comparison.close()
            self.compare.truth.let_go()
        super().let_go()

    def title_of_model(self) -> str:
        """See `EngineDock.title_of_model`; the name says what was trained."""
        if self.engine != TRAIN:
            return super().title_of_model()
        return f"{self.settings.values().get('network', 'network')}, trained {datetime.now():%d %b %H:%M}"

    def model_kept(self, card: Any) -> None:
        """See `EngineDock.model_kept`; a trained model is one click from its use."""
        if card.engine not in self.methods:
            return
        self._trained = card
        self._offer_model()

    def _offer_model(self) -> None:
        """Offer to use the model that was trained, once the run is over."""
        card = self._trained
        if card is None or self.engine != TRAIN or self.controller.state != "idle":
            return

        def use() -> None:
            self.choose_method(card.engine)
            self.model.choose(card.id)

        self.run_bar.offer(Offer(f"{card.name} is in the model menu", "&Use the trained model", use))

    def _recording_layer(self) -> Any:
        return self.data.layer if hasattr(self, "data") and self.data.needed else None

    def _data_changed(self) -> None:
        super()._data_changed()
        self.raw.consider()
        self.refine.consider()
        self.fine_tune.consider()
        self.train.show_settings()

    def _connect(self) -> None:
        super()._connect()
        self.compare.compare_button.clicked.connect(self.compare_methods)
        self.controller.state_changed.connect(self._allow_compare)
        self.comparison.ended.connect(self._allow_compare)
        self.controller.artifact.connect(self._take_artifact)
        self.settings.changed.connect(self.train.show_settings)
        self.psf.changed.connect(self.train.take_psf)
        self.model.changed.connect(self.fine_tune.consider)

    def _set_method(self, _: int = 0) -> None:
        super()._set_method()
        training = self.engine == TRAIN
        self.compare_fold.setVisible(self.engine in COMPARED)
        self._train_section.setVisible(training)
        self.psf_fold.setVisible("psf" in self.data.extras)
        if training:
            self.psf_fold.set_open(True)
            self.data.optional.set_open(True)
        if self.engine != AO:
            self.aberration.hide()
        self.fine_tune.consider()
        self.train.show_settings()
        self.train.take_psf()
        self._order_focus()

    def _ask(self) -> None:
        super()._ask()
        self._allow_compare()

    def _allow_compare(self, _: Any = None) -> None:
        """List what can be compared, and say why nothing can."""
        self.compare.offer(list(self._candidates()))
        idle = self.controller.state == "idle" and not self.comparison.busy
        reason = "" if idle else "A run is going on: cancel it or wait"
        self.compare.set_reason(reason or self.data.reason() or ("" if self.engine in COMPARED else "Choose a method first"))

    def _candidates(self) -> dict[str, tuple[str, Any]]:
        """Return what can be compared: title -> engine and model."""
        plain = {self.methods[engine]: (engine, None) for engine in (PHYSICS, REFOCUS)}
        # networks that come before a reconstruction are of the same family
        cards = [card for card in hub.catalogue(NETWORK) if card.available and card.engine == NETWORK]
        return plain | {card.name: (NETWORK, card.ref()) for card in cards}

    def compare_methods(self) -> None:
        """Run what is ticked on the box, at the time point on show."""
        stack = self.data.stack()
        if stack is None or self.controller.state != "idle" or self.engine not in COMPARED:
            return
        candidates = self._candidates()
        requests = {title: self._alone(stack, *candidates[title]) for title in self.compare.chosen() if title in candidates}
        if requests:
            self.comparison.compare(requests, self.data.layer)
        else:
            self.compare.line.say("Tick at least one method", "warning")

    def _alone(self, stack: Any, engine: str, model: Any) -> Request:
        """Return the request of one method; planes and microscope are those in the form, so that voxels are alike."""
        here = self.settings.values()
        values = {**self.settings.values_of(engine), "planes": here.get("planes", 0)}
        if engine != NETWORK:
            chosen = {"id": self.model.card.id} if self.engine == NETWORK and self.model.card is not None else None
            values["psf_shift"] = microscope_of({"params": here, "model": chosen}, stack.grid.size("V"))
        params = {name: value for name, value in values.items() if name in registry.get(engine).Params.model_fields}
        frame = self.region.current_frame()
        time = TimeRange(start=frame, stop=frame + 1) if "T" in stack.grid.axes else None
        box = self.region.boxes()[:1]
        return Request(engine, {"views": (stack,)}, params, tuple(box), time, model, preferences.compute())

    def _offer_fix(self, sentence: str) -> None:
        super()._offer_fix(sentence)
        if "realign it" in sentence:
            self.raw.offer(sentence)

    def _begin(self, request: Any, preview: bool) -> None:
        self._saved = self._trained = None
        self.aberration.hide()
        super()._begin(request, preview)

    def _add_metric(self, name: str, step: int, value: float, series: str) -> None:
        """See `EngineDock._add_metric`; curves of a comparison would be many for nothing."""
        if self.controller.job is None or not self.comparison.owns(self.controller.job):
            super()._add_metric(name, step, value, series)

    def _take_artifact(self, event: Any) -> None:
        job = self.controller.job
        if self.engine == AO and event.name == "report" and job is not None and not self.comparison.owns(job):
            self.aberration.show_report(event.payload)

    def _take_checkpoint(self, event: Any) -> None:
        super()._take_checkpoint(event)
        self._saved = event

    def _finished(self, result: Any) -> None:
        """See `EngineDock._finished`; what comes next is one click away."""
        if self.comparison.owns(result.job):
            return
        super()._finished(result)
        self.raw.finished(result)
        self.refine.consider()
        if result.error is not None:
            return
        if (wavefront := wavefront_of(result.layers)) is not None:
            self.aberration.show_layer(wavefront)
            wavefront.visible = False  # it would cover the views
        engine = result.plan.engine if result.plan is not None else ""
        if engine == TRAIN and result.partial and self._saved is not None:
            offer_to_continue(self, TRAIN, self._saved, result.layers, "training")
        elif engine == TRAIN:
            self._offer_model()
        elif engine in FIRST and result.layers and not result.job.preview and not result.partial:
            views = result.layers[0]
            self.run_bar.offer(Offer("Go on with these views", "Reconstruct the &views…", lambda: self._go_on(views)))

    def _go_on(self, views: Any) -> None:
        """Reconstruct views that a step before made."""
        if views in self.viewer.layers:
            self.choose_method(PHYSICS)
            self.data.combo.prefer(views)
