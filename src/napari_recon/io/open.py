"""Opening images lazily: one function for every format, folder and glob."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.lazy import PieceArray
from napari_recon.core.stack import ImageStack
from napari_recon.io import array_read, mrc, omezarr, scene_folder, tiff_read
from napari_recon.io.axes import checked_voxel_size, name_axes, to_standard_units
from napari_recon.io.found import Found, Reader
from napari_recon.io.output import is_zarr, read_recipe_beside
from napari_recon.io.suffixes import IMAGES, TABLES, TIFF, VENDOR, ZARR, stem_of, suffix_of

READERS: dict[str, Reader] = {
    **dict.fromkeys(TIFF, tiff_read.read_tiff),
    **dict.fromkeys(ZARR, omezarr.read_zarr),
    ".npy": array_read.read_npy,
    ".npz": array_read.read_npz,
    ".mat": array_read.read_mat,
    ".h5": array_read.read_h5,
    ".hdf5": array_read.read_h5,
    ".mrc": mrc.read_mrc,
    ".nii": array_read.read_nifti,
    ".nii.gz": array_read.read_nifti,
}


def open_stack(
    uri: str | Path,
    axes: str | None = None,
    voxel_size_um: Mapping[str, float] | None = None,
    default_axes: str | None = None,
) -> ImageStack:
    """Open an image without reading its pixels (where the format allows).

    Parameters
    ----------
    uri : str or Path
        A file, ``FILE::NAME`` for one array in it, a folder or a glob (one series, natural-sorted along T; pictures where
        volumes are expected are planes, and their names without the last number tell the time point).
    axes : str, optional
        One letter per dimension; wins over what the file says.
    voxel_size_um : dict, optional
        Axis letter (any case) -> micrometers; wins over what the file says.
    default_axes : str, optional
        Declared axes for files without names (see `napari_recon.io.axes.name_axes`).

    Returns
    -------
    ImageStack
        Lengths in micrometers, times in seconds, ``"pixel"`` where the file says nothing.

    Raises
    ------
    InputError
        Missing, damaged or unknown files; axes that nobody named; RGB images.
    """
    path, key = split_uri(uri)
    files = series_files(path, uri)
    if files is None:
        return _stack(_read(path, key), str(uri), stem_of(path), axes, voxel_size_um, default_axes)
    parts = [_read(file, key) for file in files]
    found = _joined(parts, files)
    if "Z" in (default_axes or "") and not axes and len(parts[0].data.shape) == 2:
        found = _planes(found, files)
    if axes and found.axes and len(axes) == len(found.data.shape) - 1:
        axes = f"T{axes}"
    return _stack(found, str(uri), path.name.strip("*") or "series", axes, voxel_size_um, default_axes)


def open_inputs(
    spec: InputSpec,
    uris: Iterable[str | Path],
    axes: str | None = None,
    voxel_size_um: Mapping[str, float] | None = None,
) -> list[Any]:
    """Open what feeds one declared input: `ImageStack` for images, parsed rows for tables, `Path` for files.

    Raises
    ------
    InputError
        As `open_stack`; also a suffix the input does not take.
    """
    from napari_recon.io.tables import read_table

    things: list[Any] = []
    for uri in uris:
        path, _ = split_uri(uri)
        suffix = suffix_of(path)
        takes_images = bool({"image", "labels", "psf"} & set(spec.accepts))
        takes_tables = bool({"table", "points"} & set(spec.accepts))
        if takes_images and (index := scene_folder.index_at(path)):
            things.append(_of_scenes(index, spec, voxel_size_um))
        elif spec.suffixes and suffix in spec.suffixes and suffix not in IMAGES + TABLES:
            things.append(_existing(path))
        elif takes_tables and suffix in TABLES:
            things.append(read_table(path))
        elif spec.accepts == ("psf",) and spec.axes == "VZYX" and suffix in IMAGES:
            from napari_recon.io.psf_files import open_psf  # it opens images itself

            things.append(open_psf(uri, axes, voxel_size_um))
        elif takes_images and (suffix in IMAGES or "file" not in spec.accepts):
            things.append(open_stack(uri, axes, voxel_size_um, spec.axes or None))
        elif "file" in spec.accepts:
            things.append(_existing(path))
        else:
            listed = " ".join(spec.suffixes or TABLES)
            raise InputError(f"input {spec.name} should be a file of {listed}, found {path.name}; choose another file")
    return things


def read_provenance(uri: str | Path) -> dict[str, Any] | None:
    """Return how a result was made, from inside the file or from ``FILE.recipe.yaml`` beside it; None when unknown."""
    path, _ = split_uri(uri)
    suffix = suffix_of(_existing(path))
    found: dict[str, Any] | None = None
    if suffix in TIFF:
        found = tiff_read.read_tiff_provenance(path)
    elif suffix in ZARR or (path.is_dir() and is_zarr(path)):
        found = omezarr.read_zarr_provenance(path)
    return found if found is not None else read_recipe_beside(path)[0]


def split_uri(uri: str | Path) -> tuple[Path, str]:
    """Return (path, key) of ``path::key``."""
    text = str(uri)
    path, _, key = text.partition("::")
    return Path(path).expanduser(), key


def natural_key(text: str) -> list[Any]:
    """Return a sort key under which ``t2`` comes before ``t10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", text)]


def series_files(path: Path, uri: str | Path) -> list[Path] | None:
    """Return the files of a folder or glob, natural-sorted; None when `path` is a single image."""
    if path.is_dir() and not (suffix_of(path) in ZARR or is_zarr(path)):
        files = [p for p in path.iterdir() if suffix_of(p) in IMAGES and not p.name.startswith(".")]
        what = f"the folder {path}"
    elif not path.exists() and glob.has_magic(str(path)):
        files = [Path(p) for p in glob.glob(str(path), recursive=True)]
        what = f"the pattern {uri}"
    else:
        return None
    if not files:
        raise InputError(f"{what} should hold image files ({' '.join(IMAGES[:6])} ...), found none; check the place")
    kinds = sorted({suffix_of(p) for p in files})
    if len(kinds) > 1:
        raise InputError(f"{what} should hold one kind of image files, found {', '.join(kinds)}; use a pattern like '*.tif'")
    return sorted(files, key=lambda p: natural_key(str(p)))


def _of_scenes(index: Path, spec: InputSpec, voxel_size_um: Mapping[str, float] | None) -> ImageStack:
    """Open the part of a folder of light-field training data that feeds an input."""
    if spec.axes not in ("VYX", "VZYX"):
        raise InputError(
            f"{index} holds views of light fields and their PSF, found it given for {spec.name}; choose an image"
        )
    return scene_folder.open_scenes(index, "psf" if spec.axes == "VZYX" else "views", voxel_size_um)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path} should be a file that exists, found nothing there; check the path")
    return path


def _read(path: Path, key: str) -> Found:
    suffix = suffix_of(_existing(path))
    if path.is_dir() and is_zarr(path):
        suffix = ".zarr"
    if suffix in VENDOR:
        from napari_recon.io.vendor import read_vendor

        return read_vendor(path, key)
    reader = READERS.get(suffix)
    if reader is None:
        raise InputError(
            f"{path.name} should be an image of a known kind ({' '.join(IMAGES)}), found suffix {suffix!r}; convert it first"
        )
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} should be an image, found an empty file (0 bytes); copy or save it again")
    found = reader(path, key)
    provenance, grid = (None, None) if key else read_recipe_beside(path)
    if grid is not None and grid.shape == tuple(found.data.shape):
        scale, translate = (dict(zip(grid.axes, values, strict=True)) for values in (grid.scale, grid.translate))
        units = dict(zip(grid.axes, grid.units, strict=True))
        return Found(found.data, grid.axes, scale, translate, units, provenance, found.metadata, exact=True)
    return found


def _stack(
    found: Found,
    uri: str,
    name: str,
    axes: str | None,
    voxel_size_um: Mapping[str, float] | None,
    default_axes: str | None,
) -> ImageStack:
    shape = tuple(int(n) for n in found.data.shape)
    if not shape or 0 in shape:
        raise InputError(f"{uri} should hold an image, found shape {shape}; choose another file")
    named = name_axes(found.axes, shape, axes, None if found.exact else default_axes, uri)
    scale, translate, units = to_standard_units(found.scale, found.translate, found.units)
    for axis, size in checked_voxel_size(voxel_size_um).items():
        factor = size / scale[axis] if scale.get(axis) else 1.0
        translate[axis] = translate.get(axis, 0.0) * factor
        scale[axis], units[axis] = size, "micrometer"
    grid = Grid.of(named, shape, scale, translate, units)
    metadata = dict(found.metadata)
    if found.provenance:
        metadata["napari-recon"] = found.provenance
        metadata |= {"optics": found.provenance["optics"]} if "optics" in found.provenance else {}
    return ImageStack(found.data, grid, name, uri, metadata)


def _planes(series: Found, files: list[Path]) -> Found:
    """Return a series of pictures as planes: of one volume, or of several when the names tell them apart."""
    volumes = Counter(re.sub(r"\d+(?=\D*$)", "", file.stem) for file in files)
    planes = set(volumes.values())
    if len(volumes) == 1:
        return replace(series, axes="Z" + str(series.axes)[1:])
    if len(planes) > 1:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(volumes.items())[:4])
        raise InputError(
            f"volumes in one folder should have as many planes each, found {listed}; complete or move the odd ones away"
        )
    pages = series.data
    shape = (len(volumes), planes.pop())
    data = PieceArray(shape, tuple(pages.shape[1:]), pages.dtype, lambda n, key: np.asarray(pages[(n, *key)]))
    return replace(series, data=data, axes="TZ" + str(series.axes)[1:])


def _joined(parts: list[Found], files: list[Path]) -> Found:
    """Return the series: joined along the files' own T when they have one, else along a new T in front."""
    first = parts[0]
    has_time = bool(first.axes) and str(first.axes).startswith("T")
    for part, file in zip(parts, files, strict=True):
        if part.data.shape[has_time:] != first.data.shape[has_time:] or part.data.dtype != first.data.dtype:
            raise InputError(
                f"a series should hold images of one shape and type, found {part.data.shape} {part.data.dtype} in "
                f"{file.name} and {first.data.shape} {first.data.dtype} in {files[0].name}; move the odd ones away"
            )
    shape = tuple(first.data.shape)
    if not has_time:
        data = PieceArray((len(parts),), shape, first.data.dtype, lambda n, key: np.asarray(parts[n].data[key]))
        return replace(first, data=data, axes="T" + (first.axes or "Q" * len(shape)), provenance=None)
    index = [(n, t) for n, part in enumerate(parts) for t in range(part.data.shape[0])]

    def load(number: int, key: tuple[Any, ...]) -> Any:
        n, t = index[number]
        return np.asarray(parts[n].data[(t, *key)])

    return replace(first, data=PieceArray((len(index),), shape[1:], first.data.dtype, load), provenance=None)
