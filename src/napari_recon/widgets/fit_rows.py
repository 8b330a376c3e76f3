"""Which settings of a fit belong to which of its methods: their descriptions say so; networks are the published one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from napari_recon.core.params import describe_parameters
from napari_recon.engines.lightfield_inr.network_params import NetworkParams

METHODS = ("fast", "upstream")
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
def unused(model: type[BaseModel], method: str) -> frozenset[str]:
    """Return the parameters (dotted) that do not matter to `method`."""
    (other,) = set(METHODS) - {method}
    found = set()
    for row in describe_parameters(model):
        of_network = row.name.partition(".")[0] in NetworkParams.model_fields
        elsewhere = row.description.startswith(f"{other}:") and f"{method}:" not in row.description
        if elsewhere or (of_network and method == "fast"):
            found.add(row.name)
    return frozenset(found)
