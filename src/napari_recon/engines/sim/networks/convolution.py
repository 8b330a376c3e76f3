"""3x3 convolutions of row strips in channels-last layout: direct, or by Winograd's transform on the CPU (torch).

Winograd's F(4x4, 3x3) needs 2.25 multiplications per output, input and channel pair instead of 9; the interpolation points
0, +-1/sqrt(2), +-sqrt(2) keep its rounding error near that of a direct convolution.

References
----------
.. [1] Lavin and Gray, CVPR 2016, 10.1109/CVPR.2016.435.
.. [2] Alam, Anderson, Barabasz, Gregg, arXiv:2201.10369 (points).
"""

from __future__ import annotations

import math
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

TILE = 4
"""Rows and columns of outputs of one Winograd tile."""
WORTH_WINOGRAD = 64
"""Fewest channels from which the transforms cost less than they save."""
_TILES_AT_ONCE = 256
_ROOT = 2.0**0.5
_BACK = torch.tensor(
    [
        [1, _ROOT, _ROOT, _ROOT, _ROOT, 0],
        [0, 1, -1, 2, -2, 0],
        [0, _ROOT / 2, _ROOT / 2, 2 * _ROOT, 2 * _ROOT, 0],
        [0, 0.5, -0.5, 4, -4, 1],
    ]
)
"""Six points to four outputs: what `_outputs` does, as a matrix."""
_WEIGHTS: WeakKeyDictionary[nn.Conv2d, Tensor] = WeakKeyDictionary()


class Strip(Protocol):
    """A convolution of rows."""

    multiple: int
    """The width of the result is rounded up to this."""

    def __call__(self, source: Tensor, out: Tensor, relu: bool = False) -> None:
        """Write the result for (R + 2, W' + 2, C) into `out`, (R, W, K); W' is W rounded up, with zeros beyond W."""


class Scratch:
    """Memory that all convolutions of a network use in turn, so that it stays in the cache."""

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}

    def take(self, number: int, shape: tuple[int, ...]) -> Tensor:
        """Return piece `number` of the memory in a shape; it holds anything."""
        size = math.prod(shape)
        if number not in self._kept or self._kept[number].numel() < size:
            self._kept[number] = torch.empty(size)
        return self._kept[number][:size].view(shape)


def strip(layer: nn.Conv2d, dtype: torch.dtype, scratch: Scratch) -> Strip:
    """Return the faster convolution with a layer's weights on its device."""
    channels = min(layer.in_channels, layer.out_channels)
    winograd = dtype == torch.float32 and layer.weight.device.type == "cpu" and channels >= WORTH_WINOGRAD
    return Winograd(layer, scratch) if winograd else Direct(layer, dtype)


class Direct:
    """The library's convolution."""

    multiple = 1

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        self._weight = layer.weight.to(dtype).contiguous(memory_format=torch.channels_last)
        self._bias = None if layer.bias is None else layer.bias.to(dtype)

    def __call__(self, source: Tensor, out: Tensor, relu: bool = False) -> None:
        """See `Strip`."""
        nchw = source.to(self._weight.dtype).permute(2, 0, 1)[None]
        found = nn.functional.conv2d(nchw, self._weight, self._bias)
        out.copy_((found.relu_() if relu else found)[0].permute(1, 2, 0))


class Winograd:
    """F(4x4, 3x3): tiles of 6x6 inputs are transformed, multiplied by one matrix per element, and transformed back."""

    multiple = TILE

    def __init__(self, layer: nn.Conv2d, scratch: Scratch) -> None:
        self._weight = _moved(layer)
        self._bias = layer.bias
        self._buffer = scratch.take

    def __call__(self, source: Tensor, out: Tensor, relu: bool = False) -> None:
        """See `Strip`."""
        height, width, _ = out.shape
        columns = TILE * min(_TILES_AT_ONCE, -(-width // TILE))
        rows = TILE * max(1, _TILES_AT_ONCE * TILE // columns)
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                part = out[top : top + rows, left : left + columns]
                self._tiles(source[top : top + rows + 2, left : left + columns + 2], part)
                if self._bias is not None:
                    part.add_(self._bias)
                if relu:
                    part.relu_()

    def _tiles(self, source: Tensor, out: Tensor) -> None:
        (height, width, outputs), channels = out.shape, source.shape[2]
        down, across = -(-height // TILE), -(-width // TILE)
        if source.shape[0] < TILE * down + 2:  # the last rows of a frame do not fill their tiles
            source = nn.functional.pad(source, (0, 0, 0, 0, 0, TILE * down + 2 - source.shape[0]))
        row, column, one = source.stride()
        wide = TILE * across + 2
        vertical = self._buffer(0, (6, down, wide, channels))
        rows = source.as_strided((6, down, wide, channels), (row, TILE * row, column, one))
        _inputs(rows, vertical, self._buffer(1, (2, *vertical.shape[1:])))
        moved, product = self._buffer(2, (6, down, across, channels)), self._buffer(3, (6, down * across, outputs))
        even_odd = self._buffer(4, (2, *moved.shape[1:]))
        half = self._buffer(5, (6, TILE, down, across, outputs))
        row, column, one = vertical.stride()[1:]
        for i in range(6):  # one row of points at a time stays in the cache
            columns = vertical[i].as_strided((6, down, across, channels), (column, row, TILE * column, one))
            _inputs(columns, moved, even_odd)
            torch.bmm(moved.view(6, down * across, channels), self._weight[6 * i : 6 * i + 6], out=product)
            torch.mm(_BACK, product.view(6, -1), out=half[i].view(TILE, -1))
        scratch = self._buffer(6, (4, TILE, down, across, outputs))
        if (height, width) == (TILE * down, TILE * across):
            whole = out.view(down, TILE, across, TILE, outputs)
            _outputs(half, whole.permute(1, 3, 0, 2, 4), scratch)
            return
        whole = self._buffer(7, (down, TILE, across, TILE, outputs))
        _outputs(half, whole.permute(1, 3, 0, 2, 4), scratch)
        out.copy_(whole.view(TILE * down, TILE * across, outputs)[:height, :width])


def _moved(layer: nn.Conv2d) -> Tensor:
    """Return a trained layer's weights at the 36 points, (36, inputs, outputs); frames after the first find them again."""
    if layer not in _WEIGHTS:
        # rows: the points 0, a, -a, b, -b, infinity of Lagrange's polynomials; sqrt(2) is moved here from `_outputs`
        a, b = 1 / _ROOT, _ROOT
        near, far = 1 / (2 * a * a * (a * a - b * b)), 1 / (2 * b * b * (b * b - a * a))
        rows = [[1, 0, 0], *([near * _ROOT**-1 * (s * a) ** i for i in range(3)] for s in (1, -1))]
        rows += [[far * _ROOT**-1 * (s * b) ** i for i in range(3)] for s in (1, -1)] + [[0, 0, 1]]
        g = torch.tensor(rows, dtype=torch.float64)
        moved = torch.einsum("ia,kcab,jb->ijck", g, layer.weight.double(), g)
        _WEIGHTS[layer] = moved.reshape(36, layer.in_channels, layer.out_channels).float().contiguous()
    return _WEIGHTS[layer]


def _inputs(x: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Transform six inputs, along the first axis, to six points: 0, a, -a, b, -b, infinity."""
    even, odd = scratch
    torch.sub(x[4], x[2], alpha=2.5, out=out[0]).add_(x[0])
    torch.sub(x[4], x[2], alpha=2.0, out=even)
    torch.sub(x[3], x[1], alpha=2.0, out=odd)
    torch.add(even, odd, alpha=1 / _ROOT, out=out[1])
    torch.sub(even, odd, alpha=1 / _ROOT, out=out[2])
    torch.sub(x[4], x[2], alpha=0.5, out=even)
    torch.sub(x[3], x[1], alpha=0.5, out=odd)
    torch.add(even, odd, alpha=_ROOT, out=out[3])
    torch.sub(even, odd, alpha=_ROOT, out=out[4])
    torch.sub(x[5], x[3], alpha=2.5, out=out[5]).add_(x[1])


def _outputs(m: Tensor, out: Tensor, scratch: Tensor) -> None:
    """Transform six points, along the first axis, to four outputs; the inner points come divided by sqrt(2)."""
    even_a, odd_a, even_b, odd_b = scratch
    torch.add(m[1], m[2], out=even_a)
    torch.sub(m[1], m[2], out=odd_a)
    torch.add(m[3], m[4], out=even_b)
    torch.sub(m[3], m[4], out=odd_b)
    torch.add(odd_a, odd_b, alpha=2.0, out=out[1])
    odd_a.add_(odd_b, alpha=8.0)
    torch.add(m[5], odd_a, alpha=0.5, out=out[3])
    torch.add(even_a, even_b, alpha=4.0, out=odd_a)
    torch.mul(odd_a, 1 / _ROOT, out=out[2])
    even_a.add_(even_b)
    torch.add(m[0], even_a, alpha=_ROOT, out=out[0])
