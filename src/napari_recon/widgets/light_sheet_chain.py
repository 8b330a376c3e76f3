"""Steps that follow each other: what each has made, what the next one takes, and all of them in a row."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_recon import hub
from napari_recon.core.provenance import KEY
from napari_recon.viewer.run import Offer
from napari_recon.widgets.light_sheet_steps import SPLIT, STEPS, VSI, summary

if TYPE_CHECKING:
    from napari_recon.widgets.light_sheet import LightSheetWidget

OVERLAY = {"view_a": ("view A", "green"), "view_b": ("view B", "magenta")}


class Chain(QObject):
    """Works for one dock.

    Attributes
    ----------
    reports : dict
        Engine -> what its last whole run reported.
    chosen_by_hand : set of int
        Steps whose input a person chose.
    """

    def __init__(self, dock: LightSheetWidget) -> None:
        super().__init__(dock)
        self._dock, self._rows = dock, dock.stepper.rows
        self.reports: dict[str, Mapping[str, Any]] = {}
        self.chosen_by_hand: set[int] = set()
        self._results: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, Any] = {}
        self._made_from: dict[int, Any] = {}
        self._waiting: deque[int] = deque()
        self._started = False
        self._running = 0
        self._before = ("not run", "")
        self._report: Mapping[str, Any] = {}
        self._previews: tuple[Any, ...] = ()
        dock.viewer.layers.events.removed.connect(self._layer_removed)

    def forget(self) -> None:
        """Start anew: nothing was run."""
        self._results.clear()
        self._inputs.clear()
        self.chosen_by_hand.clear()
        self.reports.clear()
        self._outdate(0)

    def let_go(self) -> None:
        """Start nothing more, and let go of the viewer."""
        self._waiting.clear()
        self._dock.viewer.layers.events.removed.disconnect(self._layer_removed)

    def remember_input(self, at: int, layer: Any) -> None:
        """Keep which layer a step was left with."""
        self._inputs[at] = weakref.ref(layer)

    def input_for(self, at: int) -> Any:
        """Return the layer to start a step with: chosen by hand, made by the step before, or used last; else None."""
        made = next(iter(self.made_before(at).values()), None)
        left = self._inputs.get(at)
        kept = left() if left is not None else None
        if kept is None or kept not in self._dock.viewer.layers:
            return made
        return kept if at in self.chosen_by_hand or made is None else made

    def made_before(self, at: int) -> dict[str, Any]:
        """Return the layers of the nearest ticked step before `at` that is done, by output."""
        for earlier in range(at - 1, -1, -1):
            found = {name: ref() for name, ref in self._results.get(earlier, {}).items()}
            alive = {name: layer for name, layer in found.items() if layer is not None and layer in self._dock.viewer.layers}
            if alive and self._rows[earlier].box.isChecked():
                return alive
        return {}

    def root_of(self, name: str) -> str:
        """Return the name of the data that a result, named ``"data · step"``, was made from."""
        layers = self._dock.viewer.layers
        ours = name in layers and self._made(layers[name], len(STEPS))
        return name.partition(" · ")[0] if ours else name

    def check(self, at: int, layer: Any) -> None:
        """Forget what a step made when it stands before other data now; its layers stay."""
        made_from = self._made_from.get(at)
        if made_from is not None and layer is not None and made_from() is not layer and not self._made(layer, at):
            self._outdate(at)

    def run_all(self, start: int = 0) -> None:
        """Do the ticked steps from `start` on, one after the other, each on the result of the one before."""
        dock, steps = self._dock, [at for at in self._dock.stepper.ticked() if at >= start]
        if dock.controller.state != "idle":
            return
        for at in steps:
            if reason := dock.lacks(at, first=at == steps[0]):
                dock.open_step(at)
                dock.run_bar.say(f"Step {STEPS[at].number} can't run yet: {reason}", "warning")
                return
        self._waiting, self._started = deque(steps), False
        if steps:
            self._go_on()
        else:
            dock.run_bar.say("Tick the steps to do first", "warning")

    @property
    def goes_on(self) -> bool:
        """Whether steps are done in a row."""
        return self._started

    def begun(self, at: int, layer: Any, preview: bool) -> None:
        """Take note that a step begins, on a layer."""
        row = self._rows[at]
        self._running, self._report, self._before = at, {}, (row.state, row.line.text())
        self._input = weakref.ref(layer)
        row.show_state("running", "preview" if preview else "")

    def take_report(self, event: Any) -> None:
        """Keep what a run reports of its first frame."""
        if event.name == "report" and not self._report:
            self._report = event.payload

    def put_in_place(self, result: Any) -> None:
        """Let a whole result take the place of what it was made from, of previews and of what is out of date."""
        if not result.job.preview and not result.partial and result.layers:
            old = [ref() for at, found in self._results.items() if at >= self._running for ref in found.values()]
            for layer in (*result.job.parent_layers, *self._previews, *old):
                if layer is not None:
                    layer.visible = False

    def finished(self, result: Any) -> None:
        """Show how a step ended, and go on with the next of the chain."""
        row = self._rows[self._running]
        if result.plan is not None and result.plan.engine == SPLIT:
            self._overlay(result.layers)
        if result.job.preview:
            state, text = self._before
            self._previews = result.layers
            if state != "done" and result.error is None and not result.partial:
                text = f"preview: {self._summary(result)}"
            row.show_state(state, text)
        elif result.error is not None:
            self._stop("failed", str(result.error))
        elif result.partial or not result.layers:
            self._previews = (*self._previews, *result.layers)
            self._stop("stopped", "cancelled; what was finished is kept" if result.layers else "cancelled")
        else:
            self._keep(result)
            if self._dock.controller.state == "idle" and self._started:
                self._go_on()

    def _go_on(self) -> None:
        dock = self._dock
        while self._waiting:
            at = self._waiting.popleft()
            if dock.engine_of(at) == VSI and not has_model(VSI):
                self._results.pop(at, None)
                self._rows[at].show_state("skipped", "no model yet: open this step and press Import…")
                continue
            if self._started:
                self.chosen_by_hand.discard(at)
            self._started = True
            dock.open_step(at)
            if dock.request() is None:
                self._stop_at(at, "failed", dock.run_bar.run_button.toolTip())
            else:
                dock.start_run()
            return
        self._started = False
        dock.run_bar.say("All steps are done", "good")

    def _keep(self, result: Any) -> None:
        """Remember what a step made, in place of what it was made from; later steps are out of date."""
        at, engine = self._running, result.plan.engine
        found: dict[str, Any] = {}
        for layer in result.layers:
            found.setdefault(layer.metadata[KEY].get("output", layer.name), weakref.ref(layer))
        self._results[at], self._made_from[at], self.reports[engine] = found, self._input, self._report
        if len(found) < len(result.layers) and self._waiting:
            self._dock.run_bar.say("Of several channels, Run all goes on with the first one", "warning")
        self._rows[at].show_state("done", self._summary(result))
        self._outdate(at + 1)

    def _outdate(self, start: int) -> None:
        """Forget what the steps from `start` on made."""
        for later in range(start, len(STEPS)):
            self._results.pop(later, None)
            self._made_from.pop(later, None)
            if self._rows[later].state != "skipped" or start == 0:
                self._rows[later].show_state("not run")

    def _made(self, layer: Any, before: int) -> bool:
        """Return whether a layer is a result of one of the steps before a step."""
        return any(ref() is layer for at, found in self._results.items() if at < before for ref in found.values())

    def _summary(self, result: Any) -> str:
        return summary(result.plan.engine, self._report, result.layers[0].data.shape) if result.layers else ""

    def _stop(self, state: str, text: str) -> None:
        started = self._started
        self._stop_at(self._running, state, text)
        if started and state == "stopped":
            tip, at = "The steps before are done; their layers are taken as they are", self._running
            self._dock.run_bar.offer(Offer(tip, f"Continue from step {STEPS[at].number}", lambda: self.run_all(at)))

    def _stop_at(self, at: int, state: str, text: str) -> None:
        self._rows[at].show_state(state, text)
        self._waiting.clear()
        self._started = False

    def _overlay(self, layers: tuple[Any, ...]) -> None:
        """Show both views over each other, white where they agree, on a plane that both have."""
        for layer in layers:
            name, colour = OVERLAY.get(layer.metadata[KEY].get("output", ""), ("", ""))
            if name and len(layers) == len(OVERLAY):
                layer.name = layer.name.replace(" · Split", f" · {name}").replace(" · view_b", "")
                layer.colormap = colour
                layer.blending = "additive" if name == "view B" else "translucent_no_depth"
        if layers:
            dims, layer = self._dock.viewer.dims, layers[0]
            own = layer.ndim - 3
            if (axis := own + dims.ndim - layer.ndim) in dims.not_displayed:
                dims.set_point(axis, float(layer.data_to_world([n // 2 for n in layer.data.shape])[own]))

    def _layer_removed(self, event: Any) -> None:
        """Say that a step's result has gone."""
        for at, found in list(self._results.items()):
            if any(ref() is event.value for ref in found.values()):
                del self._results[at]
                self._rows[at].show_state("not run")


def has_model(engine: str) -> bool:
    """Return whether there is a model for `engine` on this computer."""
    return any(card.available for card in hub.catalogue(engine))
