"""Parameters of the neural fields, and how what is left automatic is filled from a model and its settings file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from napari_recon.core.errors import InputError
from napari_recon.core.params import EngineParams, make_params, param
from napari_recon.core.plan import ModelRef
from napari_recon.core.region import Selection
from napari_recon.engines.lightfield_inr import dense_shape, flagfile
from napari_recon.engines.lightfield_inr.field import (
    PRESETS,
    Encoding,
    PostProcessor,
    checked,
    guessed,
    options_of,
    possible,
    unclear,
)

Presets = Literal["auto", "mito", "lf_t", "tube", "opt", "cryo_et", "fpm"]
_ENCODERS = {"None": "none", "PositionalEncoder": "positional", "RadiaPosiEncoder": "radial"}


Size = Annotated[int, Field(ge=1)]
Sizes = tuple[Size, Size, Size]
XyzWhd = tuple[int, int, int, int, int, int]
FirstLast = tuple[int, int]
Step = Annotated[float, Field(gt=0)]
Steps = tuple[Step, Step, Step]


class FieldParams(EngineParams):
    """What has to be known of a field besides its weights."""

    preset: Presets = param(
        "auto",
        "A published kind of field: its encoder and, unless render_size says otherwise, lattice.",
        title="Published kind",
        titles={
            "mito": "light field",
            "lf_t": "light-field sequence",
            "tube": "microtubules",
            "opt": "optical projection tomography",
            "cryo_et": "cryo-electron tomography",
            "fpm": "Fourier ptychography (FPM)",
        },
    )
    config: str = param(
        "",
        "Settings file of the published program; empty takes the config.cfg beside the checkpoint, if there is one.",
        file=(".cfg", ".txt"),
    )
    encoder: Literal["auto", "positional", "anisotropic", "radial", "none"] = param(
        "auto", "How points are encoded: with octaves for all axes, with z apart, along four directions, or not at all."
    )
    octaves: int = param(0, "Octaves of the encoder (multires); 0 takes those that fit.", ge=0, le=32, advanced=True)
    octaves_z: int = param(0, "Octaves along z (multiresZ), where it has its own.", ge=0, le=32, advanced=True)
    post_processor: Literal["auto", "relu", "leakyrelu", "linear"] = param(
        "auto", "What is made of the network's value: relu cuts below zero, linear takes it as it is.", advanced=True
    )

    @property
    def encoding(self) -> Encoding:
        """The encoder of resolved parameters."""
        assert self.encoder != "auto"
        return Encoding(encoder=self.encoder, octaves=self.octaves, octaves_z=self.octaves_z)

    @property
    def post(self) -> PostProcessor:
        """The post-processing of resolved parameters."""
        return "relu" if self.post_processor == "auto" else self.post_processor


class QueryParams(FieldParams):
    """Parameters of `lightfield_inr.query`."""

    render_size: Sizes | None = param(
        None,
        "Voxels of the whole lattice: height, width, planes (H,W,D). None takes the model's or the preset's.",
        unit="voxel",
    )
    scale: Annotated[float, Field(gt=0, le=64)] | Steps = param(
        1.0,
        "Sampling density: voxels per voxel of the lattice, one number or three (z, y, x). Voxel j of the result lies at "
        "place j / scale of the lattice.",
    )
    time_scale: float = param(
        1.0,
        "Samples per time point of a field that is continuous in time (field=grid), from the first to the last time point "
        "that is asked for.",
        gt=0,
        le=64,
    )
    frames: str = param(
        "",
        "Which frames of the result, a:b without b, counted from 0 along its own time: a single one between two time points "
        "for example. Empty takes all of the time range.",
        advanced=True,
    )
    roi_xyzwhd: XyzWhd | None = param(
        None,
        "Box as x,y,z,w,h,d: first voxel of the lattice counted from 1, then sizes. A region (--roi) says the same from 0.",
        unit="voxel",
    )
    t_range: FirstLast | None = param(
        None,
        "First and last time point, counted from 1, both included. A time range (--time) says the same from 0.",
        unit="frame",
    )
    scaling: Literal["absolute", "upstream"] = param(
        "absolute",
        "absolute keeps the field's values; upstream stretches each frame (and box) to 16 bits, as the published program "
        "does, so that frames can't be compared.",
    )
    voxel_um: Steps | None = param(None, "Size of a lattice voxel along z, y, x; None takes the model's.", unit="um")
    slab: int = param(0, "Planes that are computed together; 0 chooses. It does not change the result.", ge=0, advanced=True)

    @property
    def scale_zyx(self) -> tuple[float, float, float]:
        """Samples per lattice voxel along each axis."""
        return self.scale if isinstance(self.scale, tuple) else (self.scale,) * 3


def resolved(params: QueryParams, model: ModelRef) -> QueryParams:
    """Return parameters with nothing left automatic, so that they repeat the run without the settings file.

    What is asked for comes first, then the settings file, then the preset, then what the model's shapes say.

    Raises
    ------
    InputError
        The encoder or the lattice is not known, or what is asked for does not fit the model.
    """
    if params.time_scale != 1 and not (model.architecture == "grid" and model.options.get("frames")):
        raise InputError(
            f"time_scale {params.time_scale} asks between time points, which takes a sequence fitted with field=grid, found "
            f"{model.id} ({model.architecture}); leave it out"
        )
    flags = _flags(params, model)
    found: dict[str, Any] = {"config": "", "preset": params.preset}
    if model.architecture == "nerf_ex":
        size = dense_shape.lattice_of(model.options["table"])
        if params.render_size not in (None, size):
            raise InputError(
                f"model {model.id} has the fixed lattice {size} (H, W, D), found render_size {params.render_size}; leave it "
                "out, scale changes the density"
            )
        found |= {"encoder": "none", "octaves": 0, "octaves_z": 0, "render_size": size, "preset": "fpm"}
        found["post_processor"] = "linear" if params.post_processor == "auto" else params.post_processor
    elif model.architecture in ("voxels", "grid"):
        if not model.options.get("render_size"):
            raise InputError(
                f"model {model.id} should say in its card how many voxels it stands for, found none; fit it again"
            )
        height, width, planes = model.options["render_size"]
        if params.render_size not in (None, (height, width, planes)):
            raise InputError(
                f"model {model.id} has the lattice {(height, width, planes)} (H, W, D), found render_size "
                f"{params.render_size}; leave it out, scale changes the density"
            )
        found |= {"encoder": "none", "octaves": 0, "octaves_z": 0, "render_size": (height, width, planes)}
        found["post_processor"] = "linear"
    else:
        if params.preset == "fpm":
            raise InputError(
                f"preset fpm is for the field with a feature table, found {model.id} ({model.architecture}); choose another"
            )
        found |= _encoder(params, model, flags).model_dump()
        found["post_processor"] = _post(params, model, flags)
        found["render_size"] = _size(params, model, flags)
    found["voxel_um"] = params.voxel_um or model.options.get("voxel_um")
    return QueryParams.model_validate({**params.model_dump(), **found})


def with_asked_part(params: QueryParams, selection: Selection) -> QueryParams:
    """Return parameters with the box and time range of a settings file that was named, where nothing else says them."""
    flags = flagfile.read(params.config) if params.config else {}
    found: dict[str, Any] = {}
    if flags.get("ROI_Box") and params.roi_xyzwhd is None and selection.box is None:
        found["roi_xyzwhd"] = flags["ROI_Box"]
    if flags.get("render_t_range") and params.t_range is None and selection.time is None:
        found["t_range"] = flags["render_t_range"]
    return make_params(QueryParams, {**params.model_dump(), **found}) if found else params


def _flags(params: FieldParams, model: ModelRef) -> dict[str, Any]:
    if params.config:
        return flagfile.read(params.config)
    if "auto" not in (params.encoder, params.post_processor) and getattr(params, "render_size", None):
        return {}  # nothing is left to be said
    beside = Path(model.path).with_name(flagfile.BESIDE)
    return flagfile.read(beside) if model.path and beside.is_file() else {}


def _encoder(params: FieldParams, model: ModelRef, flags: Mapping[str, Any]) -> Encoding:
    layers, what = options_of(model.options), f"model {model.id}"
    if params.encoder != "auto":
        asked = Encoding(encoder=params.encoder, octaves=params.octaves, octaves_z=params.octaves_z)
        if params.encoder != "none" and not params.octaves:
            asked = _fitting(asked, layers.encoded) or asked
        return checked(asked, layers.encoded, what)
    if params.preset != "auto":
        return checked(PRESETS[params.preset].encoding, layers.encoded, what)
    if "embeddertype" in flags:
        return checked(encoding_of_flags(flags), layers.encoded, f"{what} (with its settings file)")
    if "encoder" in model.options:
        values = {name: model.options[name] for name in ("encoder", "octaves", "octaves_z") if name in model.options}
        return checked(Encoding.model_validate(values), layers.encoded, what)
    found = guessed(layers)
    if found is None:
        raise unclear(layers.encoded, what)
    return found


def _fitting(asked: Encoding, length: int) -> Encoding | None:
    """Return the encoder of the asked kind whose vectors are as long as needed, with octaves as alike as possible."""
    same = [each for each in possible(length) if each.encoder == asked.encoder]
    return next((each for each in same if asked.octaves_z in (0, each.octaves_z)), None)


def encoding_of_flags(flags: Mapping[str, Any]) -> Encoding:
    """Return the encoder that a settings file names (InputError when it is none of the known)."""
    name = flags["embeddertype"]
    if name not in _ENCODERS:
        raise InputError(
            f"the settings file should name the encoder {', '.join(_ENCODERS)}, found {name!r}; mend embeddertype"
        )
    octaves, octaves_z = flags.get("multires", 10), flags.get("multiresZ")
    if name == "None":
        return Encoding(encoder="none")
    if name == "RadiaPosiEncoder":
        return Encoding(encoder="radial", octaves=octaves, octaves_z=octaves_z or 0)
    if octaves_z is None:
        return Encoding(encoder="positional", octaves=octaves)
    return Encoding(encoder="anisotropic", octaves=octaves, octaves_z=octaves_z)


def _post(params: FieldParams, model: ModelRef, flags: Mapping[str, Any]) -> str:
    if params.post_processor != "auto":
        return params.post_processor
    return post_of_flags({"postprocessortype": model.options.get("post_processor", "relu"), **flags})


def post_of_flags(flags: Mapping[str, Any]) -> str:
    """Return the post-processing that a settings file names (InputError when it is none of the known)."""
    found = flags.get("postprocessortype") or "relu"
    if found not in ("relu", "leakyrelu", "linear"):
        raise InputError(f"post_processor should be relu, leakyrelu or linear, found {found!r}; set it")
    return str(found)


def _size(params: QueryParams, model: ModelRef, flags: Mapping[str, Any]) -> tuple[int, int, int]:
    preset = PRESETS[params.preset].render_size if params.preset != "auto" else None
    found = params.render_size or flags.get("render_size") or model.options.get("render_size") or preset
    if found is None:
        raise InputError(
            f"model {model.id} does not say how large its lattice is; set render_size=H,W,D (height, width, planes), a "
            f"preset ({', '.join(name for name in PRESETS if name != 'fpm')}), or put its run's config.cfg beside it"
        )
    if len(found) != 3 or min(found) < 1:
        raise InputError(f"render_size should be three sizes (H, W, D), found {found}; mend the settings file or set it")
    height, width, planes = (int(n) for n in found)
    return height, width, planes
