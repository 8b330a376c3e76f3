"""Files dropped onto a widget."""

from __future__ import annotations

from qtpy.QtGui import QDragEnterEvent, QDropEvent


class FileDrop:
    """Mixed in before a QWidget that calls ``setAcceptDrops(True)``: a single dropped file goes to `take_file`."""

    def take_file(self, path: str) -> None:
        """Use the dropped file."""
        raise NotImplementedError

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept one local file."""
        if event is not None and (data := event.mimeData()) is not None and len(data.urls()) == 1:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Hand the file on."""
        if event is not None and (data := event.mimeData()) is not None and data.urls():
            event.acceptProposedAction()
            self.take_file(data.urls()[0].toLocalFile())
