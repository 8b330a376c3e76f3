"""What docks share whose methods fit a continuous field to data and query it: tabs, the field's own voxels, going on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from qtpy.QtWidgets import QTabBar, QWidget

from napari_recon.core.grid import Grid
from napari_recon.core.params import nested
from napari_recon.core.plan import Plan
from napari_recon.engines import registry
from napari_recon.viewer.layer_input import letters_of, stack_from_layer
from napari_recon.widgets.dock import EngineDock
from napari_recon.widgets.go_on import offer_to_continue
from napari_recon.widgets.look import describe
from napari_recon.widgets.request import Estimate, Request


class FieldDock(EngineDock):
    """A dock with the tabs Fit and Query.

    Attributes
    ----------
    fit, query : str
        The engines of the two tabs.
    """

    fit: ClassVar[str]
    query: ClassVar[str]
    of_this_run: ClassVar[tuple[str, ...]] = ("resume",)
    _lattice: Grid | None = None
    _lattice_of = ""
    _fitted = ""
    _saved: Any = None
    _asked: Mapping[str, Any] = {}

    def chooser(self) -> QWidget:
        """See `EngineDock.chooser`: few methods, so tabs."""
        self.tabs = QTabBar()
        describe(self.tabs, "What to do", "Fit a field to a recording, or query one that was fitted")
        for number, (name, text) in enumerate(self.methods.items()):
            self.tabs.addTab(text)
            self.tabs.setTabToolTip(number, registry.get(name).info.summary)
        self.tabs.currentChanged.connect(self._tab_chosen)
        return self.tabs

    @property
    def asks_where(self) -> bool:
        """See `EngineDock.asks_where`."""
        return self.engine == self.query or super().asks_where

    def request(self) -> Request | None:
        """See `EngineDock.request`; what belongs to another way to fit keeps its default."""
        found = super().request()
        if found is None:
            return None
        if self.engine == self.query:
            return replace(found, arranged=self._lattice)
        form, other = self.settings.form, self.unused_settings(self.settings.values())
        params = nested({name: form.default(name) if name in other else f.value() for name, f in form.fields.items()})
        return replace(found, params=params)

    def unused_settings(self, values: Mapping[str, Any]) -> frozenset[str]:
        """Return the parameters of a fit (dotted) that do not matter under these settings."""
        raise NotImplementedError

    def lattice_of(self, plan: Plan) -> Grid:
        """Return the grid that a query's box and times count, of a plan."""
        raise NotImplementedError

    def subject(self) -> str:
        """See `EngineDock.subject`."""
        card = self.model.card if self.engine == self.query else None
        return card.name if card is not None else super().subject()

    def parents(self) -> tuple[Any, ...]:
        """See `EngineDock.parents`; a query lies on what its field was fitted to."""
        reference = self.reference() if self.engine == self.query else None
        return super().parents() if reference is None else (reference,)

    def title_of_model(self) -> str:
        """See `EngineDock.title_of_model`; a cancelled fit goes on from its checkpoint."""
        name = self.controller.job.title if self.controller.job is not None else ""
        return f"{name} · {datetime.now():%d %b %H:%M}" if self.controller.state != "stopping" else ""

    def model_kept(self, card: Any) -> None:
        """See `EngineDock.model_kept`."""
        self._fitted = card.id
        if self.engine == self.query and self.controller.state == "idle":
            self.model.choose(card.id)

    def reference(self) -> Any:
        """Return the newest layer whose voxels are those of the field to be queried."""
        lattice = self._lattice
        if lattice is None:
            return None
        for layer in reversed(self.viewer.layers):
            axes = letters_of(layer.axis_labels)
            if layer._type_string == "image" and {"Z", "Y", "X"} <= set(axes):
                grid = stack_from_layer(layer, axes).grid
                if grid.only("ZYX").alike(lattice.only("ZYX")):
                    return layer
        return None

    def _tab_chosen(self, at: int) -> None:
        self.choose_method(self.method_combo.itemData(at))

    def _show_tab(self) -> None:
        """Show the tab of the method in use."""
        self.tabs.blockSignals(True)
        self.tabs.setCurrentIndex(self.method_combo.currentIndex())
        self.tabs.blockSignals(False)

    def _set_method(self, _: int = 0) -> None:
        super()._set_method()
        self._show_tab()
        fit = self.engine == self.fit
        self._show_parts(fit)
        self.run_bar.preview_button.setVisible(not fit)
        if not fit and self._fitted:
            self.model.choose(self._fitted)
        self._settings_changed()
        self._order_focus()
        self.scroll.verticalScrollBar().setValue(0)

    def _show_parts(self, fit: bool) -> None:
        """Show the parts of the dock that belong to the fit, or to what comes after it."""
        raise NotImplementedError

    def _settings_changed(self) -> None:
        """Show what matters under the settings as they are now."""
        raise NotImplementedError

    def _connect(self) -> None:
        super()._connect()
        self.settings.changed.connect(self._settings_changed)
        self.controller.state_changed.connect(lambda state: self.estimate.setVisible(state == "idle"))

    def _no_preview(self) -> str:
        return "A fit shows its estimate from the first second: press Fit" if self.engine == self.fit else ""

    def _ask(self) -> None:
        card = self.model.card if self.engine == self.query else None
        if card is not None and card.id != self._lattice_of:
            self._lattice_of, self._lattice = card.id, None
            self._set_region()
            self._settings_changed()
        super()._ask()

    def _planned(self, estimate: Estimate) -> None:
        plan = estimate.plans[0]
        if plan.engine == self.query and (lattice := self.lattice_of(plan)) != self._lattice:
            self._lattice = lattice
            self._set_region()
        super()._planned(estimate)
        if plan.engine == self.fit:
            self.run_bar.hint("Fit shows the result from the first second; stop it whenever it is good enough.")

    def _set_region(self) -> None:
        if self.engine != self.query:
            super()._set_region()
            return
        layer = self.reference()
        self.region.set_source(layer, letters_of(layer.axis_labels) if layer is not None else "", self._lattice)

    def _begin(self, request: Any, preview: bool) -> None:
        self._saved, self._asked, self.sharing.early = None, request.params, None
        self.controller.results.follow = request.engine == self.fit
        super()._begin(request, preview)

    def _take_checkpoint(self, event: Any) -> None:
        """See `EngineDock._take_checkpoint`; a cancelled fit offers to go on, so the file need not be spoken of."""
        self._saved = event

    def _finished(self, result: Any) -> None:
        super()._finished(result)
        if result.plan is None or result.plan.engine != self.fit or result.error is not None:
            return
        if result.partial:
            self.sharing.keep_early(f"{result.job.title}, early · {datetime.now():%d %b %H:%M}")
        if result.partial and self._saved is not None:
            offer_to_continue(self, self.fit, self._saved, result.layers, "fit")
        elif not result.partial and self.engine == self.fit and self.settings.values()["resume"]:
            self.settings.change({"resume": ""})
