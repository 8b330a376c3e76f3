"""What the frames before and after say of the planes between: what moves through the planes was measured in one of them.

The motion between frames brings both neighbours into a frame. They count the more the nearer to one of their planes their
light comes from, and the less the more they differ from the frame itself: not all motion is understood.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from napari_recon.engines.inr4d.fast.shares import drained
from napari_recon.fields.motion import MotionField

#: Weight of a neighbour's plane beside the estimate between planes, in one round after the other.
MEASURED = (2.0, 1.0)
#: Weight of what lies between a neighbour's planes, relative to that.
BETWEEN = 0.05
#: Differences, relative to their mean square, at which the weight of a neighbour is half.
STRANGE = 3.0
#: Voxels that are brought over together.
VOXELS = 1 << 18


def joined(frames: Tensor, motion: Tensor, factor: int, check: Callable[[], None] = lambda: None) -> Tensor:
    """Return what `joining` returns in the end."""
    return drained(joining(frames, motion, factor, check))


def joining(
    frames: Tensor, motion: Tensor, factor: int, check: Callable[[], None] = lambda: None
) -> Generator[float, None, Tensor]:
    """Yield the share that is done; return frames (t, z, y, x) whose planes between are those of neighbouring frames, too.

    Parameters
    ----------
    frames : Tensor
    motion : Tensor
        (2, gaps, 3, z', y', x') in voxels of the frames.
    factor : int
        Every `factor`-th plane was measured; these stay.
    check : callable
        Called between slabs; may raise to stop.
    """
    for turn, measured in enumerate(MEASURED):
        field, found = MotionField(frames, motion, frames.shape), []
        for number in range(len(frames)):
            found.append(_one(field, frames, number, factor, measured, check))
            yield (turn + (number + 1) / len(frames)) / len(MEASURED)
        frames = torch.stack(found)
    return frames


def _one(field: MotionField, frames: Tensor, number: int, factor: int, measured: float, check: Callable[[], None]) -> Tensor:
    own = frames[number]
    planes, rows, columns = own.shape
    total, weights = own.clone(), torch.ones_like(own)
    depth = max(1, VOXELS // (rows * columns))
    for other in (number - 1, number + 1):
        if not 0 <= other < len(frames):
            continue
        brought, nearness = torch.empty_like(own), torch.empty_like(own)
        for top in range(0, planes, depth):
            check()
            axes = [torch.arange(top, min(top + depth, planes)), torch.arange(rows), torch.arange(columns)]
            places = torch.stack(torch.meshgrid(*(axis.float() for axis in axes), indexing="ij"))
            values, places = field.carried(number, other, places)
            phase = places[0] / factor
            brought[top : top + depth] = values
            nearness[top : top + depth] = 1 - 2 * (phase - phase.round()).abs()
        difference = _smooth((brought - own).square())
        weight = measured * (BETWEEN + (1 - BETWEEN) * nearness)
        weight = weight / (1 + difference / (STRANGE * difference.mean()).clamp_min(1e-20))
        total += weight * brought
        weights += weight
    found = total / weights
    found[::factor] = own[::factor]
    return found


def _smooth(values: Tensor) -> Tensor:
    return avg_pool3d(pad(values[None, None], [1] * 6, mode="replicate"), 3, 1)[0, 0]
