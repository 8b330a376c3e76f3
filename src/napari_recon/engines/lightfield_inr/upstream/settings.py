"""The published fit's settings, from a settings file or by their published defaults. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_recon.core.errors import InputError
from napari_recon.core.params import EngineParams, make_params, param
from napari_recon.engines.lightfield_inr.field import Encoding, Layers, PostProcessor

LEAKY_BELOW = 500
"""A run that starts before this step uses the leaky non-linearity throughout."""


_PUBLISHED: dict[str, Any] = {
    "coarse_steps": 0,
    "random_steps": 2,
    "steps": 10000,
    "block": 129,
    "bounds": (100, 400),
    "amplitude": 0.1,
    "smoothness": 0.01,
}
"""What a settings file means that does not say so."""


class FitSettings(EngineParams):
    """Stages, blocks, objective and schedule of a published fit; the defaults are those published for a scene."""

    steps: int = param(30000, "Steps of the first time point, all stages together.", ge=1, advanced=True)
    coarse_steps: int = param(5000, "Steps of the coarse stage, at the beginning.", ge=0, advanced=True)
    coarse_factor: int = param(2, "How much coarser the first stage is.", ge=2, le=8, advanced=True)
    random_steps: int = param(
        30000, "Step up to which blocks lie anywhere; later ones lie where the error is large.", ge=0, advanced=True
    )
    map_every: int = param(10, "Steps between two maps of the error.", ge=1, advanced=True)
    steps_per_frame: int = param(
        100, "Steps of every later time point, which goes on where the one before ended.", ge=0, advanced=True
    )
    block: int = param(
        181, "Pixels of a block along y and x, odd; smaller in smaller views.", unit="pixel", ge=3, advanced=True
    )
    bounds: tuple[int, ...] = param(
        (), "First and last of three block centres along an axis; empty takes any place.", advanced=True
    )
    rate: float = param(5e-4, "Step size of Adam at first.", gt=0, le=1, advanced=True)
    rate_decay: float = param(250.0, "Thousands of steps over which the step size falls to a tenth.", gt=0, advanced=True)
    similarity: float = param(0.1, "Weight of one minus the structural similarity of the views.", ge=0, advanced=True)
    amplitude: float = param(0.1, "Weight of the mean absolute value of the volume.", ge=0, advanced=True)
    smoothness: float = param(0.01, "Weight of the volume's second differences.", ge=0, advanced=True)
    local_normalisation: bool = param(
        False,
        "Divide every time point by its own maximum instead of that of all: intensities can't be compared then.",
        advanced=True,
    )

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
            "local_normalization": "local_normalisation",
        }
        found = dict(_PUBLISHED) | {ours: flags[theirs] for theirs, ours in names.items() if theirs in flags}
        found["similarity"] = flags.get("ssim_loss_weight", 0.01) if flags.get("add_ssim_loss") else 0.0
        return make_params(cls, found, "the settings file")

    @property
    def coarse_block(self) -> int:
        """Pixels of a block in the coarse stage, odd."""
        reduced = self.block // self.coarse_factor
        return reduced if reduced % 2 else reduced + 1

    def scaled(self, steps: int) -> FitSettings:
        """Return the settings of a run of `steps` with stages in the same proportion."""
        if steps == self.steps:
            return self
        stages = {name: round(getattr(self, name) * steps / self.steps) for name in ("coarse_steps", "random_steps")}
        return self.model_copy(update={**stages, "steps": steps})

    def fitted(self, size_yx: tuple[int, int]) -> FitSettings:
        """Return the settings with blocks, coarse ones too, not larger than views of `size_yx`."""
        made = self.model_copy(update={"block": min(self.block, *(n - 1 + n % 2 for n in size_yx))})
        while made.block > 3 and made.coarse_steps and made.coarse_block > min(size_yx) // made.coarse_factor:
            made = made.model_copy(update={"block": made.block - 2})
        return made

    def rate_after(self, step: int) -> float:
        """Return the learning rate that follows step `step` (counted from one)."""
        return float(self.rate * 0.1 ** ((step - 1) / (1000 * self.rate_decay)))


def trained_with(post_processor: PostProcessor, start: int) -> PostProcessor:
    """Return the non-linearity of a run that starts after step `start`."""
    return "leakyrelu" if post_processor == "relu" and start < LEAKY_BELOW else post_processor


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
