"""What the engines that take views share. No torch."""

from __future__ import annotations

from napari_recon.core.engine import InputSpec
from napari_recon.core.errors import CheckpointError
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import ModelRef
from napari_recon.engines.serenet.models import name_of

VIEWS = InputSpec(name="views", axes="VYX", description="the light field, realigned to one page per view")
PAPER = "10.1038/s41592-025-02698-z"


def grid_of(refs: Refs) -> Grid:
    """Return the grid of one frame of the views."""
    grid = refs["views"][0].grid
    assert grid is not None  # checked by the base class
    return grid.only("VYX")


def model_of(model: ModelRef | None, architecture: str) -> ModelRef:
    """Return the model when it is the network that a step runs.

    Raises
    ------
    CheckpointError
        Another network, or none.
    """
    if model is None or model.architecture != architecture:
        found = (
            "none" if model is None else f"{model.id} ({name_of(model.architecture) if model.architecture else 'unknown'})"
        )
        raise CheckpointError(
            f"serenet.{architecture} needs a model of {name_of(architecture)}, found {found}; choose another model"
        )
    return model
