"""Which settings of a fit matter: descriptions name the method they belong to, tomography and networks have their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from napari_recon.core.params import describe_parameters
from napari_recon.engines.lightfield_inr.network_params import NetworkParams
from napari_recon.engines.tomography.params import TomographyParams

METHODS = ("fast", "upstream")
TOMOGRAPHY = ("opt", "cryo_et", "projection")
"""Modalities whose views are projections: angles instead of a PSF."""
KIND = ("modality", *TomographyParams.model_fields)
"""Settings that say what the data are."""
APART = {"method", "held_out"}
"""Settings of a fit that have a place of their own in the dock."""
QUERY_APART = {"roi_xyzwhd", "t_range"}
"""Settings of a query that the region panel says."""
QUERY_PLAIN = {"scale", "scaling", "slab"}
"""Settings of a query that a field fitted here leaves open; a published checkpoint may need the others."""


def query_rows(model: type[BaseModel], options: Mapping[str, Any]) -> set[str]:
    """Return the settings that matter to a query of a model with these options."""
    if "render_size" in options:
        return QUERY_PLAIN
    return {row.name for row in describe_parameters(model)} - QUERY_APART


def is_tomography(values: Mapping[str, Any]) -> bool:
    """Return whether settings of a fit are those of projections."""
    return values.get("modality") in TOMOGRAPHY


@cache
def unused(model: type[BaseModel], method: str, tomography: bool) -> frozenset[str]:
    """Return the parameters (dotted) that do not matter to `method`, or to light fields or `tomography`."""
    (other,) = set(METHODS) - {method}
    found = set()
    for row in describe_parameters(model):
        group = row.name.partition(".")[0]
        of_network = group in NetworkParams.model_fields and group != "modality"
        of_rays = group in TomographyParams.model_fields
        of_views = row.name in ("refine_views", "held_out") or "psf" in row.name
        elsewhere = row.description.startswith(f"{other}:") and f"{method}:" not in row.description
        if elsewhere or (of_network and method == "fast") or (of_views if tomography else of_rays):
            found.add(row.name)
    return frozenset(found)
