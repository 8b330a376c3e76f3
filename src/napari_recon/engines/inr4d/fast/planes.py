"""What lies between planes, by a small network that learnt it inside the planes of the same recording.

Planes are further apart than pixels. Of each plane lines are left out, so that those that stay are as far apart as planes,
and the network learns what cubic splines miss of the lines between. Then it does so through the planes, in z, x and in z, y.
Nothing but the recording's own planes is used; some of them are kept aside to judge by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor, nn

from napari_recon.engines.inr4d.fast.adam import Adam
from napari_recon.engines.inr4d.fast.shares import drained

#: Pixels of the kept lines that a step learns from, about.
PIXELS = 8000
#: Largest part of a plane, in kept lines and pixels along them.
LINES, COLUMNS = 32, 64
RATE, RISE = 4e-3, 20
#: One plane of so many is kept aside, at most so many of them.
ASIDE, MOST_ASIDE = 8, 24
#: Kept lines of which a plane must have, to learn from it.
FEWEST = 6


class PlaneNetwork(nn.Module):
    """Residual convolutions on kept lines; its channels are the lines between one and the next."""

    def __init__(self, factor: int, width: int = 32, blocks: int = 3) -> None:
        super().__init__()
        self.head = _convolution(1, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(_convolution(width, width), nn.ReLU(), _convolution(width, width)) for _ in range(blocks)
        )
        self.tail = _convolution(width, factor - 1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(self, lines: Tensor) -> Tensor:
        """Return (n, factor - 1, lines - 1, pixels) of lines (n, 1, lines, pixels)."""
        found = self.head(lines.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            found = found + block(found)
        answer: Tensor = self.tail(found)[:, :, :-1]
        return answer


@dataclass(frozen=True)
class Judged:
    """Mean squared errors on the lines left out of planes kept aside."""

    network: float
    cubic: float


class PlaneFit:
    """The network of one recording and its training; a step depends on its number alone.

    Parameters
    ----------
    volumes : Tensor
        (t, z, y, x), without most of their noise.
    factor : int
        Distance of planes in pixels, 2 or more.
    steps : int
    seed : int
    """

    def __init__(self, volumes: Tensor, factor: int, steps: int, seed: int) -> None:
        self._planes, self.factor, self.steps, self._seed, self.step = volumes.flatten(0, 1), factor, steps, seed, 0
        torch.manual_seed(seed)
        self.network = PlaneNetwork(factor)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimiser = Adam(self.network.parameters(), (0.9, 0.98))
        order = torch.randperm(len(self._planes), generator=torch.Generator().manual_seed(seed))
        aside = min(MOST_ASIDE, len(order) // ASIDE)
        self._aside, self._learnt = order[:aside], order[aside:]
        sample = [self._missed(self._lines(int(plane), way, 0)) for plane in self._learnt[:64] for way in (0, 1)]
        self.spread = float(torch.cat([part[1].flatten() for part in sample]).std().clamp_min(1e-8))

    @staticmethod
    def possible(shape_zyx: tuple[int, ...], factor: int) -> bool:
        """Return whether there is enough to learn from."""
        return min(shape_zyx[1:]) >= (FEWEST - 1) * factor + factor

    def advance(self) -> float:
        """Do one step and return the loss: the squared error relative to that of cubic splines."""
        random = np.random.default_rng((self._seed, self.step))
        lines, missing = self._batch(random)
        falling = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * self.step / self.steps))
        rate = RATE * min(1.0, (self.step + 1) / RISE) * falling
        loss = (self.network(lines[:, None]) - missing / self.spread).square().mean()
        self._optimiser.step(loss, rate)
        self.step += 1
        return float(loss.detach())

    def judged(self, check: Callable[[], None]) -> Judged | None:
        """Return the errors on planes kept aside, None when there are too few planes."""
        if not len(self._aside):
            return None
        errors = []
        for plane in self._aside.tolist():
            for way in (0, 1):
                check()
                lines, missing = self._missed(self._lines(plane, way, 0))
                with torch.no_grad():
                    left = self.network(lines[None, None])[0] * self.spread - missing
                errors.append((float(left.square().mean()), float(missing.square().mean())))
        network, cubic = np.mean(errors, axis=0)
        return Judged(float(network), float(cubic))

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        network = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        return {"network": network, "optimiser": self._optimiser.state(), "step": self.step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.network.load_state_dict(state["network"])
        self._optimiser.restore(state["optimiser"])
        self.step = int(state["step"])

    def filled(self, volume: Tensor, check: Callable[[], None]) -> Tensor:
        """Return a volume (z, y, x) with the planes between: the mean of what z, x and z, y say, up and down."""
        found = cubic_planes(volume, self.factor)
        added = torch.zeros(self.factor - 1, len(volume) - 1, *volume.shape[1:])
        with torch.no_grad():
            for axis in (1, 2):
                sections = volume.movedim(axis, 0)[:, None]
                for start in range(0, len(sections), 16):
                    part = sections[start : start + 16]
                    check()
                    up = self.network(part)
                    check()
                    down = self.network(part.flip(2)).flip(1, 2)
                    answer = (0.25 * self.spread * (up + down)).movedim(0, axis + 1)
                    added.narrow(axis + 1, start, len(part)).add_(answer)
        for between in range(self.factor - 1):
            found[between + 1 :: self.factor] += added[between]
        return found

    def all_filled(self, volumes: Tensor, check: Callable[[], None]) -> Tensor:
        """Return what `filling` returns in the end."""
        return drained(self.filling(volumes, check))

    def filling(self, volumes: Tensor, check: Callable[[], None]) -> Generator[float, None, Tensor]:
        """Yield the share that is done; return volumes (t, z, y, x) with the planes between."""
        found = []
        for number, volume in enumerate(volumes, 1):
            found.append(self.filled(volume, check))
            yield number / len(volumes)
        return torch.stack(found)

    def forget(self) -> None:
        """Leave cubic splines alone between planes."""
        for parameter in self.network.tail.parameters():
            nn.init.zeros_(parameter)

    def _batch(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        rows, columns = self._planes.shape[1:]
        examples: list[tuple[Tensor, Tensor]] = []
        way = int(random.integers(2))  # all of a batch have one size
        most = min(LINES, (columns if way else rows) // self.factor), min(COLUMNS, rows if way else columns)
        for _ in range(max(1, round(PIXELS / (most[0] * most[1])))):
            plane = int(self._learnt[int(random.integers(len(self._learnt)))])
            lines = self._lines(plane, way, int(random.integers(self.factor)))
            top = int(random.integers((len(lines) - (most[0] - 1) * self.factor - 1) // self.factor + 1)) * self.factor
            left = int(random.integers(lines.shape[1] - most[1] + 1))
            lines = lines[top : top + (most[0] - 1) * self.factor + 1, left : left + most[1]]
            if random.random() < 0.5:
                lines = lines.flip(0)
            if random.random() < 0.5:
                lines = lines.flip(1)
            examples.append(self._missed(lines))
        return torch.stack([lines for lines, _ in examples]), torch.stack([missing for _, missing in examples])

    def _lines(self, plane: int, way: int, phase: int) -> Tensor:
        """Return a plane's lines along x (or y: `way` 1) from one that is kept to one that is kept."""
        lines = self._planes[plane].T if way else self._planes[plane]
        count = (len(lines) - phase - 1) // self.factor
        return lines[phase : phase + count * self.factor + 1]

    def _missed(self, lines: Tensor) -> tuple[Tensor, Tensor]:
        """Return kept lines, and what cubic splines through them miss of those between (factor - 1, lines - 1, pixels)."""
        kept = lines[:: self.factor]
        missing = (lines - _splines(len(kept), self.factor) @ kept)[:-1]
        return kept, missing.reshape(-1, self.factor, lines.shape[1])[:, 1:].movedim(1, 0)


def cubic_planes(volume: Tensor, factor: int) -> Tensor:
    """Return a volume (z, y, x) with factor - 1 planes between one and the next, by cubic splines."""
    found: Tensor = torch.tensordot(_splines(len(volume), factor), volume, dims=([1], [0]))
    return found


@lru_cache(maxsize=32)
def _splines(count: int, factor: int) -> Tensor:
    """Return what makes all lines of those kept."""
    places = np.arange((count - 1) * factor + 1) / factor
    spline = make_interp_spline(np.arange(count), np.eye(count), k=min(3, count - 1))
    return torch.from_numpy(spline(places).astype(np.float32))


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")
