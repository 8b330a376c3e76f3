"""Parameters of the fit of a 4-D field. No torch."""

from __future__ import annotations

from typing import Literal

from napari_recon.core.params import EngineParams, make_params, param
from napari_recon.engines.inr4d.upstream.settings import PublishedSettings


class FitParams(EngineParams):
    """Parameters of `inr4d.fit`."""

    method: Literal["upstream"] = param("upstream", "upstream: the published networks, sampling, objective and schedule.")
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
    checkpoint_every: int = param(
        500, "upstream: steps between checkpoints from which a run can be resumed.", ge=1, advanced=True
    )
    checkpoint_folder: str = param(
        "",
        "upstream: save folder (current.pth, latent_code.pt), written in the published layout; empty is a folder of this "
        "run in the user cache.",
        advanced=True,
    )
    resume: str = param(
        "",
        "upstream: a save folder to go on from (a published one, too); auto is the latest of this very run.",
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
