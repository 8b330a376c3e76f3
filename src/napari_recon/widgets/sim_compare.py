"""Can it be believed: the methods side by side, each with what the raw frames say against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari_recon.core.provenance import KEY
from napari_recon.viewer.layer_input import result_stack
from napari_recon.viewer.run import Job, RunResult, job_title
from napari_recon.viewer.side_by_side import dress_significance, link_looks, show_pairs
from napari_recon.widgets.compare import Column, ComparePanel, Comparison, Entry, Row
from napari_recon.widgets.look import Level, allow
from napari_recon.widgets.request import Request

RESIDUAL = "sim.residual"
COLUMNS = (
    Column(
        "residual", "residual", "Residual of the raw frames, rms, relative to their brightness", lambda v: f"{100 * v:.2g} %"
    ),
    Column(
        "× noise²",
        "residual over noise, squared",
        "Square of the residual over that of noise alone, where the objective passes light: 1 is noise only",
        lambda v: f"{v:.2f}",
    ),
    Column(
        "of field",
        "contradicted share of the field",
        "Share of the field where the raw frames contradict the result",
        lambda v: f"{100 * v:.2g} %",
    ),
)
KEYS = ("normalised_rms", "in_band", "share_of_field")
"""What the report calls the numbers of the columns."""


class SimComparePanel(ComparePanel):
    """The comparison of the SIM dock."""

    def __init__(self) -> None:
        super().__init__(COLUMNS)

    def set_reasons(self, compare: str, check: str) -> None:
        """Say why a button can't be pressed; empty when it can."""
        tip = "Reconstruct the image on show with every method, and image each result again as the microscope would"
        allow(self.compare_button, compare, tip)
        tip = "Image the result again as the microscope would, and show where the raw frames disagree"
        allow(self.check_button, check, tip)

    def show_numbers(self, name: str, report: Mapping[str, Any]) -> None:
        """Add (or replace) a row: how far a result is from the raw frames."""
        numbers = {
            column.name: float(report[key])
            for column, key in zip(COLUMNS, KEYS, strict=True)
            if isinstance(report.get(key), int | float)
        }
        agrees, verdict = bool(report.get("agrees")), str(report.get("verdict", ""))
        level: Level = "good" if agrees else "warning"
        self.show_row(name, Row(numbers, level, "" if agrees else verdict, verdict))


@dataclass
class _Entry(Entry):
    """One method, and the residual of its result."""

    check: Job | None = None
    significance: Any = None


class SimComparison(Comparison):
    """Runs methods and residuals one after another.

    Parameters
    ----------
    calibration : callable
        Path of the calibration found last, or None.
    """

    _panel: SimComparePanel

    def __init__(
        self, viewer: Any, controller: Any, panel: SimComparePanel, calibration: Callable[[], str | None], parent: Any = None
    ) -> None:
        super().__init__(viewer, controller, panel, parent)
        self._calibration = calibration
        self._residual: Request | None = None
        self._raw: Any = None
        controller.artifact.connect(self._take_report)

    def jobs_of(self, entry: Any) -> tuple[Job | None, ...]:
        """See `Comparison.jobs_of`."""
        return entry.job, entry.check

    def compare(self, requests: Mapping[str, Request], residual: Request, raw: Any) -> None:
        """Run each method (title -> request), then the residual of each result.

        Parameters
        ----------
        requests : mapping
        residual : Request
            Of `sim.residual`, without the reconstruction.
        raw : Layer
        """
        self._residual, self._raw = residual, raw
        entries = []
        for title, request in requests.items():
            name = job_title(raw.name, title)
            job = Job(partial(request.plan, request.boxes[0]), title=name, parent_layers=(raw,))
            entries.append(_Entry(title, request.engine, job))
        self.start(entries)

    def check(self, layer: Any, title: str, residual: Request, raw: Any) -> None:
        """Run the residual of a result that is there."""
        self._residual, self._raw = residual, raw
        self.begin([_Entry(title, "", layer=layer)])
        self.judge()

    def judge(self) -> None:
        """See `Comparison.judge`: the residual of each result."""
        assert self._residual is not None  # set with the entries
        calibration = self._calibration()
        for entry in self._present():
            params = dict(self._residual.params)
            if calibration is not None and params.get("calibration", "auto") == "auto":
                params["calibration"] = calibration
            inputs = {**self._residual.inputs, "reconstruction": (result_stack(entry.layer),)}
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

    def take_other(self, entry: Any, result: RunResult) -> None:
        """See `Comparison.take_other`: keep the signed picture, whose colours say whether light is missing or was added."""
        for layer in result.layers:
            if layer.metadata[KEY].get("output") == "significance":
                entry.significance = layer
                dress_significance(layer, f"{entry.layer.name} · significance")
            else:
                layer.visible = False
        if entry is [e for e in self._entries if e.check is not None][-1]:
            self._end()

    def beside(self) -> Callable[[], None] | None:
        """See `Comparison.beside`: each result beside its significance."""
        return show_pairs(self._viewer, [(e.layer, e.significance) for e in self._entries if e.significance is not None])

    def _take_report(self, event: Any) -> None:
        running = [e for e in self._entries if e.check is not None and e.significance is None]
        if event.name == "agreement" and running:
            self._panel.show_numbers(running[0].title, event.payload)

    def _end(self) -> None:
        shown = [e.significance for e in self._entries if e.significance is not None]
        link_looks([e.layer for e in self._present()], shown)
        if shown and not self._panel.line.text():
            text = "Pictures of significance: green is light the result lacks, pink light it invented, white agrees"
            self._panel.line.say(text)
        self.end(bool(shown))

    def _on_removed(self, _: Any = None) -> None:
        """See `Comparison._on_removed`."""
        layers = self._viewer.layers
        ended = [e for e in self._entries if e.significance is not None]
        if ended and not any(e.layer in layers and e.significance in layers for e in ended):
            self._panel.side_button.setChecked(False)
            self._panel.side_button.hide()
