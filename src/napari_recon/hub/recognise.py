"""What a checkpoint is: engines look at names and shapes of its tensors and say so. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Protocol

from pydantic import Field

from napari_recon.core.grid import Frozen

RECOGNISERS = [
    "napari_recon.engines.serenet.checkpoint:recognise",
    "napari_recon.engines.serenet.networks.recognise:recognise",
    "napari_recon.engines.sim.networks.checkpoint:recognise",
    "napari_recon.engines.lightfield_inr.checkpoint:recognise",
    "napari_recon.engines.fusion.networks.vsi_checkpoint:recognise",
    "napari_recon.engines.fusion.networks.rldfn_checkpoint:recognise",
    "napari_recon.engines.inr4d.checkpoint:recognise",
]
"""Import strings of functions ``recognise(state) -> Recognised | None``, asked in turn; engines add theirs here."""


class HasShape(Protocol):
    """All a recogniser may look at: real tensors and the headers of safetensors files both have it."""

    @property
    def shape(self) -> Any:
        """Length per dimension."""


State = Mapping[str, HasShape]
"""Flat state dict: parameter name -> anything with a shape; ``module.`` prefixes and wrappers are already gone."""


class Recognised(Frozen):
    """What a recogniser found out.

    Attributes
    ----------
    engine : str
        ``family.method`` of the engine that runs this network.
    architecture : str
        The network's name within that engine, e.g. ``"serenet"``.
    options : dict
        JSON arguments that rebuild the network (number of views, channels ...).
    inferred : tuple of str
        Sentences: what was concluded from which tensor.
    problems : tuple of str
        Readable differences (missing, extra, wrong shape). Empty means the file fits.
    contract : dict
        Input contract (JSON): views, pixel size, wavelength, z step, normalisation - as far as known.
    """

    engine: str
    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)
    inferred: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    contract: dict[str, Any] = Field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether the engine can run this file."""
        return not self.problems


def recognise(state: State) -> Recognised | None:
    """Return the answer with the fewest problems of all recognisers, or None when nobody knows the network."""
    found: list[Recognised] = []
    for target in RECOGNISERS:
        module, _, name = target.partition(":")
        answer = getattr(import_module(module), name)(state)
        if answer is not None:
            found.append(answer)
    return min(found, key=lambda answer: len(answer.problems), default=None)


def differences(state: State, expected: Mapping[str, Iterable[int]], limit: int = 4) -> tuple[str, ...]:
    """Return readable differences between a state dict and the shapes a network expects.

    Parameters
    ----------
    state : mapping
        Name -> tensor of the file.
    expected : mapping
        Name -> shape the architecture needs.
    limit : int
        Names listed per kind of difference before "and N more".
    """
    missing = [name for name in expected if name not in state]
    extra = [name for name in state if name not in expected]
    wrong = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != tuple(shape)
    ]
    kinds = (("missing", missing), ("not expected", extra), ("wrong shape", wrong))
    return tuple(f"{kind}: {_listed(names, limit)}" for kind, names in kinds if names)


def _listed(names: list[str], limit: int) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
