"""The methods of the Light field dock side by side: what the recording says of each, and the truth where it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QVBoxLayout

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import KEY
from napari_recon.core.stack import ImageStack
from napari_recon.jobs import methods
from napari_recon.jobs.methods import CORR, FRC, MIP, MISFIT, PSNR, SSIM, TIME
from napari_recon.viewer.layer_input import letters_of, result_stack, stack_from_layer
from napari_recon.viewer.run import Job, RunResult, job_title
from napari_recon.viewer.side_by_side import link_looks, show_row, take_away
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.compare import Column, ComparePanel, Comparison, Entry, Row
from napari_recon.widgets.layer_combo import LayerCombo
from napari_recon.widgets.look import allow, describe
from napari_recon.widgets.refine import step_of
from napari_recon.widgets.request import Request

COLUMNS = (
    Column("time", TIME, "How long the method took, here and now", lambda v: f"{v:.2g} s" if v < 10 else f"{v:.0f} s"),
    Column(
        "misfit",
        MISFIT,
        "Views of the result against those recorded: root mean square of the difference, relative; noise is in it",
        lambda v: f"{100 * v:.0f} %",
        "low",
    ),
    Column(
        "FRC",
        FRC,
        "Finest detail (µm) that two reconstructions share, each from every other view with the rest filled in from its "
        "neighbours: Fourier ring correlation of their planes above 1/7; two voxels is all that the voxels can hold",
        lambda v: f"{v:.2g} µm",
        "low",
    ),
    Column("PSNR", PSNR, "Against the truth, brightness aligned; higher is better", lambda v: f"{v:.1f}", "high"),
    Column("SSIM", SSIM, "Structural similarity to the truth; 1 is equal", lambda v: f"{v:.3f}".lstrip("0"), "high"),
    Column("corr", CORR, "Correlation with the truth; 1 is equal", lambda v: f"{v:.2f}".lstrip("0"), "high"),
    Column("MIP", MIP, "PSNR of projections along z (dB)", lambda v: f"{v:.1f}", "high"),
)


class LightFieldComparePanel(ComparePanel):
    """The comparison of the Light field dock: which methods, against what truth."""

    def __init__(self, viewer: Any) -> None:
        super().__init__(COLUMNS)
        self.check_button.hide()
        self.boxes: dict[str, QCheckBox] = {}
        self._list = QVBoxLayout()
        self._list.setSpacing(1)
        self.truth = LayerCombo(viewer, _may_be_truth, none="none", prefer=_likely_truth)
        describe(self.truth, "Truth", "A volume of the same voxels that is known to be right, as of a sample or simulation")
        label = QLabel("Truth")
        label.setBuddy(self.truth)
        self.halves_box = QCheckBox("Resolution from halves of the views")
        describe(self.halves_box, "Resolution from halves", "Each method runs twice more, on odd and on even views")
        self.halves_box.setChecked(True)
        row = QHBoxLayout()
        row.addWidget(label)
        row.addWidget(self.truth, 1)
        self.column.insertLayout(0, self._list)
        self.column.insertLayout(1, row)
        self.column.insertWidget(2, self.halves_box)

    def offer(self, titles: Sequence[str]) -> None:
        """List what can be compared; what was ticked stays so."""
        if list(self.boxes) == list(titles):
            return
        before = {title: box.isChecked() for title, box in self.boxes.items()}
        while (item := self._list.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        self.boxes = {}
        for title in titles:
            self.boxes[title] = box = QCheckBox(title)
            box.setMinimumWidth(1)  # long names of models may not widen the dock
            describe(box, title, f"Compare {title} with the others")
            box.setChecked(before.get(title, True))
            self._list.addWidget(box)

    def chosen(self) -> list[str]:
        """Return the titles that are ticked."""
        return [title for title, box in self.boxes.items() if box.isChecked()]

    def set_reason(self, reason: str) -> None:
        """Say why methods can't be compared; empty when they can."""
        allow(self.compare_button, reason, "Reconstruct the box at the current time point with every method ticked above")


@dataclass
class _Entry(Entry):
    """One method, and its reconstructions from halves of the views."""

    request: Request | None = None
    halves: list[Job] = field(default_factory=list)
    from_halves: list[NDArray[np.float32]] = field(default_factory=list)


class LightFieldComparison(Comparison):
    """Runs methods, then each on halves of the views, then measures."""

    _panel: LightFieldComparePanel

    def __init__(self, viewer: Any, controller: Any, panel: LightFieldComparePanel, parent: Any = None) -> None:
        super().__init__(viewer, controller, panel, parent)
        self._raw: Any = None
        self._measuring: Any = None
        controller.progressed.connect(self._hide_halves)

    @property
    def busy(self) -> bool:
        """Whether numbers are still to come after the last run."""
        return self._measuring is not None

    def close(self) -> None:
        """See `Comparison.close`."""
        super().close()
        if self._measuring is not None:
            self._measuring.drop()

    def jobs_of(self, entry: Any) -> tuple[Job | None, ...]:
        """See `Comparison.jobs_of`."""
        return entry.job, *entry.halves

    def compare(self, requests: Mapping[str, Request], raw: Any) -> None:
        """Run each method (title -> request) on the light field `raw`; what does not fit it is left out, and said."""
        self._raw, entries, left_out = raw, [], []
        for title, request in requests.items():
            try:
                request.estimate()
            except InputError as error:
                left_out.append(f"{title} is left out: {error}")
                continue
            job = Job(partial(request.plan, request.boxes[0]), title=job_title(raw.name, title), parent_layers=(raw,))
            entries.append(_Entry(title, request.engine, job, request=request))
        self.begin(entries)
        self._panel.clear()
        self._panel.line.say("\n".join(left_out), "warning")
        self._controller.start([entry.job for entry in entries])

    def judge(self) -> None:
        """See `Comparison.judge`: what is known at once, then reconstructions from halves of the views."""
        present = self._present()
        for entry in present:
            self._panel.show_row(entry.title, Row({TIME: float(entry.layer.metadata[KEY].get("seconds", 0))}))
        if not present:
            self.end(False)
        elif self._panel.halves_box.isChecked():
            for entry in present:
                entry.halves = [self._half(entry, odd) for odd in (True, False)]
            self._controller.start([job for entry in present for job in entry.halves])
        else:
            self._measure()

    def take_other(self, entry: Any, result: RunResult) -> None:
        """See `Comparison.take_other`: of a half only the numbers are kept."""
        if result.error is None and result.layers:
            entry.from_halves.append(np.array(result_stack(result.layers[0]).data))
        take_away(self._viewer, result.layers)
        last = [job for e in self._entries for job in e.halves][-1]
        if result.job is last:
            self._measure()

    def cancelled(self, result: RunResult) -> None:
        """See `Comparison.cancelled`: no half stays behind."""
        if "half of the views" in result.job.title:
            take_away(self._viewer, result.layers)

    def beside(self) -> Callable[[], None] | None:
        """See `Comparison.beside`."""
        return show_row(self._viewer, [entry.layer for entry in self._present()])

    def _half(self, entry: _Entry, odd: bool) -> Job:
        request = entry.request
        assert request is not None  # of every method

        def plan() -> Any:
            return half_of(request, odd).plan(request.boxes[0])

        return Job(plan, title=f"{entry.title}, half of the views", parent_layers=(self._raw,))

    def _hide_halves(self, _: Any) -> None:
        job = self._controller.job
        if job is not None and any(job in entry.halves for entry in self._entries):
            for layer in self._controller.results.layers:
                layer.visible = False

    def _measure(self) -> None:
        truth = self._panel.truth.layer
        known = stack_from_layer(truth, truth_axes(truth)) if truth is not None else None
        work = [
            partial(numbers_of, e.request, result_stack(e.layer), dict(e.layer.metadata[KEY]), known, list(e.from_halves))
            for e in self._present()
        ]
        self._measuring = call_in_background(
            lambda: [measure() for measure in work], done=self._measured, failed=self._not_measured, parent=self
        )

    def _measured(self, found: list[tuple[dict[str, float], str]]) -> None:
        self._measuring = None
        for entry, (numbers, remark) in zip(self._present(), found, strict=False):
            before = self._panel.known[entry.title].numbers
            self._panel.show_row(entry.title, Row({**before, **numbers}, "warning" if remark else "info", remark))
        self._end()

    def _not_measured(self, error: Exception) -> None:
        self._measuring = None
        self._panel.line.say(str(error), "error")
        self._end()

    def _end(self) -> None:
        layers = [entry.layer for entry in self._present()]
        link_looks(layers, [])
        self.end(len(layers) > 1)

    def _on_removed(self, _: Any = None) -> None:
        """See `Comparison._on_removed`."""
        if self._panel.side_button.isChecked() and len(self._present()) < 2:
            self._panel.side_button.setChecked(False)
            self._panel.side_button.hide()


def half_of(request: Request, odd: bool) -> Request:
    """Return a request for a light field made from half of its views; of the time points only the one asked for."""
    views = frame_of(request)
    stack = methods.half_of(views, microscope(request, views.grid.size("V")), odd)
    return replace(request, inputs={**request.inputs, "views": (stack,)}, time=None)


def frame_of(request: Request) -> ImageStack:
    """Return the light field (V, Y, X) of the time point that is asked for."""
    return methods.one_frame(request.inputs["views"][0], request.time.start if request.time is not None else 0)


def microscope(request: Request, views: int) -> Any:
    """Return the geometry that a request reconstructs with."""
    step = {"params": dict(request.params), "model": {"id": request.model.id} if request.model is not None else None}
    return methods.microscope(step, views)


def numbers_of(
    request: Request,
    result: ImageStack,
    record: Mapping[str, Any],
    truth: ImageStack | None,
    from_halves: Sequence[NDArray[np.float32]],
) -> tuple[dict[str, float], str]:
    """Return what is measured of a result, and what is to be said about it."""
    views, box = frame_of(request), request.boxes[0]
    place = {axis: box.bounds(axis, views.grid.size(axis)) for axis in "YX"}
    cut = replace(views, data=views.data[(slice(None), *(slice(*place[a]) for a in "YX"))], grid=views.grid.cropped(place))
    sigma = float(step_of(record).get("params", {}).get("psf_sigma", 2.0))
    geometry = microscope(request, views.grid.size("V"))
    numbers = methods.by_the_recording(result, cut, geometry, sigma, from_halves, all_planes=box.z is None)
    against, remark = methods.by_the_truth(result, truth) if truth is not None else ({}, "")
    return {**numbers, **against}, remark


def truth_axes(layer: Any) -> str:
    """Return the axes of a volume that is taken for the truth."""
    return letters_of(layer.axis_labels) or "TZYX"[-layer.ndim :]


def _may_be_truth(layer: Any) -> bool:
    if layer._type_string != "image" or getattr(layer, "rgb", False) or layer.ndim not in (3, 4):
        return False
    letters = letters_of(layer.axis_labels)
    made_here = layer.metadata.get(KEY, {}).get("engine", "simulate").partition(".")[0]
    return "V" not in letters and made_here == "simulate"


def _likely_truth(layers: list[Any]) -> Any:
    return next((layer for layer in layers if "truth" in layer.name.lower()), None)
