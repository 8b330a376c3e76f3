"""Environment variables: what a run without a viewer is told once for all, instead of with every command."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_config_path

from napari_recon.core.errors import InputError

CACHE = "NAPARI_RECON_CACHE"
CONFIG = "NAPARI_RECON_CONFIG"
DEVICE = "NAPARI_RECON_DEVICE"
MEMORY_GB = "NAPARI_RECON_MEMORY_GB"
OFFLINE = "NAPARI_RECON_OFFLINE"


def config_folder() -> Path:
    """Return where settings and waiting jobs are kept: in ``$NAPARI_RECON_CONFIG`` or the user's configuration folder."""
    folder = os.environ.get(CONFIG)
    return Path(folder) if folder else user_config_path("napari-recon", appauthor=False)


def device() -> str:
    """Return the device that ``auto`` stands for, ``auto`` itself when nobody says."""
    return os.environ.get(DEVICE, "").strip() or "auto"


def memory_bytes() -> int:
    """Return what a run may use, 0 when nobody says.

    Raises
    ------
    InputError
        When the variable is no number.
    """
    text = os.environ.get(MEMORY_GB, "").strip()
    try:
        value = float(text or 0)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(f"{MEMORY_GB} should be a number of GB, found {text!r}; mend it or take it away")
    return int(value * 1e9)


def may_download() -> bool:
    """Return whether models may be fetched from the network."""
    return os.environ.get(OFFLINE, "").strip().lower() in ("", "0", "no", "false")
