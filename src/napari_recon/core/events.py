"""What an engine says while it runs. Every event is picklable and every reader gets the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.plan import OutputSpec

ArtifactKind = Literal["table", "points", "shapes", "model", "report", "transform", "file"]


@dataclass(frozen=True)
class OutputOpened:
    """An image or labels output exists from now on; it is zero until blocks arrive."""

    output: str
    spec: OutputSpec


@dataclass(frozen=True)
class BlockReady:
    """A finished block: ``output[slices] = array``; blocks stay valid when the run is cancelled."""

    output: str
    slices: tuple[slice, ...]
    array: NDArray[Any]


@dataclass(frozen=True)
class PreviewReady:
    """An estimate that later ones replace; `slices` place it in the output like a block's."""

    output: str
    slices: tuple[slice, ...]
    array: NDArray[Any]
    step: int


@dataclass(frozen=True)
class ArtifactReady:
    """Something that is not a voxel grid: a JSON-able payload (table, report ...) or a path (model, file).

    A model may also be ``{"state": {name: array}, "card": {...}}``; a card with ``engine``, ``architecture``, ``options``
    and ``contract`` (see `hub.ModelCard`) is all a later run needs to know what the file is.
    """

    name: str
    kind: ArtifactKind
    payload: Any


@dataclass(frozen=True)
class Progress:
    """How far the run is; `message` may also tell something once (done and total unchanged)."""

    done: float
    total: float
    unit: str = "step"
    message: str = ""


@dataclass(frozen=True)
class FrameDone:
    """Every block of a looped frame has been said; `number` counts within the plan."""

    number: int


@dataclass(frozen=True)
class Warned:
    """Something the user should know and that changes the result (for example automatic scaling)."""

    message: str


@dataclass(frozen=True)
class Decided:
    """Parameters that were automatic and are fixed now; the recipe stores these values instead."""

    params: Mapping[str, Any]


@dataclass(frozen=True)
class MetricLogged:
    """One point of a live curve; frames, or whatever starts anew, are curves of their own (`series`)."""

    name: str
    step: int
    value: float
    series: str = ""


@dataclass(frozen=True)
class CheckpointSaved:
    """Training can be resumed from `path`."""

    path: str
    step: int


@dataclass(frozen=True)
class Finished:
    """The last event of every run, cancelled ones included; `provenance` holds the recipe."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False


Event = (
    OutputOpened
    | BlockReady
    | PreviewReady
    | ArtifactReady
    | Progress
    | FrameDone
    | Warned
    | Decided
    | MetricLogged
    | CheckpointSaved
    | Finished
)


def apply_block(target: NDArray[Any], event: BlockReady | PreviewReady) -> None:
    """Write a block or preview into the array it belongs to."""
    target[event.slices] = np.asarray(event.array, dtype=target.dtype)
