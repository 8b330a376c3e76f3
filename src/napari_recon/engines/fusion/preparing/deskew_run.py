"""The run of fusion.deskew: piece by piece from the file, each interpolated and delivered on its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.pieces import FramePieces
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.preparing.shear import on_coverslip, straight_planes
from napari_recon.engines.fusion.preparing.skew import Skew
from napari_recon.tiling.partition import tiles

if TYPE_CHECKING:
    from napari_recon.engines.fusion.deskew import DeskewParams

#: What the published script takes off after deskewing.
PUBLISHED_OFFSET = 100.0


def straightened(
    plan: Plan, params: DeskewParams, skew: Skew, frame: FramePieces, index: int, token: CancelToken
) -> Iterator[Event]:
    """Yield the events of one frame."""
    frame.checked(token.check)
    worker = _Worker(params, skew, frame, plan.compute.device)
    grid, box = plan.whole["volume"], plan.box
    assert box is not None  # plans resolve it
    size = {axis.upper(): n for axis, n in plan.resources.tile.items()}
    low, high = 0.0, 1.0
    if params.compat == "upstream":
        low, high = worker.span([tile.core for tile in tiles(Box.whole(grid), grid, size)], token)
    pieces = tiles(box, grid, size)
    for number, tile in enumerate(pieces):
        token.check()
        array = worker.made(tile.core)
        if params.compat == "upstream":
            array = np.floor((array - low) / max(high - low, 1e-30) * 65535 + 0.5).astype(np.float32)
        yield BlockReady("volume", tile.core.within(box), array)
        yield Progress(number + 1, len(pieces), "piece")
    if index == 0:
        yield ArtifactReady("report", "report", report(params, skew))


class _Worker:
    """Makes boxes of the straight volume from the raw frame."""

    def __init__(self, params: DeskewParams, skew: Skew, frame: FramePieces, device: str) -> None:
        self._params, self._skew, self._frame, self._device = params, skew, frame, torch.device(device)
        published = params.compat == "upstream"
        offset = 0.0 if params.camera_offset == "auto" else params.camera_offset
        self._before = None if published or params.camera_offset == "auto" else offset
        self._after = (PUBLISHED_OFFSET if params.camera_offset == "auto" else offset) if published else None

    def made(self, box: Box) -> NDArray[np.float32]:
        """Return a box of the result, (z, y, x) float32."""
        params, skew = self._params, self._skew
        bounds = dict(box.items())
        x = bounds[params.skew_axis.upper()]
        if params.coverslip:
            raw = self._raw(slice(0, skew.planes), slice(*bounds[params.across]))
            found = on_coverslip(raw, skew, bounds["Z"], x, params.interpolation)
        else:
            raw = self._raw(slice(*bounds["Z"]), slice(*bounds[params.across]))
            found = straight_planes(raw, skew, bounds["Z"][0], x, params.interpolation)
        if self._after is not None:
            found = (found - self._after).clamp_min_(0)
        return (found if params.skew_axis == "x" else found.transpose(1, 2)).contiguous().cpu().numpy()

    def span(self, boxes: list[Box], token: CancelToken) -> tuple[float, float]:
        """Return the lowest and the highest value in some boxes."""
        low, high = float("inf"), float("-inf")
        for box in boxes:
            token.check()
            array = self.made(box)
            low, high = min(low, float(array.min())), max(high, float(array.max()))
        return low, high

    def _raw(self, z: slice, across: slice) -> Tensor:
        """Return planes (z, rows, x), whole along the skew axis."""
        whole = slice(None)
        array = self._frame.read(z, *((across, whole) if self._params.skew_axis == "x" else (whole, across)))
        raw = torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
        raw = raw if self._params.skew_axis == "x" else raw.transpose(1, 2).contiguous()
        return raw if self._before is None else (raw - self._before).clamp_min_(0)


def report(params: DeskewParams, skew: Skew) -> dict[str, object]:
    """Return what was used, in words that other programs understand."""
    return {
        "angle_deg": skew.angle_deg,
        "direction": skew.direction,
        "step_um": skew.step_um,
        "pixel_um": skew.pixel_um,
        "shift_per_plane_pixel": round(skew.shift, 6),
        "plane_distance_um": round(skew.pixel_um if params.coverslip else skew.pitch_um, 6),
        "pycudadecon": {"angle": -skew.direction * skew.angle_deg, "dzdata": skew.step_um, "dxdata": skew.pixel_um},
    }
