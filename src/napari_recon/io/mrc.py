"""Reading MRC: standard files (lengths in angstrom) and those of light-sheet microscopes (micrometers in the header)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from napari_recon.core.errors import InputError
from napari_recon.core.lazy import MappedArray
from napari_recon.io.found import Found, reading

HEADER = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}


def read_mrc(path: Path, key: str = "") -> Found:
    """Memory-map an MRC file: ZYX for a volume or stack, YX for an image.

    Words 8 to 10 of the header say how many samples words 11 to 13 measure. Microscopes that write 1 there give the
    distance of neighbouring samples itself, in micrometers; others give the length of the whole cell, in angstrom.

    Parameters
    ----------
    path : Path
    key : str
        Unused.

    Raises
    ------
    InputError
        Truncated or damaged files, unknown modes.
    """
    with reading(path, "MRC"), path.open("rb") as file:
        raw = file.read(HEADER)
        if len(raw) < HEADER:
            raise InputError(f"{path} should begin with a header of {HEADER} bytes, found {len(raw)}; copy it again")
        found = path.stat().st_size
        order = "<" if _expected(raw, "<") <= found or _expected(raw, ">") > found else ">"
        words, lengths = np.frombuffer(raw, f"{order}i4"), np.frombuffer(raw, f"{order}f4")
        nx, ny, nz, mode = (int(n) for n in words[:4])
        extended, samples = int(words[23]), [int(n) for n in words[7:10]]
        expected = _expected(raw, order)
        if expected == math.inf:
            raise InputError(
                f"{path} should be an MRC file of mode {', '.join(map(str, MODES))}, found mode {mode} and size "
                f"{nx} x {ny} x {nz}; check that it is complete and its suffix is right"
            )
        if found < expected:
            raise InputError(f"{path} should hold at least {expected} bytes, found {found}: it is truncated; copy it again")
        dtype, shape = np.dtype(f"{order}{MODES[mode]}"), (nz, ny, nx) if nz > 1 else (ny, nx)
        data = MappedArray(np.memmap(path, dtype, "r", offset=HEADER + extended, shape=shape))
    cell = [float(v) for v in lengths[10:13]]
    if not all(math.isfinite(v) and v > 0 for v in cell) or min(samples) < 1:
        return Found(data, {2: "YX", 3: "QYX"}[data.ndim])
    microscope = max(samples) == 1 < nx
    scale = dict(zip("XYZ", (v / n for v, n in zip(cell, samples, strict=True)), strict=True))
    axes = "ZYX"[-data.ndim :]
    units = dict.fromkeys(axes, "micrometer" if microscope else "angstrom")
    return Found(data, axes, {a: scale[a] for a in axes}, {}, units)


def _expected(header: bytes, order: str) -> float:
    """Return the bytes a file with this header should have, infinite when the header makes no sense in this byte order."""
    words = [int(n) for n in np.frombuffer(header, f"{order}i4", 24)]
    if words[3] not in MODES or min(words[:3]) < 1 or words[23] < 0:
        return math.inf
    return HEADER + words[23] + math.prod(words[:3]) * np.dtype(MODES[words[3]]).itemsize
