"""Editors for single values: numbers, choices, flags, files, keyword-or-value, and YAML for the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from qtpy.QtCore import QSize, Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QWidget,
)
from superqt import QElidingLabel

from napari_recon.widgets.drop import FileDrop
from napari_recon.widgets.look import COLOURS, describe, guard_wheel, restyle


class Field(QWidget):
    """One editable value; `changed` fires when a person changes it, not when `set_value` does."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        self._row = row

    def value(self) -> Any:
        """Return the value as typed; text that is no number is returned as text, for validation to judge."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show `value` without emitting `changed`."""
        raise NotImplementedError

    def inputs(self) -> list[QWidget]:
        """Return the widgets that take the focus, in order."""
        raise NotImplementedError

    def describe(self, name: str, tooltip: str, problem: str = "") -> None:
        """Name the inputs for screen readers; a `problem` colours them and becomes the tooltip."""
        for widget in self.inputs():
            describe(widget, name, f"{problem}\n\n{tooltip}" if problem else tooltip)
            if isinstance(widget, NumberBox):
                widget.mark(bool(problem))
            else:
                restyle(widget, f"border: 1px solid {COLOURS['error']};" if problem else "")


class NumberBox(QAbstractSpinBox):
    """A spin box without limits on size or digits: what is typed is kept exactly, 1e-5 and 10**12 included."""

    edited = Signal()

    def __init__(self, whole: bool, low: float = -math.inf, high: float = math.inf, step: float = 0) -> None:
        super().__init__()
        self._whole, self._low, self._high, self._step = whole, low, high, step
        self.lineEdit().textEdited.connect(lambda _: self.edited.emit())
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.mark(False)
        guard_wheel(self)

    def mark(self, wrong: bool) -> None:
        """Colour a wrong value; the width stays small in narrow docks whatever the theme asks."""
        border = f"border: 1px solid {COLOURS['error']};" if wrong else ""
        width = 40 if self.buttonSymbols() == QAbstractSpinBox.ButtonSymbols.NoButtons else 76
        restyle(self, f"NumberBox {{min-width: {width}px; {border}}}")

    def value(self) -> int | float | str:
        """Return the number, or the text when it is none."""
        text = self.lineEdit().text().strip()
        for kind in (int, float):
            try:
                number: int | float = kind(text)
            except ValueError:
                continue
            return int(number) if self._whole and math.isfinite(number) and number == int(number) else number
        return text

    def set_value(self, value: Any) -> None:
        """Show `value` with as many digits as it has."""
        self.lineEdit().setText("" if value is None else str(value) if self._whole else _shortest(value))
        if not self.hasFocus():
            self.lineEdit().setCursorPosition(0)  # where there is no room the first digits matter

    def validate(self, text: str | None, pos: int) -> tuple[QValidator.State, str, int]:
        """Accept any text: the form judges the whole and explains."""
        return QValidator.State.Acceptable, text or "", pos

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:
        """Offer both directions."""
        return QAbstractSpinBox.StepEnabledFlag.StepUpEnabled | QAbstractSpinBox.StepEnabledFlag.StepDownEnabled

    def stepBy(self, steps: int) -> None:
        """Step by the declared step; without one by 1, or by the second significant digit of a float."""
        value = self.value()
        if isinstance(value, str) or not math.isfinite(value):
            return
        step = self._step or (1 if self._whole else _digit_step(value))
        moved = min(max(value + steps * step, self._low), self._high)
        self.set_value(int(moved) if self._whole else float(f"{moved:.12g}"))
        self.edited.emit()

    def sizeHint(self) -> QSize:
        """Stay narrow: the layout widens it."""
        return QSize(60, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        """Allow about six digits."""
        return QSize(64, super().minimumSizeHint().height())


def _shortest(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _digit_step(value: float) -> float:
    return 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.1


class NumberField(Field):
    """An int or float with its unit behind it."""

    def __init__(self, whole: bool, unit: str = "", **limits: float) -> None:
        super().__init__()
        self.box = NumberBox(whole, **limits)
        self.box.edited.connect(self.changed)
        self._row.addWidget(self.box)
        if unit:
            shown = re.sub(r"\b(um|micrometers?)\b", "µm", unit)
            label = QElidingLabel(shown)
            label.setToolTip(shown)
            label.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
            self._row.addWidget(label)

    def value(self) -> int | float | str:
        """See `Field.value`."""
        return self.box.value()

    def set_value(self, value: Any) -> None:
        """See `Field.set_value`."""
        self.box.set_value(value)

    def inputs(self) -> list[QWidget]:
        """See `Field.inputs`."""
        return [self.box]


class FlagField(Field):
    """A check box."""

    def __init__(self) -> None:
        super().__init__()
        self.box = QCheckBox()
        self.box.clicked.connect(lambda _: self.changed.emit())
        self._row.addWidget(self.box)

    def value(self) -> bool:
        """See `Field.value`."""
        return self.box.isChecked()

    def set_value(self, value: Any) -> None:
        """See `Field.set_value`."""
        self.box.setChecked(bool(value))

    def inputs(self) -> list[QWidget]:
        """See `Field.inputs`."""
        return [self.box]


class ChoiceField(Field):
    """A drop-down of given values; a value outside them is shown too, for validation to judge."""

    def __init__(self, values: Sequence[Any], titles: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._values, named = list(values), titles or {}
        self.box = QComboBox()
        self.box.addItems([named.get(v) or keyword_text(v) for v in self._values])
        self.box.setMinimumContentsLength(6)
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.activated.connect(lambda _: self.changed.emit())
        guard_wheel(self.box)
        self._row.addWidget(self.box, 1)

    def value(self) -> Any:
        """See `Field.value`."""
        return self._values[self.box.currentIndex()]

    def set_value(self, value: Any) -> None:
        """See `Field.set_value`."""
        same = [i for i, v in enumerate(self._values) if v == value and type(v) is type(value)]
        if not same:
            self._values.append(value)
            self.box.addItem(keyword_text(value))
        self.box.setCurrentIndex(same[0] if same else len(self._values) - 1)

    def inputs(self) -> list[QWidget]:
        """See `Field.inputs`."""
        return [self.box]


class TextField(Field):
    """A line of text."""

    def __init__(self) -> None:
        super().__init__()
        self.box = QLineEdit()
        self.box.textEdited.connect(lambda _: self.changed.emit())
        self._row.addWidget(self.box, 1)

    def value(self) -> Any:
        """See `Field.value`."""
        return self.box.text()

    def set_value(self, value: Any) -> None:
        """See `Field.set_value`."""
        self.box.setText("" if value is None else str(value))

    def inputs(self) -> list[QWidget]:
        """See `Field.inputs`."""
        return [self.box]


class YamlField(TextField):
    """Lists, tuples and tables, written as one line of YAML: ``[1, 2, 3]``."""

    def value(self) -> Any:
        """See `Field.value`."""
        try:
            return yaml.safe_load(self.box.text())
        except yaml.YAMLError:
            return self.box.text()

    def set_value(self, value: Any) -> None:
        """See `Field.set_value`."""
        text = yaml.safe_dump(_plain(value), default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
        self.box.setText(text.removesuffix("\n").removesuffix("...").strip())


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


class FileField(FileDrop, TextField):
    """A path (or an id): typed, chosen with Browse, or dropped onto the line. Empty stands for None when allowed."""

    def __init__(self, suffixes: Sequence[str] = (), empty: Any = "") -> None:
        super().__init__()
        self._suffixes, self._empty = tuple(suffixes), empty
        self.box.setPlaceholderText(f"file {' '.join(self._suffixes)}".strip() if empty == "" else "none")
        self.button = QPushButton("Browse…")
        self.button.clicked.connect(self._browse)
        self._row.addWidget(self.button)
        self.setAcceptDrops(True)
        self.box.setAcceptDrops(False)

    def value(self) -> Any:
        """See `Field.value`."""
        return self.box.text() or self._empty

    def inputs(self) -> list[QWidget]:
        """See `Field.inputs`."""
        return [self.box, self.button]

    def describe(self, name: str, tooltip: str, problem: str = "") -> None:
        """See `Field.describe`."""
        super().describe(name, tooltip, problem)
        describe(self.button, f"Browse for {name}", tooltip)
        self.button.setStyleSheet("")

    def _browse(self) -> None:
        pattern = f"Files (*{' *'.join(self._suffixes)});;All files (*)" if self._suffixes else "All files (*)"
        path, _ = QFileDialog.getOpenFileName(self, "Choose a file", str(Path(self.box.text()).parent), pattern)
        self.take_file(path)

    def take_file(self, path: str) -> None:
        """Put the path into the line; an empty one (nothing chosen) changes nothing."""
        if path:
            self.box.setText(path)
            self.changed.emit()


class KeywordField(Field):
    """Either one of a few keywords (``auto``, None) or a value of its own; one keyword is a check box."""

    def __init__(self, keywords: Sequence[Any], inner: Field, start: Any) -> None:
        super().__init__()
        self._keywords, self.inner = list(keywords), inner
        self._check = QCheckBox(keyword_text(self._keywords[0])) if len(self._keywords) == 1 else None
        self._combo = None if self._check else ChoiceField([*self._keywords, _OWN])
        chooser = self._check or self._combo
        assert chooser is not None
        self._row.addWidget(chooser)
        self._row.addWidget(inner, 1)
        if isinstance(inner, NumberField):
            inner.box.setButtonSymbols(QAbstractSpinBox.ButtonSymbols.NoButtons)  # no room beside the check box
        inner.set_value(start)
        inner.changed.connect(self.changed)
        (self._check.clicked if self._check else self._combo.changed).connect(self._switched)  # type: ignore[union-attr]

    def value(self) -> Any:
        """See `Field.value`."""
        keyword = self._keyword()
        return self.inner.value() if keyword is _OWN else keyword

    def set_value(self, value: Any) -> None:
        """See `Field.set_value`."""
        keyword = next((k for k in self._keywords if k == value and type(k) is type(value)), _OWN)
        if self._check:
            self._check.setChecked(keyword is not _OWN)
        elif self._combo:
            self._combo.set_value(keyword)
        if keyword is _OWN:
            self.inner.set_value(value)
        self.inner.setEnabled(keyword is _OWN)

    def show_automatic(self, value: Any) -> None:
        """Show what the keyword stands for, without choosing it."""
        if self._keyword() is not _OWN:
            self.inner.set_value(float(f"{value:.4g}") if isinstance(value, float) else value)

    def inputs(self) -> list[QWidget]:
        """See `Field.inputs`."""
        return [
            *([self._check] if self._check else []),
            *(self._combo.inputs() if self._combo else []),
            *self.inner.inputs(),
        ]

    def describe(self, name: str, tooltip: str, problem: str = "") -> None:
        """See `Field.describe`."""
        self.inner.describe(name, tooltip, problem)
        for widget in self.inputs()[:1]:
            describe(widget, f"{name}: {self._check.text() if self._check else 'mode'}", tooltip)

    def _keyword(self) -> Any:
        if self._check:
            return self._keywords[0] if self._check.isChecked() else _OWN
        assert self._combo is not None
        return self._combo.value()

    def _switched(self) -> None:
        self.inner.setEnabled(self._keyword() is _OWN)
        self.changed.emit()


class _Own:
    """Stands for 'a value of its own' in a keyword drop-down."""


_OWN = _Own()


def keyword_text(value: Any) -> str:
    """Return how a keyword reads in the form."""
    words = {id(_OWN): "value", id(None): "none", id(True): "yes", id(False): "no"}
    return words.get(id(value), str(value))
