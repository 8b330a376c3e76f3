"""OME-Zarr: reads 0.4 and 0.5 (level 0) and plain zarr arrays, writes 0.5 chunk by chunk."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_recon.core.errors import InputError
from napari_recon.core.grid import AXIS_NAMES, Grid
from napari_recon.core.plan import OutputSpec
from napari_recon.io.found import Found, reading
from napari_recon.io.output import OutputFile, remove, stored_axes
from napari_recon.io.pyramid import Levels, coarser_grids

KEY = "napari-recon"
CHUNK = {"Z": 32, "Y": 256, "X": 256}
#: Of the time since an image was begun, what its coarser levels may take before it is finished.
LEVELS_SHARE = 0.03


def read_zarr(path: Path, key: str = "") -> Found:
    """Open level 0 of an OME-Zarr image, or the array at `key`.

    Raises
    ------
    InputError
        No zarr store, no image in it, or metadata that say nothing.
    """
    import zarr

    with reading(path, "zarr"):
        node: Any = zarr.open(path / key if key else path, mode="r")
        if isinstance(node, zarr.Array):
            return Found(node, _dimension_names(node))
        attributes: dict[str, Any] = dict(node.attrs)
        provenance = attributes.get(KEY)
        multiscale = _multiscale(attributes, path)
        if multiscale is None:
            arrays = sorted(node.array_keys())
            if len(arrays) != 1:
                raise InputError(
                    f"{path} should be an OME-Zarr image, found a group with {arrays or 'no arrays'}; "
                    "name the array as FILE::NAME"
                )
            only = node[arrays[0]]
            return Found(only, _dimension_names(only), provenance=provenance)
        axes = "".join(_letter(axis.name) for axis in multiscale.axes)
        data = node[multiscale.datasets[0].path]
    scale, translate = _placed(multiscale, axes)
    units = {a: str(axis.unit) for a, axis in zip(axes, multiscale.axes, strict=True) if axis.unit}
    exact = provenance is not None or bool(attributes.get(f"{KEY}-axes"))
    return Found(data, axes, scale, translate, units, provenance, exact=exact)


def read_zarr_provenance(path: Path) -> dict[str, Any] | None:
    """Return the provenance stored in the attributes, None when there is none."""
    import zarr

    with reading(path, "zarr"):
        found = dict(zarr.open(path, mode="r").attrs).get(KEY)
    return dict(found) if isinstance(found, Mapping) else None


def is_ours(path: Path) -> bool:
    """Return whether this package wrote a store."""
    import zarr

    try:
        return f"{KEY}-axes" in dict(zarr.open(path, mode="r").attrs)
    except (OSError, ValueError, KeyError):
        return False


def read_levels(path: Path, key: str = "") -> list[Any]:
    """Return the arrays of all levels, finest first; one for stores without coarser ones."""
    import zarr

    with reading(path, "zarr"):
        node: Any = zarr.open(path / key if key else path, mode="r")
        multiscale = None if isinstance(node, zarr.Array) else _multiscale(dict(node.attrs), path)
        return [] if multiscale is None else [node[dataset.path] for dataset in multiscale.datasets]


def positions(path: Path) -> tuple[str, ...]:
    """Return the images inside a store that is none itself (wells of a plate, series), natural-sorted; empty otherwise."""
    import zarr

    from napari_recon.io.open import natural_key  # open imports this module

    def inside(group: Any, depth: int) -> list[str]:
        if "multiscales" in {**group.attrs, **dict(group.attrs.get("ome", {}))}:
            return [str(group.path)]
        return [name for _, child in group.groups() for name in inside(child, depth - 1)] if depth else []

    with reading(path, "zarr"):
        root = zarr.open(path, mode="r")
        found = [] if isinstance(root, zarr.Array) else inside(root, 4)
    return tuple(sorted((name for name in found if name), key=natural_key))


def _dimension_names(array: Any) -> str | None:
    names = getattr(array.metadata, "dimension_names", None)
    if not names or any(n is None for n in names):
        return None
    return "".join(map(_letter, names))


def _letter(name: Any) -> str:
    spelled = {word: letter for letter, word in AXIS_NAMES.items()}
    upper = str(name).upper()
    return upper if upper in AXIS_NAMES else spelled.get(str(name).lower(), "Q")


def _multiscale(attributes: Mapping[str, Any], path: Path) -> Any:
    """Return the first multiscale of OME metadata (0.5 or 0.4), None when there is none."""
    if "multiscales" in attributes.get("ome", {}):
        from ome_zarr_models.v05.multiscales import Multiscale

        found = attributes["ome"]["multiscales"][0]
    elif "multiscales" in attributes:
        from ome_zarr_models.v04.multiscales import Multiscale  # type: ignore[assignment]

        found = attributes["multiscales"][0]
    else:
        return None
    try:
        return Multiscale.model_validate(found)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(
            f"{path} should carry valid OME-Zarr 0.4 or 0.5 metadata, found: {reason}; open its array as FILE::0 with --axes"
        ) from None


def _placed(multiscale: Any, axes: str) -> tuple[dict[str, float], dict[str, float]]:
    scale, translate = np.ones(len(axes)), np.zeros(len(axes))
    steps = [*multiscale.datasets[0].coordinateTransformations, *(multiscale.coordinateTransformations or ())]
    for step in steps:
        if step.type == "scale":
            factor = np.asarray(step.scale, dtype=float)
            scale, translate = scale * factor, translate * factor
        elif step.type == "translation":
            translate = translate + np.asarray(step.translation, dtype=float)
    return dict(zip(axes, scale.tolist(), strict=True)), dict(zip(axes, translate.tolist(), strict=True))


class ZarrOutput(OutputFile):
    """An OME-Zarr 0.5 image; a large one has coarser levels, which follow what is written and are right when it is finished.

    Parameters
    ----------
    path : Path
    spec : OutputSpec
    gathered_at : Path, optional
        Where blocks are gathered until `finish`, by several processes and over several sessions; `discard` then leaves
        them there. A name of its own beside `path` otherwise.
    alone : str
        Axes along which every index has chunks of its own, so that it can be written without regard to its neighbours.
    """

    carries_provenance = True
    _group: Any
    _array: Any

    def __init__(self, path: Path, spec: OutputSpec, gathered_at: Path | None = None, alone: str = "") -> None:
        super().__init__(path, spec)
        axes = stored_axes(spec.grid)
        self._grids = [spec.grid.only(axes)]
        self._grids += coarser_grids(self._grids[0])
        self._order = [spec.grid.axes.index(a) for a in axes]
        self._kept = gathered_at is not None
        self._begun = time.monotonic()
        if gathered_at is not None:
            self._temporary = gathered_at
            if (gathered_at / "0" / "zarr.json").exists():
                self._take_up(alone)
                return
            remove(gathered_at)  # what a killed process began
        import zarr

        attributes = _ome_attributes(self._grids, spec.name, path)
        try:
            self._group = zarr.create_group(self._temporary, zarr_format=3, attributes=attributes)
            self._open([self._create(number, alone) for number in reversed(range(len(self._grids)))][::-1])
        except BaseException:
            remove(self._temporary)
            raise

    @property
    def place(self) -> Path:
        """Where the image is now: a store that is being written, or what became of it."""
        return self.path if self._done else self._temporary

    @property
    def settled(self) -> bool:
        """Whether the coarser levels show all that was written."""
        return self._levels.settled

    def settle(self) -> None:
        """Bring the coarser levels up to date, for whoever looks at them or makes the other frames."""
        self._levels.settle()

    def _take_up(self, alone: str) -> None:
        """Go on with what an earlier session or another process began."""
        import zarr

        self._group = zarr.open_group(self._temporary, mode="r+")
        complete = all((self._temporary / str(n) / "zarr.json").exists() for n in range(len(self._grids)))
        arrays = [self._group[str(n)] if complete or not n else self._create(n, alone) for n in range(len(self._grids))]
        for array, grid in zip(arrays, self._grids, strict=True):
            if array.shape != grid.shape:  # a recording that grew
                array.resize(grid.shape)
        self._open(arrays)
        if not complete:  # begun by a version that made the levels at the end
            self._group.attrs.update(_ome_attributes(self._grids, self.spec.name, self.path))
            self._levels.touch_all()

    def _create(self, number: int, alone: str) -> Any:
        grid, chunk = self._grids[number], {**CHUNK, **dict.fromkeys(alone, 1)}
        return self._group.create_array(
            str(number),
            shape=grid.shape,
            dtype=np.dtype(self.spec.dtype),
            chunks=tuple(min(n, chunk.get(a, 1)) for a, n in zip(grid.axes, grid.shape, strict=True)),
            dimension_names=list(grid.axes.lower()),
            overwrite=True,
        )

    def _open(self, arrays: Sequence[Any]) -> None:
        self._array, self._levels = arrays[0], Levels(arrays, self.spec.kind == "labels")

    def _write(self, slices: tuple[slice, ...], array: NDArray[Any]) -> None:
        place = tuple(slices[i] for i in self._order)
        self._array[place] = np.transpose(array, self._order)
        self._levels.touch(place)
        if self._levels.seconds <= LEVELS_SHARE * (time.monotonic() - self._begun):
            self._levels.settle()
        with suppress(OSError):  # some network shares refuse it
            os.utime(self._temporary)  # tells who looks on that there is more to see

    def _finish(self, provenance: dict[str, Any]) -> None:
        if self._kept:
            for left in self._temporary.rglob("*.partial"):  # chunks that a killed process was about to write
                left.unlink()
            if (first := self._shared()) is not None:
                self._levels.touch_all(first - 1)
        self._levels.settle()
        if provenance:
            self._group.attrs[KEY] = provenance
        self._close()

    def _shared(self) -> int | None:
        """Return the first level whose voxels depend on frames that different processes made; None when none do."""
        frames = [a for a in self._grids[0].axes if self._array.chunks[self._grids[0].axes.index(a)] == 1]
        sizes = [[grid.size(a) for a in frames] for grid in self._grids]
        return next((number for number, found in enumerate(sizes) if found != sizes[0]), None)

    def _close(self) -> None:
        self._group = self._array = None
        self._levels = Levels(())

    def discard(self) -> None:
        """See `OutputFile.discard`; what is gathered for later stays."""
        if self._kept:
            self._close()
        else:
            super().discard()


def _ome_attributes(grids: Sequence[Grid], name: str, path: Path) -> dict[str, Any]:
    """Return the group attributes of an image with these levels, checked by the OME-Zarr models."""
    from ome_zarr_models.v05.axes import Axis
    from ome_zarr_models.v05.image import ImageAttrs
    from ome_zarr_models.v05.multiscales import Dataset, Multiscale

    grid = grids[0]
    try:
        multiscale = Multiscale(
            name=name,
            axes=[
                Axis(name=a.lower(), type=_axis_type(a, grid.axes), unit=None if u == "pixel" else u)
                for a, u in zip(grid.axes, grid.units, strict=True)
            ],
            datasets=tuple(
                Dataset.build(path=str(n), scale=list(level.scale), translation=list(level.translate))
                for n, level in enumerate(grids)
            ),
        )
        ome = ImageAttrs(multiscales=[multiscale], version="0.5").model_dump(mode="json", exclude_none=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(
            f"{path.name} can't hold an image with axes {grid.axes} as OME-Zarr ({reason}); write .ome.tif or .npy instead"
        ) from None
    return {"ome": ome, f"{KEY}-axes": grid.axes}


def _axis_type(axis: str, axes: str) -> str:
    if axis in "ZYX":
        return "space"
    if axis in "TC":
        return AXIS_NAMES[axis]
    # The format allows one custom axis; a second one (angle and phase) takes the free channel type.
    custom = [a for a in axes if a in "NAPV"]
    return "channel" if len(custom) > 1 and axis == custom[-1] and "C" not in axes else AXIS_NAMES[axis]
