"""Interactive and headless reconstruction of light-field, SIM, lattice light-sheet and 4D microscopy data."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0.dev0"

_LAZY = {
    "run": "napari_recon.jobs.api",
    "plan": "napari_recon.jobs.api",
    "train": "napari_recon.jobs.api",
    "simulate": "napari_recon.jobs.api",
    "rerun": "napari_recon.jobs.api",
    "batch": "napari_recon.jobs.batch.api",
    "convert": "napari_recon.jobs.api",
    "compare": "napari_recon.jobs.api",
    "compare_methods": "napari_recon.jobs.methods",
    "list_engines": "napari_recon.jobs.api",
    "list_parameters": "napari_recon.jobs.api",
}
_PACKAGES = ("hub", "samples")
__all__ = ["__version__", *_LAZY, *_PACKAGES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _PACKAGES:
        return import_module(f"napari_recon.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
