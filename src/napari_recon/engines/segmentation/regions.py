"""Cells as regions: flooding from the nuclei, smooth edges, sisters that are still one cell, and what is measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.segmentation import watershed

Array = NDArray[np.float32]
Labels = NDArray[np.int32]
Shape = tuple[int, int, int]
Box = tuple[slice, slice, slice]
_EDGE_SIGMA, _MARGIN = 0.8, 4
"""Blur of a region's mask that makes its edge smooth, and voxels around it that the blur reaches."""
_OUTSIDE = 0.4
"""The dark at the volume's faces counts as if a nucleus were so far off, in distances between nuclei."""
_ROOM = 0.3
"""How far beyond a cell others may change with its nucleus, in distances between nuclei."""
_FACES = 2 / 3
"""What voxel faces count of a surface, on average over its directions."""


class Faces(NamedTuple):
    """Voxel faces between two different regions, one row each.

    Attributes
    ----------
    pairs : ndarray
        (n, 2), the smaller label first.
    axes : ndarray
        (n,), across which axis.
    likelihood : ndarray
        (n,), of membrane, the mean of both voxels.
    """

    pairs: NDArray[np.int32]
    axes: NDArray[np.int8]
    likelihood: Array


def flooded(likelihood: Array, places: Sequence[Sequence[float]], radius: float, pull: float) -> Labels:
    """Return regions 1..n around n nuclei, 0 outside, by a watershed.

    Parameters
    ----------
    places : sequence
        (z, y, x) in voxels of `likelihood`.
    radius : float
        Of the balls that flooding starts from, voxels; the volume's faces are where the outside starts from.
    pull : float
        How much a voxel of distance to the nearest nucleus counts, in standard deviations of the likelihood.
    """
    shape = likelihood.shape
    markers = np.zeros(shape, np.int32)
    outside = len(places) + 1
    for axis in range(3):
        for end in (0, -1):
            np.moveaxis(markers, axis, 0)[end] = outside
    faces = markers == 0
    _put_nuclei(markers, places, radius, (0, outside))
    found = _flood(likelihood, markers, places, pull, faces)
    found[found == outside] = 0
    return found


def reflooded(
    likelihood: Array,
    places: Sequence[Sequence[float]],
    radius: float,
    pull: float,
    regions: Labels,
    changed: Collection[int],
    free: Collection[int],
) -> tuple[Labels, Box]:
    """Return the regions of a box in which some grew anew, and the box; all others stay as they are.

    Parameters
    ----------
    places, radius, pull
        As in `flooded`.
    regions : ndarray
        As from `flooded`, numbered as `places` are.
    changed : collection of int
        Regions whose nucleus is another one, and those that are no more (numbers above those of `places`).
    free : collection of int
        These and what they may take from, or give to: voxels of the box that belong to them go to whoever of them, or of the
        others around, reaches them first.
    """
    room = int(np.ceil(_ROOM * _apart(places, likelihood.shape))) + 2
    corners = [np.array([np.rint(places[n - 1])] * 2).astype(int) for n in changed if n <= len(places)]
    for number, found in enumerate(ndimage.find_objects(regions), 1):
        if found is not None and number in changed:
            corners.append(np.array([[s.start for s in found], [s.stop - 1 for s in found]]))
    low = (np.min(corners, (0, 1)) - room).clip(0)
    high = np.minimum(np.max(corners, (0, 1)) + room + 1, regions.shape)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    part, outside = regions[z, y, x], max(len(places), int(regions.max())) + 1
    loose = np.isin(part, list(free))
    edge = np.ones(part.shape, bool)
    edge[1:-1, 1:-1, 1:-1] = False
    loose &= ~edge | np.isin(part, list(changed))
    markers = np.where(loose, 0, np.where(part == 0, outside, part)).astype(np.int32)
    inside = [np.asarray(place) - low for place in places]
    _put_nuclei(markers, inside, radius, (0, outside, *range(1, outside)), only=set(free))
    grown = _flood(likelihood[z, y, x], markers, inside, pull)
    grown[grown == outside] = 0
    return grown, (z, y, x)


def _put_nuclei(
    markers: Labels,
    places: Sequence[Any],
    radius: float,
    over: tuple[int, ...],
    only: Collection[int] | None = None,
) -> None:
    """Mark a ball around each nucleus (of those numbered `only`), where there is one of `over` so far."""
    reach = int(np.ceil(radius))
    for number, place in enumerate(places, 1):
        if only is not None and (number not in only or not _within(place, markers.shape)):
            continue
        near = tuple(min(max(round(float(p)), 0), m - 1) for p, m in zip(place, markers.shape, strict=True))
        box = tuple(slice(max(0, c - reach), c + reach + 1) for c in near)
        grid = np.ogrid[tuple(slice(b.start, min(b.stop, m)) for b, m in zip(box, markers.shape, strict=True))]
        ball = sum((g - p) ** 2 for g, p in zip(grid, place, strict=True)) <= radius**2
        part = markers[box]
        part[ball & np.isin(part, over)] = number
        markers[near] = number


def _flood(
    likelihood: Array, markers: Labels, places: Sequence[Any], pull: float, faces: NDArray[np.bool_] | None = None
) -> Labels:
    """Flood from `markers`: membranes are high, and so is what is far from nuclei, but for what is near the `faces`.

    Without the last, a hole in the outermost membrane would let a cell out into the dark before the outside comes.
    """
    points = np.ones(likelihood.shape, bool)
    for place in places:
        if _within(place, points.shape):
            points[tuple(round(float(p)) for p in place)] = False
    away = ndimage.distance_transform_edt(points) if not points.all() else np.zeros(points.shape)
    if faces is not None:
        np.minimum(away, ndimage.distance_transform_edt(faces) + _OUTSIDE * _apart(places, likelihood.shape), out=away)
    landscape = likelihood + pull * float(likelihood.std()) * away.astype(np.float32)
    found: Labels = watershed(landscape, markers).astype(np.int32)
    return found


def _within(place: Any, shape: Sequence[int]) -> bool:
    return all(0 <= round(float(p)) < n for p, n in zip(place, shape, strict=True))


def _apart(places: Sequence[Any], shape: Sequence[int]) -> float:
    """Return how far nuclei lie from their nearest neighbours, in voxels."""
    if len(places) < 2:
        return float(min(shape)) / 2
    points = np.asarray(places, float)
    return float(np.median(cKDTree(points).query(points, 2)[0][:, 1]))


def resampled(labels: Labels, shape: Shape, within: Box | None = None) -> tuple[Labels, Box]:
    """Return regions on `shape` voxels of the same extent with smooth edges, and which of those voxels they are.

    Each voxel goes to the strongest region around: every region's mask is blurred a little and interpolated linearly, in
    its own box. `within`, a box of `labels`, limits the work to what changes with what lies in it.
    """
    zoom = np.array(shape) / np.array(labels.shape)
    within = within or (slice(0, labels.shape[0]), slice(0, labels.shape[1]), slice(0, labels.shape[2]))
    around = tuple(
        slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) for s, n in zip(within, labels.shape, strict=True)
    )
    wide = tuple(
        slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) for s, n in zip(around, labels.shape, strict=True)
    )
    corner = np.floor([s.start for s in around] * zoom).astype(int)
    end = np.minimum(np.ceil([s.stop for s in around] * zoom).astype(int), shape)
    part, offset = labels[wide], np.array([s.start for s in wide])
    found = np.zeros(end - corner, np.int32)
    best = _weight(part == 0, offset, zoom, corner, end)
    for number, box in _boxes(part):
        starts = offset + [s.start for s in box]
        low = np.maximum(np.floor(starts * zoom).astype(int), corner)
        high = np.minimum(np.ceil((offset + [s.stop for s in box]) * zoom).astype(int), end)
        if (high <= low).any():
            continue
        weight = _weight(part[box] == number, starts, zoom, low, high)
        place = tuple(slice(a, b) for a, b in zip(low - corner, high - corner, strict=True))
        stronger = weight > best[place]
        best[place][stronger] = weight[stronger]
        found[place][stronger] = number
    z, y, x = (slice(int(a), int(b)) for a, b in zip(corner, end, strict=True))
    return found, (z, y, x)


def membrane_between(labels: Labels, likelihood: Array, sisters: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Return how much membrane lies between sisters that touch: 1 is what lies between all cells, 0 what lies in them."""
    faces = faces_of(labels, likelihood)
    between = (faces.pairs > 0).all(1)
    if not between.any():
        return {}
    inner = float(np.median(likelihood[labels > 0]))
    usual = float(np.median(faces.likelihood[between])) - inner
    found = {}
    for pair in sisters:
        own = (faces.pairs == sorted(pair)).all(1)
        if own.any():
            found[pair] = (float(np.median(faces.likelihood[own])) - inner) / max(usual, 1e-6)
    return found


def faces_of(labels: Labels, likelihood: Array | None = None) -> Faces:
    """Return all voxel faces between different regions (0, the outside, is one)."""
    pairs, axes, values = [], [], []
    for axis in range(3):
        a, b = (np.moveaxis(labels, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        apart = a != b
        pairs.append(np.sort(np.stack([a[apart], b[apart]], 1), 1))
        axes.append(np.full(len(pairs[-1]), axis, np.int8))
        if likelihood is not None:
            low, high = (np.moveaxis(likelihood, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
            values.append((low[apart] + high[apart]) / 2)
    empty = np.zeros(0, np.float32)
    return Faces(np.concatenate(pairs), np.concatenate(axes), np.concatenate(values) if values else empty)


def measured(labels: Labels, names: dict[int, str], voxel: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Return one row per cell: label, name, volume, surface and the cells it touches with the area of each contact.

    Areas count voxel faces, which is right on average over directions, times 2/3.
    """
    faces = faces_of(labels)
    area = np.array([voxel[1] * voxel[2], voxel[0] * voxel[2], voxel[0] * voxel[1]]) * _FACES
    counts = np.bincount(labels.ravel(), minlength=max(names, default=0) + 1)
    most = int(counts.size)
    codes, which = np.unique(faces.pairs[:, 0].astype(np.int64) * most + faces.pairs[:, 1], return_inverse=True)
    whole = np.stack(np.divmod(codes, most), 1)
    shared = np.bincount(which.ravel(), weights=area[faces.axes], minlength=len(whole))
    rows = []
    for number, name in sorted(names.items()):
        if number >= len(counts) or not counts[number]:
            continue
        own = (whole == number).any(1)
        touching = {
            names[int(other)]: round(float(size), 4)
            for pair, size in zip(whole[own], shared[own], strict=True)
            if (other := pair[0] if pair[1] == number else pair[1]) in names
        }
        rows.append(
            {
                "label": number,
                "name": name,
                "volume": round(float(counts[number] * np.prod(voxel)), 4),
                "surface": round(float(shared[own].sum()), 4),
                "contacts": " ".join(f"{other}:{size:g}" for other, size in sorted(touching.items())),
            }
        )
    return rows


def _boxes(labels: Labels) -> Iterator[tuple[int, Box]]:
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            z, y, x = (
                slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) for s, n in zip(box, labels.shape, strict=True)
            )
            yield number, (z, y, x)


def _weight(
    mask: NDArray[np.bool_], start: NDArray[Any], zoom: NDArray[np.float64], low: NDArray[Any], high: NDArray[Any]
) -> Array:
    """Return a blurred mask, which begins at voxel `start`, at voxels low:high of a lattice `zoom` times as fine."""
    weight: Array = ndimage.gaussian_filter(mask.astype(np.float32), _EDGE_SIGMA)
    for axis in range(3):
        n = weight.shape[axis]
        places = (np.arange(low[axis], high[axis]) + 0.5) / zoom[axis] - 0.5 - start[axis]
        places = places.clip(0, n - 1)
        lower = np.minimum(places.astype(int), max(n - 2, 0))
        share = (places - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        weight = weight.take(lower, axis) * (1 - share) + weight.take(np.minimum(lower + 1, n - 1), axis) * share
    return weight
