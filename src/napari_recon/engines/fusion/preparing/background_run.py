"""The run of fusion.background: the line is found in the mean, its drift in groups of planes, then planes are cleaned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress, Warned
from napari_recon.core.pieces import FramePieces
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.preparing.mirror_line import (
    PRESETS,
    Line,
    find_line,
    half_up,
    masks,
    measured_drift,
    middle,
    published_drift,
    rolled,
)
from napari_recon.tiling.partition import tiles

if TYPE_CHECKING:
    from napari_recon.engines.fusion.background import BackgroundParams

#: A line this much brighter than the picture's mean is one.
LEAST_CONTRAST = 1.05
#: A line is bright all along; structures are here and there. The dimmest tenth of it over its middle, above the mean.
LEAST_EVENNESS = 0.4
#: What counts as one side of the mirror and as the other.
FAR, NEAR = 0.9, 0.1


def cleaned(plan: Plan, params: BackgroundParams, frame: FramePieces, index: int, token: CancelToken) -> Iterator[Event]:
    """Yield the events of one frame."""
    frame.checked(token.check)
    yield Progress(0, 3, "step", "finding the mirror's line")
    worker = _Cleaner(params, frame, plan.compute.device, token)
    if worker.contrast < LEAST_CONTRAST or worker.evenness < LEAST_EVENNESS:
        yield Warned(
            f"{frame.what} shows no line that is brighter than the rest all along (contrast {worker.contrast:.2f}); "
            "is it a stack with a mirror, and is its skew axis right?"
        )
    yield Progress(1, 3, "step", "balancing both sides")
    worker.balance(token)
    grid, box = plan.whole["clean"], plan.box
    assert box is not None  # plans resolve it
    pieces = tiles(box, grid, {"Z": plan.resources.tile["z"]})
    for number, tile in enumerate(pieces):
        token.check()
        z = slice(*dict(tile.core.items())["Z"])
        array = worker.made(z)[:, *tile.core.slices("YX")]
        yield BlockReady("clean", tile.core.within(box), np.ascontiguousarray(array))
        yield Progress(2 + (number + 1) / len(pieces), 3, "step")
    yield ArtifactReady("report", "report", worker.report())


class _Cleaner:
    """What was found in one frame, and how a piece of it becomes clean."""

    def __init__(self, params: BackgroundParams, frame: FramePieces, device: str, token: CancelToken) -> None:
        self._params, self._frame, self._device = params, frame, torch.device(device)
        self._preset, planes = PRESETS[params.preset], frame.shape[0]
        published = params.compat == "upstream"
        group = self._preset.group if published else max(1, min(self._preset.group, planes // 3))
        groups, total = self._means(group, token)
        if not float(total.max()) > 0:
            raise InputError(
                f"{frame.what} should hold light above camera_offset ({params.camera_offset:g} counts), found none; "
                "give the camera's own offset, or leave this frame out"
            )
        self.line = find_line(total, self._preset, published, token.check)
        drifting = params.drift and len(groups) > 0
        drift = published_drift if published else measured_drift
        self.drift = drift(groups, self.line, group, planes) if drifting else [0] * planes
        self._taken, self._far = masks(self.line, self._preset)
        self._columns = tuple(total.shape)
        weight = middle(self.line.narrow, *self._columns)
        self.contrast = float((total * weight).mean() / (total.mean() * weight.mean()).clamp_min(1e-30))
        columns = (total * weight).mean(0) / (total.mean(0) * weight.mean(0)).clamp_min(1e-30) - 1
        self.evenness = float(torch.quantile(columns, 0.1) / columns.median().clamp_min(1e-30))
        self.ratio = 1.0

    def balance(self, token: CancelToken) -> None:
        """Measure how much brighter the near side of the mirror is, in the middle half of the stack."""
        far_sum, near_sum = 0.0, 0.0
        planes = self._frame.shape[0]
        for z in range(half_up(planes / 4) - 1, half_up(3 * planes / 4)):
            token.check()
            if z < 0:
                continue
            taken, far = self._masks(z)
            left = self._light(slice(z, z + 1))[0] * (1 - taken)
            outside = 1 - torch.where(far > FAR, 1.0, far)
            within = torch.where(far < NEAR, 0.0, far)
            far_sum, near_sum = far_sum + float((left * outside).sum()), near_sum + float((left * within).sum())
        self.ratio = max(1.0, far_sum / near_sum) if near_sum > 0 else 1.0

    def made(self, planes: slice) -> NDArray[np.float32]:
        """Return clean planes, (z, y, x) float32."""
        light = self._light(planes)
        for number, z in enumerate(range(planes.start, planes.stop)):
            taken, far = self._masks(z)
            light[number] *= (1 - taken) * (1 + far * (self.ratio - 1))
        if self._params.compat == "upstream":
            light += self._params.camera_offset
        return (light.transpose(1, 2) if self._params.skew_axis == "x" else light).cpu().numpy()

    def report(self) -> dict[str, Any]:
        """Return what was found."""
        line: Line = self.line
        return {
            "preset": self._params.preset,
            "shift_pixel": line.shift,
            "tilt_deg": round(line.angle_deg, 3),
            "drift_pixel": self.drift,
            "balance": round(self.ratio, 5),
            "contrast": round(self.contrast, 4),
        }

    def _light(self, planes: slice) -> Tensor:
        """Return planes above the camera's offset, (z, rows, columns) with rows along the skew axis."""
        raw = torch.from_numpy(np.array(self._frame.read(planes))).to(self._device)
        light = (raw - self._params.camera_offset).clamp_min_(0)
        return light.transpose(1, 2).contiguous() if self._params.skew_axis == "x" else light

    def _masks(self, z: int) -> tuple[Tensor, Tensor]:
        found = (middle(rolled(image, -self.drift[z]), *self._columns) for image in (self._taken, self._far))
        taken, far = (image.to(self._device, torch.float32) for image in found)
        return taken, far

    def _means(self, group: int, token: CancelToken) -> tuple[list[Tensor], Tensor]:
        """Return the means of whole groups of planes, and of all planes: (rows, columns) float64 on the CPU."""
        planes = self._frame.shape[0]
        sums: list[Tensor] = []
        rest: Tensor | float = 0.0
        for number, start in enumerate(range(0, planes, group)):
            token.check()
            total = torch.zeros((), dtype=torch.float64)
            stop = min(start + group, planes)
            for z in range(start, stop):
                total = total + self._light(slice(z, z + 1))[0].cpu().double()
            if number < planes // group:
                sums.append(total)
            else:
                rest = total
        every = sum(sums, torch.zeros((), dtype=torch.float64)) + rest
        return [total / group for total in sums], every / planes
