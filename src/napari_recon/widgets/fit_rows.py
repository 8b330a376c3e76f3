"""Which settings of a fit matter: descriptions name the method they belong to, tomography and networks have their own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from napari_recon.core.params import describe_parameters
from napari_recon.engines.lightfield_inr.network_params import NetworkParams
from napari_recon.engines.lightfield_inr.ptychography_params import PtychographyParams
from napari_recon.engines.tomography.params import TomographyParams

METHODS = ("fast", "upstream")
VIEWS, RAYS, LAMPS = "light field", "projections", "images under many lamps"
MODALITIES = {"opt": RAYS, "cryo_et": RAYS, "projection": RAYS, "fpm": LAMPS}
"""Modalities that take no PSF, and what their views are."""
KIND_ROWS = {RAYS: tuple(TomographyParams.model_fields), LAMPS: tuple(PtychographyParams.model_fields)}
KIND = ("modality", *KIND_ROWS[RAYS], *KIND_ROWS[LAMPS])
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


@cache
def rows_of_method(model: type[BaseModel], methods: tuple[str, ...], method: str) -> frozenset[str]:
    """Return the parameters (dotted) that matter to one of several methods.

    A description that starts with ``name:`` belongs to that method (and to others that it names in the same way), a group
    called as a method to that method. Methods that neither is said of interpolate: they make no checkpoints.
    """
    rows = describe_parameters(model)
    own = {name for row in rows for name in methods if row.description.startswith(f"{name}:")}
    found = set()
    for row in rows:
        group, text = row.name.partition(".")[0], row.description
        others = [name for name in methods if name != method]
        elsewhere = any(text.startswith(f"{name}:") or group == name for name in others) and f"{method}:" not in text
        if not elsewhere and (method in own or not row.name.startswith(("resume", "checkpoint"))):
            found.add(row.name)
    return frozenset(found)


def kind_of(values: Mapping[str, Any]) -> str:
    """Return what the views are under these settings of a fit."""
    return MODALITIES.get(values.get("modality", ""), VIEWS)


@cache
def unused(model: type[BaseModel], method: str, kind: str) -> frozenset[str]:
    """Return the parameters (dotted) that do not matter to `method`, or to views of a `kind`."""
    (other,) = set(METHODS) - {method}
    found = set()
    for row in describe_parameters(model):
        group = row.name.partition(".")[0]
        of_network = group in NetworkParams.model_fields and method == "fast"
        elsewhere = row.description.startswith(f"{other}:") and f"{method}:" not in row.description
        of_views = kind != VIEWS and (row.name in ("refine_views", "held_out") or "psf" in row.name)
        of_others = any(group in rows for other_kind, rows in KIND_ROWS.items() if other_kind != kind)
        if of_network or elsewhere or of_views or of_others:
            found.add(row.name)
    return frozenset(found)
