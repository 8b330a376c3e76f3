"""Settings as files: what a dock writes and everything it can read them back from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from napari_recon.core.errors import InputError
from napari_recon.jobs.recipes import read_recipe

FILTER = "Settings, recipes and results (*.yaml *.yml *.ome.tif *.tif *.zarr *.ome.zarr);;All files (*)"


@dataclass(frozen=True)
class Settings:
    """What a settings file holds."""

    engine: str
    params: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None


def write_settings(path: str | Path, settings: Settings) -> None:
    """Write settings as YAML; ``params`` is what ``napari-recon run --params`` takes.

    Raises
    ------
    InputError
        When the place is not writable.
    """
    content = {"engine": settings.engine, "model": settings.model, "params": dict(settings.params)}
    try:
        Path(path).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"the settings could not be written to {path} ({error.strerror}); choose a writable place"
        ) from None


def read_settings(path: str | Path) -> Settings:
    """Return the settings in a settings file, a recipe or a result that carries one (of its last step).

    Raises
    ------
    InputError
        When there are none.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        content = None
    if isinstance(content, dict) and isinstance(content.get("engine"), str) and isinstance(content.get("params"), dict):
        return Settings(content["engine"], content["params"], content.get("model"))
    step = read_recipe(path).steps[-1]
    return Settings(step.engine, step.params, step.model.id if step.model else None)
