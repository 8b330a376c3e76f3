"""The published folder of light-field training data: ``transforms_train.json`` names views and PSF of each time point."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.lazy import PieceArray
from napari_recon.core.stack import ImageStack
from napari_recon.io.array_read import read_mat, read_npy
from napari_recon.io.axes import checked_voxel_size
from napari_recon.io.found import optional

INDEX = "transforms_train.json"
Array = NDArray[np.float32]


def index_at(path: Path) -> Path | None:
    """Return the index that a path names, itself or as its folder; None when it is no such folder."""
    index = path / INDEX if path.is_dir() else path
    return index if index.name == INDEX and index.is_file() else None


def open_scenes(index: Path, what: Literal["views", "psf"], voxel_size_um: Mapping[str, float] | None = None) -> ImageStack:
    """Open the views of all scenes (TVYX, VYX for one), loaded when they are indexed, or the PSF they share (VZYX).

    Raises
    ------
    InputError
        A missing or unreadable file; cuts outside the PSF; scenes of several PSFs or sizes, or with other views for the
        structural similarity.
    """
    scenes, folder = _scenes(index), str(index.parent)
    size = checked_voxel_size(voxel_size_um)
    lengths: dict[str, Any] = {"scale": size, "units": dict.fromkeys(size, "micrometer")}
    if what == "psf":
        named = {json.dumps([scene["H_path"], scene.get("H_cuts")]): scene for scene in scenes}
        psf, *others = (read_psf(index.parent / scene["H_path"], scene.get("H_cuts")) for scene in named.values())
        if not all(np.array_equal(psf, other) for other in others):
            raise InputError(f"the scenes of {index} should share one PSF, found several; make a folder for each")
        return replace(ImageStack.of(psf, "VZYX", "psf", **lengths), uri=folder)
    first = _views(index, scenes[0])
    if len(scenes) == 1:
        return replace(ImageStack.of(first, "VYX", index.parent.name, **lengths), uri=folder)

    def load(number: int, key: tuple[Any, ...]) -> Array:
        views = _views(index, scenes[number])
        if views.shape != first.shape:
            raise InputError(
                f"the scenes of {index} should be of one size {first.shape}, found {views.shape} in scene {number}; mend it"
            )
        found: Array = views[key]
        return found

    data = PieceArray((len(scenes),), first.shape, np.float32, load)
    return replace(ImageStack.of(data, "TVYX", index.parent.name, **lengths), uri=folder)


def read_psf(path: str | Path, cuts: Mapping[str, Any] | None = None) -> Array:
    """Return a PSF (views, planes, y, x), float32, from a MATLAB (first variable), TIFF or npy file.

    Parameters
    ----------
    path : path
    cuts : mapping, optional
        ``centers`` (rows, columns from 0) and ``radius``: the file holds one integrated PSF (rows, columns, planes), of
        which a square is cut around each centre.
    """
    path = Path(path)
    whole = _array(path)
    if cuts is None:
        if whole.ndim != 4 or whole.shape[-1] % 2 == 0 or whole.shape[-2] % 2 == 0:
            raise InputError(
                f"{path.name} should hold (views, planes, y, x), odd y and x, found {whole.shape}; crop it or name H_cuts"
            )
        return whole
    return cut_psf(whole, cuts["centers"], int(cuts["radius"]), path.name)


def cut_psf(whole_yxz: NDArray[Any], centres: Sequence[Sequence[int]], radius: int, what: str = "the PSF") -> Array:
    """Return squares (views, planes, y, x) cut out of one integrated PSF (rows, columns, planes)."""
    rows, columns = whole_yxz.shape[:2]
    parts = []
    for row, column in centres:
        low_y, low_x = row - radius, column - radius
        if whole_yxz.ndim != 3 or min(low_y, low_x) < 0 or row + radius >= rows or column + radius >= columns:
            raise InputError(
                f"{what} {whole_yxz.shape} should hold {2 * radius + 1} pixels around {list(centres)}, but the square at "
                f"({row}, {column}) reaches outside; mend centers or radius"
            )
        part = whole_yxz[low_y : row + radius + 1, low_x : column + radius + 1]
        parts.append(part.transpose(2, 0, 1))
    return np.stack(parts).astype(np.float32)


def _scenes(index: Path) -> list[dict[str, Any]]:
    try:
        scenes = json.loads(index.read_text(encoding="utf-8"))["scenes"]
        if not isinstance(scenes, list) or not scenes or not all(isinstance(scene, dict) for scene in scenes):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{index} should be a JSON file with a list of scenes, found none; check the folder") from None
    for scene in scenes:
        if "H_path" not in scene or not (scene.get("targets_path") or scene.get("stack_path")):
            raise InputError(f"a scene of {index} should name targets_path and H_path, found {sorted(scene)}; mend it")
        if scene.get("ssim"):
            raise InputError(
                f"the scenes of {index} should have one set of views, found others for the structural similarity (ssim), "
                "which are not taken; delete ssim to fit without them"
            )
    return scenes


def _views(index: Path, scene: Mapping[str, Any]) -> Array:
    views = _array(index.parent / (scene.get("targets_path") or scene["stack_path"]))
    return views[None] if views.ndim == 2 else views


def _array(path: Path) -> NDArray[Any]:
    path = Path(str(path).replace("\\", "/"))
    if not path.is_file():
        raise InputError(f"{path} should be a file, found none; check the paths in {INDEX}")
    if path.suffix in (".tif", ".tiff"):
        import tifffile

        return np.asarray(tifffile.imread(path), np.float32)
    if path.suffix == ".npy":
        return np.array(read_npy(path).data, np.float32)  # not the memory map itself, which is read-only
    if path.suffix == ".mat":
        return read_matlab(path)
    raise InputError(f"{path.name} should be a .mat, .tif or .npy file; convert it")


def read_matlab(path: Path) -> NDArray[Any]:
    """Return the first variable in MATLAB's own order of axes."""
    with path.open("rb") as file:
        is_hdf5 = b"HDF" in file.read(600)
    if not is_hdf5:
        return np.asarray(read_mat(path).data, np.float32)
    with optional("h5py", path).File(path, "r") as file:
        name = next((name for name in file if not name.startswith("#")), "")
        if not name or file[name].dtype.kind not in "fiu":
            raise InputError(
                f"{path.name} should hold a dense array of numbers, found {name or 'nothing'}; convert cells first"
            )
        return np.asarray(file[name], np.float32).T
