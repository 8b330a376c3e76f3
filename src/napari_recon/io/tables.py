"""Tables and settings: csv rows, JSON and YAML values."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import yaml

from napari_recon.core.errors import InputError
from napari_recon.io.found import reading
from napari_recon.io.suffixes import suffix_of

_MARKS = ",;\t"
"""What parts columns; the first of those that make most columns of the header."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


def read_table(path: str | Path) -> Any:
    """Return the rows of a csv file (one dict each, numbers as numbers), or the value of a JSON or YAML file.

    Columns may be parted by semicolons or tabs, too; numbers may then have decimal commas.

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
        lines = text.splitlines()
        mark = max(_MARKS, key=lambda mark: len(next(csv.reader(lines[:1], delimiter=mark), ())))
        rows = list(csv.reader(lines, delimiter=mark))
    if len(rows) < 1 or not any(rows[0]):
        raise InputError(f"{path} should be a table with a header line, found an empty file; save it again")
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], 2):
        if row and len(row) != len(header):
            raise InputError(f"{path} should have {len(header)} columns, found {len(row)} in line {number}; mend that line")
    value = _value if mark == "," else _local_value
    return [dict(zip(header, map(value, row), strict=True)) for row in rows[1:] if row]


def _local_value(text: str) -> Any:
    """Return what a text says that may have a decimal comma."""
    return _value(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text.strip()) else text)


def _value(text: str) -> Any:
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
