"""Further inputs of the Light sheet dock: views, transfer functions and PSFs, from layers, from files, or computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_recon.core.engine import InputSpec
from napari_recon.core.stack import ImageStack
from napari_recon.viewer.layer_input import fits, guess_axes, stack_from_layer
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.data_panel import problems_of
from napari_recon.widgets.drop import FileDrop
from napari_recon.widgets.layer_combo import LayerCombo
from napari_recon.widgets.look import Line, describe, guard_wheel, small_button
from napari_recon.widgets.rows import Rows

KINDS = {
    "layers": "Measured: layers or files",
    "light-sheet": "Computed: light sheet",
    "gaussian": "Gaussian",
    "widefield": "Computed: widefield",
    "confocal": "Computed: confocal",
}
OPTICS = ("na", "wavelength_um")
PSF_ROWS = {
    "layers": (),
    "light-sheet": (*OPTICS, "sheet_fwhm_um", "psf_angle_deg"),
    "gaussian": ("psf_fwhm_um", "psf_fwhm_z_um", "psf_angle_deg"),
    "widefield": (*OPTICS, "psf_angle_deg"),
    "confocal": (*OPTICS, "excitation_um", "psf_angle_deg"),
}
ALL_PSF_ROWS = tuple(dict.fromkeys(name for names in PSF_ROWS.values() for name in names))


class SourceRow(FileDrop, QWidget):
    """One input: a layer, or a file (also dropped here) that stays out of the layer list.

    Parameters
    ----------
    viewer : ViewerModel
    spec : InputSpec
    title : str
    named : sequence of str
        Parts of names that layers meant for this input have; the first layer that has one is taken.
    nth : int
        Take the n-th such layer instead.

    Signals
    -------
    changed
        Another layer or file.
    """

    changed = Signal()

    def __init__(self, viewer: Any, spec: InputSpec, title: str, named: Sequence[str] = (), nth: int = 0) -> None:
        super().__init__()
        self._spec, self._title, self._named, self._nth = spec, title, tuple(named), nth
        self._opening: Any = None
        self._error, self._gone = "", False
        self.needed = spec.required
        none = "choose…" if spec.required else "none"
        self.combo = LayerCombo(viewer, lambda layer: fits(layer, spec), none=none, prefer=self._best)
        self.combo.setMinimumContentsLength(5)
        describe(self.combo, title, f"{spec.description}; a layer, or a file")
        self.button = small_button("…", f"Open a file: {title}", "Open a file; it stays out of the layer list")
        label = QLabel(title)
        label.setBuddy(self.combo)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(label)
        row.addWidget(self.combo, 1)
        row.addWidget(self.button)
        self.setAcceptDrops(True)
        self.combo.layer_changed.connect(self._chosen)
        self.button.clicked.connect(self._browse)

    @property
    def layer(self) -> Any:
        """The chosen layer; None when there is none, or it is a file."""
        return None if isinstance(self.combo.layer, ImageStack) else self.combo.layer

    @property
    def given(self) -> bool:
        """Whether something was chosen."""
        return self.combo.layer is not None

    def problem(self) -> str:
        """Return why this input can't be used as it stands; empty when it can (or may be left out)."""
        if self._opening is not None:
            return f"Wait for the file of {self._title}"
        if self._error:
            return self._error
        if not self.given:
            return f"{self._title} is missing: choose its layer or a file" if self.needed else ""
        if self.layer is None:
            return ""
        found = problems_of(self.layer, self._spec, guess_axes(self.layer, self._spec))
        return next((p.text for p in found if p.severity == "error"), "")

    def value(self) -> ImageStack | None:
        """Return what is chosen."""
        chosen = self.combo.layer
        if chosen is None or isinstance(chosen, ImageStack):
            return chosen
        return stack_from_layer(chosen, guess_axes(chosen, self._spec))

    def take_file(self, path: str) -> None:
        """Open a file, in the background."""

        def opened() -> ImageStack:
            from napari_recon.io import open_stack

            return open_stack(path)

        self._error = ""
        self._opening = call_in_background(opened, done=self._opened, failed=self._failed, parent=self)
        self.changed.emit()

    def let_go(self) -> None:
        """Stop and let go of the viewer."""
        if self._opening is not None:
            self._opening.drop()
            self._opening = None
        if not self._gone:  # several panels may hold this row
            self._gone = True
            self.combo.let_go()

    def _best(self, layers: list[Any]) -> Any:
        fitting = [layer for layer in layers if any(part in layer.name.lower() for part in self._named)]
        return fitting[self._nth] if len(fitting) > self._nth else None

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, f"Choose a file: {self._title}", "", "All files (*)")
        if path:
            self.take_file(path)

    def _opened(self, stack: ImageStack) -> None:
        self._opening = None
        self.combo.offer(stack)

    def _failed(self, error: Exception) -> None:
        self._opening, self._error = None, str(error)
        self.changed.emit()

    def _chosen(self) -> None:
        self._error = ""
        self.changed.emit()


class Sources(QWidget):
    """Several files or layers for one input, in order.

    Signals
    -------
    changed
    """

    changed = Signal()

    def __init__(self, rows: Sequence[SourceRow]) -> None:
        super().__init__()
        self.rows = list(rows)
        self._wanted = len(self.rows)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for row in self.rows:
            column.addWidget(row)
            row.changed.connect(self.changed)

    @property
    def layer(self) -> Any:
        """The first layer chosen, or None."""
        return next((row.layer for row in self.shown if row.layer is not None), None)

    @property
    def shown(self) -> list[SourceRow]:
        """The rows that count."""
        return self.rows[: self._wanted]

    @property
    def given(self) -> bool:
        """Whether something was chosen."""
        return any(row.given for row in self.shown)

    def set_count(self, count: int) -> None:
        """Show so many rows."""
        self._wanted = count
        for at, row in enumerate(self.rows):
            row.setVisible(at < count)

    def problem(self) -> str:
        """Return why these can't be used; empty when they can."""
        return next((text for row in self.shown if (text := row.problem())), "")

    def value(self) -> tuple[ImageStack, ...]:
        """Return what is chosen."""
        return tuple(value for row in self.shown if (value := row.value()) is not None)

    def let_go(self) -> None:
        """Let go of the viewer."""
        for row in self.rows:
            row.let_go()


class PsfSource(Sources):
    """The PSF of every view: measured (layers or files), Gaussian or computed from the microscope.

    Signals
    -------
    kind_chosen : str
        A person chose another kind of PSF.
    """

    kind_chosen = Signal(str)

    def __init__(self, rows: Sequence[SourceRow]) -> None:
        super().__init__(rows)
        self.by_hand = False
        self.kind_combo, self.settings, self.line = QComboBox(), Rows(), Line()
        describe(self.kind_combo, "Kind of PSF", "Where the PSF of each view comes from")
        guard_wheel(self.kind_combo)
        self.kind_combo.setMinimumContentsLength(10)
        self.kind_combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        for kind, text in KINDS.items():
            self.kind_combo.addItem(text, kind)
        column = self.layout()
        assert isinstance(column, QVBoxLayout)
        column.insertWidget(0, self.kind_combo)
        column.addWidget(self.settings)
        column.addWidget(self.line)
        self.kind_combo.activated.connect(self._picked)

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return str(self.kind_combo.currentData())

    def choose(self, kind: str) -> None:
        """Show a kind of PSF."""
        self.kind_combo.setCurrentIndex(self.kind_combo.findData(kind))

    def settle(self, optics_known: bool) -> None:
        """Take the best kind there is, unless a person has chosen one: measured, computed, Gaussian."""
        if not self.by_hand:
            best = "layers" if any(row.given for row in self.rows) else "light-sheet" if optics_known else "gaussian"
            if best != self.kind:
                self.choose(best)

    def show_for(self, views: int, computable: bool) -> None:
        """Show what `views` need; networks take measured PSFs only (not `computable`)."""
        measured = self.kind == "layers" or not computable
        self.set_count(views if measured else 0)
        self._wanted = views
        self.kind_combo.setVisible(computable)
        self.settings.setVisible(computable and not measured)

    def missing(self, views: int, values: Mapping[str, Any], optics: Mapping[str, Any]) -> str:
        """Return what has to be given before a deconvolution can run; empty when nothing has to."""
        if self.kind == "layers":
            given = len([row for row in self.rows[:views] if row.given])
            if given not in (1, views):
                return "The PSF is missing: choose a layer or file for each view (or one for all), or let it be computed"
            return self.problem()
        if self.kind == "gaussian":
            return "" if values["psf_fwhm_um"] else "The PSF is missing: type its width (PSF FWHM), or choose another kind"
        lacking = {"na": "NA", "wavelength_um": "emission wavelength"}
        unknown = [word for name, word in lacking.items() if values[name] == "auto" and not optics.get(name)]
        return f"Type the {' and the '.join(unknown)} to compute the PSF; the data do not say" if unknown else ""

    def problem(self) -> str:
        """See `Sources.problem`."""
        return (
            next((text for row in self.shown if row.given and (text := row.problem())), "") if self.kind == "layers" else ""
        )

    def value(self) -> tuple[ImageStack, ...]:
        """See `Sources.value`; empty when the PSF is computed."""
        return super().value() if self.kind == "layers" else ()

    def _picked(self, _: int) -> None:
        self.by_hand = True
        self.kind_chosen.emit(self.kind)
        self.changed.emit()
