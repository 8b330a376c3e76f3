"""Can it be believed: the methods side by side, each with what the raw frames say against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_recon.core.grid import Grid
from napari_recon.core.provenance import KEY
from napari_recon.core.stack import ImageStack
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.run import Job, RunResult, job_title
from napari_recon.viewer.side_by_side import dress_significance, link_looks, show_pairs
from napari_recon.widgets.look import Line, allow, describe
from napari_recon.widgets.request import Request

RESIDUAL = "sim.residual"


class ComparePanel(QWidget):
    """Two buttons and a table of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.compare_button, self.check_button = QPushButton("Compare methods"), QPushButton("Check this result")
        self.side_button = QPushButton("Side by side")
        self.side_button.setCheckable(True)
        describe(self.side_button, "Side by side", "Show the layers beside each other, or over each other again")
        self.side_button.hide()
        self.line = Line()
        self._table = QGridLayout()
        self._table.setHorizontalSpacing(10)
        self.rows: dict[str, list[QLabel]] = {}
        buttons = QHBoxLayout()
        buttons.addWidget(self.compare_button)
        buttons.addWidget(self.check_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(buttons)
        column.addWidget(self.side_button)
        column.addWidget(self.line)
        column.addLayout(self._table)

    def set_reasons(self, compare: str, check: str) -> None:
        """Say why a button can't be pressed; empty when it can."""
        tip = "Reconstruct the image on show with every method, and image each result again as the microscope would"
        allow(self.compare_button, compare, tip)
        tip = "Image the result again as the microscope would, and show where the raw frames disagree"
        allow(self.check_button, check, tip)

    def show_numbers(self, name: str, report: Mapping[str, Any]) -> None:
        """Add (or replace) a row: how far a result is from the raw frames."""
        if not self.rows:
            tips = (
                "",
                "Residual of the raw frames, rms, relative to their brightness",
                "Square of the residual over that of noise alone, where the objective passes light: 1 is noise only",
                "Share of the field where the raw frames contradict the result",
            )
            for column, (text, tip) in enumerate(zip(("", "residual", "× noise²", "of field"), tips, strict=True)):
                label = QLabel(text)
                label.setToolTip(tip)
                self._table.addWidget(label, 0, column)
        agrees = bool(report.get("agrees"))
        cells = (
            name,
            _percent(report.get("normalised_rms")),
            f"{report['in_band']:.2f}" if "in_band" in report else "-",
            _percent(report.get("share_of_field")),
        )
        at = list(self.rows).index(name) if name in self.rows else len(self.rows)
        for label in self.rows.pop(name, []):
            self._table.removeWidget(label)
            label.deleteLater()
        labels = []
        for column, cell in enumerate(cells):
            label = Line(cell, "good" if agrees else "warning") if column == 0 else QLabel(cell)
            label.setToolTip(str(report.get("verdict", "")))
            self._table.addWidget(label, 2 * at + 1, column)
            labels.append(label)
        if not agrees:
            remark = Line(str(report.get("verdict", "")), "warning")
            self._table.addWidget(remark, 2 * at + 2, 0, 1, 4)
            labels.append(remark)
        self._table.setColumnStretch(0, 1)
        self.rows[name] = labels


@dataclass
class _Entry:
    """One method of a comparison."""

    title: str
    engine: str
    job: Job | None = None
    layer: Any = None
    check: Job | None = None
    significance: Any = None


class Comparison(QObject):
    """Runs methods and residuals one after another through a dock's controller.

    Parameters
    ----------
    controller : RunController
    panel : ComparePanel
    calibration : callable
        Path of the calibration found last, or None.

    Signals
    -------
    ended
        All that could be done is done.
    """

    ended = Signal()

    def __init__(
        self, viewer: Any, controller: Any, panel: ComparePanel, calibration: Callable[[], str | None], parent: Any = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._controller, self._panel, self._calibration = viewer, controller, panel, calibration
        self._entries: list[_Entry] = []
        self._residual: Request | None = None
        self._raw: Any = None
        self._end_pairs: Callable[[], None] = lambda: None
        controller.artifact.connect(self._take_report)
        controller.finished.connect(self._take)
        panel.side_button.toggled.connect(self._side_by_side)
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Let go of the viewer; layers stay as they are."""
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def owns(self, job: Job) -> bool:
        """Return whether a job belongs to the comparison."""
        return any(job in (entry.job, entry.check) for entry in self._entries)

    def compare(self, requests: Mapping[str, Request], residual: Request, raw: Any) -> None:
        """Run each method (title -> request), then the residual of each result.

        Parameters
        ----------
        requests : mapping
        residual : Request
            Of `sim.residual`, without the reconstruction.
        raw : Layer
        """
        self._begin(residual, raw)
        for title, request in requests.items():
            name = job_title(raw.name, title)
            job = Job(partial(request.plan, request.boxes[0]), title=name, parent_layers=(raw,))
            self._entries.append(_Entry(title, request.engine, job))
        self._controller.start([entry.job for entry in self._entries])

    def check(self, layer: Any, title: str, residual: Request, raw: Any) -> None:
        """Run the residual of a result that is there."""
        self._begin(residual, raw)
        self._entries.append(_Entry(title, "", layer=layer))
        self._check_all()

    def _begin(self, residual: Request, raw: Any) -> None:
        self._panel.side_button.setChecked(False)
        self._entries, self._residual, self._raw = [], residual, raw
        self._panel.line.say("")

    def _take(self, result: RunResult) -> None:
        if self.owns(result.job) and result.partial and result.error is None:
            self._entries = []  # cancelled: the jobs behind it are gone
            return
        for entry in self._entries:
            if entry.job is result.job:
                entry.layer = result.layers[0] if result.layers and result.error is None else None
                if result.error is not None:
                    self._panel.line.say(f"{entry.title}: {result.error}", "error")
                if entry is [e for e in self._entries if e.job is not None][-1]:
                    self._check_all()
            elif entry.check is result.job:
                self._show_residual(entry, result)
                if entry is [e for e in self._entries if e.check is not None][-1]:
                    self._end()

    def _check_all(self) -> None:
        assert self._residual is not None  # set with the entries
        calibration = self._calibration()
        for entry in self._entries:
            if entry.layer is None or entry.layer not in self._viewer.layers:
                continue
            stack = _of_result(entry.layer)
            params = dict(self._residual.params)
            if calibration is not None and params.get("calibration", "auto") == "auto":
                params["calibration"] = calibration
            inputs = {**self._residual.inputs, "reconstruction": (stack,)}
            request = Request(
                RESIDUAL, inputs, params, self._residual.boxes, self._residual.time, compute=self._residual.compute
            )
            title = f"{entry.layer.name} · residual"
            entry.check = Job(partial(request.plan, request.boxes[0]), title=title, parent_layers=(self._raw,))
        jobs = [entry.check for entry in self._entries if entry.check is not None]
        if jobs:
            self._controller.start(jobs)
        else:
            self._end()

    def _show_residual(self, entry: _Entry, result: RunResult) -> None:
        """Keep the signed picture; its colours say whether light is missing or was added."""
        for layer in result.layers:
            if layer.metadata[KEY].get("output") == "significance":
                entry.significance = layer
                dress_significance(layer, f"{entry.layer.name} · significance")
            else:
                layer.visible = False
        if result.error is not None:
            self._panel.line.say(str(result.error), "error")

    def _take_report(self, event: Any) -> None:
        running = [e for e in self._entries if e.check is not None and e.significance is None]
        if event.name == "agreement" and running:
            self._panel.show_numbers(running[0].title, event.payload)

    def _end(self) -> None:
        layers = [e.layer for e in self._entries if e.layer is not None and e.layer in self._viewer.layers]
        shown = [e.significance for e in self._entries if e.significance is not None]
        link_looks(layers, shown)
        if layers:
            self._viewer.layers.selection.active = layers[0]
        self._panel.side_button.setVisible(bool(shown))
        self._panel.side_button.setChecked(bool(shown))
        if shown and not self._panel.line.text():
            text = "Pictures of significance: green is light the result lacks, pink light it invented, white agrees"
            self._panel.line.say(text)
        self.ended.emit()

    def _on_removed(self, _: Any = None) -> None:
        """Leave an arrangement of which no pair is left: nothing else is shown in it."""
        layers = self._viewer.layers
        ended = [e for e in self._entries if e.significance is not None]
        if ended and not any(e.layer in layers and e.significance in layers for e in ended):
            self._panel.side_button.setChecked(False)
            self._panel.side_button.hide()

    def _side_by_side(self, beside: bool) -> None:
        """Show each result beside its significance, or end that."""
        self._end_pairs()
        self._end_pairs = lambda: None
        if beside:
            pairs = [(e.layer, e.significance) for e in self._entries if e.significance is not None]
            self._end_pairs = show_pairs(self._viewer, pairs)
        self._panel.side_button.setText("Over each other again" if beside else "Side by side")


def _of_result(layer: Any) -> ImageStack:
    """Return a result as an input, without the axes of length one that line it up with the raw data in the viewer."""
    stack = stack_from_layer(layer, Grid.model_validate(layer.metadata[KEY]["grid"]).axes)
    axes = "".join(a for a in stack.grid.axes if a in "TCZYX")
    place = tuple(slice(None) if a in axes else 0 for a in stack.grid.axes)
    return replace(stack, data=stack.data[place], grid=stack.grid.only(axes))


def _percent(value: Any) -> str:
    return f"{100 * value:.2g} %" if isinstance(value, int | float) else "-"
