"""Reading npy, npz, mat, h5 and nii; optional libraries are imported when a file needs them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.lazy import MappedArray
from napari_recon.io.found import Found, optional, reading


def read_npy(path: Path, key: str = "") -> Found:
    """Memory-map an npy file."""
    with reading(path, "npy"):
        array = _numeric(np.load(path, mmap_mode="r", allow_pickle=False), path)
        return Found(MappedArray(array) if array.ndim else array)


def read_npz(path: Path, key: str = "") -> Found:
    """Load one array of an npz file: `key`, or the only one."""
    with reading(path, "npz"), np.load(path, allow_pickle=False) as archive:
        name = choose(path, key, archive.files)
        return Found(_numeric(archive[name], path))


def read_mat(path: Path, key: str = "") -> Found:
    """Load one array of a MATLAB file; version 7.3 files are HDF5 and appear with MATLAB's axes reversed."""
    with path.open("rb") as file:
        is_hdf5 = file.read(600)[512:516] == b"\x89HDF" or _is_hdf5(path)
    if is_hdf5:
        return read_h5(path, key)
    from scipy.io import loadmat, whosmat

    with reading(path, "MATLAB"):
        names = [name for name, shape, kind in whosmat(path) if kind not in ("cell", "struct", "char", "function")]
        name = choose(path, key, names)
        return Found(_numeric(loadmat(path, variable_names=[name])[name], path))


def read_h5(path: Path, key: str = "") -> Found:
    """Open one dataset of an HDF5 file lazily: `key` (may hold slashes), or the only one."""
    h5py = optional("h5py", path)
    with reading(path, "HDF5"):
        file = h5py.File(path, "r")
        try:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            dataset = file[choose(path, key, names)]
            _numeric(dataset, path)
            about = dict(dataset.attrs)
        except BaseException:
            file.close()
            raise
    data = _Dataset(dataset)
    weakref.finalize(data, file.close)
    axes = about.get("axes")
    if not isinstance(axes, str) or len(axes) != len(data.shape):
        return Found(data)
    scale, translate = (
        dict(zip(axes, [float(v) for v in about[name]], strict=True)) if name in about else {}
        for name in ("scale", "translate")
    )
    units = dict(zip(axes, map(str, about["units"]), strict=True)) if "units" in about else {}
    return Found(data, axes, scale, translate, units)


def read_nifti(path: Path, key: str = "") -> Found:
    """Open a NIfTI file lazily; x,y,z,t on disk becomes TZYX here."""
    nibabel = optional("nibabel", path)
    with reading(path, "NIfTI"):
        image = nibabel.load(path)
        space, time = image.header.get_xyzt_units()
        zooms = [float(z) for z in image.header.get_zooms()]
        affine = np.asarray(image.affine, dtype=float)
    ndim = len(image.shape)
    if not 2 <= ndim <= 5:
        raise InputError(f"{path} should hold 2 to 5 dimensions, found {ndim}; convert it first")
    axes = "CTZYX"[-ndim:]
    scale = dict(zip("XYZT", zooms, strict=False))
    diagonal = np.allclose(affine[:3, :3], np.diag(np.diag(affine[:3, :3]))) and (np.diag(affine)[:3] > 0).all()
    translate = dict(zip("XYZ", affine[:3, 3].tolist(), strict=True)) if diagonal else {}
    spelled = {"micron": "micrometer", "sec": "second", "msec": "millisecond", "usec": "microsecond"}
    units = {a: spelled.get(space, space) for a in "XYZ" if space != "unknown"}
    if time != "unknown":
        units["T"] = spelled.get(time, time)
    if ndim < 4:
        scale.pop("T", None)
    data = _Reversed(image.dataobj, path)
    return Found(data, axes, scale, translate, units)


def choose(path: Path, key: str, names: Iterable[str]) -> str:
    """Return the array to read: `key`, or the only one there is.

    Raises
    ------
    InputError
        Which lists what the file holds.
    """
    names = list(names)
    if key in names:
        return key
    if not key and len(names) == 1:
        return names[0]
    listed = ", ".join(names[:12]) or "no arrays"
    asked = f"no array {key!r}" if key else "several arrays" if names else "none"
    raise InputError(f"{path} should hold one array to read, found {asked} among: {listed}; write {path.name}::NAME")


def _numeric(array: Any, path: Path) -> Any:
    if array.dtype.kind not in "buifc":
        raise InputError(f"{path} should hold numbers, found {array.dtype}; choose another array (FILE::NAME)")
    return array


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x89HDF"


class _Dataset:
    """An HDF5 dataset that may be read from several threads."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._lock = threading.Lock()
        self.shape: tuple[int, ...] = tuple(dataset.shape)
        self.dtype: np.dtype[Any] = dataset.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        with self._lock:
            return np.asarray(self._dataset[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


class _Reversed:
    """A NIfTI array proxy with its axes in reverse order; values are scaled as the header says."""

    def __init__(self, proxy: Any, path: Path) -> None:
        self._proxy, self._path = proxy, path
        self.shape: tuple[int, ...] = tuple(proxy.shape[::-1])
        slope, inter = getattr(proxy, "slope", 1.0), getattr(proxy, "inter", 0.0)
        scaled = (slope, inter) != (1.0, 0.0)
        self.dtype: np.dtype[Any] = np.dtype(np.float64) if scaled else np.dtype(proxy.dtype).newbyteorder("=")

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = list(key) if isinstance(key, tuple) else [key]
        with reading(self._path, "NIfTI"):
            if any(k is Ellipsis for k in keys):
                return np.asarray(np.asarray(self._proxy).transpose()[tuple(keys)])
            keys += [slice(None)] * (len(self.shape) - len(keys))
            return np.asarray(self._proxy[tuple(keys[::-1])], dtype=self.dtype).transpose()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)
