"""Rows of the Batch dock: a name, a field, and below it what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_recon.widgets.fields import ChoiceField, Field, FileField
from napari_recon.widgets.look import Line


class PathField(FileField):
    """A path that counts when it is complete: after Return, or when the line is left."""

    def __init__(self, suffixes: tuple[str, ...] = ()) -> None:
        super().__init__(suffixes)
        self.box.textEdited.disconnect()
        self.box.editingFinished.connect(self._finished)
        self._told = ""

    def take_file(self, path: str) -> None:
        """See `FileField.take_file`."""
        if path:
            self._told = path
            super().take_file(path)

    def set_value(self, value: Any) -> None:
        """See `Field.set_value`."""
        super().set_value(value)
        self._told = self.box.text()

    def _finished(self) -> None:
        if self.box.text() != self._told:
            self._told = self.box.text()
            self.changed.emit()


class FolderField(PathField):
    """A folder: typed, chosen with Browse, or dropped onto the line."""

    def __init__(self) -> None:
        super().__init__()
        self.box.setPlaceholderText("folder")

    def _browse(self) -> None:
        before = self.box.text()
        self.take_file(QFileDialog.getExistingDirectory(self, "Choose a folder", before or str(Path.home())))


class NamedChoice(ChoiceField):
    """A drop-down that shows a text for every value."""

    def __init__(self, texts: Mapping[Any, str]) -> None:
        super().__init__(list(texts))
        for at, text in enumerate(texts.values()):
            self.box.setItemText(at, text)


class Row(QWidget):
    """A field with its name on the left and its problem below.

    Signals
    -------
    changed
    """

    changed = Signal()

    def __init__(self, title: str, field: Field, tooltip: str) -> None:
        super().__init__()
        self.field, self.line = field, Line()
        self._title, self._tooltip = title.replace("&", ""), tooltip
        label = QLabel(title)
        label.setBuddy(field.inputs()[0])
        label.setFixedWidth(label.fontMetrics().horizontalAdvance("Recordings "))
        across = QHBoxLayout()
        across.setSpacing(4)
        across.addWidget(label)
        across.addWidget(field, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(across)
        column.addWidget(self.line)
        field.changed.connect(self.changed)
        self.judge("")

    def judge(self, problem: str, remark: str = "") -> None:
        """Show what is wrong, else a remark."""
        self.field.describe(self._title, self._tooltip, problem)
        self.line.say(problem or remark, "error" if problem else "info")
