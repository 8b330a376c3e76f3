"""Rendering of a hypercube: samples in shells around its middle, the nearer ones hiding the farther."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_recon.engines.inr4d.upstream.coordinates import fractions


@dataclass(frozen=True, eq=False)
class Shells:
    """Samples (..., S) sorted by distance from the middle: which, how far the next one is, and what its shell weighs."""

    order: Tensor
    distance: Tensor
    area: Tensor

    @classmethod
    def of(cls, radii: Tensor, extent: Tensor | float) -> Shells:
        """Return the shells of samples at `radii` in a hypercube of half diagonal `extent`."""
        sorted_radii, order = torch.sort(radii, dim=-1, stable=True)
        gaps = sorted_radii[..., 1:] - sorted_radii[..., :-1]
        distance = torch.cat([gaps, gaps[..., -1:]], dim=-1) if gaps.shape[-1] else torch.ones_like(sorted_radii)
        return cls(order, distance, 4 * math.pi * (sorted_radii / extent) ** 2)

    @classmethod
    def of_points(cls, points: Tensor, centres: Tensor, halves: Tensor) -> Shells:
        """Return the shells of sample points (n, S, 4) around centres (n, 4)."""
        return cls.of((points - centres[:, None]).norm(dim=-1), halves.norm())

    @classmethod
    def of_jitter(cls, samples: int, jitter: Tensor, halves: Tensor) -> Shells:
        """Return the shells (S,) that all coordinates of a regular grid share when the jitter is one table."""
        places = halves.double() * (2 * fractions(samples).double() * jitter.double() - 1)
        found = cls.of(places.norm(dim=-1), halves.double().norm())
        return cls(found.order, found.distance.float(), found.area.float())


def render(raw: Tensor, shells: Shells) -> tuple[Tensor, Tensor]:
    """Return values (n,) and weights (n, S) of a network's outputs (n, S, 2): colour and density."""
    order = shells.order.expand(raw.shape[:-1])
    colour, density = torch.sigmoid(raw[..., 0]).gather(-1, order), torch.relu(raw[..., 1]).gather(-1, order)
    depth = density * shells.distance
    hidden = torch.cumsum(-depth * shells.area, dim=-1)
    before = torch.cat([torch.zeros_like(hidden[..., :1]), hidden[..., :-1]], dim=-1)
    weights = (1 - torch.exp(-depth)) * shells.area * torch.exp(before)
    return (weights * colour).sum(dim=-1), weights
