"""U-Nets on whole frames in bands of rows, each with enough rows around it that no border shows (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_recon.engines.sim.networks.unet import N2N_DEPTH, UNetN2N

LATTICE = 2**N2N_DEPTH
"""Bands begin at multiples of what the deepest level pools."""
HALO = 6 * LATTICE
"""Rows around a band, more than the farthest a U-Net sees."""
Part = tuple[tuple[int, int], Tensor] | float


class Banded:
    """A U-Net prepared to run on one device in one arithmetic; parameters are those of `Residual`."""

    def __init__(self, network: nn.Module, rows: int, dtype: torch.dtype, check: Callable[[], None]) -> None:
        if dtype != torch.float32:
            import copy

            network = copy.deepcopy(network).to(dtype)
        self._network, self._dtype, self._check = network, dtype, check
        self._rows = max(LATTICE, rows // LATTICE * LATTICE)

    @torch.inference_mode()
    def __call__(self, frames: Tensor, rows: tuple[int, int]) -> Iterator[Part]:
        """Yield parts of the work done, and the image in bands; see `Residual`."""
        height, width = frames.shape[1:]
        if isinstance(self._network, UNetN2N):  # it only knows whole numbers of its deepest pixels
            missing = [-n % LATTICE for n in (width, height)]
            frames = nn.functional.pad(frames[None], (0, missing[0], 0, missing[1]), mode="replicate")[0]
        edges = sorted({rows[0], *range(-(-rows[0] // LATTICE) * LATTICE, rows[1], self._rows), rows[1]})
        for lo, hi in pairwise(edges):
            self._check()
            yield (lo - rows[0]) / (rows[1] - rows[0])
            a = max(0, lo // LATTICE * LATTICE - HALO)
            b = min(frames.shape[1], -(-hi // LATTICE) * LATTICE + HALO)
            part = frames[None, :, a:b].to(self._dtype).contiguous(memory_format=torch.channels_last)
            yield (lo, hi), self._network(part)[0, :, lo - a : hi - a, :width].float()
