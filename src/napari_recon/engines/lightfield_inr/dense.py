"""The published field of Fourier ptychography: a coarse table of features, interpolated, and a tiny network on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from napari_recon.engines.lightfield_inr.dense_shape import CROP, UNITS, lattice_of
from napari_recon.engines.lightfield_inr.lattice import CHUNK, DEVICE_CHUNK
from napari_recon.engines.lightfield_inr.network import SLOPE

WATER = 1.33
"""Refractive index that the network's output is added to."""


class DenseField:
    """Gives refractive indices at positions (x, y, z) counted in voxels of its output.

    Parameters
    ----------
    state : mapping
        ``table`` (y, x, z, features) and the layers ``net_real.0 .. 3`` and ``output_layer_real``.
    device : torch.device or str
    chunk : int
        Points that go through all layers together; 0 chooses.
    """

    def __init__(self, state: Mapping[str, Tensor], device: torch.device | str = "cpu", chunk: int = 0) -> None:
        self._device = torch.device(device)
        own = {name: tensor.detach().to(self._device, torch.float32) for name, tensor in state.items()}
        self._lattice = lattice_of(tuple(own["table"].shape))
        self._table = own["table"].permute(2, 3, 1, 0).contiguous()  # (z, features, x, y)
        self._hidden = [(own[f"net_real.{i}.linear.weight"], own[f"net_real.{i}.linear.bias"][:, None]) for i in range(4)]
        self._out = own["output_layer_real.weight"], own["output_layer_real.bias"][:, None]
        on_cpu = self._device.type == "cpu"
        self._chunk = chunk or (CHUNK // UNITS * torch.get_num_threads() if on_cpu else DEVICE_CHUNK)

    def values(self, x: Tensor, y: Tensor, z: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
        """Return the values (z, y, x), float32 on the device, at positions along each axis, fractions allowed."""
        with torch.inference_mode():
            out = torch.empty(len(z), len(y), len(x), device=self._device)
            rows = max(1, self._chunk // len(x))
            for plane in range(len(z)):
                features = _interpolated(self._table, z[plane : plane + 1], self._lattice[2], 0)[0]
                # always along a middle axis, where whole rows are copied
                features = _interpolated(features, x + CROP, self._lattice[1], 1).transpose(1, 2).contiguous()
                features = _interpolated(features, y + CROP, self._lattice[0], 1)
                for top in range(0, len(y), rows):
                    check()
                    block = features[:, top : top + rows]
                    out[plane, top : top + rows] = self._through(block.reshape(len(block), -1)).view(block.shape[1:])
            return out.tanh_().add_(WATER)

    def _through(self, features: Tensor) -> Tensor:
        """Return the network's value of each point of (features, points)."""
        hidden = features
        for i, (weight, bias) in enumerate(self._hidden):
            result = torch.addmm(bias, weight[:, -len(hidden) :], hidden)
            if i == len(self._hidden) - 1:  # the last hidden layer sees the features again, in front
                result.addmm_(weight[:, : len(features)], features)
            hidden = torch.nn.functional.leaky_relu_(result, SLOPE)
        return torch.addmm(self._out[1], self._out[0], hidden)[0]


def _interpolated(values: Tensor, positions: Tensor, size: int, axis: int) -> Tensor:
    """Return `values` linearly interpolated along `axis`, whose ends are the positions 0 and ``size - 1``.

    Positions are rounded to float32 as the published program's interpolation rounds them, which shows where features
    change quickly.
    """
    count = values.shape[axis]
    step = torch.tensor((count - 1) / max(size - 1, 1), dtype=torch.float32)
    place = (positions.float() * step).clamp(0, count - 1)
    low = place.floor().clamp(max=max(count - 2, 0))
    shape = [1] * values.ndim
    shape[axis] = -1
    weight = (place - low).to(values.device).view(shape)
    low = low.long().to(values.device)
    first, second = values.index_select(axis, low), values.index_select(axis, low + (count > 1))
    return first.mul_(1 - weight).add_(second.mul_(weight))
