"""The published split: two searches over whole degrees' tenths and planes, on maximum projections that wrap around."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.engines.fusion.preparing.mirror_line import half_up, scaled, turned
from napari_recon.engines.fusion.registration.split_transform import SplitTransform
from napari_recon.engines.fusion.registration.turning import centred, sampled, turned_size


@dataclass(frozen=True)
class Search:
    """What is tried.

    Attributes
    ----------
    angle_deg : float
    angles_x, angles_y : sequence of float
        Turns tried about x, and about y besides `angle_deg`, in degrees.
    planes : (int, int)
        Range of the offset in planes, half-open.
    margin : int
        Pixels left out on every side, twice.
    """

    angle_deg: float
    angles_x: Sequence[float]
    angles_y: Sequence[float]
    planes: tuple[int, int]
    margin: int


def turned_volume(
    volume: Tensor, voxel_um: tuple[float, float, float], angle_y: float, angle_x: float, check: Callable[[], None]
) -> Tensor:
    """Return the turned volume cut to the shape it had."""
    shape = (int(volume.shape[0]), int(volume.shape[1]), int(volume.shape[2]))
    places, transform = published_places(shape, voxel_um, angle_y, angle_x)
    return sampled(volume, voxel_um, *transform.source(mirrored=False), places, check)


def published_places(
    shape: tuple[int, int, int], voxel_um: tuple[float, float, float], angle_y: float, angle_x: float
) -> tuple[tuple[Tensor, Tensor, Tensor], SplitTransform]:
    """Return the turned places (z, y, x) of that volume in micrometers, and the turn.

    Raises
    ------
    InputError
        When the turned volume is smaller than the volume itself: it has too few planes.
    """
    transform = SplitTransform(angle_y_deg=angle_y, angle_x_deg=angle_x, mirror_um=0, voxel_um=voxel_um, shape_zyx=shape)
    places = []
    for size, wanted in zip(turned_size(shape, voxel_um, transform.turn), shape, strict=True):
        if size < wanted:
            raise InputError(
                f"the turned volume should be at least as large as the volume, found {size} instead of {wanted} voxels "
                "along an axis; give more planes, or use compat=none"
            )
        start = half_up((size - wanted) / 2)
        places.append(centred(size, voxel_um[2])[start : start + wanted])
    return (places[0], places[1], places[2]), transform


def whole_counts(volume: Tensor) -> Tensor:
    """Return the volume scaled to 0 ... 65535 and rounded."""
    return torch.floor(scaled(volume) * 65535 + 0.5)


def published_search(
    volume: Tensor, voxel_um: tuple[float, float, float], search: Search, check: Callable[[], None]
) -> tuple[float, float, int]:
    """Return (turn about y besides the design, turn about x, offset of the mirror in planes)."""
    data = turned_volume(volume, voxel_um, search.angle_deg, 0.0, check)
    g = search.margin
    inner = data[:, g : data.shape[1] - g, g : data.shape[2] - g]
    angle_x, _ = _best(inner.amax(dim=2).T.double(), search.angles_x, search, True, check)
    angle_y, offset = _best(inner.amax(dim=1).T.double(), search.angles_y, search, False, check)
    return angle_y, angle_x, offset


def published_views(
    volume: Tensor,
    voxel_um: tuple[float, float, float],
    angles: tuple[float, float],
    offset: int,
    most: int,
    check: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    """Return views a and b, (z, y, x reversed) scaled to 0 ... 65535; the last plane is next to the mirror."""
    data = turned_volume(volume, voxel_um, angles[0], angles[1], check)
    data = whole_counts(data)
    planes = data.shape[0]
    a, b = data[: half_up((planes + offset) / 2)], data.flip(0)[: half_up((planes - offset) / 2)]
    kept = min(len(a), len(b), most + 1)
    found = [whole_counts(view[len(view) - kept : -1].flip(2)) for view in (a, b)]
    return found[0], found[1]


def _best(
    projection: Tensor, angles: Sequence[float], search: Search, smooth: bool, check: Callable[[], None]
) -> tuple[float, int]:
    """Return the turn and the offset with the highest mean product of a projection (side, z) and its mirror image."""
    best, found = float("-inf"), (0.0, 0)
    for angle in angles:
        check()
        image = turned(projection, angle) if angle else projection
        image = smoothed(image) if smooth else image
        image = image[search.margin : len(image) - search.margin]
        flipped = image.flip(1)
        for offset in range(*search.planes):
            score = float((image * torch.roll(flipped, offset + 1, dims=1)).mean())
            if score > best:
                best, found = score, (angle, offset)
    return found


def smoothed(image: Tensor) -> Tensor:
    """Return the image blurred by a Gaussian of one pixel over 5 x 5, borders repeated."""
    at = torch.arange(-2, 3, dtype=image.dtype)
    kernel = torch.exp(-(at**2) / 2)
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(image[None, None], (2, 2, 2, 2), mode="replicate")
    rows = torch.nn.functional.conv2d(padded, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None])[0, 0]
