"""What the user set in napari's Preferences for this plugin; environment variables say the same without a viewer."""

from __future__ import annotations

import os
from typing import Any

from napari_recon.core.compute import Compute
from napari_recon.core.settings import CACHE, OFFLINE

PLUGIN = "napari-recon"
REFRESHES_PER_SECOND = 10


def compute() -> Compute:
    """Return device, threads, memory and seed from Preferences; automatic ones when napari knows no such settings."""
    settings = _settings("compute")
    if settings is None:
        return Compute()
    return Compute(
        device=str(settings.device),
        threads=int(settings.threads),
        memory_bytes=int(float(settings.memory_gb) * 1e9),
        seed=int(settings.seed),
    )


def precision() -> str:
    """Return the precision a dock starts with, where its method lets one choose."""
    return str(getattr(_settings("compute"), "precision", "float32"))


def preview_size(usual: int) -> int:
    """Return the width of a preview in voxels, the dock's usual one when nothing is set."""
    return int(getattr(_settings("viewer"), "preview_size", 0)) or usual


def results_folder() -> str:
    """Return where results too large for the memory are written; empty for a place that they leave with their layers."""
    return str(getattr(_settings("files"), "results_folder", "")).strip()


def restores() -> bool:
    """Return whether a result that is dropped onto napari opens the dock that made it."""
    return bool(getattr(_settings("viewer"), "restore_results", True))


def refresh_ms() -> int:
    """Return the time between two updates of a result that is being made."""
    return round(1000 / float(getattr(_settings("viewer"), "refreshes_per_second", REFRESHES_PER_SECOND)))


def use_files() -> None:
    """Make cache folder and network policy hold for the whole process, as their environment variables do."""
    settings = _settings("files")
    if settings is None:
        return
    if folder := str(settings.cache_folder).strip():
        os.environ[CACHE] = folder
    if not settings.downloads:
        os.environ[OFFLINE] = "1"


def _settings(group: str) -> Any:
    from napari.settings import get_plugin_settings

    try:
        return getattr(get_plugin_settings(PLUGIN), group)
    except (KeyError, ValueError, AttributeError):
        return None
