"""Layers to files and files to layers, with place in the world and provenance kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_recon.core.errors import InputError
from napari_recon.core.grid import AXIS_NAMES, Grid
from napari_recon.core.provenance import KEY
from napari_recon.core.stack import ImageStack
from napari_recon.fields.live_array import FieldArray
from napari_recon.viewer.layer_input import PATH, letters_of

LayerData = tuple[Any, dict[str, Any], str]
SAVE_FILTER = "OME-TIFF (*.ome.tif);;OME-Zarr (*.ome.zarr);;NumPy (*.npy);;NIfTI (*.nii.gz);;MRC (*.mrc)"
DEFAULT_AXES = "TCZYX"


def layer_stack(data: Any, attributes: Mapping[str, Any]) -> ImageStack:
    """Return layer data as a stack, as far as its place can be said by spacing and origin.

    Parameters
    ----------
    data : array or multiscale list of arrays
    attributes : mapping
        The layer's attributes as napari passes them to writers.

    Raises
    ------
    InputError
        RGB data, or dimensions nobody can name.
    """
    name = str(attributes.get("name", "image"))
    if attributes.get("rgb"):
        raise InputError(f"intensities were expected, {name} is an RGB picture; save it as a plain TIFF or PNG")
    if attributes.get("multiscale") or isinstance(data, list | tuple):
        data = data[0]
    if isinstance(data, FieldArray):
        raise InputError(f"{name} is a field, of which pixels are only what is seen; export it (Layers, Data), save that")
    shape = tuple(int(n) for n in data.shape)
    record = attributes.get("metadata", {}).get(KEY, {})
    made = record.get("grid") if isinstance(record, Mapping) else None
    if made and tuple(made["shape"]) == shape:
        axes, units = made["axes"], made["units"]
    else:
        axes = letters_of(attributes.get("axis_labels", ())) or DEFAULT_AXES[-len(shape) :]
        units = [str(unit) for unit in attributes.get("units", ("pixel",) * len(shape))]
    if len(axes) != len(shape):
        raise InputError(
            f"{name} has {len(shape)} dimensions that nobody named; set its axis labels (t, c, z, y, x) and save again"
        )
    grid = Grid(
        axes=axes,
        shape=shape,
        scale=tuple(float(s) for s in attributes.get("scale", np.ones(len(shape)))),
        translate=tuple(float(t) for t in attributes.get("translate", np.zeros(len(shape)))),
        units=tuple(units),
    )
    return ImageStack(data, grid, name)


def opened_layer(path: str, axes: str | None = None, voxel_size_um: Mapping[str, float] | None = None) -> LayerData:
    """Return a file as layer data; how it was made comes along when the file says so.

    Parameters
    ----------
    axes : str, optional
        One letter per dimension, where the file does not say.
    voxel_size_um : mapping, optional
        Micrometers per axis letter, where the file does not say.

    Raises
    ------
    InputError
        When the file is no image or nobody says what its axes are.
    """
    from napari_recon.io import open_stack, read_provenance
    from napari_recon.io.open import split_uri

    stack = open_stack(path, axes, voxel_size_um, default_axes="ZYX")
    record = read_provenance(path) if split_uri(path)[0].exists() else None  # a pattern names files that have none
    attributes: dict[str, Any] = {
        "name": stack.name,
        "scale": stack.grid.scale,
        "translate": stack.grid.translate,
        "units": stack.grid.units,
        "axis_labels": tuple(AXIS_NAMES[a] for a in stack.grid.axes),
        "metadata": {PATH: stack.uri, **({KEY: record} if record else {})},
    }
    if isinstance(stack.data, np.ndarray):
        return stack.data, attributes, "image"
    levels = coarser_levels(stack)
    attributes["contrast_limits"] = _limits([stack.data, *levels][-1])
    if levels:
        attributes["multiscale"] = True
        return [lazy(stack), *levels], attributes, "image"
    return lazy(stack), attributes, "image"


def coarser_levels(stack: ImageStack) -> list[Any]:
    """Return the coarser levels that a file keeps of a stack, as dask arrays; none where there is one level."""
    import dask.array as da

    from napari_recon.io.omezarr import read_levels
    from napari_recon.io.open import split_uri
    from napari_recon.io.output import is_zarr

    path, key = split_uri(stack.uri)
    if not path.is_dir() or not is_zarr(path):
        return []
    return [da.from_zarr(level) for level in read_levels(path, key)[1:]]


def _limits(level: Any) -> tuple[float, float]:
    """Return the range of a middle piece, so that a large file need not be read for it."""
    pieces = tuple(slice(n // 2, n // 2 + 1) for n in level.shape[:-3])
    piece = np.asarray(level[pieces], dtype=np.float32)
    low, high = float(np.nanmin(piece)), float(np.nanmax(piece))
    return (low, high) if high > low else (low, low + 1.0)


def lazy(stack: ImageStack) -> Any:
    """Return the stack's data as a dask array of its outermost pieces: napari slices that and keeps memory free."""
    import dask.array as da

    chunks = getattr(stack.data, "chunks", None) or (1, *stack.grid.shape[1:])
    return da.from_array(stack.data, chunks=chunks, name=False, asarray=np.asarray, fancy=False)


def with_suffix(path: str, chosen: str) -> str:
    """Return `path` with the suffix of the chosen filter when it has none of its own."""
    if not path or Path(path).suffix:
        return path
    return path + chosen.partition("*")[2].rstrip(")")
