"""The one form builder: pydantic parameters to Qt and back."""

from __future__ import annotations

import types
from collections.abc import Container, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QGroupBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_recon.core.params import bounds, describe_parameters, nested, problems
from napari_recon.widgets.fields import (
    ChoiceField,
    Field,
    FileField,
    FlagField,
    KeywordField,
    NumberField,
    TextField,
    YamlField,
    keyword_text,
)
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.look import small_button

SHORT = {"tv", "psf", "otf", "na", "snr", "roi", "sim", "fwhm", "mcnr", "led"}
"""Words of parameter names that are abbreviations."""


class ParamsForm(QWidget):
    """A form for an engine's parameters.

    Parameters
    ----------
    model : type of EngineParams
        Nested models become groups; parameters declared `advanced` are folded away.

    Signals
    -------
    changed
        A person changed something (or asked for the default of one field).
    """

    changed = Signal()

    def __init__(self, model: type[BaseModel], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = model
        self.fields: dict[str, Field] = {}
        self._resets: dict[str, QWidget] = {}
        self._places: dict[str, tuple[QFormLayout, QHBoxLayout]] = {}
        self._hidden: set[str] = set()
        self._groups: dict[str, tuple[QFormLayout, QGroupBox]] = {}
        self._rows = {row.name: row for row in describe_parameters(model)}
        self._defaults = _flat(model.model_construct().model_dump(mode="json", warnings=False))
        self.advanced: Fold | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._build(model, "", column)
        self._judge()

    def values(self) -> dict[str, Any]:
        """Return the values as they stand in the form (JSON values, nested models as dicts), wrong ones included."""
        return nested({name: field.value() for name, field in self.fields.items()})

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Show `values` (nested or dotted); what is not named keeps its value, unknown names are ignored."""
        for name, value in _flat(values).items():
            if name in self.fields:
                self.fields[name].set_value(value)
        self._judge()

    def reset(self) -> None:
        """Show every default."""
        self.set_values({name: self.default(name) for name in self.fields})

    def default(self, name: str) -> Any:
        """Return the default of parameter `name` (dotted)."""
        return self._defaults.get(name)

    def take(self, names: Iterable[str]) -> QWidget:
        """Return a widget with the rows of `names` (those there are), which leave the form but stay part of it."""
        body = QWidget()
        layout = _form_layout()
        body.setLayout(layout)
        for name in names:
            if name in self._places:
                place, row = self._places[name]
                taken = place.takeRow(row)
                layout.addRow(taken.labelItem.widget(), taken.fieldItem.layout())
                self._places[name] = layout, row
        return body

    def tuck(self, essential: Container[str]) -> None:
        """Fold away what is not `essential` (names of single parameters), with what is advanced anyway."""
        if self.advanced is None:
            return
        folded = self.advanced.body.layout()
        assert isinstance(folded, QFormLayout)
        for name, (place, row) in list(self._places.items()):
            if place is not folded and name not in essential and "." not in name:
                taken = place.takeRow(row)
                folded.addRow(taken.labelItem.widget(), taken.fieldItem.layout())
                self._places[name] = folded, row

    def show_only(self, names: Container[str]) -> None:
        """Hide the rows and groups of parameters that are not among `names` (dotted); they keep their values."""
        self._hidden = {name for name in self.fields if name not in names}
        for name, (place, row) in self._places.items():
            place.setRowVisible(row, name in names)
        for name, (place, box) in self._groups.items():
            place.setRowVisible(box, any(field in names for field in self.fields if field.startswith(f"{name}.")))
        if self.advanced is not None:
            rows = self.advanced.body.layout()
            assert isinstance(rows, QFormLayout)
            self.advanced.setVisible(any(rows.isRowVisible(row) for row in range(rows.rowCount())))
        self._judge()  # a row that appears would show all of its widgets

    def show_automatic(self, values: Mapping[str, Any]) -> None:
        """Show what automatic parameters stand for, grayed beside their keyword."""
        for name, value in values.items():
            field = self.fields.get(name)
            if isinstance(field, KeywordField):
                field.show_automatic(value)

    def problems(self) -> dict[str, str]:
        """Return one sentence per wrong parameter; the empty name is the parameters as a whole."""
        return problems(self.model, self.values())

    def _build(self, model: type[BaseModel], prefix: str, column: QVBoxLayout) -> None:
        plain, folded = _form_layout(), _form_layout()
        column.addLayout(plain)
        for name, info in model.model_fields.items():
            extra = _extra(info)
            layout = folded if extra.get("advanced") else plain
            if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
                box = self._group(info.annotation, f"{prefix}{name}", info)
                self._groups[f"{prefix}{name}"] = layout, box
                layout.addRow(box)
            else:
                self._add(layout, f"{prefix}{name}", info)
        if folded.rowCount():
            body = QWidget()
            body.setLayout(folded)
            fold = Fold("Advanced", body)
            column.addWidget(fold)
            if not prefix:  # groups fold their own
                self.advanced = fold

    def _group(self, model: type[BaseModel], name: str, info: FieldInfo) -> QGroupBox:
        box = QGroupBox(info.title or readable(name))
        box.setToolTip(info.description or "")
        self._build(model, f"{name}.", QVBoxLayout(box))
        return box

    def _add(self, layout: QFormLayout, name: str, info: FieldInfo) -> None:
        field = make_field(info)
        title = info.title or readable(name)
        field.set_value(self.default(name))
        field.changed.connect(self._edited)
        reset = small_button("↺", f"Reset {title}", "")
        reset.setText("↺")
        policy = reset.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        reset.setSizePolicy(policy)
        reset.clicked.connect(lambda: self._reset_one(name))
        row = QHBoxLayout()
        row.setSpacing(0)
        row.addWidget(field, 1)
        row.addWidget(reset)
        label = QLabel(title)
        label.setBuddy(field.inputs()[0])
        label.setToolTip(self._tooltip(name))
        layout.addRow(label, row)
        self.fields[name], self._resets[name], self._places[name] = field, reset, (layout, row)

    def _tooltip(self, name: str) -> str:
        row = self._rows[name]
        limits = f" ({row.range}{' ' + row.unit if row.unit else ''})" if row.range else ""
        return f"{row.description}{limits}\nDefault: {keyword_text(self.default(name))}. Name: {name}"

    def _reset_one(self, name: str) -> None:
        self.fields[name].set_value(self.default(name))
        self._edited()

    def _edited(self) -> None:
        self._judge()
        self.changed.emit()

    def _judge(self) -> None:
        wrong = self.problems()
        for name, field in self.fields.items():
            field.describe(readable(name), self._tooltip(name), wrong.get(name, ""))
            value, default = field.value(), self.default(name)
            self._resets[name].setToolTip(f"Back to the default, {keyword_text(default)}")
            changed = value != default or type(value) is not type(default)
            self._resets[name].setVisible(changed and name not in self._hidden)


def make_field(info: FieldInfo) -> Field:
    """Return the editor of one parameter."""
    extra, limits = _extra(info), bounds(info)
    keywords, kinds = _parts(info.annotation)
    suffixes = tuple(extra.get("file") or ())
    if bool in kinds and keywords:
        keywords, kinds = [*keywords, True, False], [k for k in kinds if k is not bool]
    if not kinds:
        return ChoiceField(keywords, extra.get("titles"))
    if suffixes or Path in kinds:
        named = [k for k in keywords if k is not None]
        chooser = FileField(suffixes, None if None in keywords else "")
        return KeywordField(named, chooser, "") if named else chooser
    inner = _plain_field(kinds, str(extra.get("unit", "")), limits)
    start = info.examples[0] if info.examples else limits.get("ge", limits.get("gt", 0) + 1)
    return KeywordField(keywords, inner, start if isinstance(inner, NumberField) else "") if keywords else inner


def _plain_field(kinds: list[Any], unit: str, limits: Mapping[str, float]) -> Field:
    if set(kinds) <= {int, float}:
        whole = float not in kinds
        low = limits.get("ge", limits.get("gt", -float("inf")))
        high = limits.get("le", limits.get("lt", float("inf")))
        return NumberField(whole, unit, low=low, high=high, step=limits.get("multiple_of", 0))
    if kinds == [bool]:
        return FlagField()
    return TextField() if kinds == [str] else YamlField()


def _parts(annotation: Any) -> tuple[list[Any], list[Any]]:
    """Split an annotation into its keywords (literals, None, enum values) and its types."""
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return list(get_args(annotation)), []
    if annotation in (None, type(None)):
        return [None], []
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation], []
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [_parts(part) for part in get_args(annotation)]
        return [k for keywords, _ in parts for k in keywords], [t for _, kinds in parts for t in kinds]
    return [], [annotation]


def _form_layout() -> QFormLayout:
    layout = QFormLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    # a field that has no room beside its label goes below it, so that nothing is cut off in a narrow dock
    layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return layout


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {prefix + name: _plain(value) for name, value in values.items()}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
    return flat


def _plain(value: Any) -> Any:
    """Return `value` as JSON would hold it."""
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(v) for v in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def readable(name: str) -> str:
    """Return a parameter's name as people read it; the unit stands beside the field."""
    plain = name.rpartition(".")[2].removesuffix("_um").removesuffix("_deg")
    words = " ".join(w.upper() if w in SHORT else f"{w[:-1].upper()}s" if w[:-1] in SHORT else w for w in plain.split("_"))
    return words[:1].upper() + words[1:]
