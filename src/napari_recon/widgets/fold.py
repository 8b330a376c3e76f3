"""A section that folds away. Folded children leave the tab order, which an animated fold of zero height does not do."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget


class Fold(QWidget):
    """A titled section with a button that shows and hides its body."""

    toggled = Signal(bool)

    def __init__(self, title: str, body: QWidget, folded: bool = True) -> None:
        super().__init__()
        self._title = title
        self.body = body
        self.button = QPushButton()
        self.button.setFlat(True)
        self.button.setCheckable(True)
        self.button.setStyleSheet("QPushButton {text-align: left; background: transparent; padding: 2px;}")
        self.button.setAccessibleName(title)
        self.button.toggled.connect(self._apply)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.button)
        column.addWidget(body)
        self.button.setChecked(not folded)
        self._apply(not folded)

    def set_open(self, opened: bool) -> None:
        """Unfold or fold."""
        self.button.setChecked(opened)

    @property
    def is_open(self) -> bool:
        """Whether the body shows."""
        return self.button.isChecked()

    def _apply(self, opened: bool) -> None:
        self.button.setText(f"{'▾' if opened else '▸'} {self._title}")
        self.body.setVisible(opened)
        self.toggled.emit(opened)
