"""Engine registry: name -> import path, loaded on first use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from napari_recon.core.engine import Engine
from napari_recon.core.errors import InputError


class Registry:
    """Finds engines by name.

    Parameters
    ----------
    built_in : mapping
        Name -> ``"module:Class"``.
    group : str
        Entry-point group through which other packages add engines.
    """

    def __init__(self, built_in: Mapping[str, str], group: str = "") -> None:
        self._targets = dict(built_in)
        self._group = group
        self._loaded: dict[str, Engine[Any]] = {}

    @cached_property
    def _from_packages(self) -> dict[str, str]:
        return {point.name: point.value for point in entry_points(group=self._group)} if self._group else {}

    def register(self, name: str, engine: Engine[Any]) -> None:
        """Add (or replace) an engine at run time."""
        self._loaded[name] = engine

    def unregister(self, name: str) -> None:
        """Forget an engine added by `register`."""
        self._loaded.pop(name, None)

    def names(self) -> list[str]:
        """Return every engine name, sorted."""
        return sorted({*self._targets, *self._from_packages, *self._loaded})

    def get(self, name: str) -> Engine[Any]:
        """Return the engine called `name`.

        Raises
        ------
        InputError
            When there is none; the message lists what there is.
        """
        if name not in self._loaded:
            target = self._targets.get(name) or self._from_packages.get(name)
            if target is None:
                raise InputError(f"there is no engine {name!r}; choose one of {', '.join(self.names())}")
            module, _, attribute = target.partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)()
        return self._loaded[name]
