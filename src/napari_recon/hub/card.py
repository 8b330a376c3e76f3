"""ModelCard: what is known about a model without opening it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from napari_recon.core.grid import Frozen
from napari_recon.core.plan import ModelRef, Plan
from napari_recon.core.settings import CACHE


class ModelCard(Frozen):
    """A model's identity, contract and quality; stored as JSON beside the weights.

    Attributes
    ----------
    id : str
        Letters, digits, dot, dash and underscore.
    engine, architecture, options
        As in `Recognised`.
    file : str
        Name of the weights beside the card; empty while a downloadable model is not fetched.
    sha256 : str
        Of the weights.
    url : str
        Where a downloadable model comes from.
    contract : dict
        Input contract: views, pixel size, wavelength, z step, normalisation.
    training : dict
        The recipe that made it.
    quality : dict
        Measured figures and on what.
    inferred : tuple of str
        For imported files: what was concluded from which tensor.
    origin : str
        Set by the catalogue.
    path : str
        Absolute path of the weights, set by the catalogue; empty when not there.
    """

    id: str
    title: str = ""
    engine: str
    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)
    file: str = ""
    sha256: str = ""
    url: str = ""
    licence: str = ""
    source: str = ""
    contract: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    quality: dict[str, Any] = Field(default_factory=dict)
    inferred: tuple[str, ...] = ()
    origin: Literal["built in", "imported", "downloadable"] = "imported"
    path: str = ""

    @field_validator("id")
    @classmethod
    def _plain_id(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
            raise ValueError(f"a model id holds letters, digits, dots, dashes and underscores, found {value!r}")
        return value

    @property
    def name(self) -> str:
        """Title, or the id when there is none."""
        return self.title or self.id

    @property
    def available(self) -> bool:
        """Whether the weights are on this computer."""
        return bool(self.path)

    def ref(self) -> ModelRef:
        """Return the reference that plans and recipes hold."""
        return ModelRef(
            id=self.id,
            path=self.path,
            sha256=self.sha256,
            engine=self.engine,
            architecture=self.architecture,
            options=self.options,
            card=self.model_dump(mode="json", exclude={"path", "options"}),
        )

    def to_json(self) -> str:
        """Return the text of the card's file (without what depends on this computer)."""
        return self.model_dump_json(indent=2, exclude={"origin", "path"}) + "\n"


def checkpoint_folder(plan: Plan) -> Path:
    """Return where the checkpoints of a training run are kept: in the cache, named by what defines the run.

    A plan that differs only in where it goes on from (`resume`), or in the memory that was free, has the same folder.
    """
    params = {name: value for name, value in plan.params.items() if name != "resume"}
    same = plan.model_copy(update={"params": params, "compute": plan.compute.model_copy(update={"memory_bytes": 0})})
    digest = hashlib.sha256(same.model_dump_json().encode()).hexdigest()[:16]
    return cache_folder() / "checkpoints" / f"{plan.engine}-{digest}"


def cache_folder() -> Path:
    """Return where models and what was recognised are kept: ``$NAPARI_RECON_CACHE`` or the platform's user cache."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return Path(user_cache_path("napari-recon", appauthor=False))
