"""Vendor formats (nd2, czi, lif, dv) through bioio, when it and its reader are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_recon.core.errors import InputError
from napari_recon.io.found import Found, optional, reading


def read_vendor(path: Path, key: str = "") -> Found:
    """Open scene `key` (default: the first) as TCZYX without axes of length one.

    Raises
    ------
    InputError
        bioio or the reader of this format is missing; damaged files.
    """
    bioio = optional("bioio", path)
    with reading(path, "microscope"):
        try:
            image = bioio.BioImage(path)
        except Exception as error:
            if "plugin" in str(error).lower() or "support" in str(error).lower():
                suffix = path.suffix.lstrip(".")
                raise InputError(
                    f"{path.name} needs bioio's reader for .{suffix}, which is not installed; "
                    f"install it with: pip install bioio-{suffix} (or bioio-bioformats)"
                ) from None
            raise
        if key:
            image.set_scene(int(key) if key.isdigit() else key)
        data, sizes = image.dask_data, image.physical_pixel_sizes
        step: Any = getattr(image, "time_interval", None)
    keep = [i for i, n in enumerate(data.shape) if n > 1 or "TCZYX"[i] in "YX"]
    axes = "".join("TCZYX"[i] for i in keep)
    data = data[tuple(slice(None) if i in keep else 0 for i in range(5))]
    scale = {a: float(s) for a, s in zip("ZYX", (sizes.Z, sizes.Y, sizes.X), strict=True) if s}
    units = dict.fromkeys(scale, "micrometer")
    seconds = step.total_seconds() if hasattr(step, "total_seconds") else step
    if seconds:
        scale["T"], units["T"] = float(seconds), "second"
    return Found(data, axes, scale, {}, units)
