"""The Light field dock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from qtpy.QtWidgets import QWidget

from napari_recon.widgets.dock import EngineDock
from napari_recon.widgets.raw_light_field import RawLightField
from napari_recon.widgets.refine import RefinePanel


class LightFieldWidget(EngineDock):
    """Volumes from light-field recordings: Richardson-Lucy (no weights needed), SeReNet networks, plain refocusing."""

    methods: ClassVar[Mapping[str, str]] = {
        "deconvolution.lightfield_rl": "Richardson-Lucy",
        "serenet.reconstruct": "SeReNet",
        "serenet.refocus": "Refocus",
        "serenet.realign": "Realign a raw picture",
    }
    what: ClassVar[str] = "light-field recording"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "lightfield")
    preview_size: ClassVar[int] = 63
    preview_params: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deconvolution.lightfield_rl": {"iterations": 6}}

    def footer(self) -> list[QWidget]:
        """See `EngineDock.footer`."""
        self.raw, self.refine = RawLightField(self), RefinePanel(self)
        return [self.raw, self.refine]

    def let_go(self) -> None:
        """See `EngineDock.let_go`."""
        if not self._closed:
            self.raw.let_go()
            self.refine.let_go()
        super().let_go()

    def _data_changed(self) -> None:
        super()._data_changed()
        self.raw.consider()
        self.refine.consider()

    def _offer_fix(self, sentence: str) -> None:
        super()._offer_fix(sentence)
        if "realign it" in sentence:
            self.raw.offer(sentence)

    def _finished(self, result: Any) -> None:
        super()._finished(result)
        self.raw.finished(result)
        self.refine.consider()
