"""Recipes run again: from a recipe file, a result or provenance, with moved inputs and several steps."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_recon.core.compute import Compute
from napari_recon.core.engine import Engine, Inputs
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event, Finished, Warned
from napari_recon.core.params import describe_parameters
from napari_recon.core.plan import ModelRef, Plan
from napari_recon.core.provenance import KEY, InputSource, Recipe, RecipeModel, Step
from napari_recon.core.region import Selection
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.io.found import writing
from napari_recon.jobs.artifacts import model_file
from napari_recon.jobs.names import make_folder
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.planning import PICTURES, input_ref, listed, make_plan, open_input
from napari_recon.jobs.running import Result, collect, run_plan

Replaced = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Stage:
    """A step of a recipe, ready to run.

    Attributes
    ----------
    recipe : Recipe
        Up to this step, those before it as they were run.
    notes : tuple of str
        What differs from the first time.
    """

    plan: Plan
    inputs: Inputs
    recipe: Recipe
    notes: tuple[str, ...] = ()

    def run(self, token: CancelToken | None = None) -> Iterator[Event]:
        """Yield the notes, then the events; the provenance holds the recipe up to this step."""
        for note in self.notes:
            yield Warned(note)
        with warnings.catch_warnings(record=True) as caught:
            if self.plan.compute.deterministic:
                warnings.simplefilter("always")
            for event in run_plan(self.plan, self.inputs, token):
                if isinstance(event, Finished):
                    for text in dict.fromkeys(str(w.message) for w in caught if "deterministic" in str(w.message)):
                        yield Warned(text.splitlines()[0])
                    event = replace(event, provenance=self.provenance(event.provenance))
                yield event

    def provenance(self, provenance: Mapping[str, Any]) -> dict[str, Any]:
        """Return the provenance of this step alone with all the steps in it."""
        if "recipe" not in provenance:
            return dict(provenance)
        last, asked = Recipe.from_dict(dict(provenance)).steps[-1], self.recipe.steps[-1]
        made_here = asked.model is not None and asked.model.path.startswith("step:")
        inputs = {name: _referring(asked.inputs.get(name, []), sources) for name, sources in last.inputs.items()}
        kept = {"id": asked.id, "inputs": inputs, **({"model": asked.model} if made_here else {})}
        steps = (*self.recipe.steps[:-1], last.model_copy(update=kept))
        return {**provenance, "recipe": self.recipe.model_copy(update={"steps": steps}).to_dict()}


def _referring(asked: Sequence[InputSource], used: Sequence[InputSource]) -> list[InputSource]:
    """Return the sources a step used, those that came from earlier steps as references to them."""
    if len(asked) != len(used):
        return list(used)
    return [a if a.path.startswith("step:") else u for a, u in zip(asked, used, strict=True)]


def read_recipe(source: Any) -> Recipe:
    """Return the recipe in `source`: a ``*.recipe.yaml``, a result file, provenance, a result of `run`, or a recipe itself.

    Raises
    ------
    InputError
        When there is none.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Result):
        source = source.provenance
    if isinstance(source, ImageStack):
        source = source.metadata.get(KEY, {})
    if isinstance(source, Mapping):
        return Recipe.from_dict(dict(source), "the provenance")
    path = Path(str(source).partition("::")[0])
    if not path.exists():
        raise InputError(f"a recipe or a result was expected at {path}, found no file; check the path")
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        try:
            return Recipe.from_yaml(path.read_text(encoding="utf-8"), str(path))
        except (UnicodeDecodeError, IsADirectoryError):
            raise InputError(f"{path} should be a recipe in YAML, found something else; choose another file") from None
    from napari_recon.io import read_provenance

    found = read_provenance(path)
    if found is None:
        raise InputError(f"{path} should carry a recipe, found none in or beside it; choose the *.recipe.yaml of its run")
    return Recipe.from_dict(found, str(path))


def plan_of(
    step: Step,
    inputs: Replaced | None = None,
    earlier: Mapping[str, Result] | None = None,
    device: str = "",
) -> tuple[Plan, Inputs]:
    """Return plan and opened inputs of a recorded step.

    Parameters
    ----------
    step : Step
    inputs : mapping, optional
        Input name -> things that replace the recorded ones.
    earlier : mapping, optional
        Step id -> result, for inputs that are outputs of earlier steps.
    device : str, optional
        Instead of the recorded one.

    Raises
    ------
    InputError
        A file has gone, or no longer fits.
    """
    engine = registry.get(step.engine)
    opened: dict[str, list[Any]] = {}
    for name, sources in step.inputs.items():
        spec = engine.info.input(name)
        given = any(source.path.startswith("step:") for source in sources)
        if inputs is not None and name in inputs and not given:
            things = [t for given in inputs[name] for t in _open_replacement(spec, given, next(iter(sources), None))]
        else:
            things = [t for source in sources for t in _open_source(spec, source, earlier or {})]
        opened[name] = things
    params = dict(step.params)
    for name in {row.name for row in describe_parameters(engine.Params) if row.file} & set(inputs or {}):
        params[name] = str((inputs or {})[name][-1])
    model = _model(step.model, engine, earlier or {})
    first = next((s.name for s in engine.info.inputs), "")
    other = first in (inputs or {}) or any(s.path.startswith("step:") for s in step.inputs.get(first, ()))
    selection = _selection(step) if other else step.selection
    return make_plan(engine, opened, params, selection, model, _compute(step, device))


def main_source(recipe: Recipe) -> str:
    """Return the input of the first step that other recordings can take the place of.

    Raises
    ------
    InputError
        When the recipe has none, or one that is made of several files.
    """
    step = recipe.steps[0]
    info = registry.get(step.engine).info
    name = info.inputs[0].name if info.inputs else ""
    sources = step.inputs.get(name, [])
    if len(sources) != 1:
        found = f"{len(sources)} files for its input {name}" if name else "an engine without inputs"
        raise InputError(
            f"the recipe should start from one recording, found {found} ({step.engine}); run it file by file with rerun"
        )
    return name


def _selection(step: Step) -> Selection:
    """Return the selection for another recording: what was whole stays whole, whatever its size."""
    box = None if step.resolved.get("whole_field") else step.selection.box
    time = None if step.resolved.get("whole_series") else step.selection.time
    return step.selection.model_copy(update={"box": box, "time": time})


def stage_of(
    recipe: Recipe, number: int, inputs: Replaced | None = None, done: Mapping[str, Result] | None = None, device: str = ""
) -> Stage:
    """Plan one step of a recipe.

    Parameters
    ----------
    number : int
        Which one, from 0.
    inputs : mapping, optional
        Input name -> things that replace the recorded ones.
    done : mapping, optional
        Step id -> result, of all steps before.

    Raises
    ------
    InputError
    """
    step, done = recipe.steps[number], done or {}
    plan, opened = plan_of(step, inputs, done, device)
    before = Recipe.from_dict(done[recipe.steps[number - 1].id].provenance).steps if number else ()
    return Stage(plan, opened, recipe.model_copy(update={"steps": (*before, step)}), tuple(differences(step, plan)))


def prepare(
    recipe: Recipe,
    inputs: Replaced | None = None,
    token: CancelToken | None = None,
    device: str = "",
    on_event: Callable[[Event], None] | None = None,
    scratch: Path | None = None,
) -> Stage:
    """Run every step but the last and return the last, ready to run.

    Parameters
    ----------
    scratch : Path, optional
        A folder where results of earlier steps are kept, to be read piece by piece; they stay in memory otherwise.

    Raises
    ------
    InputError
        A replacement for an input that no step has, or a step that refers to nothing.
    """
    inputs = {name: listed(things) for name, things in (inputs or {}).items()}
    _check_names(recipe, inputs)
    done: dict[str, Result] = {}
    notes: list[str] = []
    for number, step in enumerate(recipe.steps):
        stage = stage_of(recipe, number, inputs, done, device)
        notes += stage.notes
        if step is recipe.steps[-1]:
            break
        events = _seen(replace(stage, notes=()).run(token), on_event)
        if scratch is None:
            done[step.id] = collect(events)
        else:
            writer = OutputWriter(scratch / f"{number}.ome.zarr", stage.plan)
            done[step.id] = collect(writer.through(events), arrays=False)
            done[step.id].opened_from(writer.paths)
        if done[step.id].partial:
            break
    return replace(stage, notes=tuple(notes))


@contextmanager
def scratch_for(recipe: Recipe, out: str | Path) -> Iterator[Path | None]:
    """Give a folder beside `out` for what earlier steps make, gone at the end; None for recipes of one step.

    Raises
    ------
    InputError
    """
    if len(recipe.steps) == 1:
        yield None
        return
    folder = Path(out).expanduser()
    folder = folder if str(out).endswith(("/", os.sep)) else folder.parent
    make_folder(folder)
    with writing(folder):
        made = tempfile.mkdtemp(prefix=".steps.", dir=folder)
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def differences(step: Step, plan: Plan) -> list[str]:
    """Return one sentence per input, model or device that is not the one the recipe was made with."""
    found = []
    for name, sources in step.inputs.items():
        refs = [ref for ref in plan.inputs if ref.name == name]
        for source, ref in zip(sources, refs, strict=False):
            if source.fingerprint and ref.fingerprint and source.fingerprint != ref.fingerprint:
                found.append(
                    f"the input {name} differs from the one the recipe was made with: fingerprint {ref.fingerprint} "
                    f"instead of {source.fingerprint} ({ref.uri or ref.label or 'in memory'})"
                )
    if step.model and plan.model and step.model.sha256 and step.model.sha256 != plan.model.sha256:
        found.append(
            f"the model {plan.model.id} differs from the one the recipe was made with: sha256 {plan.model.sha256[:12]} "
            f"instead of {step.model.sha256[:12]}"
        )
    device = step.resolved.get("device")
    if device and device != plan.compute.device:
        found.append(f"the recipe was made on {device} and runs on {plan.compute.device}: last digits may differ")
    return found


def _check_names(recipe: Recipe, inputs: Replaced) -> None:
    known = {name for step in recipe.steps for name in step.inputs}
    for step in recipe.steps:
        known |= {row.name for row in describe_parameters(registry.get(step.engine).Params) if row.file}
    if unknown := sorted(set(inputs) - known):
        raise InputError(f"the recipe has no input {unknown[0]!r}; its inputs are: {', '.join(sorted(known)) or 'none'}")


def _open_replacement(spec: Any, thing: Any, recorded: InputSource | None) -> list[Any]:
    """Open what takes a recorded input's place; axes and voxel size that it does not tell are the recorded ones."""
    if recorded is None or not recorded.axes:
        return open_input(spec, thing)
    axes = None
    try:
        opened = open_input(spec, thing)
    except InputError:
        axes = recorded.axes
        opened = open_input(spec, thing, axes)
    grids = [stack.grid for stack in opened if isinstance(stack, ImageStack) and stack is not thing]
    unknown = {
        axis: size
        for axis, size in recorded.voxel_size_um.items()
        if any(axis.upper() in grid.axes and grid.unit(axis.upper()) != "micrometer" for grid in grids)
    }
    return open_input(spec, thing, axes, unknown) if unknown else opened


def _open_source(spec: Any, source: InputSource, earlier: Mapping[str, Result]) -> list[Any]:
    if source.path.startswith("step:"):
        return [_of_step(source.path, earlier)]
    if not source.path or source.path.startswith("layer:"):
        raise InputError(
            f"the input {spec.name} of the recipe was a layer or an array, not a file; give it as --input {spec.name}=FILE "
            f"(in Python: inputs={{{spec.name!r}: array}})"
        )
    if not PICTURES & set(spec.accepts) or not source.axes:
        return open_input(spec, source.path)
    try:
        stack = open_input(spec, source.path)[0]
    except InputError:
        stack = None
    if not isinstance(stack, ImageStack) or InputSource.of(input_ref(spec.name, stack)) != source:
        return open_input(spec, source.path, source.axes, source.voxel_size_um or None)
    return [stack]


def _of_step(reference: str, earlier: Mapping[str, Result]) -> Any:
    step, _, output = reference.removeprefix("step:").partition(".")
    result = earlier.get(step)
    found = None if result is None else result.outputs.get(output, result.artifacts.get(output))
    if found is None:
        raise InputError(f"the recipe refers to {reference}, which no earlier step makes; mend the recipe")
    return replace(found, uri=found.uri or reference) if isinstance(found, ImageStack) else found


def _model(model: RecipeModel | None, engine: Engine[Any], earlier: Mapping[str, Result]) -> ModelRef | None:
    if model is None:
        return None
    from napari_recon.hub import resolve

    if model.path.startswith("step:"):
        return resolve(model_file(_of_step(model.path, earlier)), engine=engine.info.name)
    first: ModelRef | None = None
    problem: InputError | None = None
    for name in (model.id, model.path):
        if not name:
            continue
        try:
            found: ModelRef = resolve(name, engine=engine.info.name)
        except InputError as error:
            problem = problem or error
            continue
        if not model.sha256 or found.sha256 == model.sha256:
            return found
        first = first or found
    if first is None:
        raise problem or InputError("the recipe names a model without id or path; mend the recipe")
    return first


def _compute(step: Step, device: str) -> Compute:
    kept = step.resolved
    asked = device or str(kept.get("device", "auto"))
    compute = Compute(
        device=asked,
        threads=int(kept.get("threads", 0)),
        seed=int(kept.get("seed", 0)),
        memory_bytes=int(kept.get("memory_bytes", 0)),
        deterministic=asked.startswith("cuda"),
    )
    try:
        return compute.resolved()
    except InputError:
        if device:
            raise
        return compute.model_copy(update={"device": "auto", "deterministic": False}).resolved()


def _seen(events: Iterator[Event], on_event: Callable[[Event], None] | None) -> Iterator[Event]:
    for event in events:
        if on_event is not None:
            on_event(event)
        yield event
