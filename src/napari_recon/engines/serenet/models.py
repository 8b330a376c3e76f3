"""Which models reconstruct volumes, the microscope that belongs to one, and whether a stack has its views. No torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.light_field_optics import load_optics
from napari_recon.engines.serenet.checkpoint import DEFAULTS
from napari_recon.engines.serenet.networks.recognise import SUMMARIES, nnum_of
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS, LightFieldGeometry, geometry_of

RECONSTRUCTING: dict[str, dict[str, Any]] = {
    **DEFAULTS,
    "rlnet": {"views": 49},
    "vcdnet": {"views": 169, "planes": 101},
    "hylfmnet": {"views": 169, "planes": 101},
}
"""Architecture -> what its options are when a reference does not say."""
ALL_VIEWS = ("vcdnet", "hylfmnet")
"""Networks that take every view in page order and know nothing of the psf_shift."""


def name_of(architecture: str) -> str:
    """Return what a network is called."""
    return SUMMARIES.get(architecture, f"{architecture}:").partition(":")[0]


def reconstructing(model: ModelRef | None) -> ModelRef:
    """Return the model when it makes volumes.

    Raises
    ------
    CheckpointError
        Another network, or none.
    """
    if model is not None and model.architecture in RECONSTRUCTING:
        return model
    known = [name_of(architecture) for architecture in RECONSTRUCTING]
    found = "none" if model is None else f"{model.id} ({name_of(model.architecture) if model.architecture else 'unknown'})"
    step = f"; run serenet.{model.architecture} with it first" if model and model.architecture in SUMMARIES else ""
    raise CheckpointError(
        f"serenet.reconstruct needs a model of {', '.join(known[:-1])} or {known[-1]}, found {found}{step}; choose another"
    )


def options_of(model: ModelRef) -> dict[str, Any]:
    """Return a model's options, complete."""
    return {**RECONSTRUCTING[model.architecture], **model.options}


def views_of(model: ModelRef) -> int:
    """Return how many views a model takes; RL-Net has them averaged before, so only its contract knows."""
    contract = model.card.get("contract", {}) if model.architecture == "rlnet" else {}
    return int(contract.get("views", options_of(model)["views"]))


def geometry_for(psf_shift: str, planes: int, model: ModelRef) -> LightFieldGeometry:
    """Return the microscope to reconstruct with; ``auto``, or the model's id, is the one the model was trained for.

    Raises
    ------
    InputError
        A psf_shift of other views than the model's.
    """
    views, options = views_of(model), options_of(model)
    own = model.card.get("contract", {}).get("microscope")
    nnum = _nnum(views)
    if own and psf_shift in ("auto", model.id):
        geometry = geometry_of(own)
    elif psf_shift not in ("auto", model.id):
        geometry = load_optics(psf_shift)
    elif nnum in VIEW_ORDERS:
        geometry = load_optics(f"geometric-{nnum}")
    else:
        raise InputError(
            f"model {model.id} takes {views} views, for which no microscope is known; give psf_shift, the file of the "
            "microscope the model was trained for"
        )
    if model.architecture in ALL_VIEWS and geometry.nnum**2 == views:
        everything = np.zeros((views, int(options["planes"]), 2), np.float32)
        geometry = replace(geometry, psf_shift=everything, pages=tuple(range(views)))
    if geometry.views != views:
        raise InputError(
            f"model {model.id} takes {views} views, psf_shift {geometry.name} describes {geometry.views}; choose the "
            "psf_shift of the microscope the model was trained for, or psf_shift=auto"
        )
    return geometry.with_planes(planes)


def check_pages(pages: int, model: ModelRef, geometry: LightFieldGeometry) -> None:
    """Check that a stack has the views of a model.

    Raises
    ------
    InputError
        It has not; the message says which networks take that many pages.
    """
    if pages in (geometry.views, geometry.nnum**2):
        return
    selected = "" if geometry.views == geometry.nnum**2 else f" or the {geometry.views} in use"
    raise InputError(
        f"the light field should have {geometry.nnum**2} views (all of Nnum {geometry.nnum}){selected} for {model.id} "
        f"({name_of(model.architecture)}), found {pages}; {_advice(pages)}"
    )


def _nnum(views: int) -> int:
    chosen = next((n for n, order in VIEW_ORDERS.items() if len(order) == views), 0)
    return chosen or nnum_of(views)


def _advice(pages: int) -> str:
    """Return which networks take a number of pages, or what is wrong with it."""
    takers = [f"SeReNet, F-SeReNet and RL-Net of {len(o)} views" for n, o in VIEW_ORDERS.items() if n == 13 and pages == 169]
    takers += ["SeReNet, F-SeReNet and RL-Net"] if pages == len(VIEW_ORDERS[13]) else []
    takers += ["SeReNet of 81 views"] if pages in (len(VIEW_ORDERS[15]), 225) else []
    takers += [f"VCD-Net and HyLFM-Net of {pages} views"] if nnum_of(pages) and pages > 81 else []
    if takers:
        return f"{pages} views are what {', '.join(takers)} take: choose such a model"
    root = round(pages**0.5)
    if root * root == pages and root % 2 == 0:
        return f"{root} x {root} views have none in the centre, and no network takes that: realign with an odd Nnum"
    return "no network takes that many: realign the picture to one page per view (serenet.realign), or choose another stack"
