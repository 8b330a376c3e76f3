"""Cells as regions: flooding from the nuclei, smooth edges, sisters that are still one cell, and what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

Array = NDArray[np.float32]
Labels = NDArray[np.int32]
Shape = tuple[int, int, int]
_EDGE_SIGMA = 0.8
_MARGIN = 4
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
    points = np.ones(shape, bool)
    reach = int(np.ceil(radius))
    for number, place in enumerate(places, 1):
        near = tuple(min(max(round(p), 0), n - 1) for p, n in zip(place, shape, strict=True))
        points[near] = False
        box = tuple(slice(max(0, c - reach), c + reach + 1) for c in near)
        grid = np.ogrid[box]
        ball = sum((g - p) ** 2 for g, p in zip(grid, place, strict=True)) <= radius**2
        part = markers[box]
        part[ball & ((part == 0) | (part == outside))] = number
        markers[near] = number
    distance = ndimage.distance_transform_edt(points)
    landscape = likelihood + pull * float(likelihood.std()) * distance.astype(np.float32)
    found: Labels = watershed(landscape, markers).astype(np.int32)
    found[found == outside] = 0
    return found


def resampled(labels: Labels, shape: Shape) -> Labels:
    """Return regions on `shape` voxels of the same extent with smooth edges: each voxel goes to the strongest of them.

    Every region's mask is blurred a little and interpolated linearly, in its own box.
    """
    zoom = np.array(shape) / np.array(labels.shape)
    found = np.zeros(shape, np.int32)
    best = _weight(labels == 0, (0, 0, 0), zoom, (0, 0, 0), shape)
    for number, box in _boxes(labels):
        starts = [s.start for s in box]
        low = np.floor(starts * zoom).astype(int)
        high = np.minimum(np.ceil([s.stop for s in box] * zoom).astype(int), shape)
        weight = _weight(labels[box] == number, starts, zoom, low, high)
        place = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        stronger = weight > best[place]
        best[place][stronger] = weight[stronger]
        found[place][stronger] = number
    return found


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
    whole, which = np.unique(faces.pairs, axis=0, return_inverse=True)
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


def _boxes(labels: Labels) -> Iterator[tuple[int, tuple[slice, slice, slice]]]:
    for number, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            z, y, x = (
                slice(max(0, s.start - _MARGIN), min(n, s.stop + _MARGIN)) for s, n in zip(box, labels.shape, strict=True)
            )
            yield number, (z, y, x)


def _weight(
    mask: NDArray[np.bool_], start: Sequence[int], zoom: NDArray[np.float64], low: Sequence[int], high: Sequence[int]
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
