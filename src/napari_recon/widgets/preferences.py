"""What the user set in napari's Preferences for this plugin."""

from __future__ import annotations

from typing import Any

from napari_recon.core.compute import Compute

PLUGIN = "napari-recon"


def compute() -> Compute:
    """Return device, threads, memory and seed from Preferences; automatic ones when napari knows no such settings."""
    settings = _settings()
    if settings is None:
        return Compute()
    return Compute(
        device=str(settings.device),
        threads=int(settings.threads),
        memory_bytes=int(float(settings.memory_gb) * 1e9),
        seed=int(settings.seed),
    )


def _settings() -> Any:
    from napari.settings import get_plugin_settings

    try:
        return get_plugin_settings(PLUGIN).compute
    except (KeyError, ValueError, AttributeError):
        return None
