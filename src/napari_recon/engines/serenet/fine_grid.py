"""RL-Net on any block of the volume, equal to the same part of the whole (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.engines.serenet.faster import channels_last
from napari_recon.engines.serenet.inference import Slab
from napari_recon.engines.serenet.layout import HALO_Z, NetworkField
from napari_recon.engines.serenet.networks.rlnet import RLNet
from napari_recon.optics.refocus import Refocuser, combined
from napari_recon.optics.resize import Bounds

REACH = HALO_Z["rlnet"]
"""Voxels around a block that the network looks at, on the fine grid."""


class FineReconstructor:
    """Computes any block of the volume of one frame from the mean of its refocused views.

    Parameters
    ----------
    network : RLNet
        From `faster`, on the device and in the dtype to compute with.
    refocuser : Refocuser
        Of the scaled frame, on the same device.
    field : NetworkField
    check : callable
        Called between steps; may raise to stop.
    """

    def __init__(self, network: RLNet, refocuser: Refocuser, field: NetworkField, check: Callable[[], None]) -> None:
        self._network, self._refocuser, self._field, self._check = network, refocuser, field, check
        self._dtype = next(network.parameters()).dtype

    def slabs(self, z: Bounds, y: Bounds, x: Bounds) -> Iterator[Slab]:
        """Yield the block: ((z0, z1), array of shape (z1 - z0, height, width))."""
        yield z, self.block(z, y, x, REACH)

    @torch.inference_mode()
    def block(self, z: Bounds, y: Bounds, x: Bounds, halo_yx: int) -> NDArray[np.float32]:
        """Return a block, computed with `halo_yx` voxels around it in y and x (fewer than `REACH` is not exact)."""
        sizes = (self._field.planes, *self._field.volume_yx)
        reads = [_around(b, halo, n) for b, halo, n in zip((z, y, x), (REACH, halo_yx, halo_yx), sizes, strict=True)]
        self._check()
        step = self._field.planes_at_once(max(1, (reads[1][1] - reads[1][0]) * (reads[2][1] - reads[2][0]) // 18))
        parts = []
        for start in range(*reads[0], step):
            self._check()
            planes = (start, min(start + step, reads[0][1]))
            parts.append(combined(self._refocuser, planes, reads[1], reads[2], self._field.volume_yx))
        mean = torch.cat(parts)[None, None].to(self._dtype)
        self._check()
        volume = self._network(channels_last(mean))[0, 1]
        inner = tuple(slice(b[0] - r[0], b[1] - r[0]) for b, r in zip((z, y, x), reads, strict=True))
        block: NDArray[np.float32] = volume[inner].float().cpu().numpy()
        return block


def _around(bounds: Bounds, halo: int, size: int) -> Bounds:
    """Return the bounds with a halo, beginning where groups of two do in the whole volume (unless there is no halo)."""
    if not halo:
        return bounds
    return max(0, (bounds[0] - halo) // 2 * 2), min(size, -(-(bounds[1] + halo) // 2) * 2)
