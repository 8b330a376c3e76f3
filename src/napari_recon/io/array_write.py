"""Writing npy (memory-mapped), npz, mat, h5, mrc and nii; the recipe goes beside them."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.lazy import let_go
from napari_recon.core.plan import OutputSpec
from napari_recon.io.axes import in_standard_unit
from napari_recon.io.found import optional
from napari_recon.io.output import OutputFile, allocate, remove, reserve
from napari_recon.io.suffixes import suffix_of

LIBRARIES = {".h5": "h5py", ".hdf5": "h5py", ".mrc": "mrcfile", ".nii": "nibabel", ".nii.gz": "nibabel"}

MRC_DTYPES = ("int8", "int16", "uint16", "float32", "float16")
NIFTI_DTYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float32", "float64", "complex64", "complex128"),
)


class ArrayOutput(OutputFile):
    """Formats of bare arrays. Only npy is written in place; the others are collected in memory and saved at the end."""

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        super().__init__(path, spec)
        self._suffix = suffix_of(path)
        self._temporary = self._temporary.with_name(self._temporary.name + self._suffix)
        if self._suffix in LIBRARIES:
            optional(LIBRARIES[self._suffix], path)
        shape, dtype = spec.grid.shape, np.dtype(spec.dtype)
        if self._suffix in (".nii", ".nii.gz") and set(spec.grid.axes) - set("TZYX"):
            raise InputError(f"NIfTI holds axes T, Z, Y and X, found {spec.grid.axes}; write .ome.tif or .ome.zarr instead")
        if self._suffix in (".nii", ".nii.gz") and dtype.name not in NIFTI_DTYPES:
            raise InputError(f"NIfTI holds {', '.join(NIFTI_DTYPES)}, found {dtype}; write .ome.tif or .ome.zarr instead")
        if self._suffix == ".mrc" and len(shape) not in (2, 3):
            raise InputError(f"MRC holds 2 or 3 dimensions, found {spec.grid.axes}; write .ome.tif or .ome.zarr instead")
        if self._suffix == ".mrc" and dtype.name not in MRC_DTYPES:
            raise InputError(f"MRC holds {', '.join(MRC_DTYPES)}, found {dtype}; write .ome.tif or .ome.zarr instead")
        if self._suffix != ".npy":
            self._array: Any = np.zeros(shape, dtype)
            return
        reserve(path, math.prod(shape) * dtype.itemsize)
        try:
            self._array = np.lib.format.open_memmap(self._temporary, mode="w+", dtype=dtype, shape=shape)
            allocate(self._temporary)
        except BaseException:
            self._array = None
            remove(self._temporary)
            raise

    def _write(self, slices: tuple[slice, ...], array: NDArray[Any]) -> None:
        self._array[slices] = array
        let_go(self._array)

    def _finish(self, provenance: dict[str, Any]) -> None:
        if self._suffix == ".npy":
            self._array.flush()
        else:
            self._save()
        self._close()

    def _close(self) -> None:
        self._array = None

    def _save(self) -> None:
        name, grid, path = self.spec.name.replace("/", "_") or "image", self.spec.grid, self._temporary
        if self._suffix == ".npz":
            np.savez_compressed(path, **{name: self._array})
        elif self._suffix == ".mat":
            from scipy.io import savemat

            savemat(path, {name: self._array, "axes": grid.axes}, do_compression=True)
        elif self._suffix in (".h5", ".hdf5"):
            # HDF5 crashes the process when its disk runs full, so the file is made in memory first.
            buffer = io.BytesIO()
            with optional("h5py", path).File(buffer, "w") as file:
                data = file.create_dataset(name, data=self._array, compression="gzip", compression_opts=1)
                data.attrs.update({"axes": grid.axes, "scale": grid.scale, "translate": grid.translate})
                data.attrs["units"] = list(grid.units)
            path.write_bytes(buffer.getbuffer())
        elif self._suffix == ".mrc":
            self._save_mrc(path)
        else:
            self._save_nifti(path)

    def _save_mrc(self, path: Path) -> None:
        if self._array.ndim not in (2, 3):
            raise InputError(
                f"MRC holds 2 or 3 dimensions, found {self.spec.grid.axes}; write .ome.tif or .ome.zarr instead"
            )
        with optional("mrcfile", path).new(path) as file:
            file.set_data(self._array)
            angstrom = {}
            for axis in "XYZ":
                if axis in self.spec.grid.axes:
                    value, unit = in_standard_unit(abs(self.spec.grid.step(axis)), self.spec.grid.unit(axis))
                    angstrom[axis.lower()] = value * 1e4 if unit == "micrometer" else 0.0
            if all(angstrom.values()):
                file.voxel_size = tuple(angstrom.get(axis, 1.0) for axis in "xyz")

    def _save_nifti(self, path: Path) -> None:
        nibabel = optional("nibabel", path)
        grid = self.spec.grid
        full = "XYZT" if "T" in grid.axes else "XYZ" if "Z" in grid.axes else "XY"
        array = self._array.transpose([grid.axes.index(a) for a in full if a in grid.axes])
        array = array.reshape([grid.size(a) for a in full])
        affine = np.diag([*(grid.step(a) if a in grid.axes else 1.0 for a in "XYZ"), 1.0])
        affine[:3, 3] = [grid.origin(a) if a in grid.axes else 0.0 for a in "XYZ"]
        image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
        if "T" in grid.axes:
            zooms = [abs(grid.step(a)) if a in grid.axes else 1.0 for a in full]
            image.header.set_zooms(zooms)
        known = {"micrometer": "micron", "second": "sec"}
        image.header.set_xyzt_units(
            known.get(grid.unit("X"), "unknown"), known.get(grid.unit("T"), "unknown") if "T" in grid.axes else None
        )
        nibabel.save(image, path)
