"""Parameters of `lightfield_inr.fit`, and how a settings file and the views' size fill what is left automatic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from napari_recon.core.errors import InputError
from napari_recon.core.params import param
from napari_recon.engines.lightfield_inr.network_params import NetworkParams, resolved_network
from napari_recon.engines.lightfield_inr.ptychography_params import PtychographyParams
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings
from napari_recon.engines.tomography.params import TomographyParams

MODEL = ".safetensors"
CHECKPOINTS = (".tar", ".pt", ".pth", MODEL)


class FitParams(TomographyParams, PtychographyParams, NetworkParams):
    """Parameters of `lightfield_inr.fit`."""

    modality: Literal["auto", "lightfield", "opt", "cryo_et", "projection", "fpm"] = param(
        "auto",
        "What the views are: a light field; projections of optical projection tomography (opt, light that adds up), of a "
        "tilt series (cryo_et) or anything else (projection); or images under many lamps (fpm). auto: projections where "
        "angles are given and no psf, fpm where leds are.",
        titles={
            "lightfield": "light field",
            "opt": "optical projection tomography",
            "cryo_et": "tilt series (cryo-ET)",
            "projection": "other projections",
            "fpm": "images under many lamps (FPM)",
        },
    )

    channel: Annotated[int, Field(ge=0)] | Literal["auto"] = param(
        "auto", "Which channel of the views is fitted, counted from 0; auto takes the only one.", advanced=True
    )
    method: Literal["fast", "upstream"] = param(
        "fast",
        "fast: deconvolution, then voxels refined under a smoothness penalty (seconds); upstream: the published network, "
        "objective and schedule.",
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream does what the published program does: method=upstream, and the volume in the network's own numbers (of "
        "views divided by their maximum) instead of the views' unit.",
        advanced=True,
    )
    iterations: Annotated[int, Field(ge=1)] | Literal["auto"] = param(
        "auto",
        "fast: refinement steps; auto stops by itself, after 60 at most. upstream: steps of the first time point, stages "
        "keep their proportion; auto takes the settings file's, or 30000 (from a model as init: as many as for later ones).",
    )
    refine_views: bool = param(
        False, "fast: estimate one displacement per view, too, for views that lie elsewhere than the PSF says."
    )
    psf_width: Annotated[float, Field(ge=0.25, le=4.0)] | Literal["auto"] = param(
        "auto",
        "fast: how wide the PSF's sharpest planes are, in units of the PSF that is given. auto looks, in the first time "
        "point, which width predicts unseen noise best, and takes it where that is sure; held_out takes the given one.",
    )
    psf_aberrations: Literal["auto", "never"] = param(
        "auto",
        "fast: whether to look for defocus and astigmatism of single views, where the PSF looks like that of views through "
        "round parts of a pupil. auto takes, in the first time point, those that surely predict unseen noise better; "
        "held_out takes the PSF as given.",
    )
    penalty: float = param(
        0.02,
        "fast: strength of the penalty on second derivatives, relative to the noise; more where the PSF is doubtful.",
        ge=0.0,
        le=10.0,
    )
    transfer: Literal["auto", "never"] = param(
        "auto",
        "fast: what a time point starts from. auto: the one before, where that explains the views better than a fresh "
        "start; never: each by itself.",
    )
    objective: Literal["counts", "published"] = param(
        "counts",
        "fast: what is made small. counts: noise-weighted differences and the penalty; published: the objective of "
        "method=upstream with its weights (upstream.similarity, amplitude, smoothness), which shrinks and smooths more.",
        advanced=True,
    )
    field: Literal["voxels", "grid"] = param(
        "voxels",
        "fast: what the model holds. voxels: the volumes; grid: smooth pieces (cubic splines) on a coarser grid of space "
        "and time, a small file that is continuous in both.",
    )
    density: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = param(
        "auto",
        "Pieces per voxel of field=grid; auto takes the coarsest grid that the views can't tell from the voxels.",
        advanced=True,
    )
    density_t: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = param(
        "auto", "The same per time point of a sequence.", advanced=True
    )
    held_out: Annotated[int, Field(ge=0)] | None = param(
        None,
        "fast: a view (from 0) that is kept out of the fit; its error is a curve, and the refinement stops when it grows.",
        advanced=True,
    )
    checkpoint_every: int = param(1000, "Steps between checkpoints from which a run can be resumed.", ge=1, advanced=True)
    checkpoint_folder: str = param(
        "", "Where checkpoints go; empty is a folder of this run in the user cache.", advanced=True
    )
    init: str = param(
        "",
        "upstream: a checkpoint (a published one, too) whose weights and moments the run starts from, or a model "
        "(lightfield_inr.meta makes some to start from), of which there is no coarse stage.",
        file=CHECKPOINTS,
    )
    resume: str = param("", "A checkpoint of this very run to go on from, exactly.", file=(".tar",))

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, values: Any) -> Any:
        """Take the published method for granted where the published program is asked for."""
        if isinstance(values, dict) and values.get("compat") == "upstream":
            return {"method": "upstream", **values}
        return values


def resolved_fit(params: FitParams, size_yx: tuple[int, int], planes: int, views: int) -> FitParams:
    """Return parameters with nothing left automatic (but when a fast fit ends, which it sees in the data).

    Raises
    ------
    InputError
        Settings that do not fit together or the views.
    """
    if params.init and params.resume:
        raise InputError("a fit starts from a checkpoint (init) or goes on (resume), found both; leave one out")
    if planes < 3 or min(size_yx) < 3:
        raise InputError(
            f"a fit needs three planes, rows and columns at least, found {planes} x {size_yx[0]} x {size_yx[1]}; give a PSF "
            "of more planes or larger views, or use deconvolution.lightfield_rl"
        )
    if params.method == "fast":
        return _checked_fast(params, views)
    if params.refine_views or params.held_out is not None or params.field != "voxels":
        raise InputError("refine_views, held_out and field belong to method=fast, found upstream; leave them out")
    found = resolved_network(params, params.init)
    settings: FitSettings = found["upstream"]
    if params.init.endswith(MODEL):  # weights alone, of a scene or a learnt start: gone on with as later time points are
        settings = settings.model_copy(update={"coarse_steps": 0, "steps": settings.steps_per_frame or settings.steps})
        settings = settings.model_copy(update={"random_steps": settings.steps})
    settings = settings.scaled(settings.steps if params.iterations == "auto" else params.iterations).fitted(size_yx)
    return params.model_copy(update={**found, "iterations": settings.steps, "upstream": settings})


def _checked_fast(params: FitParams, views: int) -> FitParams:
    if params.compat == "upstream":
        raise InputError("compat=upstream is the published fit, found method=fast; set method=upstream, or leave compat out")
    for name in ("config", "init"):
        if getattr(params, name):
            raise InputError(f"{name} belongs to the published fit, found method=fast; set method=upstream, or leave it out")
    if params.held_out is not None:
        if params.held_out >= views or views < 3:
            raise InputError(
                f"held_out should be one of three views or more, 0 to {views - 1}, found {params.held_out}; choose another"
            )
        if params.refine_views:
            raise InputError("a view that is held out has no refined position, found refine_views with held_out; drop one")
    return params
