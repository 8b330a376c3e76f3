"""Models: cards, catalogue, recognising foreign checkpoints, safe loading. Torch is imported only to open a torch file."""

from __future__ import annotations

from napari_recon.hub.card import ModelCard, cache_folder, checkpoint_folder
from napari_recon.hub.download import fetch
from napari_recon.hub.menu import CheckReport, built_in, catalogue, check, find, fits_engine, import_model, remove, resolve
from napari_recon.hub.recognise import Recognised, differences
from napari_recon.hub.state import load_state, sha256

__all__ = [
    "CheckReport",
    "ModelCard",
    "Recognised",
    "built_in",
    "cache_folder",
    "catalogue",
    "check",
    "checkpoint_folder",
    "differences",
    "fetch",
    "find",
    "fits_engine",
    "import_model",
    "load_state",
    "remove",
    "resolve",
    "sha256",
]
