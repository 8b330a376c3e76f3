"""``run``, ``train`` and ``plan``: one request, three things to do with it."""

from __future__ import annotations

import math

import typer

from napari_recon.cli.execute import carry_out, grid_values, interruptible
from napari_recon.cli.json_text import dumps
from napari_recon.cli.options import Json, Out, Quiet, RecipeOut, Request, takes_request
from napari_recon.core.engine import Inputs
from napari_recon.core.errors import InputError, ReconError
from napari_recon.core.plan import Plan
from napari_recon.engines import registry
from napari_recon.jobs.api import check_trains
from napari_recon.jobs.estimates import describe_seconds, estimate, expected_memory, probe
from napari_recon.jobs.names import size_text
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.running import run_plan


@takes_request
def run(request: Request, out: Out, recipe_out: RecipeOut = None, json: Json = False, quiet: Quiet = False) -> None:
    """Run an engine and write its images."""
    info = registry.get(request.engine).info
    if not any(output.kind in ("image", "labels") for output in info.outputs):
        kinds = ", ".join(output.kind for output in info.outputs)
        raise InputError(f"{request.engine} makes no images (it makes: {kinds}); use train")
    plan, inputs = request.planned()
    writer = OutputWriter(out, plan, recipe_out)
    carry_out(plan, writer, lambda token: run_plan(plan, inputs, token), json, quiet)


@takes_request
def train(request: Request, out: Out, recipe_out: RecipeOut = None, json: Json = False, quiet: Quiet = False) -> None:
    """Run an engine that makes a model and write that."""
    check_trains(request.engine)
    plan, inputs = request.planned()
    writer = OutputWriter(out, plan, recipe_out, only_model=True)
    carry_out(plan, writer, lambda token: run_plan(plan, inputs, token), json, quiet)


@takes_request
def plan(request: Request, json: Json = False, quiet: Quiet = False) -> None:
    """Dry run: output shape, tiles, memory, estimated time, warnings."""
    made, inputs = request.planned()
    seconds, doubts = _seconds(made, inputs)
    values = {
        "engine": made.engine,
        "outputs": {spec.name: grid_values(spec.grid, spec.dtype) for spec in made.outputs},
        "tiles": made.resources.tiles * made.frames,
        "tile": made.resources.tile,
        "frames": made.frames,
        "memory_bytes": expected_memory(made),
        "seconds": seconds,
        "device": made.compute.device,
        "warnings": [*made.resources.warnings, *doubts],
    }
    if json:
        typer.echo(dumps(values))
    elif not quiet:
        _print(made, seconds, doubts)


def _seconds(made: Plan, inputs: Inputs) -> tuple[float | None, list[str]]:
    """Return the estimate, from a timed tile when no run is remembered; a tile that fails is a doubt, not an error."""
    known = estimate(made)
    if known is not None:
        return round(known, 3), []
    try:
        with interruptible() as token:
            seconds = probe(made, inputs, token)
    except ReconError as error:
        return None, [f"no time estimate, the timed tile failed: {error}"]
    return (None if seconds is None or not math.isfinite(seconds) else round(seconds, 3)), []


def _print(made: Plan, seconds: float | None, doubts: list[str]) -> None:
    for spec in made.outputs:
        grid = spec.grid
        typer.echo(f"{spec.name}: {grid.axes} {' x '.join(map(str, grid.shape))} {spec.dtype}")
        steps = (f"{a.lower()} {s:.4g} {u}" for a, s, u in zip(grid.axes, grid.scale, grid.units, strict=True))
        typer.echo(f"  voxel: {', '.join(steps)}")
    tile = ", ".join(f"{axis} {size}" for axis, size in made.resources.tile.items())
    typer.echo(f"tiles: {made.resources.tiles} per frame, {made.frames} frames{f' ({tile})' if tile else ''}")
    typer.echo(f"memory: {size_text(expected_memory(made))} of {size_text(made.compute.memory_bytes)}")
    typer.echo(f"time: {'unknown' if seconds is None else 'about ' + describe_seconds(seconds)} on {made.compute.device}")
    for warning in (*made.resources.warnings, *doubts):
        typer.echo(f"warning: {warning}", err=True)
