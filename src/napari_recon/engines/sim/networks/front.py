"""What stands before a network: raw frames as ML-SIM scales them, or physics that lines the frames up first (torch).

A new way is a function here, a line in `FRONTS` and a word in `network.FRONT_NAMES`; a model's option ``front`` names it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.networks.normalise import PICKED, normalised, picked

Array = NDArray[np.float32]
USUAL = {(9, wanted) for wanted in PICKED}
"""Frames there are and frames taken, where a network was made to take fewer."""


class Scene(NamedTuple):
    """One image's raw frames and what is known of them.

    Attributes
    ----------
    frames : numpy.ndarray
        (N, Y, X) float32, angle-major, counts.
    nch_in : int
        Channels the network takes.
    norm : str
        See `normalise.normalised`.
    integers : bool
        Whether the file holds whole numbers.
    calibration : Calibration or None
        None for fronts that need none.
    """

    frames: Array
    nch_in: int
    norm: str
    integers: bool
    calibration: Calibration | None


class Shown(NamedTuple):
    """What the network sees, and how its answer becomes the image: ``base + scale * answer``.

    Attributes
    ----------
    channels : torch.Tensor
        (nch_in, Y, X) float32.
    base : torch.Tensor or None
        (scale Y, scale X); None is zero.
    widefield : numpy.ndarray
        (Y, X) float32.
    remarks : tuple of str
        What the user must know.
    """

    channels: Tensor
    base: Tensor | None
    scale: float
    widefield: Array
    remarks: tuple[str, ...] = ()


def frames_front(scene: Scene) -> Shown:
    """Show the network raw frames, scaled as `norm` says."""
    chosen = picked(len(scene.frames), scene.nch_in)
    channels, widefield, constant = normalised(scene.frames[list(chosen)], scene.norm, scene.integers)
    remarks = []
    if constant:
        named = ", ".join(str(chosen[i] + 1) for i in constant)
        remarks.append(f"raw frame {named} of {len(scene.frames)} is constant and tells nothing; check the recording")
    if len(chosen) < len(scene.frames) and (len(scene.frames), len(chosen)) not in USUAL:
        remarks.append(
            f"the network takes {len(chosen)} raw frames, found {len(scene.frames)}: only the first {len(chosen)} are used; "
            "a model for as many frames as there are would use all"
        )
    return Shown(torch.from_numpy(channels), None, 1.0, widefield, tuple(remarks))


def wiener_front(scene: Scene) -> Shown:
    """Show the network Wiener reconstructions, which it improves; see `wiener_front`."""
    from napari_recon.engines.sim.networks.wiener_front import wiener_input

    assert scene.calibration is not None  # the engine finds it for this front
    found = wiener_input(torch.from_numpy(scene.frames), scene.calibration)
    return Shown(found.channels, found.base, found.scale, scene.frames.mean(0))


FRONTS: dict[str, Callable[[Scene], Shown]] = {"frames": frames_front, "wiener": wiener_front}
