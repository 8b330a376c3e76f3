"""Whole frames through RCAN and EDSR, row strip by row strip and layer by layer (torch).

Channel attention takes the mean of every feature over the whole frame, so a tile can't be computed by itself. Here every
layer runs over the whole frame before the next begins, a few rows at a time: at most four feature maps are held, nothing is
computed twice, and neither the strips nor the region that is asked for change the result. What is pending for a row (its
gate times the block's result) is added just before the row is read again, while it is in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from napari_recon.engines.sim.networks.convolution import Scratch, Strip, strip
from napari_recon.engines.sim.networks.edsr import EDSR, ResidualBlock
from napari_recon.engines.sim.networks.rcan import RCAN, AttentionBlock

Rows = tuple[int, int]
Part = tuple[Rows, Tensor] | float
"""A finished strip, or how much of the work is done."""
HEAD_HALO, TAIL_HALO = 3, 3
"""Rows that the first and last layers need beyond those they deliver, in input pixels, for every scale and `narch`."""


class _Block(NamedTuple):
    """A block's convolutions and what makes its gates from the means of its result."""

    one: Strip
    two: Strip
    gates: Callable[[Tensor], Tensor]


class Residual:
    """A network's trunk prepared to run on one device in one arithmetic.

    Parameters
    ----------
    network : RCAN or EDSR
        On the device to compute on, float32.
    rows : int
        Rows computed at once.
    dtype : torch.dtype
        Of the 3x3 convolutions inside; sums and skips stay float32.
    check : callable
        Called between strips; may raise to stop.
    """

    def __init__(self, network: RCAN | EDSR, rows: int, dtype: torch.dtype, check: Callable[[], None]) -> None:
        self._network, self._rows, self._check = network, rows, check
        scratch = Scratch()
        self._groups: list[tuple[list[_Block], Strip | None]] = []
        for blocks, closing in network.groups():
            prepared = [_prepared(block, dtype, scratch) for block in blocks]
            self._groups.append((prepared, None if closing is None else strip(closing, dtype, scratch)))
        last = network.body[-1]
        assert isinstance(last, nn.Conv2d)
        self._last, self._features = strip(last, dtype, scratch), last.out_channels

    @torch.inference_mode()
    def __call__(self, frames: Tensor, rows: Rows) -> Iterator[Part]:
        """Yield parts of the work done, and the image in strips: ((first, end) row, (nch_out, scale rows, scale X)).

        Parameters
        ----------
        frames : torch.Tensor
            (nch_in, Y, X) float32: the whole frame.
        rows : (int, int)
            Rows of the input whose part of the image is wanted.
        """
        maps = _Maps(frames, self._features, self._last.multiple, grouped=isinstance(self._network, RCAN))
        for lo, hi in self._strips(maps.height):
            self._check()
            a, b = max(0, lo - HEAD_HALO), min(maps.height, hi + HEAD_HALO)
            maps.first[lo:hi] = self._network.first(frames[None, :, a:b])[0, :, lo - a : hi - a].permute(1, 2, 0)
        maps.pending = (maps.first, None)
        total, done = sum(len(blocks) for blocks, _ in self._groups), 0
        for blocks, closing in self._groups:
            for block in blocks:
                yield done / (total + 1)
                self._block(block, maps)
                done += 1
            if closing is not None:
                self._add(closing, maps, maps.skip)
                maps.pending = (maps.skip, None)
        yield done / (total + 1)
        self._add(self._last, maps, maps.first)
        for lo, hi in self._strips(rows[1], rows[0]):
            self._check()
            a, b = max(0, lo - TAIL_HALO), min(maps.height, hi + TAIL_HALO)
            image = self._network.tail(maps.first[a:b].permute(2, 0, 1)[None])[0]
            s = self._network.scale
            yield (lo, hi), image[:, s * (lo - a) : s * (hi - a)]

    def _strips(self, stop: int, start: int = 0) -> Iterator[Rows]:
        for lo in range(start, stop, self._rows):
            yield lo, min(lo + self._rows, stop)

    def _block(self, block: _Block, maps: _Maps) -> None:
        """Leave what a block adds in `maps.result`, and as pending with its gates."""
        sums = torch.zeros(maps.result.shape[2], device=maps.result.device)
        inner = maps.inner(self._rows)
        start = 0
        for lo, hi in self._strips(maps.height):
            self._check()
            maps.update(min(hi + 1, maps.height))
            # inner row 2 + j is row lo + j of the frame; the two before are kept from the strip before, zero at the top
            block.one(maps.x[lo : hi + 2], inner[2 : 2 + hi - lo, 1 : 1 + maps.width], relu=True)
            stop = hi - 1
            if hi == maps.height:
                inner[2 + hi - lo].zero_()
                stop = hi
            if stop > start:
                part = maps.result[start:stop]
                block.two(inner[start - lo + 1 : stop - lo + 3], part)
                sums += part.sum((0, 1))
            inner[:2] = inner[hi - lo : 2 + hi - lo].clone()
            start = stop
        maps.pending = (maps.result, block.gates(sums / (maps.height * maps.width)))

    def _add(self, convolution: Strip, maps: _Maps, target: Tensor) -> None:
        """Add a convolution of the trunk to a map."""
        part = torch.empty((self._rows, *target.shape[1:]), device=target.device)
        for lo, hi in self._strips(maps.height):
            self._check()
            maps.update(min(hi + 1, maps.height))
            convolution(maps.x[lo : hi + 2], part[: hi - lo])
            target[lo:hi] += part[: hi - lo]


class _Maps:
    """The feature maps of one frame, (Y, X, features): the trunk `x` with a border of zeros, and what is added to it."""

    def __init__(self, frames: Tensor, features: int, multiple: int, grouped: bool) -> None:
        self.height, self.width = frames.shape[1:]
        shape, device = (self.height, self.width, features), frames.device
        self._padded = -(-self.width // multiple) * multiple + 2
        self.x = torch.zeros((self.height + 2, self._padded, shape[2]), device=device)
        self.result = torch.empty(shape, device=device)
        self.first = torch.empty(shape, device=device)
        self.skip = torch.empty(shape if grouped else (0, 0, 0), device=device)
        self.grouped = grouped
        self._inner: Tensor | None = None
        self._updated = 0

    def inner(self, rows: int) -> Tensor:
        """Return the rows between a block's convolutions: a strip, two rows before and one after, zero all around."""
        if self._inner is None:
            self._inner = torch.zeros((min(rows, self.height) + 3, self._padded, self.x.shape[2]), device=self.x.device)
        self._inner[:2].zero_()
        return self._inner

    @property
    def pending(self) -> tuple[Tensor, Tensor | None]:
        """What the trunk becomes: a map (it is copied), or a map times gates (added), row by row as it is read."""
        return self._pending

    @pending.setter
    def pending(self, value: tuple[Tensor, Tensor | None]) -> None:
        self._pending = value
        self._updated = 0

    def update(self, stop: int) -> None:
        """Bring the trunk up to date in the rows before `stop`."""
        start, self._updated = self._updated, max(stop, self._updated)
        if start >= stop:
            return
        source, gates = self._pending
        rows = self.x[1 + start : 1 + stop, 1 : 1 + self.width]
        if gates is not None:
            rows.addcmul_(source[start:stop], gates)
            return
        rows.copy_(source[start:stop])
        if self.grouped and source is self.first:
            self.skip[start:stop] = source[start:stop]


def _prepared(block: AttentionBlock | ResidualBlock, dtype: torch.dtype, scratch: Scratch) -> _Block:
    one, two = block.convolutions()
    return _Block(strip(one, dtype, scratch), strip(two, dtype, scratch), block.gates)
