"""Parameters of `serenet.train` (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from napari_recon.core.errors import InputError
from napari_recon.core.params import param
from napari_recon.optics.lightfield_geometry import LightFieldGeometry
from napari_recon.training.params import TrainingParams

SUPERVISED = ("renet", "fserenet", "rlnet", "vcdnet", "hylfmnet")
"""Networks that learn from volumes."""
FROM_VIEWS = ("twnet", "vsnet")
"""Networks that learn from the views alone, whatever the optics."""
SCALED = "unit"
"""Intensity rule of the networks trained here: above the 1 % quantile, the 99.9 percentile brought to one."""
INTENSITY = {
    "rlnet": "brightest",
    "vcdnet": "percentiles",
    "hylfmnet": "percentiles",
    "vsnet": "maximum",
    "twnet": "each view",
}
"""That of the others, which is part of them."""
ENGINES = {"vsnet": "serenet.vsnet", "twnet": "serenet.twnet"}
"""Engines that run a network, where it is not serenet.reconstruct."""
ARCHITECTURE = {"renet": "serenet"}
"""What a network is called in a model's card, where that is another name."""
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "serenet": {
        "published": {"channels": [64, 32, 32, 16, 16, 8, 8, 4]},
        "small": {"channels": [24, 16, 16, 12, 12, 8, 8, 4]},
    },
    "fserenet": {
        "published": {"channels": [64, 32, 32, 16, 16, 8], "decoder": [8, 8, 16]},
        "small": {"channels": [24, 16, 16, 12, 12, 8], "decoder": [8, 6, 12]},
    },
    "rlnet": {"published": {}, "small": {}},
    "vcdnet": {
        "published": {"interp": 128, "channels": [64, 128, 256, 512, 512, 512], "ups": [512, 512, 256, 128]},
        "small": {"interp": 32, "channels": [16, 24, 32, 48, 48, 48], "ups": [48, 48, 32, 32]},
    },
    "hylfmnet": {"published": {"wide": 808, "features": 7}, "small": {"wide": 64, "features": 4}},
    "twnet": {"published": {"channels": [16, 16, 32, 32, 64]}, "small": {"channels": [8, 8, 16, 16, 32]}},
    "vsnet": {
        "published": {"groups": 4, "blocks": 4, "channels": 64},
        "small": {"groups": 1, "blocks": 2, "channels": 8},
    },
}
"""Channels of a new network."""
NETWORKS = {
    "serenet": "SeReNet",
    "fserenet": "F-SeReNet",
    "renet": "ReNet",
    "rlnet": "RL-Net",
    "vcdnet": "VCD-Net",
    "hylfmnet": "HyLFM-Net",
    "twnet": "TW-Net",
    "vsnet": "VsNet",
}
"""What the networks are called."""
COST = {"serenet": 5e5, "fserenet": 6.5e5, "rlnet": 8e4, "vcdnet": 4e5, "hylfmnet": 8e4, "twnet": 4e3, "vsnet": 1e6}
"""Operations per light-field pixel and plane of the published networks, forwards."""
FLOATS = {"serenet": 1500, "fserenet": 2500, "rlnet": 4000, "vcdnet": 400, "hylfmnet": 1000, "twnet": 100, "vsnet": 2000}
"""Numbers kept per light-field pixel and plane for the way back."""
PUBLISHED: dict[str, Any] = {
    **{"size": "published", "steps": 72_000, "batch_size": 1, "learning_rate": 1e-4, "schedule": "constant", "warmup": 0.0},
    **{"clip": 0.0, "averaging": 0.0, "crop": 99, "field": 153, "planes": 0, "similarity": 0.0, "negative": 1000.0},
    **{"views_per_step": 13, "dimmest": 0.1, "photon_noise": False, "validate_every": 4500, "checkpoint_every": 4500},
}
"""What compat=upstream takes unless it is said otherwise: 800 rounds of 15 volumes, six crops of each."""
GOING_ON: dict[str, Any] = {"learning_rate": 2e-4, "warmup": 0.1}
"""What a SeReNet that goes on from another one takes: at the rate of a new network, it loses what it has learnt first."""
OF_NETWORK: dict[str, dict[str, Any]] = {
    "vcdnet": {"learning_rate": 3e-4},
    "hylfmnet": {"learning_rate": 3e-4},
    "twnet": {"field": 96, "crop": 72, "batch_size": 4, "planes": 11, "renewal": 16},
    "vsnet": {"field": 45, "crop": 36, "planes": 21},
}


class SerenetTrainParams(TrainingParams):
    """Network, microscope, examples and loss, besides what every training has."""

    network: Literal["serenet", "fserenet", "renet", "rlnet", "vcdnet", "hylfmnet", "twnet", "vsnet"] = param(
        "serenet",
        "What is trained: serenet learns from the views alone (the optics are its teacher); fserenet refines a serenet "
        "(init) and renet, rlnet, vcdnet, hylfmnet learn from volumes; twnet (motion) and vsnet (finer views) precede one.",
        titles=NETWORKS,
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream trains as published: 72,000 steps of large crops in camera counts, most of a day on a strong GPU.",
        title="As published",
    )
    psf_shift: str = param(
        "geometric-13",
        "Where each view sees each depth: the id of a microscope (geometric-13, geometric-15) or a psf_shift file.",
        file=(".pt", ".pth", ".npy", ".npz"),
        title="Microscope",
    )
    planes: int = param(
        41, "Centre planes that the examples have, an odd number; 0 takes all. Networks then take any number.",
        unit="plane", ge=0,
    )  # fmt: skip
    psf_sigma: float = param(
        2.0,
        "Blur of the imaging, where no PSF is given.",
        unit="fine pixel",
        ge=0,
        le=20,
        advanced=True,
        title="Blur",
    )
    size: Literal["small", "published"] = param(
        "small",
        "Channels of a new network: few, which train in an hour or two without a GPU, or as published.",
        title="Network size",
    )
    intensity: Literal["auto", "unit", "counts"] = param(
        "auto",
        "What SeReNet and F-SeReNet see: views with bright pixels at one, which suits any camera, or counts as published; "
        "auto is what init was trained with, unit for a new network.",
        advanced=True,
        title="Intensity seen",
    )
    freeze: bool = param(
        True,
        "fserenet: learn the axial U-Net alone and keep what init brings.",
        advanced=True,
        title="Freeze fusion",
    )
    crop: int = param(
        36,
        "Edge of the training patches; a multiple of scanning.",
        unit="light-field pixel",
        ge=6,
        le=600,
        title="Patch size",
    )
    field: int = param(
        45,
        "Edge of a simulated recording, from which patches are cut.",
        unit="light-field pixel",
        ge=6,
        le=600,
        title="Field size",
    )
    pool: int = param(
        64, "Simulated recordings that patches are drawn from.", ge=1, le=100_000, advanced=True, title="Recordings"
    )
    renewal: int = param(
        4,
        "Steps after which a new recording takes the place of the oldest of the pool.",
        ge=1,
        le=10_000,
        advanced=True,
        title="Renewed after",
    )
    photons_from: float = param(
        40.0,
        "Photons of bright pixels (99.9 percentile) of the dimmest simulated recordings.",
        unit="photon",
        ge=1,
        title="Photons, dim",
    )
    photons_to: float = param(1500.0, "And of the brightest.", unit="photon", ge=1, title="Photons, bright")
    read_noise: float = param(
        3.0, "Noise of the camera, which the loss knows of and which is added to what the network sees.",
        unit="counts", ge=0, le=100,
    )  # fmt: skip
    photon_noise: bool = param(True, "Draw photon numbers of simulated recordings at random.", advanced=True)
    dimmest: float = param(
        0.5, "Patches are dimmed by a random factor between this and one.", gt=0, le=1, advanced=True, title="Dimmest patch"
    )
    views_per_step: int = param(
        0,
        "Views that a step compares, drawn at random; 0 compares all.",
        ge=0,
        le=1000,
        advanced=True,
        title="Views per step",
    )
    withheld_views: int = param(
        7,
        "Views of your own recordings that SeReNet's loss never compares: the best network is the one that predicts those.",
        ge=0,
        le=100,
        advanced=True,
        title="Withheld views",
    )
    similarity: float = param(
        0.2, "Weight of the structural similarity of predicted and recorded views, besides the photon likelihood.",
        ge=0, le=100,
        title="Similarity",
    )  # fmt: skip
    negative: float = param(
        10.0, "Weight of negative values of the volume.", ge=0, le=1e6, advanced=True, title="Negativity"
    )
    perceptual: float = param(
        0.0, "Weight of LPIPS, as published; needs torchvision's VGG-16 and LPIPS weights, which are not shipped.",
        ge=0, le=100, advanced=True,
        title="LPIPS",
    )  # fmt: skip
    held_out: int = param(8, "Held-out simulated recordings for validation.", ge=1, le=1000, advanced=True, title="Held out")
    steps: int = param(4000, "Optimiser steps of the whole run.", ge=1, le=10_000_000, title="Steps")
    batch_size: int = param(1, "Examples per step, shared among the devices.", ge=1, le=4096, title="Batch size")

    @model_validator(mode="before")
    @classmethod
    def _as_the_network_has_it(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        own = dict(OF_NETWORK.get(str(values.get("network", "serenet")), {}))
        if values.get("init") and values.get("network", "serenet") == "serenet":
            own |= GOING_ON
        return {**own, **(PUBLISHED if values.get("compat") == "upstream" else {}), **values}

    @property
    def architecture(self) -> str:
        """The network's name in a model's card."""
        return ARCHITECTURE.get(self.network, self.network)

    @property
    def supervised(self) -> bool:
        """Whether the loss compares volumes."""
        return self.network in SUPERVISED

    @property
    def from_features(self) -> bool:
        """Whether the network looks at refocused views."""
        return self.architecture in ("serenet", "fserenet")

    @property
    def withholds(self) -> bool:
        """Whether views of the user's own recordings are kept from the loss."""
        return self.network == "serenet" and self.compat != "upstream" and self.withheld_views > 0

    @property
    def all_pages(self) -> bool:
        """Whether the network looks at every page in page order."""
        return self.network == "vsnet" or (self.compat == "upstream" and self.network in ("vcdnet", "hylfmnet"))

    @property
    def cost(self) -> tuple[float, float]:
        """Operations, and numbers kept, per light-field pixel and plane of a training step."""
        share = 0.25 if self.size == "small" else 1.0
        return 3 * share * COST[self.architecture], share * FLOATS[self.architecture]

    def check(self) -> None:
        """Check what only several parameters together can say (InputError)."""
        self.check_training()
        if self.crop > self.field:
            raise InputError(f"crop should be at most field ({self.field} pixels), found {self.crop}; make field larger")
        if self.photons_from > self.photons_to:
            raise InputError(
                f"photons_from should be at most photons_to, found {self.photons_from:g} and {self.photons_to:g}; "
                "exchange them"
            )
        if self.network == "fserenet" and self.freeze and not (self.init or self.resume):
            raise InputError(
                "F-SeReNet refines a SeReNet, found none; name one (--init MODEL), or train all of it with freeze=false"
            )
        if self.perceptual:
            raise InputError(
                "LPIPS needs the weights of VGG-16 and of its linear heads, which are not shipped; set perceptual=0 and "
                "give similarity a weight instead"
            )


def network_options(params: SerenetTrainParams, geometry: LightFieldGeometry) -> tuple[dict[str, Any], bool]:
    """Return what rebuilds the network, and whether it sees views scaled to one: as `init` has it, or a new one's.

    Raises
    ------
    InputError
        `init` is of another network, or of a microscope with another number of views or planes.
    """
    known = params.init or (params.resume if params.resume != "auto" else "")
    own, scaled = _new_options(params, geometry), params.compat != "upstream"
    if params.intensity != "auto":
        scaled = params.intensity == SCALED
    if not known:
        return own, scaled
    from napari_recon.hub import resolve

    model = resolve(known)
    if params.init and params.intensity == "auto":
        scaled = model.card.get("contract", {}).get("intensity") == SCALED
    options = dict(model.options)
    if params.network == "fserenet" and model.architecture == "serenet":
        channels = list(options["channels"])[: len(own["channels"])]
        options = {**own, "views": options["views"], "channels": channels, "decoder": [channels[-1], *own["decoder"][1:]]}
    elif model.architecture != params.architecture:
        raise InputError(
            f"init should be a {params.architecture} for network={params.network}, found {model.id}, a {model.architecture}"
            "; choose another model, or train its kind"
        )
    for name in {"views", "planes"} & own.keys() & options.keys():
        if options[name] != own[name]:
            raise InputError(
                f"model {model.id} is for {options[name]} {name}, psf_shift {geometry.name} has {own[name]}; choose the "
                "psf_shift of its microscope, or train a new network"
            )
    return options, scaled


def _new_options(params: SerenetTrainParams, geometry: LightFieldGeometry) -> dict[str, Any]:
    options = dict(SIZES[params.architecture][params.size])
    if params.architecture in ("serenet", "fserenet"):
        return {"views": geometry.views, "second_up": 2.5 if geometry.upsampling >= 5 else 2.0, **options}
    if params.architecture in ("vcdnet", "hylfmnet"):
        return {"views": geometry.views, "planes": geometry.planes, **options}
    return {**options, "nnum": geometry.nnum, "factor": 3} if params.network == "vsnet" else options
