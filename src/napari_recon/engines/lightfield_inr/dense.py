"""The published field of Fourier ptychography: a coarse table of features, interpolated, and a tiny network on them.

Interpolation along an axis is a band of two weights per position; a block of positions takes it as one small product of
matrices. Features, a row of ones and the layers lie one below the other in two buffers that stay in the cache: every layer,
its bias and the features that the last one sees again are one product each, written where the next one reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import torch
from torch import Tensor

from napari_recon.engines.lightfield_inr.dense_shape import CROP, UNITS, lattice_of
from napari_recon.engines.lightfield_inr.lattice import CHUNK, DEVICE_CHUNK
from napari_recon.engines.lightfield_inr.network import SLOPE

WATER = 1.33
"""Refractive index that the network's output is added to."""
BAND = 32
"""Positions along x that are interpolated together."""


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
        features = self._table.shape[1]
        weights = [own[f"net_real.{i}.linear.weight"] for i in range(4)]
        biases = [own[f"net_real.{i}.linear.bias"][:, None] for i in range(4)]
        # what each sees in its buffer: (features, one), (one, units), (one, units), (features, one, units), (one, units)
        self._layers = [
            torch.cat([weights[0], biases[0]], dim=1),
            torch.cat([biases[1], weights[1]], dim=1),
            torch.cat([biases[2], weights[2]], dim=1),
            torch.cat([weights[3][:, :features], biases[3], weights[3][:, features:]], dim=1),
            torch.cat([own["output_layer_real.bias"][:, None], own["output_layer_real.weight"]], dim=1),
        ]
        on_cpu = self._device.type == "cpu"
        self._chunk = chunk or (CHUNK // UNITS * torch.get_num_threads() if on_cpu else DEVICE_CHUNK)

    def values(self, x: Tensor, y: Tensor, z: Tensor, check: Callable[[], None] = lambda: None) -> Tensor:
        """Return the values (z, y, x), float32 on the device, at positions along each axis, fractions allowed."""
        with torch.inference_mode():
            planes, features, columns, lines = self._table.shape
            rows = min(len(y), max(1, self._chunk // len(x)))
            out = torch.empty(len(z), len(y), len(x), device=self._device)
            wide = torch.empty(features, len(x), lines, device=self._device)
            along_x = list(self._bands(x + CROP, self._lattice[1], columns, BAND))
            along_y = [
                (at, wide[:, :, near].transpose(1, 2), band)
                for at, near, band in self._bands(y + CROP, self._lattice[0], lines, rows)
            ]

            @lru_cache(maxsize=2)
            def stretched(plane: int) -> Tensor:
                """Return an entry of the table along z, interpolated along x: (features, x, lines)."""
                found = torch.empty_like(wide)
                for at, near, band in along_x:
                    found[:, at] = torch.matmul(band, self._table[plane][:, near])
                return found

            buffers = {len(band): _Buffers(features, len(band), len(x), self._device) for _, _, band in along_y}
            low, share = _places(z, self._lattice[2], planes)
            for plane, (first, part) in enumerate(zip(low.tolist(), share.tolist(), strict=True)):
                torch.lerp(stretched(first), stretched(min(first + 1, planes - 1)), part, out=wide)
                for at, seen, band in along_y:
                    check()
                    self._through(buffers[len(band)], seen, band, out[plane, at].view(1, -1))
            return out.tanh_().add_(WATER)

    def _through(self, buffers: _Buffers, seen: Tensor, band: Tensor, out: Tensor) -> None:
        """Write the network's values of a block of points into `out` (1, points)."""
        b, layers, relu = buffers, self._layers, torch.nn.functional.leaky_relu_
        torch.matmul(band, seen, out=b.features)
        relu(torch.mm(layers[0], b.first_head, out=b.first_units), SLOPE)
        relu(torch.mm(layers[1], b.first_tail, out=b.second_units), SLOPE)
        relu(torch.mm(layers[2], b.second, out=b.first_units), SLOPE)
        relu(torch.mm(layers[3], b.first, out=b.second_units), SLOPE)
        torch.mm(layers[4], b.second, out=out)

    def _bands(self, positions: Tensor, size: int, count: int, block: int) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield blocks of positions along an axis, the entries they lie between, and the weights (positions, entries)."""
        low, share = _places(positions, size, count)
        for start in range(0, len(positions), block):
            below, above = low[start : start + block], share[start : start + block]
            first, last = int(below.min()), min(int(below.max()) + 2, count)
            weights = torch.zeros(len(below), last - first)
            each = torch.arange(len(below))
            weights[each, below - first] = 1 - above
            weights[each, (below - first + 1).clamp(max=last - first - 1)] += above
            yield slice(start, start + len(below)), slice(first, last), weights.to(self._device)


class _Buffers:
    """Rows of numbers of a block of points: features, one, units; and one, units."""

    def __init__(self, features: int, rows: int, columns: int, device: torch.device) -> None:
        self.first = torch.ones(features + 1 + UNITS, rows * columns, device=device)
        self.second = torch.ones(1 + UNITS, rows * columns, device=device)
        self.features = self.first[:features].view(features, rows, columns)
        self.first_head, self.first_tail = self.first[: features + 1], self.first[features:]
        self.first_units, self.second_units = self.first[features + 1 :], self.second[1:]


def _places(positions: Tensor, size: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the entry below each position and the share of the one above, of `count` entries along `size` positions.

    Positions are rounded to float32 as the published program's interpolation rounds them, which shows where features
    change quickly.
    """
    step = torch.tensor((count - 1) / max(size - 1, 1), dtype=torch.float32)
    place = (positions.cpu().float() * step).clamp(0, count - 1)
    low = place.floor().clamp(max=max(count - 2, 0))
    return low.long(), place - low
