"""The published fit's settings, from a settings file or by their published defaults. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen
from napari_recon.engines.lightfield_inr.field import Encoding, Layers, PostProcessor

LEAKY_BELOW = 500
"""A run that starts before this step uses the leaky non-linearity throughout."""


class FitSettings(Frozen):
    """What a published fit is told.

    Attributes
    ----------
    coarse_steps, random_steps, steps : int
        Last step of the coarse stage, of random block centres, and of the run; between the last two, centres are drawn
        from the error map.
    steps_per_frame : int
        Steps of every later frame of a sequence.
    block : int
        Pixels of a block along an axis.
    bounds : tuple of int
        Range of the block centres; empty takes all places.
    similarity, amplitude, smoothness : float
        Weights of structural similarity, mean absolute value and second differences.
    """

    coarse_steps: int = 0
    coarse_factor: int = 2
    random_steps: int = 2
    steps: int = 10000
    steps_per_frame: int = 100
    map_every: int = 10
    block: int = 129
    bounds: tuple[int, ...] = (100, 400)
    rate: float = 5e-4
    rate_decay: float = 250.0
    similarity: float = 0.0
    amplitude: float = 0.1
    smoothness: float = 0.01
    post_processor: PostProcessor = "relu"
    local_normalisation: bool = False
    scene_stride: int = 1
    centre_cut: float | None = None

    @classmethod
    def of_flags(cls, flags: Mapping[str, Any]) -> FitSettings:
        """Return the settings in a settings file; what it does not name keeps its published default."""
        names = {
            "N_steps_pre": "coarse_steps",
            "DSfactor": "coarse_factor",
            "N_steps_fine": "random_steps",
            "N_steps": "steps",
            "N_steps_seq": "steps_per_frame",
            "ErMap_update": "map_every",
            "block_size": "block",
            "boundary_range": "bounds",
            "lrate": "rate",
            "lrate_decay": "rate_decay",
            "L1_regu_weight": "amplitude",
            "TV_regu_weight": "smoothness",
            "postprocessortype": "post_processor",
            "local_normalization": "local_normalisation",
            "skip": "scene_stride",
            "centercut": "centre_cut",
        }
        found = {ours: flags[theirs] for theirs, ours in names.items() if theirs in flags}
        found["similarity"] = flags.get("ssim_loss_weight", 0.01) if flags.get("add_ssim_loss") else 0.0
        return cls.model_validate({**found, "bounds": tuple(found.get("bounds", cls().bounds))})

    @property
    def coarse_block(self) -> int:
        """Pixels of a block in the coarse stage, odd."""
        reduced = self.block // self.coarse_factor
        return reduced if reduced % 2 else reduced + 1

    def rate_after(self, step: int) -> float:
        """Return the learning rate that follows step `step` (counted from one)."""
        return float(self.rate * 0.1 ** ((step - 1) / (1000 * self.rate_decay)))

    def trained_with(self, start: int) -> PostProcessor:
        """Return the non-linearity of a run that starts after step `start`."""
        return "leakyrelu" if self.post_processor == "relu" and start < LEAKY_BELOW else self.post_processor


def layers_of_flags(flags: Mapping[str, Any], encoding: Encoding) -> Layers:
    """Return the network that a settings file describes.

    Raises
    ------
    InputError
        A skip connection that would meet the output layer.
    """
    depth, width = flags.get("netdepth", 8), flags.get("netwidth", 256)
    skips = tuple(i for i in flags.get("skips", [4]) if i < depth)
    if depth - 1 in skips:
        raise InputError(f"skips should be below the last layer ({depth - 1}), found {list(skips)}; leave it out")
    return Layers(depth=depth, width=width, skips=skips, encoded=encoding.length)
