"""Writing OME-TIFF: a memory map to fill block by block, axes, voxel size and provenance in the OME-XML.

OME knows T, C and Z only; views (V) and raw frames (N) are stored as its "other" and "tile" dimensions, angles and
phases under their own names (OME's 6D/7D/8D "modulo" annotations), so Fiji and napari open the file as a plain
hyperstack. Exact axes, origin and the recipe lie as JSON in an annotation of our own namespace.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.lazy import let_go
from napari_recon.core.plan import OutputSpec
from napari_recon.io.axes import in_standard_unit
from napari_recon.io.output import OutputFile, allocate, remove, reserve, stored_axes
from napari_recon.io.tiff_read import NAMESPACE

OME_AXES = {"V": "Q", "N": "R"}
OME_DTYPES = {"bool": "uint8", "float16": "float32", "int64": "int32", "uint64": "uint32"}
BIG = 2**32 - 2**25


class TiffOutput(OutputFile):
    """An OME-TIFF that is filled through a memory map."""

    carries_provenance = True

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        super().__init__(path, spec)
        import tifffile

        grid = spec.grid
        if not {"Y", "X"} <= set(grid.axes):
            raise InputError(f"{path.name} should hold an image with axes Y and X, found {grid.axes}; write .npy instead")
        axes = grid.axes if grid.axes.endswith("YX") else stored_axes(grid)
        self._grid = grid.only(axes)
        self._order = [grid.axes.index(a) for a in axes]
        dtype = np.dtype(OME_DTYPES.get(spec.dtype, spec.dtype))
        nbytes = math.prod(grid.shape) * dtype.itemsize
        reserve(path, nbytes)
        try:
            self._map: Any = tifffile.memmap(
                self._temporary,
                shape=self._grid.shape,
                dtype=dtype,
                bigtiff=nbytes > BIG,
                photometric="minisblack",
                ome=True,
                metadata={
                    "axes": "".join(OME_AXES.get(a, a) for a in axes),
                    "Name": "".join(filter(str.isprintable, spec.name)),
                    **_sizes(self._grid),
                },
            )
            allocate(self._temporary)
        except BaseException:
            self._map = None
            remove(self._temporary)
            raise

    def _write(self, slices: tuple[slice, ...], array: NDArray[Any]) -> None:
        if self._map.dtype.kind in "iu" and array.dtype.itemsize > self._map.dtype.itemsize and array.size:
            limits = np.iinfo(self._map.dtype)
            if array.min() < limits.min or array.max() > limits.max:
                raise InputError(
                    f"{self.path.name} can hold values {limits.min} to {limits.max}, found {array.min()} to "
                    f"{array.max()}; write .ome.zarr or .npy instead"
                )
        ordered = tuple(slices[i] for i in self._order)
        self._map[ordered] = np.transpose(array, self._order)
        let_go(self._map)

    def _finish(self, provenance: dict[str, Any]) -> None:
        import tifffile

        self._map.flush()
        self._close()
        note: dict[str, Any] = {"grid": self._grid.model_dump(mode="json"), "name": self.spec.name}
        if provenance:
            note["provenance"] = provenance
        with tifffile.TiffFile(self._temporary, mode="r+b") as tif:
            tag = tif.pages.first.tags["ImageDescription"]
            tag.overwrite(_with_annotation(tif.ome_metadata, note).encode())

    def _close(self) -> None:
        self._map = None


def _sizes(grid: Grid) -> dict[str, Any]:
    """Return voxel size and time step in the words of tifffile's OME metadata."""
    found: dict[str, Any] = {}
    for axis in grid.axes:
        value, unit = in_standard_unit(abs(grid.step(axis)), grid.unit(axis))
        if axis in "ZYX" and unit == "micrometer":
            found |= {f"PhysicalSize{axis}": value, f"PhysicalSize{axis}Unit": "µm"}
        elif axis == "T" and unit == "second":
            found |= {"TimeIncrement": value, "TimeIncrementUnit": "s"}
    return found


def _with_annotation(xml: str, note: dict[str, Any]) -> str:
    """Return the OME-XML with `note` as a comment annotation of our namespace."""
    text = escape(json.dumps(note, default=_number))
    mine = (
        f'<CommentAnnotation ID="Annotation:{NAMESPACE}" Namespace="{NAMESPACE}"><Value>{text}</Value></CommentAnnotation>'
    )
    if "</StructuredAnnotations>" in xml:
        return xml.replace("</StructuredAnnotations>", f"{mine}</StructuredAnnotations>")
    return xml.replace("</OME>", f"<StructuredAnnotations>{mine}</StructuredAnnotations></OME>")


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
