"""Fields on a lattice: the same numbers as point by point, several times faster.

On a lattice the first linear layer of an encoded point is a sum of one table per axis, since the encoding acts on each
axis alone; so is the part of a later layer that sees the encoded point again. What remains are the hidden layers, which
run over few enough points at a time to stay in the cache, into buffers that are used again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from napari_recon.engines.lightfield_inr.encoding import encode, separated
from napari_recon.engines.lightfield_inr.field import Encoding, Layers, PostProcessor
from napari_recon.engines.lightfield_inr.network import SLOPE

Check = Callable[[], None]
CHUNK = 1 << 17
"""Numbers per thread in a hidden layer of the points that go through all layers together: 512 kB, so that two layers stay
in a core's cache."""
DEVICE_CHUNK = 1 << 17
"""The same for an accelerator, which needs many points to be busy."""


class Field(Protocol):
    """Anything that gives values on a lattice."""

    def values(self, x: Tensor, y: Tensor, z: Tensor, check: Callable[[], None] = ...) -> Tensor:
        """Return the values (z, y, x) at the given coordinates (or positions) along each axis."""


class LatticeField:
    """A published network, ready for lattices of any density.

    Parameters
    ----------
    state : mapping
        Its parameters, names as published.
    layers, encoding, post_processor
        As in `FieldNetwork`.
    device : torch.device or str
    chunk : int
        Points that go through all layers together; 0 chooses.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        layers: Layers,
        encoding: Encoding,
        post_processor: PostProcessor,
        device: torch.device | str = "cpu",
        chunk: int = 0,
    ) -> None:
        self._device = torch.device(device)
        on_cpu = self._device.type == "cpu"
        self._chunk = chunk or (CHUNK // layers.width * torch.get_num_threads() if on_cpu else DEVICE_CHUNK)
        self._layers, self._encoding, self._post = layers, encoding, post_processor
        own = {name: tensor.detach().to(self._device, torch.float32) for name, tensor in state.items()}
        self._biases = [own[f"pts_linear.{i}.bias"] for i in range(layers.depth)]
        weights = [own[f"pts_linear.{i}.weight"] for i in range(layers.depth)]
        self._seeing = [i for i in range(layers.depth) if i == 0 or i - 1 in layers.skips]
        """Layers that see the encoded point: the first, and those after a skip."""
        self._of_point = {i: weights[i][:, : layers.encoded] for i in self._seeing}
        self._of_hidden = [None if i == 0 else weights[i][:, -layers.width :].T for i in range(layers.depth)]
        self._out_weight, self._out_bias = own["output_linear.weight"][0], own["output_linear.bias"][0]

    def values(self, x: Tensor, y: Tensor, z: Tensor, check: Check = lambda: None) -> Tensor:
        """Return the values (z, y, x), float32 on the device, at coordinates `x`, `y`, `z` along each axis.

        `check` is called every few milliseconds of work and may raise to stop.
        """
        with torch.inference_mode():
            x, y, z = (axis.to(self._device) for axis in (x, y, z))
            out = torch.empty(len(z), len(y), len(x), device=self._device)
            columns = min(len(x), self._chunk)
            rows = max(1, self._chunk // columns)
            depth_tables = {i: self._table(i, "z", z=z) for i in self._seeing}
            plane_of = self._planes(x, y)
            buffers = torch.empty(2, rows * columns, self._layers.width, device=self._device)
            for top in range(0, len(y), rows):
                for left in range(0, len(x), columns):
                    place = slice(top, top + rows), slice(left, left + columns)
                    plane_tables = {i: plane_of(i, *place) for i in self._seeing}
                    for plane in range(len(z)):
                        check()
                        hidden = self._through(plane_tables, depth_tables, plane, buffers[:, : len(plane_tables[0])])
                        part = out[plane][place]
                        part.copy_(torch.mv(hidden, self._out_weight).view(part.shape))
            return _post_processed(out.add_(self._out_bias), self._post)

    def _through(self, planes: dict[int, Tensor], depths: dict[int, Tensor], plane: int, buffers: Tensor) -> Tensor:
        """Return the last hidden layer (points, width) of one plane's points, which lies in one of the `buffers`."""
        hidden, free = buffers[0], buffers[1]
        torch.add(planes[0], depths[0][plane], out=hidden).relu_()
        for i in range(1, self._layers.depth):
            weight = self._of_hidden[i]
            assert weight is not None
            if i in planes:
                torch.add(planes[i], depths[i][plane], out=free)
                free.addmm_(hidden, weight)
            else:
                torch.addmm(self._biases[i], hidden, weight, out=free)
            hidden, free = free.relu_(), hidden
        return hidden

    def _planes(self, x: Tensor, y: Tensor) -> Callable[[int, slice, slice], Tensor]:
        """Return what gives a layer's share of the x and y of a block of points, bias included: (points, width)."""
        width = self._layers.width
        if self._encoding.encoder == "radial":

            def together(layer: int, rows: slice, columns: slice) -> Tensor:
                grid_y, grid_x = torch.meshgrid(y[rows], x[columns], indexing="ij")
                table = self._table(layer, "xy", x=grid_x.reshape(-1), y=grid_y.reshape(-1))
                return table.add_(self._biases[layer])

            return together
        along_x = {i: self._table(i, "x", x=x).add_(self._biases[i]) for i in self._seeing}
        along_y = {i: self._table(i, "y", y=y) for i in self._seeing}
        return lambda layer, rows, columns: (along_y[layer][rows, None] + along_x[layer][columns]).view(-1, width)

    def _table(self, layer: int, axes: str, **coordinates: Tensor) -> Tensor:
        """Return what a layer gets from some axes' coordinates: (points, width)."""
        columns = next(c for name, c in separated(self._encoding) if name == axes).to(self._device)
        zero = torch.zeros_like(next(iter(coordinates.values())))
        points = torch.stack([coordinates.get(axis, zero) for axis in "xyz"], dim=-1)
        table: Tensor = encode(points, self._encoding)[:, columns] @ self._of_point[layer][:, columns].T
        return table


def _post_processed(values: Tensor, post_processor: PostProcessor) -> Tensor:
    if post_processor == "relu":
        return values.relu_()
    return torch.nn.functional.leaky_relu_(values, SLOPE) if post_processor == "leakyrelu" else values
