"""Reading light-field point spread functions as ZYX (one sensor image per depth) or VZYX (one stack per view).

PSF files come in several conventions: MATLAB writes ``rows x cols x depths`` (or cells of sparse planes), Python tools
``views x depths x k x k``. What a file holds is told from its kind and its shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.io.axes import checked_voxel_size
from napari_recon.io.found import optional, reading
from napari_recon.io.open import open_stack, split_uri
from napari_recon.io.suffixes import ARRAYS, suffix_of

NAMES = ("psf", "H", "Hs", "PSF", "h")
"""Array names looked for, in order, when a file holds several."""


def open_psf(
    uri: str | Path,
    axes: str | None = None,
    voxel_size_um: Mapping[str, float] | None = None,
    *,
    centres: Sequence[tuple[int, int]] | None = None,
    radius: int | None = None,
) -> ImageStack:
    """Open a point spread function.

    Parameters
    ----------
    uri : str or Path
        Any image file, or ``.mat`` (old and v7.3, cells of sparse planes too), ``.npy``, ``.npz``; ``FILE::NAME``.
    axes : str, optional
        One letter per dimension as stored; wins over the guess.
    voxel_size_um : dict, optional
        Axis letter -> micrometers.
    centres : sequence of (row, col), optional
        Where each view's middle pixel lies on a sensor PSF, from 0; cuts it into views.
    radius : int, optional
        Half size of the cut: views are ``2 radius + 1`` pixels high and wide.

    Returns
    -------
    ImageStack
        Axes VZYX, or ZYX for a sensor PSF that is not cut.

    Raises
    ------
    InputError
        What the file holds instead of a PSF; a cut that leaves the sensor.
    """
    path, key = split_uri(uri)
    if suffix_of(path) == ".mat" and path.is_file() and axes is None:
        size = checked_voxel_size(voxel_size_um)
        array, found = _of_matlab(path, key)
        stack = ImageStack.of(array, found, path.stem, scale=size, units=dict.fromkeys(size, "micrometer"))
    else:
        stack = _of_image(uri, path, key, axes, voxel_size_um)
    stack = replace(stack, uri=str(uri))
    return stack if centres is None else cut_psf(stack, centres, radius)


def cut_views(sensor_zyx: NDArray[Any], centres: Sequence[tuple[int, int]], radius: int) -> NDArray[np.float32]:
    """Return the windows (views, planes, 2 radius + 1, 2 radius + 1) of a sensor PSF (Z, Y, X) around (row, col) centres.

    Raises
    ------
    InputError
        A window that leaves the sensor.
    """
    height, width = sensor_zyx.shape[-2:]
    views = np.empty((len(centres), sensor_zyx.shape[0], 2 * radius + 1, 2 * radius + 1), np.float32)
    for number, (row, col) in enumerate(centres):
        if not (radius <= row < height - radius and radius <= col < width - radius):
            fit = min(row, col, height - 1 - row, width - 1 - col)
            raise InputError(
                f"the cut around row {row}, column {col} with radius {radius} should lie on the {height} x {width} sensor, "
                f"found it leaving; choose a radius up to {max(fit, 0)} or another centre"
            )
        views[number] = sensor_zyx[:, row - radius : row + radius + 1, col - radius : col + radius + 1]
    return views


def cut_psf(stack: ImageStack, centres: Sequence[tuple[int, int]], radius: int | None) -> ImageStack:
    """Return a sensor PSF (ZYX) cut into views (VZYX), each with its middle pixel at the origin; see `cut_views`.

    Raises
    ------
    InputError
        The PSF is cut already; no radius; a window that leaves the sensor.
    """
    if stack.grid.axes != "ZYX" or radius is None or radius < 1 or not len(centres):
        raise InputError(
            f"{stack.uri} should be one sensor image per depth (ZYX) to be cut around centres with a radius of at least 1, "
            f"found {stack.grid.axes} and radius {radius}; leave the centres out, or give the radius"
        )
    views = cut_views(np.asarray(stack.data), centres, radius)
    grid = Grid.of("V", (len(centres),)).joined(stack.grid.only("Z")).joined(_window(stack.grid, 2 * radius + 1))
    return replace(stack, data=views, grid=grid)


def _window(grid: Grid, size: int) -> Grid:
    """Return the lateral grid of a window whose middle pixel is the origin."""
    step = {axis: grid.step(axis) for axis in "YX"}
    corner = {axis: -(size // 2) * step[axis] for axis in "YX"}
    return Grid.of("YX", (size, size), step, corner, {axis: grid.unit(axis) for axis in "YX"})


def _of_image(
    uri: str | Path, path: Path, key: str, axes: str | None, voxel_size_um: Mapping[str, float] | None
) -> ImageStack:
    """Return what any reader opens, with the axes of a PSF."""
    plain = axes is None and suffix_of(path) in ARRAYS  # such files name no axes
    if suffix_of(path) == ".npz" and not key and path.is_file():
        with reading(path, "npz"), np.load(path, allow_pickle=False) as archive:
            usual = [name for name in NAMES if name in archive.files]
        uri = f"{path}::{usual[0]}" if usual else uri
    try:
        stack = open_stack(uri, axes, voxel_size_um, "VZYX")
    except InputError:
        stack = open_stack(uri, axes, voxel_size_um, "ZYX")
    named = stack.grid.axes
    if plain and named == "ZYX" and stack.grid.shape[0] > stack.grid.shape[2]:  # rows x columns x depths
        moved = np.asarray(stack.data).transpose(2, 0, 1)
        size = checked_voxel_size(voxel_size_um)
        return ImageStack.of(moved, "ZYX", stack.name, scale=size, units=dict.fromkeys(size, "micrometer"))
    if named not in ("VZYX", "ZYX"):
        raise InputError(
            f"{uri} should hold a PSF with axes VZYX (or ZYX for a whole sensor), found {named} with shape "
            f"{stack.grid.shape}; name the axes (--axes) or choose another file"
        )
    return stack


def _of_matlab(path: Path, key: str) -> tuple[NDArray[np.float32], str]:
    """Return the PSF of a MATLAB file and its axes."""
    with path.open("rb") as file:
        head = file.read(600)
    with reading(path, "MATLAB"):
        array = _of_hdf5(path, key) if b"\x89HDF" in (head[:4], head[512:516]) else _of_old(path, key)
    # array has MATLAB's own order of axes
    if array.ndim == 5 and array.shape[2] == array.shape[3] and array.shape[2] % 2:
        # rows x cols x angular rows x angular cols x depths
        array = array.transpose(2, 3, 4, 0, 1)
        return np.ascontiguousarray(array, dtype=np.float32).reshape(-1, *array.shape[2:]), "VZYX"
    if array.ndim == 3:
        return np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32), "ZYX"
    if array.ndim == 4:
        square, views, planes = array.shape[0] == array.shape[1], array.shape[3], array.shape[2]
        rows_first = square and (planes != views or array.shape[0] > planes)
        plain = head[:4] == b"\x89HDF"  # without MATLAB's own header: another program wrote it, views first and x last
        order = ((3, 2, 1, 0) if plain else (3, 2, 0, 1)) if rows_first else (0, 1, 2, 3)
        return np.ascontiguousarray(array.transpose(order), dtype=np.float32), "VZYX"
    raise InputError(
        f"{path} should hold a PSF of rows x cols x depths or views x depths x k x k, found shape {array.shape}; choose "
        f"another variable with {path.name}::NAME"
    )


def _of_hdf5(path: Path, key: str) -> NDArray[Any]:
    h5py = optional("h5py", path)
    with h5py.File(path, "r") as file:
        names = [name for name, item in file.items() if isinstance(item, h5py.Dataset)]
        dataset = file[_chosen(path, key, {n: len(file[n].shape) for n in names})]
        if dataset.dtype.kind != "O":
            return np.asarray(dataset[()]).T
        cells = [file[reference] for reference in np.asarray(dataset[()]).T.reshape(-1, order="F")]
        return _stacked(_hdf5_plane(cell) for cell in cells)


def _hdf5_plane(cell: Any) -> NDArray[Any]:
    """Return one cell: a matrix, or MATLAB's compressed sparse columns."""
    if "MATLAB_sparse" not in cell.attrs:
        return np.asarray(cell[()]).T
    rows, starts = int(cell.attrs["MATLAB_sparse"]), np.asarray(cell["jc"][()], dtype=np.int64)
    plane = np.zeros((rows, len(starts) - 1), np.float32)
    if "data" in cell:
        columns = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        plane[np.asarray(cell["ir"][()], dtype=np.int64), columns] = cell["data"][()]
    return plane


def _of_old(path: Path, key: str) -> NDArray[Any]:
    from scipy.io import loadmat, whosmat

    about = {name: 3 if kind == "cell" else len(shape) for name, shape, kind in whosmat(path)}
    name = _chosen(path, key, about)
    array = loadmat(path, variable_names=[name])[name]
    if array.dtype.kind != "O":
        return np.asarray(array)
    planes = (cell.toarray() if hasattr(cell, "toarray") else np.asarray(cell) for cell in array.reshape(-1, order="F"))
    return _stacked(planes)


def _stacked(planes: Iterator[NDArray[Any]]) -> NDArray[Any]:
    return np.stack([np.asarray(plane, dtype=np.float32) for plane in planes], axis=-1)


def _chosen(path: Path, key: str, dimensions: Mapping[str, int]) -> str:
    """Return the variable to read: the one asked for, one with a usual name, or the only one with depths."""
    if key in dimensions:
        return key
    deep = [name for name, ndim in dimensions.items() if ndim >= 3]
    usual = [name for name in NAMES if name in deep]
    if not key and (usual or len(deep) == 1):
        return (usual or deep)[0]
    listed = ", ".join(list(dimensions)[:12]) or "no arrays"
    asked = f"no variable {key!r}" if key else "several PSFs" if deep else "none"
    raise InputError(f"{path} should hold one PSF, found {asked} among: {listed}; write {path.name}::NAME")
