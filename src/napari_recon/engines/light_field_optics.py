"""What a parameter psf_shift may name: a microscope (or the model that brings one), a table of shifts, or a whole PSF."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from napari_recon import hub
from napari_recon.core.grid import Grid
from napari_recon.optics.lightfield_geometry import (
    GEOMETRY_IDS,
    NNUMS,
    LightFieldGeometry,
    geometry_of,
    geometry_of_table,
    load_psf_shift,
    read_array,
)
from napari_recon.optics.psf_shift import geometry_of_psf

TABLES = (".pt", ".pth", ".npy", ".npz")
OPTICS_FILES = (*TABLES, ".tif", ".tiff", ".ome.tif", ".mat", ".h5", ".zarr")
"""Suffixes of files that a parameter psf_shift takes."""


def load_optics(path_or_id: str | Path) -> LightFieldGeometry:
    """Return the geometry of a named microscope, a model's own, a psf_shift file or a PSF file (axes VZYX, fine pixels).

    Raises
    ------
    InputError
        What the file holds instead; see `load_psf_shift` and `geometry_of_psf`.
    """
    path = Path(str(path_or_id)).expanduser()
    if str(path_or_id) in GEOMETRY_IDS:
        return load_psf_shift(path_or_id)
    if not path.exists():
        return _of_model(str(path_or_id)) or load_psf_shift(path_or_id)
    about = path.stat()
    return _read(path, about.st_mtime_ns, about.st_size)


def _of_model(id_: str) -> LightFieldGeometry | None:
    """Return the microscope that a model of this id was trained for, None without one."""
    card = next((card for card in hub.catalogue() if card.id == id_), None) if id_ else None
    own = card.contract.get("microscope") if card is not None else None
    if own:
        return geometry_of(own)
    views = int(card.contract.get("views", 0)) if card is not None else 0
    return load_psf_shift(f"geometric-{NNUMS[views]}") if views in NNUMS else None


@lru_cache(maxsize=4)
def _read(path: Path, changed: int, size: int) -> LightFieldGeometry:
    """Return the geometry of a file as it is now: a PSF of a gigabyte is read once, not for plan and run and every form."""
    if path.suffix in TABLES:
        array = read_array(path)
        if array.ndim != 4:
            return geometry_of_table(array, path.name)
        if path.suffix in (".pt", ".pth"):  # as the authors write them: views, depths, columns, rows
            array = array.transpose(0, 1, 3, 2)
        return geometry_of_psf(array, Grid.of("VZYX", array.shape), path.name)
    from napari_recon.io.psf_files import open_psf

    stack = open_psf(path)
    if "V" not in stack.grid.axes:
        return geometry_of_table(np.asarray(stack.data), path.name)  # says what is expected
    return geometry_of_psf(stack.data, stack.grid, path.name, stack.metadata.get("optics"))
