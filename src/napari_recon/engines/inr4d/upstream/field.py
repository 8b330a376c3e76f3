"""The published field on a lattice: the same numbers as point by point, with a first layer that is a sum of tables.

On a lattice a sample's place along an axis depends on the index along that axis alone, and the latents are few. So what
the first layer (and one that sees the point again) makes of a point is a table per axis and one of the latents; what
remains are the hidden layers, over few enough points at a time to stay in the cache, and not for samples of a hypercube
that nearer ones hide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from napari_recon.engines.inr4d.layers import FieldLayers
from napari_recon.engines.inr4d.upstream.coordinates import axis_columns, axis_points, embed, latent_index
from napari_recon.engines.inr4d.upstream.render import Shells, render

Check = Callable[[], None]
CHUNK = 1 << 17
"""Numbers per thread in a hidden layer of the points that go through all layers together: 512 kB."""
DEVICE_POINTS = 1 << 18
STAGE = 4
"""Samples of a hypercube that go through the network together, from its middle outwards."""
HIDDEN = -16.0
"""Logarithm of the light left behind which nothing is computed any more: at most 2e-6 of the largest value."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where a lattice lies along one axis.

    Attributes
    ----------
    places : Tensor
        Counted in steps, of which there are `count` - 1 from one end of the recording to the other.
    count : int
    half : float
        Half the edge of a hypercube, in the same steps.
    data : Tensor
        The same places counted in data points; the latent lies there.
    """

    places: Tensor
    count: int
    half: float
    data: Tensor


class PublishedField:
    """A published network with its latents, ready for lattices of any density.

    Parameters
    ----------
    state : mapping
        Parameters of the network by published name.
    layers : FieldLayers
    latent : Tensor
        (x, y, z, encoded)
    tables : Tensor
        (k, m^4, 4): the values are the mean of those with each of these tables of jitter.
    samples : int
        Per hypercube.
    device : torch.device or str
    chunk : int
        Points that go through all layers together; 0 chooses.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        layers: FieldLayers,
        latent: Tensor,
        tables: Tensor,
        samples: int,
        device: torch.device | str = "cpu",
        chunk: int = 0,
    ) -> None:
        self._device, self._layers, self._samples = torch.device(device), layers, samples
        own = {name: tensor.detach().to(self._device, torch.float32) for name, tensor in state.items()}
        weights = [own[f"coords_MLP.{i}.weight"] for i in range(layers.depth)]
        self._seeing = [i for i in range(layers.depth) if i == 0 or i in layers.skips]
        self._of_point = {i: weights[i][:, : layers.encoded] for i in self._seeing}
        self._of_hidden = [weight[:, -layers.width :].T for weight in weights]
        self._biases = [own[f"coords_MLP.{i}.bias"] for i in range(layers.depth)]
        self._out = own["out_MLP.weight"], own["out_MLP.bias"]
        self._latent, self._tables = latent.to(self._device, torch.float32), tables.cpu().float()
        on_cpu = self._device.type == "cpu"
        points = chunk or (CHUNK // layers.width * torch.get_num_threads() if on_cpu else DEVICE_POINTS)
        self._at_once = max(1, points // min(STAGE, tables.shape[1]))

    def values(self, xyzt: Sequence[Places], check: Check = lambda: None) -> Tensor:
        """Return the values (z, y, x), float32 on the device, at one time.

        Parameters
        ----------
        xyzt : sequence of Places
            Along x, y, z, and t with a single place.
        check : callable
            Called every few milliseconds of work; may raise to stop.
        """
        x, y, z, _ = xyzt
        out = torch.zeros(len(z.places), len(y.places), len(x.places), device=self._device)
        with torch.inference_mode():
            for table in self._tables:
                self._add(out, xyzt, table, check)
            return out.div_(len(self._tables))

    def _add(self, out: Tensor, xyzt: Sequence[Places], table: Tensor, check: Check) -> None:
        """Add the values with one table of jitter."""
        planes, height, width = out.shape
        halves = torch.tensor([axis.half * 2 * torch.pi / max(axis.count - 1, 1) for axis in xyzt])
        found = Shells.of_jitter(self._samples, table, halves)
        jitter, nearest = table.to(self._device), found.order.to(self._device)
        shells = Shells(
            torch.arange(len(table)).to(nearest), *(part.to(self._device) for part in (found.distance, found.area))
        )
        along = [
            {i: part[:, nearest] for i, part in self._tables_of(axis, number, jitter).items()}
            for number, axis in enumerate(xyzt)
        ]
        at = [latent_index(axis.data, n) for axis, n in zip(xyzt, self._latent.shape[:3], strict=False)]
        at_x, at_y = (part.to(self._device) for part in at[:2])
        columns = min(width, self._at_once)
        rows = max(1, self._at_once // columns)
        buffers = torch.empty(2, rows * columns * min(STAGE, len(table)), self._layers.width, device=self._device)
        for plane in range(planes):
            under = self._latent[:, :, int(at[2][plane])]
            latents = {i: under @ self._of_point[i].T for i in self._seeing}
            along_y = {i: along[1][i] + along[2][i][plane] + along[3][i][0] + self._biases[i] for i in self._seeing}
            for top in range(0, height, rows):
                for left in range(0, width, columns):
                    check()
                    lines, across = slice(top, min(top + rows, height)), slice(left, min(left + columns, width))
                    every = [torch.arange(each.start, each.stop, device=self._device) for each in (lines, across)]
                    y, x = (index.flatten() for index in torch.meshgrid(*every, indexing="ij"))
                    sums = {i: (along_y[i], along[0][i], latents[i]) for i in self._seeing}
                    started = partial(_started, sums, y, x, at_y[y], at_x[x])
                    values = self._rendered(len(y), started, shells, buffers)
                    out[plane, lines, across] += values.view(lines.stop - lines.start, -1)

    def _rendered(
        self, count: int, started: Callable[[Tensor, slice], dict[int, Tensor]], shells: Shells, buffers: Tensor
    ) -> Tensor:
        """Return the values (count,) of hypercubes; the network is not asked for samples that nearer ones hide."""
        samples = len(shells.order)
        raw = torch.zeros(count, samples, 2, device=self._device)  # without density nothing is seen
        clear = torch.zeros(count, device=self._device)
        seen = torch.arange(count, device=self._device)
        for first in range(0, samples, STAGE):
            part = slice(first, min(first + STAGE, samples))
            found = self._through(started(seen, part), buffers).view(len(seen), -1, 2)
            raw[seen, part] = found
            depth = torch.relu(found[..., 1]) * shells.distance[part] * shells.area[part]
            clear[seen] -= depth.sum(dim=-1)
            seen = seen[clear[seen] > HIDDEN]
            if not len(seen):
                break
        return render(raw, shells)[0]

    def _tables_of(self, axis: Places, number: int, jitter: Tensor) -> dict[int, Tensor]:
        """Return what the layers that see the point get from its place along one axis: (n, samples, width)."""
        layers = self._layers
        points = axis_points(axis.places.to(self._device), axis.count, axis.half, number, self._samples, jitter)
        columns = axis_columns(number, layers.encoded).to(self._device)
        embedded = embed(points[..., None], layers.octaves)
        return {i: embedded @ self._of_point[i][:, columns].T for i in self._seeing}

    def _through(self, start: dict[int, Tensor], buffers: Tensor) -> Tensor:
        """Return the network's outputs (points, 2); the tables' sums in `start` are overwritten."""
        count = len(start[0])
        hidden, spare = start[0].relu_(), [buffers[0, :count], buffers[1, :count]]
        for i in range(1, self._layers.depth):
            free = spare[i % 2]
            if i in start:
                torch.addmm(start[i], hidden, self._of_hidden[i], out=free)
            else:
                torch.addmm(self._biases[i], hidden, self._of_hidden[i], out=free)
            hidden = free.relu_()
        return torch.addmm(self._out[1], hidden, self._out[0].T)


def _started(
    sums: Mapping[int, tuple[Tensor, Tensor, Tensor]],
    y: Tensor,
    x: Tensor,
    at_y: Tensor,
    at_x: Tensor,
    chosen: Tensor,
    part: slice,
) -> dict[int, Tensor]:
    """Return what the layers that see the point get of it (points, width): some samples of chosen hypercubes of y, x."""
    own_y, own_x, latent_y, latent_x = (each[chosen] for each in (y, x, at_y, at_x))
    return {
        i: along_y[:, part][own_y].add_(along_x[:, part][own_x]).add_(latents[latent_x, latent_y][:, None]).flatten(0, 1)
        for i, (along_y, along_x, latents) in sums.items()
    }


def default_tables(samples: int, count: int) -> Tensor:
    """Return the tables of jitter (count, samples, 4) of queries for which none is given; the same ever after."""
    return torch.rand(count, samples, 4, generator=torch.Generator().manual_seed(42))
