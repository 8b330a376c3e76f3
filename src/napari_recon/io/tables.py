"""Tables and settings: csv rows, JSON and YAML values."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import yaml

from napari_recon.core.errors import InputError
from napari_recon.io.found import reading
from napari_recon.io.suffixes import suffix_of


def read_table(path: str | Path) -> Any:
    """Return the rows of a csv file (one dict each, numbers as numbers), or the value of a JSON or YAML file.

    Raises
    ------
    InputError
        Missing or unreadable files; rows that do not fit the header.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} should be a table that exists, found no file there; check the path")
    suffix = suffix_of(path)
    with reading(path, suffix.lstrip(".") or "text"):
        text = path.read_text("utf-8-sig")
        if suffix == ".json":
            return json.loads(text)
        if suffix in (".yaml", ".yml"):
            return yaml.safe_load(text)
        rows = list(csv.reader(text.splitlines()))
    if len(rows) < 1 or not any(rows[0]):
        raise InputError(f"{path} should be a table with a header line, found an empty file; save it again")
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if row and len(row) != len(header):
            raise InputError(f"{path} should have {len(header)} columns, found {len(row)} in line {number}; mend that line")
    return [dict(zip(header, map(_value, row), strict=True)) for row in rows[1:] if row]


def _value(text: str) -> Any:
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
