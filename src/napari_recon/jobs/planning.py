"""From inputs and settings to a plan: opens files by their headers, resolves the model, asks the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.compute import Compute
from napari_recon.core.engine import Engine, Inputs, InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.params import describe_parameters
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.region import Selection
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.io import open_inputs
from napari_recon.io.axes import checked_voxel_size
from napari_recon.jobs.fingerprints import of_path

PICTURES = {"image", "labels", "psf"}


def make_plan(
    engine: str | Engine[Any],
    inputs: Mapping[str, Sequence[Any]],
    params: Mapping[str, Any] | None = None,
    selection: Selection = Selection(),
    model: str | Path | Mapping[str, Any] | ModelRef | None = None,
    compute: Compute = Compute(),
    *,
    axes: str | None = None,
    voxel_size_um: Mapping[str, float] | None = None,
) -> tuple[Plan, Inputs]:
    """Return the plan of a run and its opened inputs; reads headers, not pixels.

    Parameters
    ----------
    engine : str or Engine
    inputs : mapping
        Input name -> arrays, `ImageStack` objects or paths (``FILE::NAME``, folders and globs included).
    params : mapping, optional
        Dotted names reach nested settings; what is left out keeps its default.
    selection : Selection
    model : str, Path, mapping or ModelRef, optional
        A model's id, a file, or the model artifact of a training run's result.
    compute : Compute
    axes : str, optional
        Axis letters of the main input, for files and arrays that do not say.
    voxel_size_um : mapping, optional
        ``{"z": ..., "y": ..., "x": ...}`` of the main input in micrometers.

    Returns
    -------
    Plan, Inputs

    Raises
    ------
    InputError
        When anything does not fit, in one sentence.
    """
    found = registry.get(engine) if isinstance(engine, str) else engine
    if not found.info.inputs and (axes or voxel_size_um):
        raise InputError(
            f"{found.info.name} has no input whose axes or voxel size could be named, found "
            f"{f'axes {axes}' if axes else 'a voxel size'}; leave it out and set its parameters"
        )
    opened: dict[str, list[Any]] = {}
    refs: list[InputRef] = []
    for name, things in inputs.items():
        spec = found.info.input(name)
        main = spec == found.info.inputs[0]
        opened[name] = []
        for thing in things:
            opened_things = open_input(spec, thing, axes if main else None, voxel_size_um if main else None)
            opened[name] += opened_things
            uri = _uri(thing) if isinstance(thing, str | Path) else ""
            refs += [input_ref(name, t, "" if isinstance(t, ImageStack) else uri) for t in opened_things]
    plan = found.plan(refs, _absolute_files(found, params or {}), selection, resolve_model(model, found), compute)
    return plan, opened


def open_input(
    spec: InputSpec, thing: Any, axes: str | None = None, voxel_size_um: Mapping[str, float] | None = None
) -> list[Any]:
    """Return what an engine receives for `thing` (a path, an array, an `ImageStack` or any object), in a list.

    An `ImageStack` says itself what its axes and voxel size are.
    """
    if thing is None:
        raise InputError(f"{spec.name} should be an array or a file, found None; give one or leave the input out")
    if isinstance(thing, str | Path):
        return open_inputs(spec, [_uri(thing)], axes, voxel_size_um)
    picture = PICTURES & set(spec.accepts)
    if picture and isinstance(thing, list | tuple):
        thing = _array(thing, spec)
    if isinstance(thing, ImageStack) or not hasattr(thing, "shape") or not picture:
        return [thing]
    if not _numeric(thing):
        thing = _array(thing, spec)
    if 0 in thing.shape:
        raise InputError(f"{spec.name} should hold an image, found shape {tuple(thing.shape)}; choose other data")
    letters = axes or frame_axes(spec.axes, len(thing.shape))
    if not axes and len(letters) != len(thing.shape):
        raise InputError(
            f"{spec.name} should have the dimensions {spec.axes} (T or C in front when there are several), found shape "
            f"{tuple(thing.shape)}; reshape it, or name its axes (--axes)"
        )
    size = checked_voxel_size(voxel_size_um)
    grid = Grid.of(letters.upper(), thing.shape, scale=size, units=dict.fromkeys(size, "micrometer"))
    return [ImageStack(thing, grid, spec.name)]


def _numeric(thing: Any) -> bool:
    """Return whether numpy knows the array's type; tensors of other libraries have types of their own."""
    try:
        return isinstance(np.dtype(thing.dtype), np.dtype)
    except (AttributeError, TypeError):
        return False


def _array(thing: Any, spec: InputSpec) -> NDArray[Any]:
    try:
        return np.asarray(thing)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{spec.name} should be an array or a file, found {type(thing).__name__} that is none; pass a numpy array"
        ) from None


def frame_axes(axes: str, ndim: int) -> str:
    """Return the axes of an unlabelled array: one frame's, with T, then C, in front when there are more dimensions."""
    extra = ndim - len(axes)
    loops = [a for a in "TC" if a not in axes]
    return "".join(loops[: max(extra, 0)]) + axes


def input_ref(name: str, thing: Any, uri: str = "") -> InputRef:
    """Return the reference a plan keeps of an input.

    Files are fingerprinted from a few pieces of their content, arrays in memory likewise; lazy arrays without a file
    are not read.
    """
    if isinstance(thing, ImageStack):
        path = of_path(thing.uri)
        in_memory = isinstance(thing.data, np.ndarray) and not isinstance(thing.data, np.memmap)
        print_ = path or (thing.fingerprint() if in_memory else "")
        return InputRef(
            name=name,
            uri=thing.uri,
            grid=thing.grid,
            dtype=str(thing.dtype),
            fingerprint=print_,
            label=thing.name,
            optics=thing.metadata.get("optics", {}),
        )
    if not uri and isinstance(thing, str | Path):
        uri = _uri(thing)
    return InputRef(name=name, uri=uri, fingerprint=of_path(uri), label=Path(uri).name)


def resolve_model(model: str | Path | Mapping[str, Any] | ModelRef | None, engine: Engine[Any]) -> ModelRef | None:
    """Return the reference of a model given by id or file, or as the artifact of a run that made it.

    An engine that needs a model and gets none takes the built-in one, where there is one.
    """
    if model is None and engine.info.needs_model == "required":
        from napari_recon.hub import built_in

        return built_in(engine.info.name)
    if model is None or isinstance(model, ModelRef):
        return model
    from napari_recon.hub import resolve

    if not isinstance(model, str):
        from napari_recon.jobs.artifacts import model_file

        model = model_file(model)
    return resolve(model, engine=engine.info.name)


def assign_inputs(
    engine: Engine[Any], positional: Sequence[Any], named: Mapping[str, Any] | None = None
) -> dict[str, list[Any]]:
    """Return inputs by name: `named` as given (one thing or a list), `positional` filling the others in order.

    Raises
    ------
    InputError
        More inputs than the engine takes.
    """
    found: dict[str, list[Any]] = {engine.info.input(name).name: listed(things) for name, things in (named or {}).items()}
    left = list(positional)
    for spec in engine.info.inputs:
        if left and spec.name not in found:
            found[spec.name], left = (left, []) if spec.many else (left[:1], left[1:])
    if left:
        takes = ", ".join(spec.name for spec in engine.info.inputs) or "none"
        raise InputError(
            f"{engine.info.name} takes the inputs {takes}, found {len(left)} more ({left[0]}); "
            "run once for each, or quote a glob that is one series"
        )
    return {spec.name: found[spec.name] for spec in engine.info.inputs if spec.name in found}


def split_model(engine: Engine[Any], positional: Sequence[Any], model: Any) -> tuple[list[Any], Any]:
    """Return inputs and model: an engine that can do without inputs (a query) takes the field it is given as its model."""
    info, things = engine.info, list(positional)
    if model is not None or info.needs_model == "none" or any(spec.required for spec in info.inputs):
        return things, model
    fields = things if not info.inputs else [thing for thing in things if _looks_like_model(thing)]
    if len(fields) != 1:
        return things, model
    return [thing for thing in things if thing is not fields[0]], fields[0]


def _looks_like_model(thing: Any) -> bool:
    """Whether this names a checkpoint, or a folder that holds one and so no images."""
    from napari_recon.hub.menu import SUFFIXES

    if not isinstance(thing, str | Path):
        return False
    path = Path(thing).expanduser()
    return path.suffix in SUFFIXES or (path.is_dir() and any(file.suffix in SUFFIXES for file in path.iterdir()))


def listed(things: Any) -> list[Any]:
    """Return the things given for one input as a list; what is no list or tuple is one thing."""
    return list(things) if isinstance(things, list | tuple) else [things]


def _uri(path: str | Path) -> str:
    """Return `path` absolute, so that a recipe works from any folder."""
    text = str(path)
    file, mark, key = text.partition("::")
    if text.startswith(("layer:", "step:")) or "://" in text:
        return text
    return str(Path(file).expanduser().absolute()) + mark + key


def _absolute_files(engine: Engine[Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with existing files named by absolute paths."""
    files = {row.name for row in describe_parameters(engine.Params) if row.file}
    return {
        name: _uri(value) if name in files and isinstance(value, str | Path) and value and Path(value).exists() else value
        for name, value in params.items()
    }
