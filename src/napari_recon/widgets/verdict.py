"""What a fit says of itself as a light: green, the model explains the data; amber, with a remedy one click away."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_recon.widgets.fixes import fixes_in
from napari_recon.widgets.look import Line, describe

GOOD = "the model explains the data"
WRONG = "PSF or positions look wrong"
REMEDIES = {"refine_views": "Refine view positions", "refine_psf": "Refine the PSF"}
"""Settings that help when the PSF or the positions are wrong, in the order they are tried."""


class VerdictPanel(QWidget):
    """The verdicts of the time points of one fit; hidden until there is one.

    Signals
    -------
    remedy : dict
        Settings with which to fit again.
    """

    remedy = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.reports: dict[int, Mapping[str, Any]] = {}
        self._asked = 1
        self._values: dict[str, Any] = {}
        self.line, self.notes, self.button = Line(), Line(), QPushButton()
        self.button.clicked.connect(lambda: self.remedy.emit(dict(self._values)))
        row = QHBoxLayout()
        row.addWidget(self.line, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.notes)
        column.addWidget(self.button)
        self.hide()

    def clear(self, asked: int = 1) -> None:
        """Forget every verdict; those of `asked` time points are to come."""
        self.reports.clear()
        self._asked = asked
        self.note(())
        self.hide()

    def note(self, warnings: Sequence[str]) -> None:
        """Say in short what the run warned of; the tooltip has it in full."""
        short = {sentence.split("; ")[0].split(": ")[0]: sentence for sentence in warnings}
        said = self.line.text().lower() if self.reports else ""
        new = {text: sentence for text, sentence in short.items() if text.lower() not in said}
        self.notes.say("\n".join(text[:1].upper() + text[1:] for text in new), "warning")
        self.notes.setToolTip("\n".join(new.values()))

    def add(self, report: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Take in the report of a time point, made with `settings`."""
        self.reports[int(report.get("frame", 0))] = report
        doubtful = [each for each in self.reports.values() if not is_good(each)]
        several = len(self.reports) > 1
        if not doubtful:
            deviance = max(float(each.get("reduced_deviance", 1.0)) for each in self.reports.values())
            done = len(self.reports)
            every = f" at all {done} time points" if several else ""
            where = every if done >= self._asked else f" at {done} of {self._asked} time points"
            self.line.say(f"The model explains the data{where} (reduced deviance {deviance:.2f})", "good")
        else:
            sentence = str(doubtful[0]["verdict"])
            where = f"At {len(doubtful)} of {len(self.reports)} time points: " if several else ""
            self.line.say(where + sentence if where else sentence[:1].upper() + sentence[1:], "warning")
        self._values = remedy_of(str(doubtful[0]["verdict"]), settings) if doubtful else {}
        self.button.setVisible(bool(self._values))
        if self._values:
            text = REMEDIES.get(next(iter(self._values)), "Change " + ", ".join(self._values))
            self.button.setText(f"{text} and fit again")
            describe(self.button, text, "Set " + ", ".join(f"{name} = {value}" for name, value in self._values.items()))
        self.show()


def is_good(report: Mapping[str, Any]) -> bool:
    """Return whether a report says that all is well."""
    return str(report.get("verdict", GOOD)).startswith(GOOD)


def remedy_of(sentence: str, settings: Mapping[str, Any], known: Collection[str] = tuple(REMEDIES)) -> dict[str, Any]:
    """Return the settings that may help: those the sentence names, else the first remedy not tried yet."""
    named = {name: value for name, value in fixes_in(sentence, settings).items() if settings.get(name) != value}
    if named or WRONG not in sentence:
        return named
    return next(({name: True} for name in known if settings.get(name) is False), {})
