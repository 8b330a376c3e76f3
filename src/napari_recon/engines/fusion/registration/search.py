"""Where the mirror is, to half planes: a maximum projection correlated with its mirror image, without wrapping around."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_recon.engines.fusion.preparing.mirror_line import turned
from napari_recon.engines.fusion.registration.published import smoothed
from napari_recon.engines.fusion.registration.split_transform import SplitTransform
from napari_recon.engines.fusion.registration.turning import centred, sampled, turned_size

Voxel = tuple[float, float, float]
#: Projections are made of at most about this many voxels; finer volumes are sampled more coarsely along the projection.
MOST_SAMPLES = 2**26


@dataclass(frozen=True)
class Found:
    """The best mirror: turn about x, its place along turned z in voxels of x, and the correlation there."""

    angle_x_deg: float
    mirror: float
    correlation: float


def coarse_search(
    volume: Tensor,
    voxel_um: Voxel,
    angle_y_deg: float,
    angles_x: Sequence[float],
    planes: tuple[int, int] | None,
    margins_yx: tuple[int, int],
    check: Callable[[], None],
) -> Found:
    """Return the best mirror plane over turns about x and whole planes.

    Parameters
    ----------
    volume : Tensor
        (z, y, x) float32, background near 0.
    voxel_um : tuple
        (z, y, x).
    angle_y_deg : float
        Turn about y.
    angles_x : sequence of float
    planes : (int, int) or None
        Range (half-open) of twice the mirror's place around the middle, in voxels of x; None tries the middle half.
    margins_yx : (int, int)
        Pixels left out on either side.
    check : Callable
        Called now and then; may raise.
    """
    projection = side_projection(volume, voxel_um, angle_y_deg, margins_yx, check)
    size = projection.shape[1]
    low, high = planes or (-(size // 4), size // 4 + 1)
    seen = (projection > 0).double()
    best = Found(0.0, 0.0, -1.0)
    for angle in angles_x:
        check()
        image, weight = (turned(i, angle) if angle else i for i in (projection, seen))
        image = smoothed(image)
        for offset in range(low, high):
            found = mirrored_correlation(image, weight > 0.5, offset)
            if found > best.correlation:
                best = Found(float(angle), offset / 2, found)
    return best


def side_projection(
    volume: Tensor, voxel_um: Voxel, angle_y_deg: float, margins_yx: tuple[int, int], check: Callable[[], None]
) -> Tensor:
    """Return the maximum over turned x, (y, z) float64; z has the pitch of x."""
    shape = (int(volume.shape[0]), int(volume.shape[1]), int(volume.shape[2]))
    about = SplitTransform(angle_y_deg=angle_y_deg, angle_x_deg=0, mirror_um=0, voxel_um=voxel_um, shape_zyx=shape)
    size_z, _, _ = turned_size(shape, voxel_um, about.turn)
    pitch = voxel_um[2]
    y = centred(shape[1], voxel_um[1])[margins_yx[0] : shape[1] - margins_yx[0]]
    x = centred(shape[2], pitch)[margins_yx[1] : shape[2] - margins_yx[1]]
    skip = max(1, round(size_z * len(y) * len(x) / MOST_SAMPLES))
    matrix, offset = about.source(mirrored=False)
    rows = [
        sampled(volume, voxel_um, matrix, offset, (z, y, x[::skip]), check).amax(dim=2)
        for z in torch.split(centred(size_z, pitch), 32)
    ]
    return torch.cat(rows).T.double().cpu()


def mirrored_correlation(image: Tensor, seen: Tensor, offset: int) -> float:
    """Return the correlation of an image (y, z) with itself mirrored about half of `offset` planes off its middle."""
    size = image.shape[1]
    start, stop = max(0, offset), min(size, size + offset)
    part, mask = image[:, start:stop], seen[:, start:stop]
    half = part.shape[1] // 2
    if half < 2:
        return -1.0
    a, b = part[:, :half], part.flip(1)[:, :half]
    both = mask[:, :half] & mask.flip(1)[:, :half]
    if int(both.sum()) < 16:
        return -1.0
    a, b = a[both], b[both]
    a, b = a - a.mean(), b - b.mean()
    energy = float((a * a).sum() * (b * b).sum()) ** 0.5
    return float((a * b).sum()) / energy if energy > 0 else -1.0
