"""The Light field dock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from napari_recon.widgets.dock import EngineDock


class LightFieldWidget(EngineDock):
    """Volumes from light-field recordings: Richardson-Lucy (no weights needed), SeReNet networks, plain refocusing."""

    methods: ClassVar[Mapping[str, str]] = {
        "deconvolution.lightfield_rl": "Richardson-Lucy",
        "serenet.reconstruct": "SeReNet",
        "serenet.refocus": "Refocus",
    }
    what: ClassVar[str] = "light-field recording"
    sample: ClassVar[tuple[str, str] | None] = ("napari-recon", "lightfield")
    preview_size: ClassVar[int] = 63
    preview_params: ClassVar[Mapping[str, Mapping[str, Any]]] = {"deconvolution.lightfield_rl": {"iterations": 6}}
