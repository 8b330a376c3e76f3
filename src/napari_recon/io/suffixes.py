"""Which file suffixes are what; compound suffixes (``.ome.tif``) count as one."""

from __future__ import annotations

from pathlib import Path

TIFF = (".ome.tif", ".ome.tiff", ".tif", ".tiff")
ZARR = (".ome.zarr", ".zarr")
ARRAYS = (".npy", ".npz", ".mat", ".h5", ".hdf5", ".mrc", ".nii", ".nii.gz")
TABLES = (".csv", ".json", ".yaml", ".yml")
FILES = (".cfg", ".pt", ".pth", ".tar", ".safetensors")
VENDOR = (".nd2", ".czi", ".lif", ".dv")
IMAGES = TIFF + ZARR + ARRAYS + VENDOR
WRITABLE = TIFF + ZARR + (".npy", ".npz", ".h5", ".mrc", ".nii", ".nii.gz", ".mat")


def supported_suffixes(writable: bool = False) -> tuple[str, ...]:
    """Return the image suffixes that can be opened (or written)."""
    return WRITABLE if writable else IMAGES


def suffix_of(path: str | Path) -> str:
    """Return the longest known suffix of `path` in lower case; the plain last suffix when none is known."""
    name = Path(path).name.lower()
    known = (s for s in IMAGES + TABLES + FILES if name.endswith(s) and name != s)
    return max(known, key=len, default=Path(name).suffix)


def stem_of(path: str | Path) -> str:
    """Return the file name without its (compound) suffix."""
    name = Path(path).name
    suffix = suffix_of(path)
    return name[: -len(suffix)] if suffix else name
