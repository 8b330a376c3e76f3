"""The run of VSI-SR: windows of planes through the network in every orientation, averaged, then joined (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.events import Event, Progress
from napari_recon.core.frames import Frame
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.joint_wiener.planes import FULL_SCALE
from napari_recon.engines.fusion.joint_wiener.run import Joiner, block, planes_of
from napari_recon.engines.fusion.joint_wiener.transfer import ORIENTATIONS
from napari_recon.engines.fusion.joint_wiener.turning import Size, Turn, turn
from napari_recon.engines.fusion.networks.vsi_checkpoint import load_generator
from napari_recon.engines.fusion.networks.vsi_shapes import SCALE, finer_size
from napari_recon.engines.fusion.networks.vsi_sr import Generator, infer
from napari_recon.engines.fusion.vsi_sr import VsiSrParams

Array = NDArray[np.float32]
_NEIGHBOURS = 3
"""Windows whose answers hold a plane."""


def sharpen(plan: Plan, params: VsiSrParams, frame: Frame, token: CancelToken) -> Iterator[Event]:
    """Yield the planes of one volume, joined from three orientations or sharpened along one."""
    assert plan.model is not None  # the engine requires one
    network = load_generator(plan.model).to(plan.compute.device)
    published = params.compat == "upstream"
    stack = frame["stack"]
    low, high = float(stack.min()), float(stack.max())
    volume = ((stack - low) / (high - low + 1e-7)).clip(0, 1).astype(np.float32)
    views = [Orientation(network, volume, angle, published, token.check) for angle in ORIENTATIONS[: params.orientations]]
    margin = plan.model.options["slices_in"] // 2
    widefield = stack[margin : len(stack) - margin]
    if published:  # the published program passes 16-bit files from step to step
        widefield = (volume[margin : len(stack) - margin] * FULL_SCALE).astype(np.uint16).astype(np.float32)
    joiner = Joiner(plan, params, frame, widefield) if params.orientations > 1 else None
    planes = planes_of(plan, params)
    for done, number in enumerate(planes, 1):
        token.check()
        found = [view.plane(number) for view in views]
        found = [(v * FULL_SCALE).astype(np.uint16) if published else v * (high - low) + low for v in found]
        upright = np.stack([view.upright(v) for view, v in zip(views, found, strict=True)])
        if params.keep_orientations:
            yield block(plan, "orientations", upright[:, None], number)
        if joiner:
            yield from joiner.take(number, torch.from_numpy(upright[None]))
        else:
            yield block(plan, "sr", upright, number)
        yield Progress(done, len(planes), "plane")
    if joiner:
        yield from joiner.finish()


class Orientation:
    """Planes of one volume, sharper along one direction, lying turned.

    Parameters
    ----------
    volume : ndarray
        (z, y, x), 0 to 1.
    published : bool
        The three planes of a window are scaled by their extremes together; otherwise they are fitted to the raw plane.
    """

    def __init__(self, network: Generator, volume: Array, angle: float, published: bool, check: Callable[[], None]) -> None:
        self._network, self._volume, self._published, self._check = network, volume, published, check
        size = volume.shape[1:]
        self._turn = None if angle == 0 else turn(size, angle)
        self._back = None if self._turn is None else _turn_back(self._turn.size, size, angle, published)
        self._slices = network.vars[0].shape[1]
        self._windows = len(volume) - self._slices + 1
        self._answers: dict[int, Array] = {}
        self._turned: dict[int, Array] = {}
        inside = np.ones((1, *volume.shape[1:]), np.float32)
        self._inside = (inside if self._turn is None else self._turn(inside))[0] > 0.99

    def upright(self, plane: NDArray[Any]) -> NDArray[np.floating]:
        """Return a plane of the result as it stands in the volume; in double precision as published."""
        if self._back is None:
            return plane.astype(np.float64 if self._published else np.float32)
        found: NDArray[np.floating] = self._back(plane[None])[0]
        return found

    def plane(self, number: int) -> Array:
        """Return a plane of the result: the mean over the windows that hold it."""
        windows = range(max(0, number - 1), min(self._windows, number + 2))
        answers = [self._answer(window)[1 + number - window] for window in windows]
        mean: Array = np.mean(answers, axis=0, dtype=np.float32)
        return mean

    def _answer(self, window: int) -> Array:
        if window not in self._answers:
            planes = self._planes(window)
            device = self._network.vars[0].device
            found = infer(self._network, torch.from_numpy(planes).to(device), self._check).cpu()
            fitted = _unit(found) if self._published else _fitted(found, planes[self._slices // 2], self._inside)
            self._answers = {w: a for w, a in self._answers.items() if abs(w - window) < _NEIGHBOURS} | {window: fitted}
        return self._answers[window]

    def _planes(self, window: int) -> Array:
        numbers = range(window, window + self._slices)
        if self._turn is None:
            return self._volume[window : window + self._slices]
        self._turned = {n: self._turned[n] for n in numbers if n in self._turned}
        missing = [n for n in numbers if n not in self._turned]
        self._turned |= dict(zip(missing, self._turn(self._volume[missing]), strict=True))
        return np.stack([self._turned[n] for n in numbers])


def _turn_back(canvas: Size, size: Size, angle: float, published: bool) -> Turn:
    """Return what brings the network's planes of a turned canvas upright: about the place that is the canvas's middle."""
    kept = finer_size(size)
    if published:
        return turn(finer_size(canvas), -angle, kept, "float64")
    (y, x), (kept_y, kept_x) = ([SCALE * n / 2 - 0.5 for n in coarse] for coarse in (canvas, size))
    return turn(finer_size(canvas), -angle, kept, "float32", ((y, x), (kept_y, kept_x)))


def _unit(planes: Tensor) -> Array:
    low, high = planes.min(), planes.max()
    found: Array = ((planes - low) / (high - low + 1e-7)).clamp(0, 1).numpy()
    return found


def _fitted(planes: Tensor, raw: Array, inside: NDArray[np.bool_]) -> Array:
    """Return planes on the raw plane's scale: gain and offset with which the middle one, made coarse, comes closest to it.

    The network is trained on pictures scaled by their extremes, so its own scale means nothing; fitted, an empty plane
    stays empty and planes can be compared.
    """
    coarse = F.interpolate(planes[None, 1:2], raw.shape, mode="bilinear", antialias=True)[0, 0].numpy()[inside]
    seen = raw[inside]
    coarse_mean, seen_mean = float(coarse.mean()), float(seen.mean())
    spread = float(((coarse - coarse_mean) ** 2).mean())
    gain = max(0.0, float(((coarse - coarse_mean) * (seen - seen_mean)).mean())) / spread if spread > 0 else 0.0
    found: Array = (gain * (planes - coarse_mean) + seen_mean).numpy()
    return found
