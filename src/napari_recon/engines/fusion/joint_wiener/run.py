"""The run of the joint Wiener filter: plane after plane, or the published way for the whole volume."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.events import BlockReady, Event, Progress
from napari_recon.core.frames import Frame
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.joint_params import JointParams
from napari_recon.engines.fusion.joint_wiener.planes import brightened, brightness, joined, sixteen_bit, upright
from napari_recon.engines.fusion.joint_wiener.transfer import Transfer, prepare

Array = NDArray[np.float32]


class Joiner:
    """Joins the planes of one volume as they come, and cuts out what was asked for.

    Parameters
    ----------
    widefield : ndarray
        (z, y, x), one plane per plane of the whole output.
    """

    def __init__(self, plan: Plan, params: JointParams, frame: Frame, widefield: Array) -> None:
        whole = plan.whole["sr"]
        self._plan, self._params, self._widefield = plan, params, widefield
        self.size = (whole.size("Y"), whole.size("X"))
        self.published = params.compat == "upstream"
        #: The published reconstruction has twice the precision; its 16-bit files show it.
        self._dtype = "float64" if self.published else "float32"
        self._transfer = _transfer(
            *(_Key(frame[name]) for name in ("otf0", "otf1", "apodisation")),
            self.size,
            params.otf_weight,
            params.wiener,
            self._dtype,
            plan.compute.device,
        )
        self._targets = brightness(widefield, params.percentile) if params.evens_brightness else None
        self._volume = np.empty(whole.shape, self._dtype) if self.published else None

    def take(self, number: int, views: Tensor) -> Iterator[Event]:
        """Join plane `number` of the whole output from three upright views (1, 3, H, W); yield it unless all are needed."""
        device = self._plan.compute.device
        coarse = torch.from_numpy(self._widefield[number][None].astype(self._dtype)).to(device)
        plane: NDArray[np.floating] = joined(self._transfer, views.to(device), coarse, self.published)[0].cpu().numpy()
        if self._targets is not None:
            unit = float(self._targets.max()) if self.published else 1.0
            plane = brightened(plane, float(self._targets[number]) / (unit or 1.0), self._params.percentile)
        if self._volume is None:
            yield block(self._plan, "sr", plane[None], number)
        else:
            self._volume[number] = plane

    def finish(self) -> Iterator[Event]:
        """Yield what needs all planes: the published 16 bits."""
        if self._volume is not None:
            yield block(self._plan, "sr", sixteen_bit(self._volume))
            yield block(self._plan, "mip", sixteen_bit(self._volume.max(0)))


def planes_of(plan: Plan, params: JointParams) -> list[int]:
    """Return the planes of the whole output to join: from the middle to the end, then back to the start.

    Neighbours share work, and the middle is what one looks at; the published scaling needs all planes.
    """
    z = bounds(plan, "sr", "Z") if params.compat != "upstream" else (0, plan.whole["sr"].size("Z"))
    middle = sum(z) // 2
    return [*range(middle, z[1]), *range(middle - 1, z[0] - 1, -1)]


def join_measured(plan: Plan, params: JointParams, frame: Frame, token: CancelToken) -> Iterator[Event]:
    """Yield the joined planes of three measured orientations."""
    joiner = Joiner(plan, params, frame, frame["widefield"])
    planes = planes_of(plan, params)
    for done, number in enumerate(planes, 1):
        token.check()
        views = [view[number : number + 1] for view in frame["views"]]
        yield from joiner.take(number, upright(views, joiner.size, joiner.published))
        yield Progress(done, len(planes), "plane")
    yield from joiner.finish()


def bounds(plan: Plan, name: str, axis: str) -> tuple[int, int]:
    """Return which part of an output's whole axis is asked for."""
    whole, part = plan.whole[name], plan.output(name).grid
    start = round(whole.to_index(axis, part.origin(axis)))
    return start, start + part.size(axis)


def block(plan: Plan, name: str, planes: NDArray[Any], first: int = 0) -> BlockReady:
    """Return the asked part of planes (..., z, y, x) from `first` on, or of one picture (y, x), as a block."""
    places = {axis: bounds(plan, name, axis) for axis in plan.whole[name].axes if axis in "ZYX"}
    y, x = (slice(*places[a]) for a in "YX")
    kept = planes[..., y, x]
    at = [slice(0, n) for n in kept.shape]
    if "Z" in places:
        start, stop = places["Z"]
        low, high = max(first, start), min(first + kept.shape[-3], stop)
        kept, at[-3] = kept[..., low - first : high - first, :, :], slice(low - start, high - start)
    return BlockReady(name, tuple(at), np.ascontiguousarray(kept, plan.output(name).dtype))


class _Key:
    """A transfer function that caches can hold: equal when its bytes are."""

    def __init__(self, array: Array) -> None:
        self.array, self._hash = array, hash(array.tobytes())

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and np.array_equal(self.array, other.array)


@lru_cache(maxsize=4)
def _transfer(
    otf0: _Key, otf1: _Key, apodisation: _Key, size: tuple[int, int], weight: float, wiener: float, dtype: str, device: str
) -> Transfer:
    """Return the filter; channels and time points after the first find it again."""
    arrays = (otf0.array, otf1.array, apodisation.array)
    return prepare(*arrays, size, weight=weight, wiener=wiener, dtype=getattr(torch, dtype), device=device)
