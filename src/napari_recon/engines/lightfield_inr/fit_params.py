"""Parameters of `lightfield_inr.fit`, and how a settings file and the views' size fill what is left automatic."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from napari_recon.core.errors import InputError
from napari_recon.core.params import param
from napari_recon.engines.lightfield_inr import flagfile
from napari_recon.engines.lightfield_inr.field import PRESETS, Encoding, Layers
from napari_recon.engines.lightfield_inr.params import FieldParams, encoding_of_flags
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings, layers_of_flags

CHECKPOINTS = (".tar", ".pt", ".pth", ".safetensors")


class FitParams(FieldParams):
    """Parameters of `lightfield_inr.fit`."""

    method: Literal["fast", "upstream"] = param(
        "fast",
        "fast: deconvolution, then voxels refined under a smoothness penalty (seconds); upstream: the published network, "
        "objective and schedule.",
    )
    iterations: Annotated[int, Field(ge=1)] | Literal["auto"] = param(
        "auto",
        "fast: refinement steps; auto stops by itself, after 60 at most. upstream: steps of the first time point, stages "
        "keep their proportion; auto takes the settings file's, or 30000.",
    )
    refine_views: bool = param(
        False, "fast: estimate one displacement per view, too, for views that lie elsewhere than the PSF says."
    )
    penalty: float = param(
        0.02,
        "fast: strength of the penalty on second derivatives, relative to the noise; more where the PSF is doubtful.",
        ge=0.0,
        le=10.0,
    )
    held_out: Annotated[int, Field(ge=0)] | None = param(
        None,
        "fast: a view (from 0) that is kept out of the fit; its error is a curve, and the refinement stops when it grows.",
        advanced=True,
    )
    depth: int = param(0, "Layers of the network; 0 takes the preset's.", ge=0, le=64, advanced=True)
    width: int = param(0, "Units of a layer; 0 takes the preset's.", ge=0, le=4096, advanced=True)
    skips: tuple[int, ...] | Literal["auto"] = param(
        "auto", "Layers after which the encoded point is put in again; auto takes the preset's.", advanced=True
    )
    upstream: FitSettings = FitSettings()
    checkpoint_every: int = param(1000, "Steps between checkpoints from which a run can be resumed.", ge=1, advanced=True)
    checkpoint_folder: str = param(
        "", "Where checkpoints go; empty is a folder of this run in the user cache.", advanced=True
    )
    init: str = param(
        "", "upstream: a checkpoint (a published one, too) whose weights and moments the run starts from.", file=CHECKPOINTS
    )
    resume: str = param("", "A checkpoint of this very run to go on from, exactly.", file=(".tar",))

    @property
    def layers(self) -> Layers:
        """The network of resolved parameters."""
        assert self.skips != "auto"
        return Layers(depth=self.depth, width=self.width, skips=self.skips, encoded=self.encoding.length)


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
        raise InputError(f"a fit needs three planes, rows and columns at least, found {planes} x {size_yx}; crop less")
    if params.method == "fast":
        return _checked_fast(params, views)
    if params.refine_views or params.held_out is not None:
        raise InputError("refine_views and held_out belong to method=fast, found upstream; leave them out")
    flags = flagfile.read(params.config) if params.config else {}
    if flags.get("modeltype", "NeRF") != "NeRF" or params.preset == "fpm":
        raise InputError(
            "a fit of light fields needs the plain network (modeltype NeRF), found NeRF_ex; choose another preset"
        )
    preset = PRESETS["mito" if params.preset == "auto" else params.preset]
    encoding = _encoding(params, flags, preset.encoding)
    published = layers_of_flags(flags, encoding) if flags else preset
    depth = params.depth or published.depth
    skips = params.skips if params.skips != "auto" else tuple(i for i in published.skips if i < depth - 1)
    if any(not 0 <= i < depth - 1 for i in skips):
        raise InputError(f"skips should name layers from 0 to {depth - 2}, found {list(skips)}; mend them")
    settings = FitSettings.of_flags(flags) if flags else params.upstream
    if params.post_processor != "auto":
        settings = settings.model_copy(update={"post_processor": params.post_processor})
    settings = settings.scaled(settings.steps if params.iterations == "auto" else params.iterations).fitted(size_yx)
    found: dict[str, Any] = {
        **encoding.model_dump(),
        "config": "",
        "depth": depth,
        "width": params.width or published.width,
        "skips": skips,
        "iterations": settings.steps,
        "upstream": settings,
        "post_processor": settings.post_processor,
    }
    return params.model_copy(update=found)


def _checked_fast(params: FitParams, views: int) -> FitParams:
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


def _encoding(params: FitParams, flags: dict[str, Any], usual: Encoding) -> Encoding:
    if params.encoder != "auto":
        found = Encoding(encoder=params.encoder, octaves=params.octaves, octaves_z=params.octaves_z)
        needs_z = params.encoder in ("anisotropic", "radial")
        if params.encoder != "none" and (not params.octaves or (needs_z and not params.octaves_z)):
            raise InputError(f"the {params.encoder} encoder needs octaves{' and octaves_z' if needs_z else ''}; set them")
        return found
    return encoding_of_flags(flags) if "embeddertype" in flags else usual
