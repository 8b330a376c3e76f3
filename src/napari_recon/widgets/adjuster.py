"""Keeps a result and the sliders together: which layer they change, at which frame, and what the layer says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_recon.core.engine import Inputs
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import KEY
from napari_recon.engines import registry
from napari_recon.viewer.live import LiveSource, LiveView, add_one_frame, live_params
from napari_recon.viewer.run import RunResult
from napari_recon.widgets.live_panel import LivePanel


class Adjuster(QObject):
    """Lets live parameters change the latest result.

    A result of one frame changes in place. Of a series, the frame on show appears in a layer of its own, so that a
    series never mixes settings.

    Parameters
    ----------
    viewer : ViewerModel
    panel : LivePanel
    known : callable, optional
        ``known(plan) -> settings`` that spare the session what the run found already.

    Signals
    -------
    available : bool
        There is a result to adjust, or not any more.
    decided : dict
        What automatic parameters came to.
    """

    available = Signal(bool)
    decided = Signal(object)

    def __init__(
        self, viewer: Any, panel: LivePanel, known: Callable[[Plan], Mapping[str, Any]] | None = None, parent: Any = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._panel, self._known = viewer, panel, known or (lambda _: {})
        self.view = LiveView(self)
        self._plan: Plan | None = None
        self._inputs: Inputs = {}
        self._layer: Any = None
        self._shown: Any = None
        self._fixed: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._index: dict[str, int] = {}
        self.view.opened.connect(self._opened)
        self.view.shown.connect(lambda ms: panel.line.say(f"{self._where()}, updated in {ms:.0f} ms"))
        self.view.decided.connect(self.decided)
        self.decided.connect(panel.show_automatic)
        self.view.failed.connect(lambda text: panel.line.say(text, "error"))
        self.view.rested.connect(self._note)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.dims.events.current_step.connect(self._on_step)

    def take(self, result: RunResult, inputs: Inputs) -> None:
        """Adjust this result from now on; nothing when its method has no live parameters."""
        self.drop()
        plan = result.plan
        if plan is None or result.partial or not result.layers:
            return
        live = live_params(registry.get(plan.engine))
        layers = [x for x in result.layers if x.metadata[KEY].get("output", plan.outputs[0].name) == plan.outputs[0].name]
        if not live or not layers:
            return
        active = self._viewer.layers.selection.active
        self._layer = active if active in layers else layers[0]
        self._plan, self._inputs = plan, inputs
        self._fixed = {name: value for name, value in plan.params.items() if name not in live}
        self._values = {name: plan.params[name] for name in live}
        self.decided.emit(_decided(result))
        self.available.emit(True)
        if self._single:
            self._open(self._layer)
        else:
            self._panel.line.say("Move a slider to see the frame on show with other settings")

    def change(self, engine: str, values: Mapping[str, Any]) -> None:
        """Follow the form's settings."""
        plan = self._plan
        self.available.emit(plan is not None and engine == plan.engine)
        if plan is None or engine != plan.engine:
            return
        if any(values.get(name, value) != value for name, value in self._fixed.items()):
            self._panel.line.say("Other settings changed as well; Reconstruct applies them all")
            return
        wanted = {name: values.get(name, value) for name, value in self._values.items()}
        if wanted == self._values:
            return
        self._values = wanted
        if not self.view.active:
            self._open(self._layer if self._single else add_one_frame(self._viewer, plan, self._inputs, self._layer))
        self.view.update(wanted)

    def drop(self) -> None:
        """Let the result be as it is."""
        self.view.close()
        had, self._plan, self._layer, self._shown = self._plan, None, None, None
        self._panel.line.say("")
        if had is not None:
            self.available.emit(False)

    def close(self) -> None:
        """Stop and let go of the viewer."""
        self.view.close()
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.dims.events.current_step.disconnect(self._on_step)

    @property
    def _single(self) -> bool:
        """Whether the result is one frame (channels are layers of their own)."""
        assert self._plan is not None  # asked for only while there is a result
        grid = self._plan.outputs[0].grid
        return all(grid.size(a) == 1 for a in self._plan.looped if a != "C")

    def _open(self, target: Any) -> None:
        assert self._plan is not None  # as above
        self._shown, self._index = target, self._frame()
        self._panel.line.say("Preparing the sliders …")
        source = LiveSource(self._plan, self._inputs, self._index, {**self._known(self._plan), **self._values})
        self.view.open(source, {self._plan.outputs[0].name: target})

    def _opened(self) -> None:
        self._panel.line.say(self._where())

    def _where(self) -> str:
        if self._plan is None or self._single:
            return "Sliders change the result at once"
        place = " ".join(f"{a.lower()} {i}" for a, i in self._index.items() if a != "C")
        return f"Showing {place} alone; Reconstruct applies the settings to all frames"

    def _frame(self) -> dict[str, int]:
        """Return the index of the frame on show into the input, per looped axis."""
        plan, layer = self._plan, self._layer
        assert plan is not None  # as above
        record = layer.metadata[KEY]
        axes: str = record["grid"]["axes"]
        at = np.rint(layer.world_to_data(self._viewer.dims.point[-layer.ndim :])).astype(int)
        index = dict(plan.starts)
        for axis, i, size in zip(axes, at, layer.data.shape, strict=True):
            if axis in index:
                index[axis] += int(np.clip(i, 0, size - 1))
        if "C" in index:
            index["C"] += record.get("channel", 0)
        return index

    def _note(self, values: Mapping[str, Any]) -> None:
        """Write into the layer how it is made now."""
        if self._shown is None:
            return
        record = self._shown.metadata[KEY]
        recipe = record.get("recipe")
        if recipe:
            *before, last = recipe["steps"]
            steps = [*before, {**last, "params": {**last["params"], **values}}]
            self._shown.metadata[KEY] = {**record, "recipe": {**recipe, "steps": steps}, "adjusted": dict(values)}

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self.drop()
        elif event.value is self._shown:
            self.view.close()
            self._shown = None

    def _on_step(self, _: Any = None) -> None:
        if self._plan is not None and not self._single and self.view.active and self._frame() != self._index:
            self._open(self._shown)


def _decided(result: RunResult) -> dict[str, Any]:
    """Return the parameters of a result, automatic ones as they came out (those that nobody chose are left out)."""
    steps = result.provenance.get("recipe", {}).get("steps", [])
    params = steps[-1].get("params", {}) if steps else {}
    return {name: value for name, value in params.items() if value != "auto"}
