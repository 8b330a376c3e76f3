"""Settings shown beside what they are about, instead of in the form they belong to."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QStackedWidget, QWidget


class Rows(QStackedWidget):
    """Rows taken out of the forms of several engines, those of one on show."""

    def __init__(self) -> None:
        super().__init__()
        self._pages: dict[str, QWidget] = {}

    def show_rows(self, engine: str, form: Any, names: tuple[str, ...]) -> None:
        """Show the rows of an engine, taken from its form the first time."""
        if engine not in self._pages:
            self._pages[engine] = form.take(names)
            self.addWidget(self._pages[engine])
        self.setCurrentWidget(self._pages[engine])
