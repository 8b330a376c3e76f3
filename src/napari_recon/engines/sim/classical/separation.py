"""Band separation: which combination of the raw frames is which order of the pattern."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from napari_recon.engines.sim.calibration import Calibration

#: Modulations below this are taken as this: a band that is not there can't be divided by zero.
LEAST_MODULATION = 1e-3


class Band(NamedTuple):
    """One separated band: order 0 of all groups together, or the +k order of one carrier (-k is its mirror image).

    Attributes
    ----------
    coefficients : Tensor
        complex128 (frames,): the band is their sum with the raw frames.
    k_per_um : tuple of float
        (kx, ky); (0, 0) for order 0.
    weight : float
        Share in the recombination; an order 0 has 1.
    summed : int
        How many bands were added up in this one: order 0 of each group.
    """

    coefficients: Tensor
    k_per_um: tuple[float, float]
    weight: float = 1.0
    summed: int = 1


def separation(calibration: Calibration, weights: Literal["noise", "equal"] = "noise") -> list[Band]:
    """Return order 0 (summed over the groups) and one band per carrier, each normalised to the object.

    Parameters
    ----------
    calibration : Calibration
    weights : {"noise", "equal"}
        Bands weighted by the inverse of the noise power that separating them leaves, relative to order 0, which is
        (m / 2)^2 for equal phase steps; or all alike.
    """
    gains = torch.tensor(calibration.gains or (1.0,) * calibration.frames, dtype=torch.float64)
    zero = torch.zeros(calibration.frames, dtype=torch.complex128)
    sides: list[Band] = []
    for group in calibration.groups:
        frames = list(group.frames)
        columns = [torch.ones(len(frames), dtype=torch.complex128)]
        for carrier in group.carriers:
            phases = torch.tensor(carrier.phases_rad, dtype=torch.float64)
            half = max(carrier.modulation, LEAST_MODULATION) / 2
            turn = torch.polar(torch.full_like(phases, half), phases)
            columns += [turn, turn.conj()]
        inverse = torch.linalg.pinv(torch.stack(columns, dim=1)) / gains[frames]
        noise = inverse.abs().square().sum(dim=1)
        zero[frames] += inverse[0]
        for number, carrier in enumerate(group.carriers):
            row = torch.zeros_like(zero)
            row[frames] = inverse[1 + 2 * number]
            weight = float(noise[0] / noise[1 + 2 * number]) if weights == "noise" else 1.0
            sides.append(Band(row, carrier.k_per_um, weight))
    return [Band(zero, (0.0, 0.0), 1.0, len(calibration.groups)), *sides]
