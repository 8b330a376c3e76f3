"""What scrubbing shows: the field as a layer, and beside it the recording, its truth, or plain interpolations."""

from __future__ import annotations

import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.engines.inr4d.params import QueryParams
from napari_recon.engines.inr4d.place import data_grid
from napari_recon.viewer.layer_input import guess_axes, stack_from_layer
from napari_recon.viewer.neural_layer import add_field, field_source, live_field
from napari_recon.viewer.plain_fields import PLAIN, plain_field, recording_of
from napari_recon.viewer.side_by_side import dress_alike, show_row
from napari_recon.viewer.worker import call_in_background
from napari_recon.widgets.field4d_scrub import STEPS

if TYPE_CHECKING:
    from napari_recon.widgets.field4d import Field4DWidget

RECORDING, TRUTH = "Recording", "Truth"
TIPS = {
    RECORDING: "The recording: between frames, the frame that is nearest",
    TRUTH: "The layer that calls itself the truth",
    "linear": "Each voxel interpolated linearly",
    "cubic": "Each voxel interpolated with cubic splines",
    "flow": "Frames warped by optical flow; takes some seconds",
}


class Beside:
    """Works for one dock: opens fields as layers, makes those of plain interpolations, puts layers side by side."""

    def __init__(self, dock: Field4DWidget) -> None:
        self._dock = dock
        self._layers: dict[tuple[str, str], Any] = {}
        self._busy: dict[tuple[str, str], tuple[Any, CancelToken | None]] = {}
        self._end: Any = None
        dock.scrub.open_wanted.connect(self.open)
        dock.scrub.beside_wanted.connect(self.show_beside)
        dock.scrub.export_wanted.connect(self.keep)
        dock.viewer.layers.events.removed.connect(self._removed)

    @property
    def layer(self) -> Any:
        """The layer of the chosen field, None when it is not open."""
        card = self._dock.model.card
        return self._layers.get((card.id, "")) if card is not None else None

    def let_go(self) -> None:
        """Stop what is being made, and put nothing beside anything any more; layers stay."""
        self._dock.viewer.layers.events.removed.disconnect(self._removed)
        for background, token in self._busy.values():
            background.drop()
            if token is not None:
                token.cancel()
        self._busy.clear()
        self._leave_row()

    def open(self) -> None:
        """Open the chosen field as a layer."""
        card = self._dock.model.card
        if card is None or not card.available or (card.id, "") in self._busy:
            return
        if self.layer is None:
            self._dock.scrub.line.say(f"Opening {card.name} …")
            self._open(card.id, "", card.path, f"{card.name.partition(' · ')[0]} · field")
        self.field_changed()

    def field_changed(self) -> None:
        """Show what is known of the chosen field."""
        dock = self._dock
        if not dock._scrubbing:
            self._leave_row()
            return
        scrub, card, layer = dock.scrub, dock.model.card, self.layer
        scrub.set_field(data_grid_of(layer))
        reason = dock.model.reason() or ("Wait: it is being opened" if card and (card.id, "") in self._busy else "")
        scrub.set_reason(reason)
        if layer is None:
            self._leave_row()
            return
        scrub.line.say("")
        found = recording_of(dock.viewer, card.options) if card is not None else None
        lost = "" if found is not None else "The recording that this field was fitted to is not open"
        names = [(RECORDING, TIPS[RECORDING], lost)]
        if self._truth() is not None:
            names.append((TRUTH, f"{TIPS[TRUTH]}: {self._truth().name}", ""))
        scrub.offer_beside([*names, *((text, TIPS[name], lost) for name, text in PLAIN.items())])
        if scrub.chosen and self._end is None:
            self._put_in_row(scrub.chosen)

    def show_beside(self, names: tuple[str, ...]) -> None:
        """Show these beside the field; plain interpolations are fitted first."""
        card = self._dock.model.card
        if card is None or self.layer is None:
            return
        for method, text in PLAIN.items():
            if text in names and self._layers.get((card.id, method)) is None and (card.id, method) not in self._busy:
                self._make(card, method)
        self._put_in_row(names)

    def keep(self) -> None:
        """Put what is seen, computed exactly, into a layer of its own."""
        live = live_field(self.layer)
        if live is not None:
            live.export_view()

    def _put_in_row(self, names: tuple[str, ...]) -> None:
        """Show the plain ones on the left, the field, and the truth on the right."""
        self._leave_row()
        card, layer, truth = self._dock.model.card, self.layer, self._truth()
        if card is None or layer is None:
            return
        found = recording_of(self._dock.viewer, card.options) if RECORDING in names else None
        plain = [self._layers.get((card.id, method)) for method, text in PLAIN.items() if text in names]
        others = [other for other in (found[0] if found is not None else None, *plain) if other is not None]
        fitting = [text for method, text in PLAIN.items() if (card.id, method) in self._busy]
        waiting = f"{', '.join(fitting)}: being fitted …" if fitting else ""
        order = [*others, layer, *([truth] if truth is not None and TRUTH in names else [])]
        if len(order) == 1:
            self._dock.scrub.beside_line.say(waiting)
            return
        for other in order:
            dress_alike(other, layer)
        self._end = show_row(self._dock.viewer, order)
        said = "From the left: " + ", ".join(self._called(each, card.id) for each in order)
        self._dock.scrub.beside_line.say(f"{said}. {waiting}" if waiting else said)

    def _called(self, layer: Any, id: str) -> str:
        for (of, method), known in self._layers.items():
            if known is layer and of == id:
                return PLAIN.get(method, "this field").lower()
        return "truth" if layer is self._truth() else "recording"

    def _leave_row(self) -> None:
        if self._end is not None:
            self._end()
            self._end = None
        self._dock.scrub.beside_line.say("")

    def _make(self, card: Any, method: str) -> None:
        found = recording_of(self._dock.viewer, card.options)
        if found is None:
            return
        folder, token = TemporaryDirectory(ignore_cleanup_errors=True), CancelToken()
        path = Path(folder.name) / f"{method}.safetensors"
        background = call_in_background(
            plain_field, found[1], dict(card.options), method, path, token,
            done=lambda path: self._open(card.id, method, str(path), f"{found[0].name} · {method}", folder),
            failed=lambda error: self._failed(card.id, method, error),
            parent=self._dock,
        )  # fmt: skip
        self._busy[card.id, method] = background, token

    def _open(self, id: str, method: str, path: str, name: str, folder: Any = None) -> None:
        background = call_in_background(
            field_source, path, None if method else self._unsaid(),
            done=lambda source: self._opened(id, method, source, name, folder),
            failed=lambda error: self._failed(id, method, error),
            parent=self._dock,
        )  # fmt: skip
        self._busy[id, method] = background, None

    def _unsaid(self) -> Grid | None:
        """Return the grid of the recording of a published field, whose files do not say it, if it is open."""
        card, spec = self._dock.model.card, registry.get("inr4d.fit").info.input("movie")
        if card is None or "grid" in card.options:
            return None
        for layer in self._dock.viewer.layers:
            axes = guess_axes(layer, spec) if layer._type_string == "image" and layer.ndim == 4 else ""
            with suppress(InputError):
                if axes:
                    return data_grid(QueryParams(), card.ref(), stack_from_layer(layer, axes).grid.only("TZYX"))
        return None

    def _opened(self, id: str, method: str, source: Any, name: str, folder: Any) -> None:
        del self._busy[id, method]
        dock = self._dock
        layer = add_field(dock.viewer, source, name=name, time_steps=STEPS)
        self._layers[id, method] = layer
        if folder is not None:
            layer.visible = False  # but for its place in the row: alone it would pass for the field
            weakref.finalize(layer, folder.cleanup)
            if self.layer is not None:
                dress_alike(layer, self.layer)
        else:
            live = live_field(layer)
            assert live is not None  # it was just made
            live.failed.connect(lambda text: dock.run_bar.say(text, "error"))
            self._hide_others(layer)
            dock.viewer.layers.selection.active = layer
            found = recording_of(dock.viewer, source.model.options)
            if found is not None:
                seen = found[0]
                layer.contrast_limits_range, layer.contrast_limits = seen.contrast_limits_range, seen.contrast_limits
        if not method:
            self.field_changed()
        elif dock._scrubbing:
            self._put_in_row(dock.scrub.chosen)

    def _failed(self, id: str, method: str, error: Exception) -> None:
        self._busy.pop((id, method), None)
        self._dock.scrub.line.say("")
        self._dock.scrub.beside_line.say("")
        if method:
            self._dock.scrub.uncheck([PLAIN[method]])
        self.field_changed()
        self._dock._failed(error)

    def _hide_others(self, layer: Any) -> None:
        """Hide other images: the field lies over all of them."""
        for other in self._dock.viewer.layers:
            if other is not layer and other._type_string == "image":
                other.visible = False

    def _truth(self) -> Any:
        """Return the layer that calls itself the truth of what was recorded, None without one."""
        layers = self._dock.viewer.layers
        return next(
            (la for la in layers if "truth" in la.name.lower() and la._type_string == "image" and la.ndim == 4), None
        )

    def _removed(self, event: Any) -> None:
        gone = [key for key, layer in self._layers.items() if layer is event.value]
        for key in gone:
            del self._layers[key]
            if key[1]:
                self._dock.scrub.uncheck([PLAIN[key[1]]])
            else:
                self._dock.scrub.uncheck()
        if gone:
            self.field_changed()


def data_grid_of(layer: Any) -> Grid | None:
    """Return the grid (TZYX) of the recording that the layer's field stands for, None when it is closed."""
    live = live_field(layer) if layer is not None else None
    return None if live is None else live.source.data
