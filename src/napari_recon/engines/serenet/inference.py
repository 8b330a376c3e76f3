"""Blocks of a volume from a light field and a network, each equal to the same part of the whole (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.engines.serenet.layout import NetworkField
from napari_recon.engines.serenet.networks.serenet import FSeReNet, SeReNet
from napari_recon.engines.serenet.streaming import chunk_starts, streamed
from napari_recon.optics.refocus import Refocuser, resized
from napari_recon.optics.resize import Bounds

Slab = tuple[Bounds, NDArray[np.float32]]


class Reconstructor:
    """Computes any block of the volume of one frame.

    Parameters
    ----------
    network : SeReNet or FSeReNet
        On the device and in the dtype to compute with.
    refocuser : Refocuser
        Of the prepared frame, on the same device.
    field : NetworkField
    check : callable
        Called between layers; may raise to stop.
    corner_yx : (int, int)
        Where `field` begins in the refocused frame, in light-field pixels.
    """

    def __init__(
        self,
        network: SeReNet | FSeReNet,
        refocuser: Refocuser,
        field: NetworkField,
        check: Callable[[], None],
        corner_yx: tuple[int, int] = (0, 0),
    ) -> None:
        self._network = network
        self._refocuser = refocuser
        self._field = field
        self._check = check
        self._corner = corner_yx
        self._dtype = next(network.parameters()).dtype

    @torch.inference_mode()
    def slabs(self, z: Bounds, y: Bounds, x: Bounds) -> Iterator[Slab]:
        """Yield the block in slabs of consecutive planes: ((z0, z1), array of shape (z1 - z0, height, width)).

        The last activation lets slightly negative values through.
        """
        read_y, read_x = self._field.read(0, y), self._field.read(1, x)
        read_z, pads = self._field.read_z(z)
        rows, columns = self._field.taps(0, y), self._field.taps(1, x)
        buffer = streamed(self._network, self._features(read_z, read_y, read_x), pads, self._check)
        first = read_z[0]
        for chunk in buffer:
            last = first + chunk.shape[2]
            a, b = max(first, z[0]), min(last, z[1])
            if a < b:
                part = chunk[0, 0, a - first : b - first].float()
                part = resized(part, 1, rows, read_y[0] * self._field.factor)
                part = resized(part, 2, columns, read_x[0] * self._field.factor)
                yield (a, b), part.cpu().numpy()
            first = last

    def _features(self, z: Bounds, y: Bounds, x: Bounds) -> Iterator[torch.Tensor]:
        pixels = (y[1] - y[0]) * (x[1] - x[0])
        for part in chunk_starts(*z, self._field.planes_at_once(pixels)):
            self._check()
            yield self._refocuser.part(part, _moved(y, self._corner[0]), _moved(x, self._corner[1])).to(self._dtype)


def _moved(bounds: Bounds, by: int) -> Bounds:
    return bounds[0] + by, bounds[1] + by
