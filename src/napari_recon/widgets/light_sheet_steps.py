"""The steps of the Light sheet dock: what they are, how far they are, and the column that shows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_recon.widgets.look import COLOURS, Level, Line, describe, restyle

BACKGROUND, DESKEW, SPLIT = "fusion.background", "fusion.deskew", "fusion.split_views"
VSI, WIENER = "fusion.vsi_sr", "fusion.wiener"
MULTIVIEW, RLDFN, SINGLE = "fusion.multiview_rl", "fusion.rldfn", "deconvolution.rl"


@dataclass(frozen=True)
class Step:
    """One row of the column.

    Attributes
    ----------
    number, title : str
    verb : str
        What its run button says.
    tip : str
    methods : mapping
        Engine -> text in the step's menu; the first is the default.
    """

    number: str
    title: str
    verb: str
    tip: str
    methods: Mapping[str, str]


STEPS = (
    Step(
        "1a", "Background", "Clea&n", "Take the bright line of the mirror out of the raw stack", {BACKGROUND: "Mirror line"}
    ),
    Step("1b", "Deskew", "&Deskew", "Straighten the stack of a tilted light sheet", {DESKEW: "Deskew"}),
    Step(
        "2",
        "Super-resolution",
        "&Sharpen",
        "Sharpen every plane; without a model this step is skipped",
        {VSI: "Network (virtual SIM)", WIENER: "Three measured orientations"},
    ),
    Step("3", "Split views", "S&plit", "Cut the direct and the mirrored view apart and register them", {SPLIT: "Split"}),
    Step(
        "4",
        "Fuse",
        "&Fuse",
        "Make one volume of the views",
        {MULTIVIEW: "Richardson-Lucy, several views", RLDFN: "Network (RL-DFN)", SINGLE: "Richardson-Lucy, one view"},
    ),
)
RESULTS: Mapping[str, str] = {
    BACKGROUND: "Cleaned",
    DESKEW: "Deskewed",
    VSI: "Sharpened",
    WIENER: "Joined",
    SPLIT: "Split",
    MULTIVIEW: "Fused",
    RLDFN: "Fused by network",
    SINGLE: "Deconvolved",
}
"""What a result is called."""
ESSENTIAL: Mapping[str, tuple[str, ...]] = {
    BACKGROUND: ("preset", "camera_offset"),
    DESKEW: ("angle_deg", "step_um", "direction", "coverslip"),
    VSI: ("orientations", "na", "wavelength_um"),
    WIENER: ("wiener", "na", "wavelength_um"),
    SPLIT: ("angle_deg", "transform"),
    MULTIVIEW: ("iterations", "tv"),
    SINGLE: ("iterations", "tv"),
}
"""Settings that stay in sight; the rest is folded."""
SHARED = ("skew_axis",)
"""Settings that mean the same in every step."""


def summary(engine: str, report: Mapping[str, Any], shape: Sequence[int]) -> str:
    """Return what a finished step found, in one line.

    Parameters
    ----------
    engine : str
    report : mapping
        What the run reported; may be empty.
    shape : sequence of int
        Of the result.
    """
    said = _SUMMARIES[engine](report) if engine in _SUMMARIES and report else ""
    return said or f"{' × '.join(str(n) for n in shape)} voxels"


def _background(report: Mapping[str, Any]) -> str:
    drift = report["drift_pixel"]
    moved = f"drifts by {max(drift) - min(drift):.3g} pixels" if any(drift) else "no drift"
    balance = f", far side brightened × {report['balance']:.2f}" if report["balance"] > 1.005 else ""
    return f"line tilted by {report['tilt_deg']:.2g}°, {moved}{balance}"


def _deskew(report: Mapping[str, Any]) -> str:
    way = "forward (1)" if report["direction"] > 0 else "backward (-1)"
    return f"direction {way}, {report['angle_deg']:.4g}°, step {report['step_um']:.3g} µm"


def _split(report: Mapping[str, Any]) -> str:
    before, after = report.get("correlation_nominal"), report["correlation"]
    change = f"{before:.3f} → {after:.3f}" if before is not None else f"{after:.3f}"
    return f"correlation of the views {change}, turned by {report['angle_y_deg']:.2f}°"


def _deconvolved(report: Mapping[str, Any]) -> str:
    return f"{report['iterations']} iterations, reduced deviance {report['reduced_deviance']:.3g}"


_SUMMARIES = {BACKGROUND: _background, DESKEW: _deskew, SPLIT: _split, MULTIVIEW: _deconvolved, SINGLE: _deconvolved}


class StepRow(QWidget):
    """The head of a step: whether Run all includes it, its name, how far it is, what it found.

    Signals
    -------
    opened
        A person wants to see this step.
    included
        A person ticked or unticked it.
    """

    opened = Signal()
    included = Signal()

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step, self.state = step, "not run"
        self.box, self.button, self.mark, self.line = QCheckBox(), QPushButton(), QLabel(), Line()
        self.box.setChecked(True)
        self.box.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        describe(self.box, f"Include {step.title}", f"Run all does this step: {step.tip}")
        self.button.setFlat(True)
        self.button.setStyleSheet("QPushButton {text-align: left; background: transparent; padding: 3px;}")
        describe(self.button, f"Step {step.number}: {step.title}", step.tip)
        head = QHBoxLayout()
        head.setSpacing(2)
        head.addWidget(self.box)
        head.addWidget(self.button, 1)
        head.addWidget(self.mark)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addLayout(head)
        said = QHBoxLayout()
        said.setContentsMargins(40, 0, 0, 2)
        said.addWidget(self.line)
        whole.addLayout(said)
        self.button.clicked.connect(self.opened)
        self.box.clicked.connect(self.included)
        self.set_open(False)
        self.show_state("not run")

    def set_open(self, opened: bool) -> None:
        """Show whether the step's settings are below."""
        self.button.setText(f"{'▾' if opened else '▸'} {self.step.number}  {self.step.title}")
        font = self.button.font()
        font.setBold(opened)
        self.button.setFont(font)

    def show_state(self, state: str, text: str = "") -> None:
        """Show how far the step is (not run, running, done, stopped, failed, skipped) and a line about it."""
        self.state = state
        signs: Mapping[str, tuple[str, Level]] = {
            "running": ("running …", "info"),
            "done": ("✓ done", "good"),
            "stopped": ("stopped", "warning"),
            "failed": ("✕ failed", "error"),
            "skipped": ("skipped", "info"),
        }
        sign, level = signs.get(state, ("", "info"))
        self.mark.setText(sign)
        restyle(self.mark, f"color: {COLOURS[level]};" if COLOURS[level] else "")
        self.button.setAccessibleDescription(f"{self.step.tip}. {state} {text}".strip())
        self.line.say(text)


class Stepper(QWidget):
    """Steps below each other; what belongs to the open one stands below its head.

    Parameters
    ----------
    steps : sequence of Step
    body : QWidget
        Shared by all; whoever listens to `opened` fills it.

    Signals
    -------
    opened : int
        A person wants to see this step.
    included
        Another choice of steps for Run all.
    """

    opened = Signal(int)
    included = Signal()

    def __init__(self, steps: Sequence[Step], body: QWidget) -> None:
        super().__init__()
        self.rows = [StepRow(step) for step in steps]
        self.at = -1
        self._holder = QWidget()
        inner = QVBoxLayout(self._holder)
        inner.setContentsMargins(4, 2, 0, 8)
        inner.addWidget(body)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(2)
        for at, row in enumerate(self.rows):
            self._column.addWidget(row)
            row.opened.connect(lambda at=at: self.opened.emit(at))
            row.included.connect(self.included)

    def open(self, at: int) -> None:
        """Show the body below the head of step `at`."""
        if at == self.at:
            return
        self.at = at
        self._column.removeWidget(self._holder)
        self._column.insertWidget(at + 1, self._holder)
        for number, row in enumerate(self.rows):
            row.set_open(number == at)

    def tick(self, numbers: Collection[str]) -> None:
        """Tick these steps, by their numbers, and no others."""
        for row in self.rows:
            row.box.setChecked(row.step.number in numbers)

    def ticked(self) -> list[int]:
        """Return the steps that Run all does."""
        return [at for at, row in enumerate(self.rows) if row.box.isChecked()]
