"""The published folder of training data: ``transforms_train.json`` with views and PSFs per time point. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.io.array_read import read_mat, read_npy
from napari_recon.io.found import optional

INDEX = "transforms_train.json"
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SceneData:
    """One time point as the files give it.

    Attributes
    ----------
    views_vyx : ndarray
        float32, not normalised.
    psf_vzyx : ndarray
        float32, as it is.
    similar : SceneData or None
        Other views and their PSF that the structural similarity looks at.
    """

    views_vyx: Array
    psf_vzyx: Array
    similar: SceneData | None = None


def read_scenes(folder: str | Path, stride: int = 1, centre_cut: float | None = None) -> list[SceneData]:
    """Return the scenes of a folder, every `stride`-th, views cut to the middle `centre_cut` of their size.

    Raises
    ------
    InputError
        A missing or unreadable file, or cuts outside the PSF.
    """
    index = Path(folder).expanduser() / INDEX
    try:
        scenes = json.loads(index.read_text(encoding="utf-8"))["scenes"]
        if not isinstance(scenes, list) or not scenes:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{index} should be a JSON file with a list of scenes, found none; check the folder") from None
    return [_scene(index.parent, scene, centre_cut) for scene in scenes[::stride]]


def normalised(scenes: Sequence[SceneData], each: bool) -> list[Array]:
    """Return the views of every scene divided by their own maximum (`each`) or by that of all scenes."""
    peaks = [float(scene.views_vyx.max()) for scene in scenes]
    return [
        np.asarray(scene.views_vyx / np.float32(own if each else max(peaks)), np.float32)
        for scene, own in zip(scenes, peaks, strict=True)
    ]


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


def _scene(folder: Path, scene: Mapping[str, Any], centre_cut: float | None) -> SceneData:
    targets = scene.get("targets_path") or scene.get("stack_path")
    if not targets or "H_path" not in scene:
        raise InputError(f"a scene of {folder / INDEX} should name targets_path and H_path, found {sorted(scene)}; mend it")
    views = _array(folder / targets)
    views = views[None] if views.ndim == 2 else views
    if centre_cut:
        views = views[..., _middle(views.shape[-2], centre_cut), _middle(views.shape[-1], centre_cut)]
    psf = read_psf(folder / scene["H_path"], scene.get("H_cuts"))
    if len(psf) != len(views):
        raise InputError(f"{targets} holds {len(views)} views, {scene['H_path']} {len(psf)}; give files of one microscope")
    similar = scene.get("ssim")
    return SceneData(views, psf, _scene(folder, similar, centre_cut) if similar else None)


def _middle(size: int, part: float) -> slice:
    half = round(part * size / 2)
    return slice(max(0, size // 2 - half), size // 2 + half)


def _array(path: Path) -> NDArray[Any]:
    path = Path(str(path).replace("\\", "/"))
    if not path.is_file():
        raise InputError(f"{path} should be a file, found none; check the paths in {INDEX}")
    if path.suffix in (".tif", ".tiff"):
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
