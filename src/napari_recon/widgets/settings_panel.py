"""Parameters with presets: one form per engine, the last settings remembered, named presets kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from napari_recon.core.errors import InputError
from napari_recon.viewer import preferences
from napari_recon.widgets.form import ParamsForm
from napari_recon.widgets.look import Line, allow, describe, guard_wheel
from napari_recon.widgets.presets import SettingsStore

DEFAULTS, LAST = "Defaults", "Last used"


class SettingsPanel(QWidget):
    """The form of the current engine and its presets.

    Signals
    -------
    changed
        The values are other ones now.
    message : str, str
        A sentence and its level.
    """

    changed = Signal()
    message = Signal(str, str)

    def __init__(self, store: SettingsStore | None = None) -> None:
        super().__init__()
        self.store = store or SettingsStore()
        self._forms: dict[str, ParamsForm] = {}
        self._engine = ""
        self.preset_combo = QComboBox()
        describe(self.preset_combo, "Preset", "Settings to start from")
        guard_wheel(self.preset_combo)
        self.preset_combo.setMinimumContentsLength(6)
        self.preset_combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.save_button, self.delete_button = QPushButton("&Save…"), QPushButton("Delete")
        self.name_edit = QLineEdit()
        self.name_edit.setPlaceholderText("name of the preset, then Enter")
        describe(self.name_edit, "Name of the preset", "Enter saves, Escape leaves")
        self.name_edit.hide()
        self.problem_line = Line()
        self._lay_out()
        self.preset_combo.activated.connect(self._take_preset)
        self.save_button.clicked.connect(self._ask_name)
        self.name_edit.returnPressed.connect(self._save)
        leave = QShortcut(QKeySequence("Escape"), self.name_edit, context=Qt.ShortcutContext.WidgetShortcut)
        leave.activated.connect(self.name_edit.hide)
        self.delete_button.clicked.connect(self._delete)

    @property
    def engine(self) -> str:
        """The engine whose form is on show; empty before the first."""
        return self._engine

    @property
    def form(self) -> ParamsForm:
        """The form on show."""
        return self._forms[self._engine]

    def set_engine(self, name: str, model: type[BaseModel]) -> None:
        """Show the form of another engine, filled as it was left (this session, or the last one)."""
        if self._engine:
            self.form.hide()
        self._engine = name
        if name not in self._forms:
            self._forms[name] = form = ParamsForm(model)
            form.changed.connect(self._form_changed)
            self._form_column.addWidget(form)
            liked = {"precision": preferences.precision()} if "precision" in model.model_fields else {}
            self._apply(liked | dict(self.store.last(name).get("params") or {}))
        self.form.show()
        self._list(LAST if self.store.last(name) else DEFAULTS)
        self._form_changed()

    def values(self) -> dict[str, Any]:
        """Return the values of the form."""
        return self.form.values()

    def values_of(self, name: str) -> dict[str, Any]:
        """Return the settings of another engine as they were left; what is not in them has its default."""
        return self._forms[name].values() if name in self._forms else dict(self.store.last(name).get("params") or {})

    def set_values(self, values: Mapping[str, Any]) -> list[str]:
        """Show `values` over the defaults; return the names of those that do not fit and kept their default."""
        self.form.reset()
        refused = self._apply(values)
        self._form_changed()
        return refused

    def change(self, values: Mapping[str, Any]) -> None:
        """Show `values`; everything else stays."""
        self.form.set_values(values)
        self._form_changed()

    def reason(self) -> str:
        """Return why these settings can't run; empty when they can."""
        return next(iter(self.form.problems().values()), "")

    def remember(self, model: str | None, without: Collection[str] = ()) -> None:
        """Keep the values for the next session, but for some."""
        values = {name: value for name, value in self.values().items() if name not in without}
        self.store.remember(self._engine, values, model)

    def _apply(self, values: Mapping[str, Any]) -> list[str]:
        form = self.form
        form.set_values(values)
        refused = list(form.problems())
        form.set_values({name: form.default(name) for name in refused if name in form.fields})
        if form.problems():
            form.reset()
        return refused

    def _form_changed(self) -> None:
        self.problem_line.say(self.form.problems().get("", ""), "error")
        self.changed.emit()

    def _list(self, chosen: str) -> None:
        self.preset_combo.clear()
        self.preset_combo.addItem(DEFAULTS)
        if self.store.last(self._engine):
            self.preset_combo.addItem(LAST)
        self.preset_combo.addItems(list(self.store.presets(self._engine)))
        self.preset_combo.setCurrentText(chosen)
        self._allow()

    def _take_preset(self, _: int = 0) -> None:
        name = self.preset_combo.currentText()
        if name == DEFAULTS:
            values: Mapping[str, Any] = {}
        elif name == LAST:
            values = self.store.last(self._engine).get("params") or {}
        else:
            values = self.store.presets(self._engine).get(name, {})
        refused = self.set_values(values)
        if refused:
            self.message.emit(f"{name}: {', '.join(refused)} did not fit and kept the default", "warning")
        self._allow()

    def _ask_name(self) -> None:
        current = self.preset_combo.currentText()
        self.name_edit.setText("" if current in (DEFAULTS, LAST) else current)
        self.name_edit.show()
        self.name_edit.setFocus()

    def _save(self) -> None:
        name = self.name_edit.text().strip()
        if not name or name in (DEFAULTS, LAST):
            self.message.emit("A preset needs a name of its own; type one", "warning")
            return
        try:
            self.store.save(self._engine, name, self.values())
        except InputError as error:
            self.message.emit(str(error), "error")
            return
        self.name_edit.hide()
        self._list(name)
        self.message.emit(f"Preset {name} saved", "info")

    def _delete(self) -> None:
        name = self.preset_combo.currentText()
        self.store.delete(self._engine, name)
        self._list(DEFAULTS)
        self.message.emit(f"Preset {name} deleted; the settings stay as they are", "info")

    def _allow(self) -> None:
        own = self.preset_combo.currentText() not in (DEFAULTS, LAST)
        allow(self.delete_button, "" if own else "Only presets of your own can be deleted", "Delete this preset")
        self.delete_button.setVisible(own)  # it would only take room, which narrow docks have not
        allow(self.save_button, "", "Keep these settings under a name")

    def _lay_out(self) -> None:
        label = QLabel("Preset")
        label.setBuddy(self.preset_combo)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(label)
        row.addWidget(self.preset_combo, 1)
        row.addWidget(self.save_button)
        row.addWidget(self.delete_button)
        self._form_column = QVBoxLayout()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.name_edit)
        column.addLayout(self._form_column)
        column.addWidget(self.problem_line)
