"""The public Python interface: ``napari_recon.run(...)`` and its siblings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.params import ParameterInfo, describe_parameters
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box, Selection, TimeRange, WorldBox, parse_box, parse_time
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.planning import assign_inputs, make_plan, split_model
from napari_recon.jobs.recipes import prepare, read_recipe, scratch_for
from napari_recon.jobs.running import Result, collect, run_plan

Region = str | Mapping[str, tuple[int, int]] | Box | WorldBox


def run(
    engine: str,
    *inputs: Any,
    out: str | Path | None = None,
    token: CancelToken | None = None,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> Result:
    """Run an engine and return what it gave.

    Parameters
    ----------
    engine : str
        ``family.method``; see `list_engines`.
    *inputs : array, ImageStack or path
        Fill the engine's declared inputs in order. Unlabelled arrays have the declared axes, with T in front when they
        have one dimension more; `axes` says otherwise.
    out : path, optional
        A file or a folder (ending in ``/``) to write to; the result then reads arrays from the files when asked.
    token : CancelToken, optional
        Cancels or pauses from another thread.
    on_event : callable, optional
        Called with every event, in order.
    **options
        As `plan` takes them: `params`, `roi`, `roi_space`, `time`, `model`, `axes`, `voxel_size`, `device`, `seed`,
        `threads`, and `inputs` (a mapping by name).

    Returns
    -------
    Result
        ``result["volume"]`` is the array of that output (float32 unless the engine says otherwise).

    Raises
    ------
    InputError
        One sentence: what was expected, what was found, what to do.
    OutOfMemory, DiskFull, EngineError

    Examples
    --------
    >>> import napari_recon, numpy
    >>> result = napari_recon.simulate("lightfield", seed=1)  # doctest: +SKIP
    >>> volume = napari_recon.run("deconvolution.lightfield_rl", result["raw"])["volume"]  # doctest: +SKIP
    """
    made, opened = _planned(engine, inputs, options)
    writer = None if out is None else OutputWriter(out, made)
    return _finished(run_plan(made, opened, token), writer, on_event)


def plan(engine: str, *inputs: Any, **options: Any) -> Plan:
    """Return the plan of a run without running it; reads headers, not pixels.

    Parameters
    ----------
    engine : str
    *inputs : array, ImageStack or path
    params : mapping, optional
        Parameter values; dotted names reach nested settings.
    roi : str, mapping or Box, optional
        ``"z=4:20,y=16:80"``, ``{"z": (4, 20)}`` or a `Box`: half-open voxels of the output, or of `roi_space`
        (``"input"``, or ``"world"`` in world units).
    time : str, tuple of int or int, optional
        Half-open frame range, ``"3:10"`` or ``(3, 10)``; one number is one frame.
    model : str, path or mapping, optional
        A model's id or file, or the model artifact of a training run's result.
    axes : str, optional
        Axis letters of the main input, e.g. ``"TVYX"``.
    voxel_size : mapping, optional
        ``{"z": 0.3, "y": 0.1, "x": 0.1}`` in micrometers.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.
    seed : int
    threads : int
        CPU threads; 0 takes every core, or OMP_NUM_THREADS of them.
    inputs : mapping, optional
        Input name -> one thing or a list, for inputs that are easier named than counted.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
    """
    return _planned(engine, inputs, options)[0]


def train(
    engine: str,
    *inputs: Any,
    out: str | Path,
    token: CancelToken | None = None,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> Result:
    """Run an engine that makes a model and write that to `out` (.safetensors, .pt); see `run`.

    Raises
    ------
    InputError
        Also when the engine makes no model.
    """
    check_trains(engine)
    made, opened = _planned(engine, inputs, options)
    return _finished(run_plan(made, opened, token), OutputWriter(out, made, only_model=True), on_event)


def simulate(kind: str, out: str | Path | None = None, seed: int = 0, **params: Any) -> Result:
    """Make raw data with ground truth.

    Parameters
    ----------
    kind : str
        ``"lightfield"`` ...; an unknown one lists what there is.
    out : path, optional
        A folder for raw.ome.tif, truth.ome.tif, the point spread function and parameters.json.
    seed : int
    **params
        The simulator's parameters (`list_parameters` of ``simulate.KIND``).

    Returns
    -------
    Result
    """
    folder = None if out is None else f"{str(out).rstrip('/')}/"
    return run(simulator(kind), out=folder, seed=seed, params=params)


def rerun(
    source: Any,
    out: str | Path | None = None,
    inputs: Mapping[str, Any] | None = None,
    device: str = "",
    token: CancelToken | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Result:
    """Repeat a run from its recipe.

    Parameters
    ----------
    source : path, mapping, Recipe
        A ``*.recipe.yaml``, a result file, a `Result`, or the provenance in a layer's metadata.
    out : path, optional
    inputs : mapping, optional
        Input name -> things that replace the recorded ones (moved files, arrays, layers' data).
    device : str, optional
        Instead of the recorded one.

    Returns
    -------
    Result
        Its warnings say which input, model or device is not the one of the first time.
    """
    recipe = read_recipe(source)
    if out is None:
        return _finished(prepare(recipe, inputs, token, device, on_event).run(token), None, on_event)
    with scratch_for(recipe, out) as scratch:
        stage = prepare(recipe, inputs, token, device, on_event, scratch)
        return _finished(stage.run(token), OutputWriter(out, stage.plan), on_event)


def convert(
    source: str | Path,
    out: str | Path,
    axes: str | None = None,
    voxel_size: Any = None,
    on_note: Callable[[str], None] | None = None,
) -> Path:
    """Copy an image into another format with its axes, voxel size and recipe.

    Parameters
    ----------
    source, out : path
        The suffixes choose the formats; `source` may be a folder, a glob or ``FILE::NAME``.
    axes : str, optional
    voxel_size : mapping, optional
        Micrometers per axis letter.
    on_note : callable, optional
        Called with a sentence when nobody named the axes and they were guessed.

    Returns
    -------
    Path
        The file written.
    """
    from napari_recon.io import open_stack, write_stack

    try:
        stack = open_stack(source, axes=axes, voxel_size_um=voxel_size)
    except InputError:
        if axes:
            raise
        stack = _unnamed(source, voxel_size)
        if on_note is not None:
            on_note(f"{source} does not name its axes, they were taken as {stack.grid.axes}; --axes says otherwise")
    return write_stack(out, stack, stack.metadata.get("napari-recon"))


def compare(
    result: Any, reference: Any, align: Any = "none", crop: str | None = None, peak: str | float = "max"
) -> dict[str, Any]:
    """Return how close a result is to a reference.

    Parameters
    ----------
    result, reference : array, ImageStack or path
        Same shape.
    align : {"none", "scale", "affine"}
        Brightness alignment before comparing.
    crop : str, optional
        ``"z=20:-20,y=50:-50"``; negative counts from the end.
    peak : {"max", "range"} or float
        What PSNR refers to.

    Returns
    -------
    dict
        psnr (dB), ssim, nrmse, corr, alpha, and mip (psnr, corr) for volumes.
    """
    from napari_recon.metrics import compare as measured

    found: dict[str, Any] = measured(_image(result), _image(reference), align=align, crop=crop, peak=peak)
    return found


def list_engines() -> list[dict[str, Any]]:
    """Return what there is: name, kind, title, summary, inputs, outputs, needs_model ... of every engine."""
    return [registry.get(name).info.model_dump(mode="json") for name in registry.names()]


def list_parameters(engine: str) -> list[ParameterInfo]:
    """Return one row per parameter of an engine: name, type, unit, default, range, description."""
    return describe_parameters(registry.get(engine).Params)


def simulator(kind: str) -> str:
    """Return the engine's name for a kind of simulation, ``flfm-psf`` or so (InputError listing the kinds)."""
    kinds = {n.removeprefix("simulate.").replace("_", "-"): n for n in registry.names() if n.startswith("simulate.")}
    name = kinds.get(kind.replace("_", "-"))
    if name is None:
        raise InputError(f"there is no simulation {kind!r}; choose one of {', '.join(kinds)}")
    return name


def check_trains(engine: str) -> None:
    """Raise an InputError when an engine makes no model."""
    info = registry.get(engine).info
    if not any(output.kind == "model" for output in info.outputs):
        raise InputError(f"{engine} makes no model, so it can't be trained; use run")


def as_selection(roi: Region | None = None, roi_space: Any = "output", time: Any = None) -> Selection:
    """Return the selection of a region and a time range in text or as numbers.

    Raises
    ------
    InputError
        What is neither; see `plan` for what may be given.
    """
    if roi_space not in ("output", "input", "world"):
        raise InputError(f"the region's space should be output, input or world, found {roi_space!r}; choose one of them")
    if isinstance(roi, Mapping):
        roi = ",".join(f"{axis}={_range_text(bounds, f'the region along {axis}')}" for axis, bounds in roi.items())
    if roi is not None and not isinstance(roi, str | Box | WorldBox):
        raise InputError(f'a region should be given per axis, found {roi!r}; write {{"y": (16, 80)}} or "y=16:80"')
    if time is not None and not isinstance(time, TimeRange):
        time = parse_time(time if isinstance(time, str) else _range_text(time, "a time range"))
    return Selection(box=parse_box(roi, roi_space) if isinstance(roi, str) else roi, space=roi_space, time=time)


def _range_text(bounds: Any, what: str) -> str:
    """Return ``(3, 10)``, ``slice(3, 10)`` or the single index 3 as ``"3:10"`` (``"3:4"``)."""
    if isinstance(bounds, slice) and bounds.step in (None, 1):
        bounds = (bounds.start or 0, bounds.stop)
    if isinstance(bounds, Integral):
        bounds = (int(bounds), int(bounds) + 1)
    if not isinstance(bounds, tuple | list) or len(bounds) != 2 or None in bounds:
        raise InputError(f"{what} should be a start and a stop, found {bounds!r}; write (4, 20), or leave it out for all")
    return f"{bounds[0]}:{bounds[1]}"


def _planned(engine: str, positional: Sequence[Any], options: Mapping[str, Any]) -> tuple[Plan, Any]:
    known = ("params", "inputs", "roi", "roi_space", "time", "model", "axes", "voxel_size", "device", "seed", "threads")
    if unknown := sorted(set(options) - set(known)):
        raise InputError(
            f"{unknown[0]!r} is not an option; choose from {', '.join(known)} (engine parameters go into params={{...}})"
        )
    found = registry.get(engine)
    things, model = split_model(found, positional, options.get("model"))
    inputs = assign_inputs(found, things, options.get("inputs"))
    return make_plan(
        engine,
        inputs,
        options.get("params"),
        as_selection(options.get("roi"), options.get("roi_space", "output"), options.get("time")),
        model,
        Compute.headless(options.get("device", "auto"), options.get("seed", 0), options.get("threads", 0)),
        axes=options.get("axes"),
        voxel_size_um=options.get("voxel_size"),
    )


def _finished(events: Any, writer: OutputWriter | None, on_event: Callable[[Event], None] | None) -> Result:
    if writer is not None:
        events = writer.through(events)
    if on_event is not None:
        events = _told(events, on_event)
    result = collect(events, arrays=writer is None)
    result.paths = {} if writer is None else writer.paths
    return result


def _told(events: Any, on_event: Callable[[Event], None]) -> Any:
    for event in events:
        on_event(event)
        yield event


def _image(thing: Any) -> Any:
    if not isinstance(thing, str | Path):
        return thing
    return _unnamed(thing)


def _unnamed(source: str | Path, voxel_size: Any = None) -> ImageStack:
    """Open an image; axes that nobody named are those of a volume, a series of volumes, or a plane."""
    from napari_recon.io import open_stack

    try:
        return open_stack(source, voxel_size_um=voxel_size, default_axes="ZYX")
    except InputError as error:
        try:
            return open_stack(source, voxel_size_um=voxel_size, default_axes="YX")
        except InputError:
            raise error from None
