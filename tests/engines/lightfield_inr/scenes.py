"""A small scene for fits: a bright block seen by four views through random PSFs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from napari_recon.core.stack import ImageStack
from napari_recon.engines.lightfield_inr.fit_engine import Fit
from napari_recon.engines.lightfield_inr.meta_engine import Meta
from napari_recon.engines.lightfield_inr.upstream.stage import normalised_psf
from napari_recon.optics.psf_convolution import PsfProjector
from tests.contract.examples import Example

TINY: dict[str, Any] = {
    "method": "upstream",
    "encoder": "positional",
    "octaves": 3,
    "depth": 2,
    "width": 8,
    "skips": [],
    "post_processor": "leakyrelu",  # so that a field of few steps is not zero everywhere
    "iterations": 8,
    "upstream.block": 9,
    "upstream.random_steps": 20000,
    "upstream.steps_per_frame": 4,
    "checkpoint_every": 3,
}


def psf(views: int = 4, planes: int = 3, size: int = 5) -> torch.Tensor:
    make = torch.Generator().manual_seed(0)
    return normalised_psf(torch.rand(views, planes, size, size, generator=make))


def views(seed: int = 0, size: tuple[int, int] = (21, 21)) -> torch.Tensor:
    make = torch.Generator().manual_seed(seed)
    volume = torch.zeros(3, *size)
    volume[1, 6:12, 8:15] = torch.rand(6, 7, generator=make)
    return PsfProjector.same(psf(), size).forward(volume)


def stacks(frames: int = 1) -> dict[str, ImageStack]:
    scale = {"Y": 0.5, "X": 0.5}
    micrometers = {"Y": "micrometer", "X": "micrometer"}
    raw = np.stack([np.round(20000 * views(seed, (21, 17)).numpy()).astype(np.uint16) for seed in range(frames)])
    movie = ImageStack.of(raw, "TVYX", "views", scale={"T": 2.0, **scale}, translate={"Y": 3.0}, units=micrometers)
    if frames == 1:
        movie = ImageStack.of(raw[0], "VYX", "views", scale=scale, translate={"Y": 3.0}, units=micrometers)
    response = ImageStack.of(
        psf().numpy(), "VZYX", "psf", scale={"Z": 1.5, **scale}, units={"Z": "micrometer", **micrometers}
    )
    return {"views": movie, "psf": response}


def example(frames: int = 1, **params: Any) -> Example:
    return Example(Fit(), stacks(frames), {**TINY, **params})


FAST: dict[str, Any] = {"iterations": 6, "checkpoint_every": 2}


def fast_example(frames: int = 1, **params: Any) -> Example:
    return Example(Fit(), stacks(frames), {**FAST, **params})


META: dict[str, Any] = {
    **{name: value for name, value in TINY.items() if name not in ("method", "iterations")},
    "steps": 4,
    "inner_steps": 3,
    "validate_every": 2,
    "checkpoint_every": 2,
}


def meta_example(frames: int = 3, **params: Any) -> Example:
    return Example(Meta(), stacks(frames), {**META, **params})
