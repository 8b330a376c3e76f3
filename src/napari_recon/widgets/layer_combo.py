"""A drop-down of layers that follows the viewer: inserted, removed, reordered, renamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPaintEvent, QPalette
from qtpy.QtWidgets import QComboBox, QStyle, QStyleOptionComboBox, QStylePainter

from napari_recon.widgets.look import guard_wheel

TEXT_MARGIN = 4


class LayerCombo(QComboBox):
    """Chooses a layer object (names may repeat, so they are never looked up).

    Parameters
    ----------
    viewer : ViewerModel
    accept : callable
        ``accept(layer) -> bool``: whether a layer is listed.
    none : str
        Text of an entry for "no layer"; without it a layer is always chosen when there is one.
    prefer : callable, optional
        ``prefer(layers) -> layer``: which one to start with (None when nothing suits and `none` is an entry).

    Signals
    -------
    layer_changed
        Another layer (or none) is chosen now.
    """

    layer_changed = Signal()

    def __init__(
        self,
        viewer: Any,
        accept: Callable[[Any], bool],
        none: str = "",
        prefer: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        super().__init__()
        self._viewer, self._accept, self._none, self._prefer = viewer, accept, none, prefer
        self._layers: list[Any] = []
        self._others: list[Any] = []
        self._named: list[Any] = []
        self._chosen: Any = None
        self.by_hand = False
        """Whether a person chose, rather than `prefer`."""
        self.setMinimumContentsLength(8)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        if (listed := self.view()) is not None:
            listed.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        guard_wheel(self)
        self.activated.connect(self._picked)
        for event in self._events():
            event.connect(self._refresh)
        self._refresh()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        return self._chosen

    def choose(self, layer: Any) -> None:
        """Choose a layer of the list (or None)."""
        if layer is not self._chosen:
            self._chosen = layer
            self._show()
            self.layer_changed.emit()

    def offer(self, other: Any) -> None:
        """Put something with a name that is no layer into the list, and choose it."""
        self._others.append(other)
        self._refresh()
        self.by_hand = True
        self.choose(other)

    def prefer(self, layer: Any) -> None:
        """Choose a layer unless a person has chosen one."""
        if layer is not None and not self.by_hand:
            self.choose(layer)

    def refresh(self) -> None:
        """List again (what is acceptable changed)."""
        self._refresh()

    def shown_option(self) -> QStyleOptionComboBox:
        """Return how the box is drawn: a name that is too long loses its middle, as what differs is often at its end."""
        option, part = QStyleOptionComboBox(), QStyle.SubControl.SC_ComboBoxEditField
        self.initStyleOption(option)
        style = self.style()
        if style is not None:
            room = style.subControlRect(QStyle.ComplexControl.CC_ComboBox, option, part, self).width() - TEXT_MARGIN
            option.currentText = option.fontMetrics.elidedText(option.currentText, Qt.TextElideMode.ElideMiddle, room)
        return option

    def paintEvent(self, _: QPaintEvent | None) -> None:
        """Draw the box as Qt does, with the name shortened."""
        painter, option = QStylePainter(self), self.shown_option()
        painter.setPen(self.palette().color(QPalette.ColorRole.Text))
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def let_go(self) -> None:
        """Disconnect from the viewer."""
        for event in self._events():
            event.disconnect(self._refresh)
        self._follow_names([])

    def _events(self) -> list[Any]:
        events = self._viewer.layers.events
        return [events.inserted, events.removed, events.reordered]

    def _refresh(self, _: Any = None) -> None:
        layers = [layer for layer in self._viewer.layers if self._accept(layer)]
        self._layers = [*layers, *self._others]
        self._follow_names(layers)
        chosen = self._chosen
        if not any(layer is chosen for layer in self._layers):
            chosen = None
        if chosen is None:
            self.by_hand = False
        if chosen is None and self._layers and (self._prefer or not self._none):
            chosen = self._prefer(self._layers) if self._prefer else self._layers[-1]
        changed = chosen is not self._chosen
        self._chosen = chosen
        self._show()
        if changed:
            self.layer_changed.emit()

    def _follow_names(self, layers: list[Any]) -> None:
        for layer in self._named:
            layer.events.name.disconnect(self._renamed)
        for layer in layers:
            layer.events.name.connect(self._renamed)
        self._named = list(layers)

    def _renamed(self, _: Any = None) -> None:
        self._show()

    def _show(self) -> None:
        count = Counter(layer.name for layer in self._layers)
        texts = [f"{la.name} [{i}]" if count[la.name] > 1 else la.name for i, la in enumerate(self._layers)]
        first = [self._none] if self._none else []
        self.blockSignals(True)
        self.clear()
        self.addItems(first + texts)
        at = next((i for i, layer in enumerate(self._layers) if layer is self._chosen), None)
        self.setCurrentIndex(at + len(first) if at is not None else (0 if first else -1))
        self.blockSignals(False)

    def _picked(self, index: int) -> None:
        self.by_hand = True
        at = index - bool(self._none)
        self.choose(self._layers[at] if at >= 0 else None)
