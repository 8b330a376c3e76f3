"""What the docks remember between sessions: the last settings of every engine, and named presets, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from napari_recon.core.errors import InputError
from napari_recon.core.settings import config_folder


def settings_file() -> Path:
    """Return where settings are kept."""
    return config_folder() / "settings.yaml"


class SettingsStore:
    """Reads and writes the settings file; a file that cannot be read counts as empty and is kept as ``*.broken``.

    Parameters
    ----------
    path : Path, optional
        Default: `settings_file`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or settings_file()

    def last(self, engine: str) -> dict[str, Any]:
        """Return what was last used with `engine` (``params`` and ``model``), empty when nothing was."""
        return dict(self._engine(self._read(), engine).get("last") or {})

    def remember(self, engine: str, params: Mapping[str, Any], model: str | None = None) -> None:
        """Store what was just used; a full or read-only disk is no reason to stop a run."""
        try:
            self._change(engine, lambda entry: entry.update(last={"params": dict(params), "model": model}))
        except InputError:
            return

    def presets(self, engine: str) -> dict[str, dict[str, Any]]:
        """Return the named presets of `engine`, sorted by name."""
        found = self._engine(self._read(), engine).get("presets")
        return {name: found[name] for name in sorted(found)} if isinstance(found, dict) else {}

    def save(self, engine: str, name: str, params: Mapping[str, Any]) -> None:
        """Store a preset, replacing one of the same name (InputError when the file cannot be written)."""
        self._change(engine, lambda entry: entry.setdefault("presets", {}).update({name: dict(params)}))

    def delete(self, engine: str, name: str) -> None:
        """Forget a preset; unknown names are ignored."""
        self._change(engine, lambda entry: (entry.get("presets") or {}).pop(name, None))

    def _change(self, engine: str, change: Any) -> None:
        content = self._read()
        change(self._engine(content, engine))
        part = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
            part.replace(self.path)
        except OSError as error:
            raise InputError(
                f"the settings could not be written to {self.path} ({error}); make that place writable"
            ) from None

    def _read(self) -> dict[str, Any]:
        try:
            content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except OSError:
            return {}
        except (yaml.YAMLError, UnicodeDecodeError):
            content = None
        if isinstance(content, dict):
            return content
        if self.path.exists():
            self.path.replace(self.path.with_suffix(".broken"))
        return {}

    @staticmethod
    def _engine(content: dict[str, Any], engine: str) -> dict[str, Any]:
        engines = content.setdefault("engines", {})
        if not isinstance(engines, dict):
            engines = content["engines"] = {}
        entry = engines.setdefault(engine, {})
        if not isinstance(entry, dict):
            entry = engines[engine] = {}
        return entry
