"""Artifacts -> files: tables as CSV, reports and transforms as JSON, models as safetensors or torch state dicts."""

from __future__ import annotations

import atexit
import csv
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_recon.core.errors import InputError


def artifact_suffix(kind: str, payload: Any) -> str:
    """Return the file suffix an artifact is written with."""
    if isinstance(payload, str | Path) and kind in ("model", "file", "table", "report", "transform"):
        return "".join(Path(payload).suffixes[-1:]) or ".bin"
    return {"table": ".csv", "points": ".csv", "model": ".safetensors"}.get(kind, ".json")


def write_artifact(target: Path, kind: str, payload: Any) -> None:
    """Write one artifact; the file appears complete or not at all.

    Parameters
    ----------
    target : Path
    kind : str
        An `ArtifactKind`.
    payload : object
        Rows of a table, JSON values, a path, or for models ``{"state": {name: array}, "card": {...}}``.
    """
    if kind == "model":
        _write_model(target, payload)
    elif isinstance(payload, str | Path):
        _copy(Path(payload), target)
    elif kind in ("table", "points"):
        write_table(target, payload)
    else:
        with _complete(target) as temporary:
            temporary.write_text(json.dumps(payload, indent=2, default=plain))


def model_file(payload: Any) -> Path:
    """Return the file of a model that a run made: the path it gave, or one written now that lives until the process ends.

    Raises
    ------
    InputError
        When `payload` is no model.
    """
    if isinstance(payload, str | Path):
        return Path(payload)
    if not isinstance(payload, Mapping) or "state" not in payload:
        raise InputError(f"a model made by a run was expected, found {type(payload).__name__}; give a file or an id")
    folder = Path(tempfile.mkdtemp(prefix="napari-recon-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_artifact(folder / "model.safetensors", "model", payload)
    return folder / "model.safetensors"


def write_table(target: Path, rows: Any) -> None:
    """Write rows (dicts or sequences) or a mapping of columns as CSV."""
    if isinstance(rows, Mapping):
        rows = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    rows = list(rows)
    with _complete(target) as temporary, temporary.open("w", newline="") as file:
        if rows and isinstance(rows[0], Mapping):
            names = list(dict.fromkeys(name for row in rows for name in row))
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(rows)
        else:
            csv.writer(file).writerows(row if isinstance(row, Sequence) else [row] for row in rows)


def _write_model(target: Path, payload: Any) -> None:
    torch_file = target.suffix in (".pt", ".pth")
    if isinstance(payload, str | Path) and (Path(payload).suffix in (".pt", ".pth")) == torch_file:
        _copy(Path(payload), target)
        return
    if isinstance(payload, str | Path):
        from napari_recon.hub import load_state

        payload = {"state": load_state(payload)}
    state, card = payload["state"], payload.get("card", {})
    arrays = {name: np.array(_array(value), order="C") for name, value in state.items()}  # counters stay without axes
    with _complete(target) as temporary:
        if torch_file:
            import torch

            torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, temporary)
        else:
            from safetensors.numpy import save_file

            temporary.touch()
            mode = temporary.stat().st_mode  # save_file would leave a file for its owner alone
            save_file(arrays, str(temporary), metadata={"card": json.dumps(card, default=plain)})
            temporary.chmod(mode)


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise InputError(f"the file {source}, made by the run, should exist, found none; run again")
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    with _complete(target) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def _complete(target: Path) -> Iterator[Path]:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Return what JSON takes for a value it does not know."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)
