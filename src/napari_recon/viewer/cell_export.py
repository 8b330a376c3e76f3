"""Cells as files: all labels in one, one NIfTI mask per cell, the table, the nuclei."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack

Row = Mapping[str, Any]
_UNSAFE = re.compile(r"[^\w.+-]+")


def write_masks(
    folder: str | Path, labels: ImageStack, names: Mapping[int, str], stem: str = "cells", first: int = 0
) -> list[Path]:
    """Write one mask per cell and time, ``STEM_TTT_NAME.nii.gz``, whose voxels hold the cell's label.

    Parameters
    ----------
    folder : path
        Made when it is missing.
    labels : ImageStack
        ZYX, or TZYX for a series.
    names : mapping
        Label -> name; labels without one are called after their number.
    stem : str
    first : int
        Time of the first frame.

    Raises
    ------
    InputError
        No place to write, or nibabel is missing.
    """
    from napari_recon.io import write_stack

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} should be a folder to write into ({error.strerror}); choose another") from None
    grid, written = labels.grid.only("ZYX"), []
    for time in range(labels.grid.size("T")):
        frame = labels.read("ZYX", **({"t": time} if "T" in labels.grid.axes else {}))
        for label in np.unique(frame):
            if not label:
                continue
            name = _UNSAFE.sub("_", names.get(int(label), f"label{label}"))
            mask = np.where(frame == label, frame, 0).astype(np.int16 if label < 2**15 else np.int32)
            path = folder / f"{stem}_{first + time:03d}_{name}.nii.gz"
            written.append(write_stack(path, ImageStack(mask, grid, name)))
    return written


def write_rows(path: str | Path, rows: Sequence[Row]) -> Path:
    """Write a table as CSV.

    Raises
    ------
    InputError
        A place that can't be written to.
    """
    from napari_recon.jobs.artifacts import write_table

    try:
        write_table(Path(path), rows)
    except OSError as error:
        raise InputError(f"{path} should be a file to write ({error.strerror}); choose another place") from None
    return Path(path)
