"""Which layer feeds the engine, what its axes are, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_recon.core.engine import EngineInfo, InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.grid import SPATIAL
from napari_recon.core.stack import ImageStack
from napari_recon.viewer.file_facts import look_up
from napari_recon.viewer.layer_input import Problem, check_layer, fits, guess_axes, letters_of, stack_from_layer
from napari_recon.viewer.pixel_size import lacks_pixel_size
from napari_recon.widgets.fields import FileField
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.form import readable
from napari_recon.widgets.layer_combo import LayerCombo
from napari_recon.widgets.look import PRIMARY, Line, describe
from napari_recon.widgets.movie_row import SHOWN
from napari_recon.widgets.pixel_row import PixelRow

PICTURES = {"image", "labels", "psf"}
NOTHING = InputSpec(name="", required=False)
"""The main input of engines that make their own data."""


class DataPanel(QWidget):
    """The main input in full (layer, axes, pixel size, problems with fixes), further inputs as one row each.

    Parameters
    ----------
    viewer : ViewerModel
    info : EngineInfo
    what : str
        In words what is asked for, e.g. ``"light-field recording"``.
    open_sample : callable, optional
        What the first-run button does.
    needs_pixel_size : bool
        Data without one can't be used at all.
    rows : mapping, optional
        Name of a further input -> what stands in for its `InputRow`; the dock shows it elsewhere.
    judge : callable, optional
        ``judge(layer, axes)`` returns what else is wrong with the main input. Errors are said instead of the general ones,
        and a voxel size that is missed there is not missed twice.
    pixel_row : PixelRow, optional
        Another way to show and give the pixel size.

    Signals
    -------
    changed
        Layer, axes, scale or a further input is another one now.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: Any,
        info: EngineInfo,
        what: str = "image",
        open_sample: Callable[[], None] | None = None,
        needs_pixel_size: bool = False,
        rows: Mapping[str, Any] | None = None,
        judge: Callable[[Any, str], list[Problem]] | None = None,
        pixel_row: Any = None,
    ) -> None:
        super().__init__()
        self._own_judge = judge
        self._rows = dict(rows or {})
        for row in self._rows.values():
            row.changed.connect(self._extra_changed)
        self._viewer, self._info, self._needs_pixel_size = viewer, info, needs_pixel_size
        self._typed: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._watched: Any = None
        self._looking: Any = None
        self.problems: list[Problem] = []
        self.combo = LayerCombo(viewer, lambda layer: fits(layer, self.spec), prefer=self._best)
        describe(self.combo, "Layer", f"The layer that holds the {what}")
        self.axes_edit = QLineEdit()
        self.axes_edit.setMaximumWidth(72)
        describe(self.axes_edit, "Axes", "One letter per dimension, outermost first: T time, C channel, V view, Z, Y, X")
        self.axes_mark, self.pixel_line, self.pixel_row = QLabel(), Line(), pixel_row or PixelRow()
        self.welcome = self._make_welcome(what, open_sample)
        self._problem_column = QVBoxLayout()
        self._problem_column.setSpacing(2)
        self._required_column = QVBoxLayout()
        optional = QWidget()
        self._optional_column = QVBoxLayout(optional)
        self._optional_column.setContentsMargins(0, 0, 0, 0)
        self.optional = Fold("Optional inputs", optional)
        self.extras: dict[str, Any] = {}
        self._lay_out()
        self.axes_edit.textEdited.connect(self._axes_typed)
        self.combo.layer_changed.connect(self._layer_changed)
        viewer.layers.events.inserted.connect(self._reconsider)
        self.pixel_row.applied.connect(viewer.reset_view)
        self.set_engine(info)
        self._follow()  # the layer that was open before the dock

    @property
    def spec(self) -> InputSpec:
        """The declaration of the main input; one without a name when the engine works without."""
        first = self._info.inputs[0] if self._info.inputs else NOTHING
        return first if first.required else NOTHING

    @property
    def needed(self) -> bool:
        """Whether the engine works on data at all."""
        return self.spec is not NOTHING

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.combo.layer

    @property
    def axes(self) -> str:
        """The axis letters as they stand in the form."""
        return self.axes_edit.text().upper()

    def set_engine(self, info: EngineInfo) -> None:
        """Ask for the inputs of another engine; layer and axes stay when they fit."""
        self._info = info
        wanted = {spec.name: spec for spec in info.inputs if spec is not self.spec}
        for name in [n for n in self.extras if n not in wanted]:
            row = self.extras.pop(name)
            if name not in self._rows:
                row.let_go()
                row.setParent(None)
                row.deleteLater()
        for name, spec in wanted.items():
            if name in self._rows:
                self.extras[name] = self._rows[name]
            elif name not in self.extras:
                self.extras[name] = row = InputRow(self._viewer, spec)
                row.changed.connect(self._extra_changed)
                (self._required_column if spec.required else self._optional_column).addWidget(row)
        self.optional.setVisible(any(not spec.required for name, spec in wanted.items() if name not in self._rows))
        self.combo.refresh()
        self._judge()

    def reason(self) -> str:
        """Return why nothing can be run with these data; empty when something can."""
        if self.layer is None and self.needed:
            return "Open data first, or open the sample"
        wrong = next((p.text for p in self.problems if p.severity == "error"), "")
        return wrong or next((text for row in self.extras.values() if (text := row.problem())), "")

    def stack(self) -> ImageStack | None:
        """Return the main input as a lazy stack, None while there is a problem (or no need of one)."""
        if self.reason() or not self.needed:
            return None
        try:
            return stack_from_layer(self.layer, self.axes)
        except InputError as error:
            self.problems = [Problem(str(error))]
            self._show_problems()
            return None

    def inputs(self) -> dict[str, tuple[Any, ...]]:
        """Return every input that is given, by name, the main one first; empty while there is a problem."""
        stack = self.stack()
        if stack is None and self.needed:
            return {}
        extras = {name: row.value() for name, row in self.extras.items()}
        main = {self.spec.name: (stack,)} if stack is not None else {}
        several = {name: value if isinstance(value, tuple) else (value,) for name, value in extras.items()}
        return {**main, **{name: values for name, values in several.items() if values not in ((), (None,))}}

    def layers(self) -> tuple[Any, ...]:
        """Return the chosen layers, the main one first."""
        rows = [row.layer for row in self.extras.values() if row.layer is not None]
        return (self.layer, *rows) if self.needed and self.layer is not None else tuple(rows)

    def let_go(self) -> None:
        """Disconnect from the viewer."""
        self._watch(None)
        self._viewer.layers.events.inserted.disconnect(self._reconsider)
        if self._looking is not None:
            self._looking.drop()
        self.combo.let_go()
        for row in {**self._rows, **self.extras}.values():
            row.let_go()

    def _best(self, layers: list[Any]) -> Any:
        """Prefer the active layer, then the newest that has no problem; volumes made here are no light fields."""
        active = self._viewer.layers.selection.active
        order = sorted(layers, key=lambda layer: layer is not active)
        for layer in sorted([*order[:1], *reversed(order[1:])], key=self._less_likely):
            if not any(p.severity == "error" for p in problems_of(layer, self.spec, self._axes_of(layer))):
                return layer
        return order[0] if order[0] is active else layers[-1]

    def _reconsider(self, event: Any) -> None:
        """Take a layer that fits when it comes after one that does not, or that says it holds something else."""
        layer, now = event.value, self.layer
        if not fits(layer, self.spec) or now is None:
            return
        labelled = set(letters_of(layer.axis_labels))
        meant = any(set(axes) <= labelled for axes in (self.spec.axes, *self.spec.also) if axes)
        stopgap = not self._named_otherwise(layer) and (self._is_psf(now) or (meant and self._named_otherwise(now)))
        if stopgap or any(p.severity == "error" for p in self.problems):
            if not any(p.severity == "error" for p in problems_of(layer, self.spec, self._axes_of(layer))):
                self.combo.prefer(layer)

    def _less_likely(self, layer: Any) -> tuple[bool, bool]:
        """Return what puts a layer behind others: it holds something else, it is hidden (as the truth of a sample is)."""
        return self._named_otherwise(layer), not layer.visible

    def _named_otherwise(self, layer: Any) -> bool:
        """Return whether the layer's name or axis labels say that it holds something else."""
        labelled = letters_of(layer.axis_labels)
        return self._is_psf(layer) or (bool(labelled) and not set(self.spec.axes) <= set(labelled))

    def _is_psf(self, layer: Any) -> bool:
        """Return whether the layer calls itself a PSF where one is asked for beside the data."""
        return "psf" in layer.name.lower() and any(spec.name == "psf" for spec in self._info.inputs[1:])

    def _axes_of(self, layer: Any) -> str:
        return self._typed.get(layer) or guess_axes(layer, self.spec)

    def _follow(self) -> None:
        self._watch(self.layer)
        if self.layer is not None:
            self._looking = look_up(self.layer, self._layer_edited, parent=self)

    def _layer_changed(self) -> None:
        self._follow()
        self._judge()
        self.changed.emit()

    def _layer_edited(self, _: Any = None) -> None:
        self._judge()
        self.changed.emit()

    def _extra_changed(self) -> None:
        self._show_problems()
        self.changed.emit()

    def _axes_typed(self, text: str) -> None:
        if self.layer is not None:
            self._typed[self.layer] = text.upper()
        self._judge()
        self.changed.emit()

    def _watch(self, layer: Any) -> None:
        for name in ("data", "scale", "translate", "units", "axis_labels"):
            if self._watched is not None:
                getattr(self._watched.events, name).disconnect(self._layer_edited)
            if layer is not None:
                getattr(layer.events, name).connect(self._layer_edited)
        self._watched = layer

    def _judge(self) -> None:
        layer = self.layer if self.needed else None
        self.problems = []
        if layer is not None:
            axes = self._axes_of(layer)
            if axes != self.axes:
                self.axes_edit.setText(axes)
            self.problems = self._judged(layer, axes)
            if self._needs_pixel_size and lacks_pixel_size(layer, axes):
                self.problems = [p for p in self.problems if "no pixel size" not in p.text]
                self.problems.append(Problem(f"{layer.name} has no pixel size, which this method needs; type it here"))
        self.pixel_row.show_for(layer, self.axes)
        self.welcome.setVisible(layer is None and self.needed)
        self._chosen.setVisible(layer is not None or not self.needed)
        self._main.setVisible(self.needed)
        self._show_problems()

    def _judged(self, layer: Any, axes: str) -> list[Problem]:
        own = self._own_judge(layer, axes) if self._own_judge is not None else []
        if any(problem.severity == "error" for problem in own):
            return own
        return [p for p in problems_of(layer, self.spec, axes) if not own or "no pixel size" not in p.text] + own

    def _show_problems(self) -> None:
        layer, bad = self.layer, any(p.severity == "error" for p in self.problems)
        self.axes_mark.setText("" if layer is None else "✕" if bad else "✓")
        self.axes_mark.setAccessibleName("Axes do not fit" if bad else "Axes fit")
        self.pixel_line.say("" if layer is None or self.pixel_row.tells_size else pixel_text(layer, self.axes))
        while (item := self._problem_column.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.deleteLater()
        shown = [row for name, row in self.extras.items() if name not in self._rows and row.given]
        extras = [Problem(text) for row in shown if (text := row.problem())]
        for problem in [*self.problems, *extras]:
            self._problem_column.addWidget(self._problem_row(problem))

    def _problem_row(self, problem: Problem) -> QWidget:
        row = QWidget()
        column = QVBoxLayout(row)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(Line(problem.text, problem.severity))
        if problem.fix_label:
            button = QPushButton(problem.fix_label)
            describe(button, problem.fix_label, f"Set the axes to {problem.fix_axes}; the layer stays as it is")
            button.clicked.connect(lambda: self._fix(problem))
            column.addWidget(button)
        for text, action in problem.offers:
            button = QPushButton(text)
            describe(button, text, problem.text)
            button.clicked.connect(lambda _=False, act=action: act())
            column.addWidget(button)
        return row

    def judge_again(self) -> None:
        """Look at the main input again: something else is known about it now."""
        self._layer_edited()

    def _fix(self, problem: Problem) -> None:
        self.axes_edit.setText(problem.fix_axes)
        self._axes_typed(problem.fix_axes)

    def _make_welcome(self, what: str, open_sample: Callable[[], None] | None) -> QFrame:
        frame = QFrame()
        frame.setFrameShape(QFrame.Shape.StyledPanel)
        column = QVBoxLayout(frame)
        column.addWidget(Line(f"Drag a {what} into the viewer, or start with the sample."))
        self.sample_button = QPushButton("Open s&ample")
        describe(self.sample_button, "Open sample", f"Open a small simulated {what}")
        self.sample_button.setStyleSheet(PRIMARY)
        if open_sample is not None:
            self.sample_button.clicked.connect(lambda: open_sample())
        self.sample_button.setVisible(open_sample is not None)
        column.addWidget(self.sample_button)
        return frame

    def _lay_out(self) -> None:
        self._chosen = QWidget()
        chosen = QVBoxLayout(self._chosen)
        chosen.setContentsMargins(0, 0, 0, 0)
        chosen.setSpacing(4)
        self._main = QWidget()
        main = QVBoxLayout(self._main)
        main.setContentsMargins(0, 0, 0, 0)
        main.setSpacing(4)
        main.addWidget(self.combo)
        row = QHBoxLayout()
        label = QLabel("A&xes")
        label.setBuddy(self.axes_edit)
        for widget in (label, self.axes_edit, self.axes_mark):
            row.addWidget(widget)
        row.addWidget(self.pixel_line, 1)
        main.addLayout(row)
        main.addLayout(self._problem_column)
        main.addWidget(self.pixel_row)
        chosen.addWidget(self._main)
        chosen.addLayout(self._required_column)
        chosen.addWidget(self.optional)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.welcome)
        column.addWidget(self._chosen)


class InputRow(QWidget):
    """A further input: a layer, a file, or (when optional) nothing."""

    changed = Signal()

    def __init__(self, viewer: Any, spec: InputSpec) -> None:
        super().__init__()
        self._spec = spec
        label = QLabel(readable(spec.name))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(label)
        tip = f"{spec.description}{'' if spec.required else ' (optional)'}"
        self.combo: LayerCombo | None = None
        self.file: FileField | None = None
        if PICTURES & set(spec.accepts):
            self.combo = LayerCombo(viewer, lambda layer: fits(layer, spec), none="choose…" if spec.required else "none")
            describe(self.combo, spec.name, tip)
            self.combo.layer_changed.connect(self.changed)
            label.setBuddy(self.combo)
            row.addWidget(self.combo, 1)
        else:
            self.file = FileField(spec.suffixes, None)
            self.file.describe(spec.name, tip)
            self.file.changed.connect(self.changed)
            label.setBuddy(self.file.box)
            row.addWidget(self.file, 1)

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self.combo.layer if self.combo is not None else None

    @property
    def given(self) -> bool:
        """Whether something was chosen."""
        return self.layer is not None or (self.file is not None and self.file.value() is not None)

    def problem(self) -> str:
        """Return why this input can't be used as it stands; empty when it can (or may be left out)."""
        if not self.given:
            words = self._spec.description or self._spec.name
            return f"{self._spec.name} is missing ({words}); choose one" if self._spec.required else ""
        if self.layer is None:
            return ""
        found = problems_of(self.layer, self._spec, guess_axes(self.layer, self._spec))
        return next((p.text for p in found if p.severity == "error"), "")

    def value(self) -> Any:
        """Return an `ImageStack` or a path, or None."""
        if self.file is not None:
            return self.file.value()
        layer = self.layer
        return None if layer is None else stack_from_layer(layer, guess_axes(layer, self._spec))

    def let_go(self) -> None:
        """Disconnect from the viewer."""
        if self.combo is not None:
            self.combo.let_go()


def problems_of(layer: Any, spec: InputSpec, axes: str) -> list[Problem]:
    """Return what is wrong with a layer, in words for people who do not type axes first."""
    if not axes and not getattr(layer, "rgb", False):
        outer = f"(with {' or '.join(spec.loops)} in front when there are several)" if spec.loops else ""
        return [
            Problem(
                f"{spec.name} should have the dimensions {spec.axes} {outer}, found "
                f"{layer.ndim} in {layer.name}; choose another layer or type what each dimension is"
            )
        ]
    return check_layer(layer, spec, axes)


def pixel_text(layer: Any, axes: str) -> str:
    """Return the pixel size of a layer in words: ``"pixel 0.3 × 0.1 × 0.1 µm"``."""
    if len(axes) != layer.ndim:
        return ""
    units = {a: str(u) for a, u in zip(axes, layer.units, strict=True) if a in SPATIAL}
    if not units or "pixel" in units.values():
        return "no pixel size"
    size = " × ".join(f"{s:.3g}" for a, s in zip(axes, layer.scale, strict=True) if a in SPATIAL)
    return f"pixel {size} {' × '.join(dict.fromkeys(SHOWN.get(u, u) for u in units.values()))}"
