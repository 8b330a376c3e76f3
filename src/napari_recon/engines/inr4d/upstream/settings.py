"""The published fit's settings, by their published defaults or from its YAML file. No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from napari_recon.core.errors import InputError
from napari_recon.core.params import make_params, param
from napari_recon.engines.inr4d.layers import EncoderLayers, FieldLayers
from napari_recon.engines.inr4d.params import HypercubeParams

DELAY_STEPS, DELAY_SHARE = 1000, 0.01
"""Steps over which the step size is lowered at first, and to which part."""
_NAMES = {
    "steps": "max_iter",
    "samples": "n_samples",
    "threshold": "threshold",
    "radius": "dataset.train.radius",
    "batch": "dataset.train.bsize",
    "groups": "rcan.n_resgroups",
    "blocks": "rcan.n_resblocks",
    "features": "rcan.n_feats",
    "reduction": "rcan.reduction",
    "depth": "model.netD",
    "width": "model.netW",
    "skips": "model.skips",
    "octaves": "model.max_freq",
    "rate": "lr_decay.lr_init",
    "rate_end": "lr_decay.lr_final",
    "rate_steps": "lr_decay.max_iter",
    "clip_value": "clip_grad.max_val",
    "clip_norm": "clip_grad.max_norm",
}


def _several(value: Any) -> Any:
    """Return one number as a list of it, and nothing as none."""
    return [value] if isinstance(value, int) or (isinstance(value, str) and value.strip()) else value or ()


class PublishedSettings(HypercubeParams):
    """Networks, objective and schedule of the published fit."""

    steps: int = param(20000, "upstream: steps, those of the encoder included.", ge=1, le=10_000_000)
    batch: int = param(2048, "upstream: points per step: all time points of as many voxels as fit in.", ge=1)
    threshold: float = param(
        39.0, "upstream: the encoder learns until its picture of the recording is as good as this.", unit="dB"
    )
    encoder_steps: int = param(
        0,
        "upstream: most steps of the encoder; what it found is taken then. 0: half of all (with compat=upstream no end, as "
        "published: a field whose encoder never arrives is not trained at all).",
        ge=0,
    )
    depth: int = param(10, "upstream: layers of the field's network.", ge=1, le=64, advanced=True)
    width: int = param(256, "upstream: units of a layer.", ge=1, le=4096, advanced=True)
    skips: Annotated[tuple[int, ...], BeforeValidator(_several)] = param(
        (5,), "upstream: layers that see the point again.", advanced=True
    )
    octaves: int = param(11, "upstream: frequencies of a point (max_freq + 1).", ge=1, le=24, advanced=True)
    groups: int = param(3, "upstream: residual groups of the encoder.", ge=1, le=32, advanced=True)
    blocks: int = param(4, "upstream: blocks of a group.", ge=1, le=32, advanced=True)
    features: int = param(32, "upstream: features of the encoder.", ge=1, le=512, advanced=True)
    reduction: int = param(16, "upstream: features per one of the encoder's attention.", ge=1, advanced=True)
    rate: float = param(5e-4, "upstream: step size of Adam at first.", gt=0, le=1, advanced=True)
    rate_end: float = param(5e-6, "upstream: step size in the end.", gt=0, le=1, advanced=True)
    rate_steps: int = param(50000, "upstream: steps over which it falls.", ge=1, advanced=True)
    clip_value: float = param(0.1, "upstream: largest part of a gradient.", gt=0, advanced=True)
    clip_norm: float = param(0.1, "upstream: largest norm of a gradient, after that.", gt=0, advanced=True)

    @property
    def layers(self) -> FieldLayers:
        """Sizes of the field's network."""
        return FieldLayers(depth=self.depth, width=self.width, skips=self.skips, octaves=self.octaves)

    def encoder(self, frames: int) -> EncoderLayers:
        """Return the sizes of the encoder of a recording of so many time points."""
        return EncoderLayers(
            groups=self.groups,
            blocks=self.blocks,
            features=self.features,
            reduction=self.reduction,
            frames_in=frames // 2,
            frames_out=frames,
            latent=self.layers.encoded,
        )

    def rate_after(self, step: int) -> float:
        """Return the learning rate that is set after step `step` (counted from 0)."""
        share = min(max(step / self.rate_steps, 0.0), 1.0)
        delay = DELAY_SHARE + (1 - DELAY_SHARE) * math.sin(math.pi / 2 * min(max(step / DELAY_STEPS, 0.0), 1.0))
        return delay * math.exp((1 - share) * math.log(self.rate) + share * math.log(self.rate_end))

    def checked(self) -> PublishedSettings:
        """Return the settings after checking that they fit together (InputError)."""
        if self.reduction > self.features:
            raise InputError(
                f"upstream.reduction should be at most upstream.features ({self.features}), found {self.reduction}; lower it"
            )
        if wrong := [skip for skip in self.skips if not 0 < skip < self.depth]:
            raise InputError(f"upstream.skips should lie between 1 and {self.depth - 1}, found {wrong}; leave them out")
        return self

    @classmethod
    def of_config(cls, path: str) -> dict[str, Any]:
        """Return the settings that a published YAML file names.

        Raises
        ------
        InputError
            It can't be read, or holds something else.
        """
        import yaml

        try:
            content = yaml.safe_load(Path(path).expanduser().read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path} should be a readable settings file (YAML), found none ({error}); check it") from None
        if not isinstance(content, Mapping):
            raise InputError(f"{path} should hold settings by name, found {type(content).__name__}; choose a config.yaml")
        found: dict[str, Any] = {}
        for ours, theirs in _NAMES.items():
            value: Any = content
            for name in theirs.split("."):
                value = value.get(name) if isinstance(value, Mapping) else None
            if value is not None:
                found[ours] = value + 1 if ours == "octaves" else value
        make_params(cls, found, Path(path).name)
        return found
