"""Remedies in sentences become buttons: "set angles=3, phases=5" is one click away from being done."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import yaml

_SETTING = re.compile(r"\b([a-z][a-z_]*)=([\w.+-]+)")


def fixes_in(sentence: str, names: Collection[str]) -> dict[str, Any]:
    """Return the settings that the remedy of `sentence` (what follows its last semicolon) names; examples are none.

    Parameters
    ----------
    sentence : str
        ``"expected ..., found ...; set wavelength_um=0.525"``
    names : collection of str
        Parameters that can be set.
    """
    _, found_one, remedy = sentence.rpartition(";")
    remedy = remedy.split("for example")[0] if found_one else ""
    found = {name: text.rstrip(".") for name, text in _SETTING.findall(remedy) if name in names}
    return {name: yaml.safe_load(text) for name, text in found.items()}


def fix_label(values: dict[str, Any]) -> str:
    """Return what the button says: ``"Set frame order to pa"``."""
    parts = [f"{name.removesuffix('_um').replace('_', ' ')} to {value}" for name, value in values.items()]
    return "Set " + ", ".join(parts)
