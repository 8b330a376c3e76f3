"""Parameters of the fit of a 4-D field. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from napari_recon.core.params import EngineParams, make_params, param
from napari_recon.engines.inr4d.upstream.settings import PublishedSettings

LARGEST = 8
"""Largest distance of planes, in pixels, between which a network is taught."""


class FitParams(EngineParams):
    """Parameters of `inr4d.fit`."""

    method: Literal["fast", "flow", "cubic", "linear", "upstream"] = param(
        "fast",
        "fast: motion between frames, and a network through the planes that learnt in them; flow: frames warped by "
        "optical flow; cubic, linear: interpolation of each voxel; upstream: the published networks, sampling, objective "
        "and schedule.",
    )
    channel: Annotated[int, Field(ge=0)] | Literal["auto"] = param(
        "auto", "Which channel of the recording is fitted, counted from 0; auto takes the only one.", advanced=True
    )
    plane_distance: Annotated[int, Field(ge=1, le=8)] | Literal["auto"] = param(
        "auto",
        "fast: distance of planes in pixels as far as what is seen goes: a plane differs from the next as a picture from "
        "itself so many pixels on. So many times finer the field is through the planes; auto reads it off the data.",
    )
    steps: int = param(
        1000, "fast: steps in which the network learns what lies between planes.", ge=1, le=100_000, advanced=True
    )
    denoise: bool = param(True, "fast: remove most of the noise first.", advanced=True)
    keep_measured: bool = param(
        False, "fast: keep measured planes as they are, noise included, instead of without it.", advanced=True
    )
    judge: bool = param(
        True, "fast: fit without every other frame, too, and score those frames against linear interpolation.", advanced=True
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream: places of samples are one fixed table (upstream.jitter) instead of fresh ones at every step, and the "
        "encoder has no end.",
        advanced=True,
    )
    region_only: bool = param(
        True,
        "Fit the selected box and times alone: faster, and the field holds no more than that. Otherwise the whole recording "
        "is fitted, and the selection is what is shown.",
    )
    axes_checked: bool = param(
        False, "The axes are as named, although their sizes look as if time were somewhere else.", advanced=True
    )
    config: str = param(
        "", "upstream: a settings file of the published program (config.yaml).", file=(".yaml", ".yml"), advanced=True
    )
    checkpoint_every: int = param(500, "Steps between checkpoints from which a run can be resumed.", ge=1, advanced=True)
    checkpoint_folder: str = param(
        "",
        "upstream: save folder (current.pth, latent_code.pt), written in the published layout; empty is a folder of this "
        "run in the user cache.",
        advanced=True,
    )
    resume: str = param(
        "",
        "A checkpoint to go on from, of method=upstream a save folder (a published one, too); auto is the latest of this "
        "very run.",
        file=(".pth",),
        advanced=True,
    )
    upstream: PublishedSettings = PublishedSettings()


def resolved_fit(params: FitParams) -> FitParams:
    """Return parameters with the settings file read into them; what is set otherwise than by default wins over it."""
    settings = params.upstream
    if params.config:
        own = {name: getattr(settings, name) for name in settings.model_fields_set}
        settings = make_params(PublishedSettings, {**PublishedSettings.of_config(params.config), **own}, "inr4d.fit")
    return params.model_copy(update={"upstream": settings.checked(), "config": ""})
