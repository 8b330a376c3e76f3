"""Nuclei as layers: Points or Tracks become the rows of a seeds table in voxels of a stack, and tables become Points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import AXIS_NAMES
from napari_recon.viewer.placement import to_world
from napari_recon.viewer.selection import selection_kept

if TYPE_CHECKING:
    from napari.layers import Layer, Points

Row = dict[str, Any]
NAMES = ("name", "cell", "label")
"""Columns of features that can hold the name of a cell, the first that is there counts."""
MOTHER = "mother"
_TRACK = "track"
_PLANES = 5
"""In which a nucleus shows."""


def is_seeds(layer: Layer) -> bool:
    """Return whether a layer can hold nuclei."""
    return layer._type_string in ("points", "tracks")


def seeds_of(layer: Layer, stack: Layer, axes: str, time: int = 0) -> list[Row]:
    """Return one row per nucleus: cell, time (frame of the stack, from 0), z, y, x in its voxels; mother where known.

    Parameters
    ----------
    layer : Points or Tracks
        Where its coordinates lie in the world counts. Points without a time are there at all times.
    stack : Image
    axes : str
        Letters of its dimensions: ZYX, with T before it in a series.
    time : int
        Of points that have a time, those of this frame are taken for a stack without.

    Raises
    ------
    InputError
        Other dimensions, two nuclei of one name at a time.
    """
    tracks = layer._type_string == "tracks"
    data = np.asarray(layer.data, float)[:, 1:] if tracks else np.asarray(layer.data, float)
    if not len(data):
        return []
    if layer.ndim not in (3, 4):
        raise InputError(
            f"nuclei should have coordinates z, y and x (and a time before them), found {layer.ndim} in {layer.name}; "
            "choose another layer"
        )
    names, mothers = _names(layer, tracks)
    own = _mapped(data, layer, stack)
    kept, frames = _frames(own, layer.ndim, stack.ndim, data, time)
    zyx = own[:, [axes.index(a) - stack.ndim + own.shape[1] for a in "ZYX"]]
    size = stack.data.shape[axes.index("T")] if "T" in axes else 1
    rows: list[Row] = []
    for i in kept:
        place = {a: round(float(v), 4) for a, v in zip("zyx", zyx[i], strict=True)}
        said = {MOTHER: mothers[i]} if mothers[i] else {}
        times = range(size) if frames is None else [int(frames[i])] if 0 <= frames[i] < size else []
        rows += [{"cell": names[i], "time": t, **place, **said} for t in times]
    twice = [key for key, n in Counter((row["time"], row["cell"]) for row in rows).items() if n > 1]
    if twice:
        raise InputError(
            f"every cell should have one nucleus at a time, found more of {twice[0][1]} at time {twice[0][0]}; "
            "rename one in the features of the layer"
        )
    return sorted(rows, key=lambda row: row["time"])


def points_layer(rows: Sequence[Mapping[str, Any]], stack: Layer, axes: str, name: str = "nuclei") -> Points:
    """Return a Points layer that shows the rows of a seeds table (as from `seeds_of`) on `stack`, named."""
    from napari.layers import Points

    letters = "TZYX" if "T" in axes else "ZYX"
    order = [axes.index(a) for a in letters]
    data = np.array([[row["time"] if a == "T" else row[a.lower()] for a in letters] for row in rows], float)
    data = data.reshape(len(rows), len(letters))
    names = [str(row["cell"]) for row in rows]
    features: dict[str, Any] = {"name": np.array(names, dtype=object)}
    if any(row.get(MOTHER) for row in rows):
        features[MOTHER] = np.array([str(row.get(MOTHER) or "") for row in rows], dtype=object)
    matrix = to_world(stack)
    return Points(
        data,
        name=name,
        features=features,
        feature_defaults=dict.fromkeys(features, "") if not len(rows) else None,
        text={"string": "{name}", "size": 9, "color": "white", "anchor": "upper_left"},
        scale=[float(matrix[i, i]) for i in order],
        translate=[float(matrix[i, -1]) for i in order],
        units=[str(stack.units[i]) for i in order],
        axis_labels=[AXIS_NAMES[a] for a in letters],
        size=max(3.0, 0.04 * stack.data.shape[axes.index("X")]),
        projection_mode="all",
        face_color="#e69f00",
        border_color="black",
    )


def name_new(layer: Points, known: int) -> None:
    """Give points beyond the first `known` names of their own: napari names a new one like the one selected last."""
    column = _column(layer)
    features = layer.features.copy()
    names = [str(n) for n in features[column]] if column else _numbered(len(layer.data))
    taken = set(names[:known])
    for i in range(known, len(names)):
        if names[i] in taken or names[i] in ("", "nan", "None", "<NA>"):
            names[i] = next(n for k in range(1, len(names) + known + 2) if (n := f"new{k}") not in taken)
        taken.add(names[i])
    features[column or NAMES[0]] = names
    if MOTHER in features:
        features[MOTHER] = [*features[MOTHER][:known], *[""] * (len(names) - known)]
    layer.features = features


def _names(layer: Any, tracks: bool) -> tuple[list[str], list[str]]:
    """Return name and mother of every point."""
    column, count = _column(layer), len(layer.data)
    if not tracks:
        said = [str(n).strip() for n in layer.features[column]] if column else _numbered(count)
        names = [n if n not in ("", "nan", "None", "<NA>") else f"cell{i}" for i, n in enumerate(said, 1)]
        return names, [str(m) if str(m) != "nan" else "" for m in layer.features.get(MOTHER, [""] * count)]
    ids = [int(i) for i in np.asarray(layer.data)[:, 0]]
    called = dict(zip(ids, (str(n) for n in layer.features[column]), strict=True)) if column else {}
    called |= {i: f"{_TRACK}{i}" for i in ids if i not in called or called[i] in ("", "nan")}
    mothers = {child: called.get(parents[0], "") for child, parents in layer.graph.items() if parents}
    return [called[i] for i in ids], [mothers.get(i, "") for i in ids]


def _column(layer: Any) -> str:
    return next((name for name in NAMES if name in layer.features), "")


def _numbered(count: int) -> list[str]:
    return [f"cell{i}" for i in range(1, count + 1)]


def _mapped(data: NDArray[np.float64], layer: Layer, stack: Layer) -> NDArray[np.float64]:
    """Return points in voxels of `stack`, over the last dimensions that both have."""
    world = data @ to_world(layer)[:-1, :-1].T + to_world(layer)[:-1, -1]
    n = min(layer.ndim, stack.ndim)
    inverse = np.linalg.inv(to_world(stack))
    mine = inverse[-n - 1 : -1, -n - 1 : -1]
    found: NDArray[np.float64] = world[:, -n:] @ mine.T + inverse[-n - 1 : -1, -1]
    return found


def _frames(
    own: NDArray[np.float64], points: int, stack: int, data: NDArray[np.float64], time: int
) -> tuple[list[int], NDArray[np.int64] | None]:
    """Return which points count, and the frame of each (None when they are there at all times, or there is one)."""
    everyone = list(range(len(own)))
    if stack == 4 and points == 4:
        return everyone, np.rint(own[:, 0]).astype(int)
    if stack == 4:
        return everyone, None
    if points == 4:
        times = np.rint(data[:, 0]).astype(int)
        return [i for i in everyone if times[i] == time], np.zeros(len(own), int)
    return everyone, np.zeros(len(own), int)


def add_beside(viewer: Any, layer: Layer) -> None:
    """Add a layer of nuclei; what was selected stays so."""
    with selection_kept(viewer):
        viewer.add_layer(layer)


def lay_over(viewer: Any, nuclei: Layer, labels: Layer) -> None:
    """Bring nuclei above labels, whose outlines would hide them and their names."""
    layers = viewer.layers
    if layers.index(nuclei) < layers.index(labels):
        layers.move(layers.index(nuclei), layers.index(labels) + 1)


def thicken(viewer: Any, layer: Layer) -> None:
    """Show nuclei in the planes around theirs too: only layers that ask for it (projection_mode) look at the thickness."""
    dims = viewer.dims
    axis = dims.ndim - 3
    if axis >= 0 and getattr(layer, "projection_mode", "none") != "none" and not dims.thickness[axis]:
        step = dims.range[axis].step
        dims.thickness = tuple(_PLANES * step if i == axis else t for i, t in enumerate(dims.thickness))
