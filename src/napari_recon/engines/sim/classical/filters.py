"""What sliders change: Wiener parameter, OTF attenuation and apodisation."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from napari_recon.engines.sim.classical.otf import CircularOtf

Apodisation = Literal["otf", "triangle", "cosine", "none"]


class Filters(NamedTuple):
    """The adjustable part of a reconstruction.

    Attributes
    ----------
    wiener : float
        w; w^2 is the noise of one separated order 0 over the signal, where the transfer function is 1.
    attenuation_strength : float
        0 (off) to 1: how much of each band's centre is taken away.
    attenuation_fwhm : float
        Width of what is taken away, cycles/um.
    apodisation : {"otf", "triangle", "cosine", "none"}
        Fall-off of the result's transfer towards its own cut-off.
    """

    wiener: float = 0.05
    attenuation_strength: float = 0.0
    attenuation_fwhm: float = 1.2
    apodisation: Apodisation = "otf"


def attenuation(squared: Tensor, strength: float, fwhm_per_um: float) -> Tensor:
    """Return 1 - strength exp(-4 ln2 f^2 / fwhm^2) for squared frequencies in (cycles/um)^2."""
    return 1.0 - strength * torch.exp(squared * (-4.0 * math.log(2.0) / fwhm_per_um**2))


def apodisation(frequency: Tensor, cutoff_per_um: float, shape: Apodisation = "otf") -> Tensor:
    """Return the transfer the result shall have.

    Parameters
    ----------
    frequency : Tensor
        |f| in cycles/um, any shape.
    cutoff_per_um : float
        Of the result: the objective's plus the length of the (average) pattern vector.
    shape : {"otf", "triangle", "cosine", "none"}
        As a wide field of that cut-off would have; a straight line; a quarter of a cosine; 1 up to the cut-off.
    """
    ratio = (frequency / cutoff_per_um).clamp(max=1.0)
    if shape == "otf":
        return CircularOtf(cutoff_per_um)(frequency, frequency.new_zeros(()))
    if shape == "triangle":
        return 1.0 - ratio
    if shape == "cosine":
        return torch.cos(ratio * (math.pi / 2)).clamp(min=0.0)
    return (ratio < 1.0).to(frequency.dtype)
