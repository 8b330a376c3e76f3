"""Recipes and provenance: how a result was made, in a form that can be run again."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from napari_recon import __version__
from napari_recon.core.errors import InputError
from napari_recon.core.grid import SPATIAL, Frozen
from napari_recon.core.plan import InputRef, Plan
from napari_recon.core.region import Selection

KEY = "napari-recon"
SCHEMA = 1
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Schema version -> what makes a recipe of it one of the next version."""


class InputSource(Frozen):
    """Where a step's input comes from: a path, or ``step:ID.OUTPUT`` of an earlier step."""

    path: str
    axes: str = ""
    fingerprint: str = ""
    voxel_size_um: dict[str, float] = Field(default_factory=dict)

    @classmethod
    def of(cls, ref: InputRef) -> InputSource:
        """Return the source a plan's reference stands for."""
        grid = ref.grid
        spatial = [a for a in grid.axes if a in SPATIAL and grid.unit(a) == "micrometer"] if grid else []
        return cls(
            path=ref.uri,
            axes=grid.axes if grid else "",
            fingerprint=ref.fingerprint,
            voxel_size_um={a.lower(): grid.step(a) for a in spatial} if grid else {},
        )


class RecipeModel(Frozen):
    """The model a step used: an id, a path, or as path ``step:ID.NAME`` of a model that an earlier step makes."""

    id: str = ""
    path: str = ""
    sha256: str = ""


class Step(Frozen):
    """One engine run of a recipe; `resolved` holds what planning fixed (tile, precision, threads, seed, device)."""

    id: str
    engine: str
    params: dict[str, Any] = Field(default_factory=dict)
    model: RecipeModel | None = None
    inputs: dict[str, list[InputSource]] = Field(default_factory=dict)
    selection: Selection = Selection()
    resolved: dict[str, Any] = Field(default_factory=dict)


class Recipe(Frozen):
    """One or more steps; YAML on disk."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    steps: tuple[Step, ...]

    model_config = Frozen.model_config | {"populate_by_name": True}

    @classmethod
    def of(cls, plan: Plan) -> Recipe:
        """Return the one-step recipe of a plan."""
        inputs: dict[str, list[InputSource]] = {}
        for ref in plan.inputs:
            inputs.setdefault(ref.name, []).append(InputSource.of(ref))
        model = plan.model and RecipeModel(id=plan.model.id, path=plan.model.path, sha256=plan.model.sha256)
        compute = plan.compute
        resolved = {
            "tile": dict(plan.resources.tile),
            "device": compute.device,
            "threads": compute.threads,
            "seed": compute.seed,
            "memory_bytes": compute.memory_bytes,
            **({"precision": plan.params["precision"]} if "precision" in plan.params else {}),
            "whole_field": _whole_field(plan),
            "whole_series": _whole_series(plan),
            **plan.resources.details,
        }
        step = Step(
            id=plan.engine.partition(".")[2] or plan.engine,
            engine=plan.engine,
            params=plan.params,
            model=model,
            inputs=inputs,
            selection=plan.selection,
            resolved=resolved,
        )
        return cls(steps=(step,))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """Return the recipe file's text."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_dict(cls, values: Any, where: str = "the recipe") -> Recipe:
        """Return the recipe in `values`: a recipe itself, or provenance that holds one.

        Raises
        ------
        InputError
            When it is no recipe, or one of a newer schema.
        """
        if isinstance(values, dict) and "recipe" in values:
            values = values["recipe"]
        if not isinstance(values, dict) or "steps" not in values:
            raise InputError(
                f"{where} should hold a recipe with 'schema' and 'steps', found none; choose a *.recipe.yaml or a result"
            )
        values = migrated(values, where)
        if not values["steps"]:
            raise InputError(f"{where} should hold at least one step, found none; choose another recipe or a result")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"{where} is not a valid recipe: {place}: {first['msg']}; mend or make it anew") from None

    @classmethod
    def from_yaml(cls, text: str, where: str = "the recipe") -> Recipe:
        """Return the recipe of a YAML text (InputError when it is none)."""
        try:
            return cls.from_dict(yaml.safe_load(text), where)
        except yaml.YAMLError as error:
            raise InputError(f"{where} is not readable YAML ({str(error).splitlines()[0]}); mend or make it anew") from None


def _whole_field(plan: Plan) -> bool:
    """Return whether a plan leaves out nothing of the field, so that data of another size have no box either."""
    field = plan.whole.get(plan.outputs[0].name) if plan.outputs else None
    if field is None or plan.box is None:
        return True
    main = plan.inputs[0].grid if plan.inputs else None
    others = [a for a in plan.looped if a != "T" and main is not None and a in main.axes]
    all_looped = all(main is not None and plan.outputs[0].grid.size(a) == main.size(a) for a in others)
    return all_looped and all(bounds == (0, field.size(axis)) for axis, bounds in plan.box.items())


def _whole_series(plan: Plan) -> bool:
    """Return whether a plan leaves out no frame, so that a longer recording is made whole too."""
    main = plan.inputs[0].grid if plan.inputs else None
    time = plan.selection.time
    return main is None or time is None or (time.start, time.stop) == (0, main.size("T"))


def migrated(values: dict[str, Any], where: str = "the recipe") -> dict[str, Any]:
    """Return a recipe's values in the present schema, taken there version by version.

    Raises
    ------
    InputError
        When the schema is newer than this version, or no number.
    """
    version = values.get("schema")
    while isinstance(version, int) and version in MIGRATIONS:
        values = {**MIGRATIONS[version](values), "schema": version + 1}
        version += 1
    if version != SCHEMA:
        raise InputError(f"{where} has recipe schema {version!r}, this version reads up to {SCHEMA}; update napari-recon")
    return values


class Record:
    """Keeps the time of a run and what was decided during it.

    Parameters
    ----------
    plan : Plan
        The run that starts now.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._started = datetime.now(UTC)
        self._clock = time.perf_counter()

    def decide(self, params: Mapping[str, Any]) -> None:
        """Store values that were automatic, so that the recipe repeats this very run."""
        self._plan = self._plan.model_copy(update={"params": {**self._plan.params, **params}})

    def finish(self, partial: bool) -> dict[str, Any]:
        """Return the provenance: versions, times, the recipe, and the optics of the first output where they are known."""
        optics = {
            name: list(values) for name, values in (self._plan.outputs[0].optics if self._plan.outputs else {}).items()
        }
        return {
            "napari-recon": __version__,
            "engine": self._plan.engine,
            "recipe": Recipe.of(self._plan).to_dict(),
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self._clock, 3),
            "partial": partial,
            "environment": dict(environment()),
            **({"optics": optics} if optics else {}),
        }


@lru_cache
def environment() -> dict[str, str]:
    """Return the versions that matter for repeating a run."""
    found = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    for package in ("torch", "numpy", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
