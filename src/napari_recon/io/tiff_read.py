"""Reading TIFF: plain, ImageJ and OME. Uncompressed series are memory-mapped, others are read page by page."""

from __future__ import annotations

import json
import logging
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.lazy import MappedArray, PieceArray
from napari_recon.io.found import Found, reading
from napari_recon.io.ome_optics import ome_optics

NAMESPACE = "napari-recon"


def read_tiff(path: Path, key: str = "") -> Found:
    """Open a TIFF file; `key` is the number of the series (0 unless told).

    Raises
    ------
    InputError
        Not a TIFF, damaged, truncated, or without such a series.
    """
    import tifffile

    if path.stat().st_size == 0:
        raise InputError(f"{path} should be a TIFF file, found an empty one (0 bytes); copy or save it again")
    with reading(path, "TIFF"), _quiet():
        tif = tifffile.TiffFile(path)
        try:
            if not key and _written_page_by_page(tif):
                tif.close()
                tif = tifffile.TiffFile(path, is_shaped=False)
            series = _series(tif, path, key)
            note = _annotation(tif) or {}
            scale, units = _geometry(tif, series)
            exact = False
            axes, shape = series.axes, tuple(series.shape)
            grid: dict[str, Any] = note.get("grid") or {}
            if grid and math.prod(grid["shape"]) == math.prod(shape):
                exact = True
                axes, shape = grid["axes"], tuple(grid["shape"])
            metadata: dict[str, Any] = {"software": tif.pages.first.software} if tif.pages.first.software else {}
            if tif.is_ome and (optics := ome_optics(tif.ome_metadata)):
                metadata["optics"] = optics
            data = _data(tif, series, shape, path)
        except BaseException:
            tif.close()
            raise
    translate: dict[str, float] = {}
    if exact:
        scale, translate, units = (dict(zip(axes, grid[k], strict=True)) for k in ("scale", "translate", "units"))
    return Found(data, axes, scale, translate, units, note.get("provenance"), metadata, exact)


def read_tiff_provenance(path: Path) -> dict[str, Any] | None:
    """Return the provenance stored in a TIFF file, None when there is none."""
    import tifffile

    with reading(path, "TIFF"), _quiet(), tifffile.TiffFile(path) as tif:
        note = _annotation(tif)
    return note.get("provenance") if note else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep tifffile from logging what is raised as one sentence anyway."""
    logger = logging.getLogger("tifffile")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _written_page_by_page(tif: Any) -> bool:
    """Return whether a script appended equal images one by one, which tifffile takes for as many separate series."""
    kinds = {(s.kind, tuple(s.shape), str(s.dtype)) for s in tif.series}
    return len(tif.series) > 1 and len(kinds) == 1 and tif.series[0].kind == "shaped" and tif.series[0].ndim == 2


def _series(tif: Any, path: Path, key: str) -> Any:
    if not tif.series:
        raise InputError(f"{path} should hold an image, found none: it is empty or truncated; copy or save it again")
    number = int(key) if key.isdigit() else (0 if not key else -1)
    if not 0 <= number < len(tif.series):
        raise InputError(f"{path} holds {len(tif.series)} image series, {key!r} was asked; give FILE::0 or leave it out")
    return tif.series[number]


def _data(tif: Any, series: Any, shape: tuple[int, ...], path: Path) -> Any:
    dtype = np.dtype(series.dtype)
    if series.dataoffset is None or len(series) == 1:
        _check_chain(tif, path)
    if series.dataoffset is not None:
        stored = np.dtype(tif.byteorder + dtype.char)
        expected = series.dataoffset + math.prod(shape) * stored.itemsize
        _check_complete(path, expected)
        tif.close()
        pixels = np.memmap(path, dtype=stored, mode="r", offset=series.dataoffset, shape=shape)
        return MappedArray(pixels)
    keyframe, count = series.keyframe, len(series)
    page_size = math.prod(keyframe.shape)
    lead = next((n for n in range(len(shape)) if math.prod(shape[:n]) == count), None)
    if lead is None or math.prod(shape[lead:]) != page_size:
        raise InputError(f"{path} holds {count} pages, {shape} was announced; the file is incomplete, copy it again")
    last = series[count - 1]
    if last is not None:
        _check_complete(path, max(o + n for o, n in zip(last.dataoffsets, last.databytecounts, strict=True)))
    pages = _Pages(tif, series, shape[lead:], path)
    array = PieceArray(shape[:lead], shape[lead:], dtype.newbyteorder("="), pages)
    weakref.finalize(array, tif.close)
    return array


def _check_chain(tif: Any, path: Path) -> None:
    """Raise when the last page announces another one: the end of the file is missing."""
    pages = len(tif.pages)
    tif.filehandle.seek(tif.pages.next_page_offset)
    pointer = tif.filehandle.read(tif.tiff.offsetsize)
    if any(pointer) or len(pointer) < tif.tiff.offsetsize:
        raise InputError(f"{path} should hold more than {pages} pages: it is truncated; copy or save it again")


def _check_complete(path: Path, expected: int) -> None:
    size = path.stat().st_size
    if size < expected:
        raise InputError(
            f"{path} should hold at least {expected} bytes, found {size}: it is truncated; copy or save it again"
        )


class _Pages:
    """Loads single pages of an open file; safe to call from several threads."""

    def __init__(self, tif: Any, series: Any, shape: tuple[int, ...], path: Path) -> None:
        self._tif, self._series, self._shape, self._path = tif, series, shape, path
        self._lock = threading.Lock()

    def __call__(self, number: int, key: tuple[Any, ...]) -> NDArray[Any]:
        with self._lock, reading(self._path, "TIFF"), _quiet():
            page = self._series[number]
            if page is None:
                return np.asarray(np.zeros(self._shape, self._series.dtype)[key])
            return np.asarray(page.asarray().reshape(self._shape)[key])


def _annotation(tif: Any) -> dict[str, Any] | None:
    """Return what `tiff_write` stored: ``{"grid": ..., "provenance": ...}``."""
    if not tif.is_ome or NAMESPACE not in (tif.ome_metadata or ""):
        return None
    for element in ElementTree.fromstring(tif.ome_metadata).iter():
        if element.tag.endswith("CommentAnnotation") and element.get("Namespace") == NAMESPACE:
            value = next((child.text for child in element if child.tag.endswith("Value")), None)
            note: dict[str, Any] = json.loads(value or "{}")
            return note
    return None


def _geometry(tif: Any, series: Any) -> tuple[dict[str, float], dict[str, str]]:
    if tif.is_ome:
        return _ome_geometry(tif.ome_metadata)
    if tif.is_imagej:
        return _imagej_geometry(tif)
    return {}, {}


def _ome_geometry(xml: str) -> tuple[dict[str, float], dict[str, str]]:
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if e.tag.endswith("Pixels")), None)
    scale, units = {}, {}
    if pixels is not None:
        for axis in "XYZ":
            if size := _positive(pixels.get(f"PhysicalSize{axis}")):
                scale[axis], units[axis] = size, pixels.get(f"PhysicalSize{axis}Unit", "µm")
        if step := _positive(pixels.get("TimeIncrement")):
            scale["T"], units["T"] = step, pixels.get("TimeIncrementUnit", "s")
    return scale, units


def _imagej_geometry(tif: Any) -> tuple[dict[str, float], dict[str, str]]:
    about = tif.imagej_metadata or {}
    scale, units = {}, {}
    unit = str(about.get("unit", ""))
    if unit and unit.lower() not in ("pixel", "pixels"):
        for axis, tag in (("X", "XResolution"), ("Y", "YResolution")):
            found = tif.pages.first.tags.get(tag)
            numerator, denominator = found.value if found is not None else (0, 1)
            if numerator:
                scale[axis], units[axis] = denominator / numerator, str(about.get(f"{axis.lower()}unit", unit))
        if spacing := _positive(about.get("spacing")):
            scale["Z"], units["Z"] = spacing, str(about.get("zunit", unit))
    if step := _positive(about.get("finterval")):
        scale["T"], units["T"] = step, str(about.get("tunit", "sec"))
    return scale, units


def _positive(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if value > 0 and math.isfinite(value) else None
