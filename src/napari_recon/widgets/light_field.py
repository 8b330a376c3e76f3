"""The Light field dock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from qtpy.QtWidgets import QWidget

from napari_recon import hub
from napari_recon.core.region import TimeRange
from napari_recon.engines import registry
from napari_recon.viewer import preferences
from napari_recon.widgets.dock import EngineDock
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.light_field_compare import LightFieldComparePanel, LightFieldComparison
from napari_recon.widgets.raw_light_field import RawLightField
from napari_recon.widgets.refine import NETWORK, PHYSICS, RefinePanel, microscope_of
from napari_recon.widgets.request import Request

REFOCUS = "serenet.refocus"
COMPARED = (PHYSICS, NETWORK, REFOCUS)


class LightFieldWidget(EngineDock):
    """Volumes from light-field recordings: Richardson-Lucy (no weights needed), SeReNet networks, plain refocusing."""

    methods: ClassVar[Mapping[str, str]] = {
        "deconvolution.lightfield_rl": "Richardson-Lucy",
        "serenet.reconstruct": "SeReNet",
        "serenet.refocus": "Refocus",
        "serenet.realign": "Realign a raw picture",
    }
    what: ClassVar[str] = "light-field recording"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "lightfield")
    preview_size: ClassVar[int] = 63
    preview_params: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deconvolution.lightfield_rl": {"iterations": 6}}

    def sections(self) -> list[QWidget]:
        """See `EngineDock.sections`."""
        self.compare = LightFieldComparePanel(self.viewer)
        self.comparison = LightFieldComparison(self.viewer, self.controller, self.compare, self)
        self.compare_fold = Fold("Compare methods", self.compare)
        return [*super().sections(), self.compare_fold]

    def footer(self) -> list[QWidget]:
        """See `EngineDock.footer`."""
        self.raw, self.refine = RawLightField(self), RefinePanel(self)
        return [self.raw, self.refine]

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.raw.let_go()
            self.refine.let_go()
            self.comparison.close()
            self.compare.truth.let_go()
        super().let_go()

    def _data_changed(self) -> None:
        super()._data_changed()
        self.raw.consider()
        self.refine.consider()

    def _connect(self) -> None:
        super()._connect()
        self.compare.compare_button.clicked.connect(self.compare_methods)
        self.controller.state_changed.connect(self._allow_compare)
        self.comparison.ended.connect(self._allow_compare)

    def _set_method(self, _: int = 0) -> None:
        super()._set_method()
        self.compare_fold.setVisible(self.engine in COMPARED)

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
        cards = [card for card in hub.catalogue(NETWORK) if card.available]
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

    def _finished(self, result: Any) -> None:
        if self.comparison.owns(result.job):
            return
        super()._finished(result)
        self.raw.finished(result)
        self.refine.consider()
