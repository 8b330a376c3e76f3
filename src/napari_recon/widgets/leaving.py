"""A widget that lets go of the viewer when its dock is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QWidget


class LeavingWidget(QWidget):
    """Calls `let_go`, which may happen more than once, when it is closed or taken out of its dock."""

    def let_go(self) -> None:
        """Stop everything; the widget can't be used afterwards."""
        raise NotImplementedError

    def changeEvent(self, event: QEvent | None) -> None:
        """Let go when the dock around this widget is closed: napari takes it out then, and does not close it."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.let_go()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Let go of the viewer."""
        self.let_go()
        super().closeEvent(event)
