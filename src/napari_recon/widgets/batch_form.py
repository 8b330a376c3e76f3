"""What the Batch dock asks: recipe, recordings, results, and how."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from napari_recon.core.errors import InputError
from napari_recon.core.provenance import Recipe
from napari_recon.engines import registry
from napari_recon.io.output import is_zarr
from napari_recon.io.suffixes import stem_of
from napari_recon.jobs.batch.items import DEFAULT_NAME
from napari_recon.jobs.batch.records import Settings
from napari_recon.viewer.batch_request import BatchRequest, Outlook
from napari_recon.widgets.batch_fields import FolderField, NamedChoice, PathField, Row
from napari_recon.widgets.fields import NumberField, TextField
from napari_recon.widgets.fold import Fold
from napari_recon.widgets.layout import column, section
from napari_recon.widgets.look import Line, describe

EACH = {"auto": "automatic", "file": "every file", "folder": "every folder, its files along time"}
EXISTING = {"refuse": "do not start", "skip": "keep them", "overwrite": "replace them"}
DEVICES = {
    "": "as in the recipe",
    "auto": "automatic",
    "cpu": "processor",
    "cuda": "graphics card (CUDA)",
    "mps": "graphics card (MPS)",
}
#: What stands in a form that nobody filled in.
EMPTY: dict[str, Any] = {
    "recipe": "",
    "source": "",
    "out": "",
    "each": "auto",
    "name": DEFAULT_NAME,
    "existing": "refuse",
    "params": "",
    "workers": 1,
    "scheduler": "",
    "device": "",
}
#: What is folded away.
MORE = ("params", "device", "workers", "scheduler")
#: Results that are named before the others are only counted.
NAMED = 3


class BatchForm(QWidget):
    """The form; it knows nothing about the viewer.

    Signals
    -------
    changed
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._given: Recipe | None = None
        self.layer_button = QPushButton("&From the selected layer")
        describe(self.layer_button, "Recipe of the selected layer", "Do to every recording what made this layer")
        self.watch_box = QCheckBox("&Watch the folder for what lands")
        tip = "While the microscope records: what lands is made, the newest frames first, until you cancel"
        describe(self.watch_box, "Watch the folder", tip)
        self.names_line, self.recipe_line = Line(), Line()
        recipe = PathField((".yaml", ".ome.tif", ".ome.zarr"))
        whole = NumberField(True, low=1, high=256)
        self.rows = {
            "recipe": Row("Reci&pe", recipe, "A recipe (*.recipe.yaml), or a result of napari-recon; drop it here"),
            "source": Row(
                "&Folder", FolderField(), "Searched with everything below it; also a pattern, or an OME-Zarr with positions"
            ),
            "each": Row("Each is", NamedChoice(EACH), "What counts as one recording"),
            "out": Row("Sa&ve in", FolderField(), "Results and their report; a folder that holds a batch goes on with it"),
            "name": Row("&Names", TextField(), "May hold {folder} {stem} {position} {index}; its end chooses the format"),
            "existing": Row("If there", NamedChoice(EXISTING), "What happens when a file of that name is there already"),
            "params": Row("&Settings", TextField(), "Instead of the recipe's: name=value; other=auto"),
            "device": Row("&Device", NamedChoice(DEVICES), "Where frames are made; as in the recipe: on what it was made"),
            "workers": Row("Pr&ocesses", whole, "1: here in napari. More: that many processes of one thread each"),
            "scheduler": Row("C&luster", PathField((".json",)), "Address of a running dask scheduler, or its file"),
        }
        settings: Any = self.rows["params"].field.inputs()[0]
        settings.setPlaceholderText("as in the recipe")
        address: Any = self.rows["scheduler"].field.inputs()[0]
        address.setPlaceholderText("tcp://host:8786")
        self.more = Fold("Other settings, more processes", column(*(self.rows[name] for name in MORE)))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 4, 0)
        layout.setSpacing(10)
        layout.addWidget(section("Recipe", self.rows["recipe"], self.recipe_line, self.layer_button))
        layout.addWidget(section("Recordings", self.rows["source"], self.rows["each"], self.watch_box))
        layout.addWidget(section("Results", self.rows["out"], self.rows["name"], self.rows["existing"], self.names_line))
        layout.addWidget(self.more)
        layout.addStretch(1)
        self._recipe_box: Any = recipe.inputs()[0]
        self._asks = self._recipe_box.placeholderText()
        self._set(EMPTY)
        self.rows["recipe"].changed.connect(self._recipe_typed)
        for row in self.rows.values():
            row.changed.connect(self.changed)
        self.watch_box.clicked.connect(self.changed)

    def request(self) -> BatchRequest:
        """Return what the form asks for."""
        values = {name: row.field.value() for name, row in self.rows.items()}
        values["recipe"] = values["recipe"] or self._given
        return BatchRequest(**values, watch=self.watch_box.isChecked())

    def noted(self) -> dict[str, Any]:
        """Return what stands in the form as plain values, for the next time."""
        values = {name: row.field.value() for name, row in self.rows.items()}
        if self._given is not None:
            values["given"] = {"recipe": self._given.to_dict(), "name": self._recipe_box.placeholderText()}
        return values

    def restore(self, values: Mapping[str, Any]) -> None:
        """Show what `noted` gave; what does not fit is left out."""
        known = {name: value for name, value in values.items() if name in EMPTY and type(value) is type(EMPTY[name])}
        self.take_request(BatchRequest(**{**EMPTY, **known}))
        with suppress(InputError, KeyError, TypeError):
            given = values["given"]
            self.take_recipe(Recipe.from_dict(given["recipe"], "what was noted"), str(given["name"]))

    def take_request(self, request: BatchRequest) -> None:
        """Show a request."""
        self._set({name: getattr(request, name) for name in EMPTY if name != "recipe"})
        self.watch_box.setChecked(request.watch)
        if isinstance(request.recipe, Recipe):
            self._give(request.recipe, "of this batch")
        else:
            self._given = None
            self._recipe_box.setPlaceholderText(self._asks)
            self._set({"recipe": request.recipe or ""})
        self.more.set_open(any(getattr(request, name) != EMPTY[name] for name in MORE))
        self.changed.emit()

    def take_recipe(self, recipe: Recipe, name: str) -> None:
        """Use a recipe that is no file: of a layer, of another dock."""
        self._give(recipe, name)
        self.changed.emit()

    def take(self, name: str, value: str) -> None:
        """Put a path into a field, as a person would."""
        field = self.rows[name].field
        assert isinstance(field, PathField)
        field.take_file(value)

    def empty(self, name: str) -> None:
        """Take a path out of its field."""
        self._set({name: ""})
        self.changed.emit()

    def take_batch(self, settings: Settings) -> None:
        """Ask for the batch that a folder of results holds."""
        self._give(Recipe.from_dict(settings.recipe), "of the batch in this folder")
        kept = {name: getattr(settings, name) for name in ("source", "each", "name", "device")}
        self._set({**kept, "params": ""})
        self.changed.emit()

    def show_outlook(self, found: Outlook) -> None:
        """Say what would happen, and what is wrong with which field."""
        count = len(found.rows)
        remarks = {"source": f"{count} recording{'s' if count != 1 else ''}" if count else ""}
        if self.watch_box.isChecked() and not count:
            remarks["source"] = "Nothing there yet; what lands will be taken up" if self.rows["source"].field.value() else ""
        if any(Path(row.item.source).is_dir() and not is_zarr(Path(row.item.source)) for row in found.rows):
            remarks["each"] = "The files of a folder are one recording, along time"
        for name, row in self.rows.items():
            row.judge(found.problems.get(name, ""), remarks.get(name, ""))
        if {*MORE} & set(found.problems):
            self.more.set_open(True)
        self.recipe_line.say(_words(found.recipe) if found.recipe is not None else "")
        self.recipe_line.setToolTip(_settings(found.recipe) if found.recipe is not None else "")
        self.names_line.say(self._names(found) if self.rows["out"].field.value() and count else "")

    def _names(self, found: Outlook) -> str:
        out = Path(self.rows["out"].field.value()).expanduser().resolve()
        first = [f"{out.name}/{row.target.relative_to(out).as_posix()}" for row in found.rows[:NAMED]]
        more = len(found.rows) - len(first)
        return "→ " + "\n    ".join([*first, *([f"and {more} more"] if more else [])])

    def _give(self, recipe: Recipe, name: str) -> None:
        self._given = recipe
        self._recipe_box.setPlaceholderText(name)
        self._set({"recipe": ""})

    def _recipe_typed(self) -> None:
        if self.rows["recipe"].field.value():
            self._given = None

    def _set(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            self.rows[name].field.set_value(value)


def _words(recipe: Recipe) -> str:
    titles = " → ".join(registry.get(step.engine).info.title for step in recipe.steps)
    models = [stem_of(Path(s.model.id or s.model.path)) for s in recipe.steps if s.model is not None]
    return f"{titles} ({', '.join(models)})" if models else titles


def _settings(recipe: Recipe) -> str:
    values = {step.engine: step.params for step in recipe.steps}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).strip()
