"""Carrying out a planned run on the command line: Ctrl-C, progress, files, summary, exit code."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from napari_recon.cli.json_text import dumps
from napari_recon.cli.progress import say, shown
from napari_recon.core.events import Event
from napari_recon.core.grid import Grid
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.jobs.estimates import describe_seconds
from napari_recon.jobs.measure import peak_memory_bytes
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.running import Result, collect

CANCELLED = 3


def carry_out(
    plan: Plan,
    writer: OutputWriter,
    events: Callable[[CancelToken], Iterator[Event]],
    as_json: bool = False,
    quiet: bool = False,
) -> Result:
    """Run, write, summarise; a cancelled run leaves with code 3 after its partial result is written."""
    started = time.perf_counter()
    with interruptible() as token:
        result = collect(shown(writer.through(events(token)), plan.engine, quiet), arrays=False)
    result.paths = writer.paths
    values = report(plan, result, writer, time.perf_counter() - started)
    if as_json:
        typer.echo(dumps(values))
    elif not quiet:
        _summarise(values)
    if not quiet:
        for warning in values["warnings"]:
            say(f"warning: {warning}")
    if result.partial:
        kept = f"the partial result is in {values['result']}" if values["result"] else "nothing was finished yet"
        say(f"cancelled; {kept}")
        raise typer.Exit(CANCELLED)
    return result


@contextmanager
def interruptible() -> Iterator[CancelToken]:
    """Give a token that Ctrl-C (and SIGTERM) cancels; a second Ctrl-C stops at once."""
    token = CancelToken()
    if threading.current_thread() is not threading.main_thread():
        yield token
        return

    def stop(number: int, frame: Any) -> None:
        if token.cancelled:
            raise KeyboardInterrupt
        token.cancel()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield token
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def report(plan: Plan, result: Result, writer: OutputWriter, seconds: float) -> dict[str, Any]:
    """Return the JSON object of a run."""
    spec = result.specs.get(writer.main or "")
    return {
        "result": writer.paths.get(writer.main or ""),
        "outputs": dict(writer.paths),
        **(grid_values(spec.grid, spec.dtype) if spec is not None else dict.fromkeys(_GRID)),
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(plan.compute.device),
        "device": plan.compute.device,
        "metrics": result.metrics,
        "report": result.report,
        "warnings": list(dict.fromkeys([*plan.resources.warnings, *result.warnings])),
        "partial": result.partial,
    }


_GRID = ("shape", "dtype", "axes", "scale", "translate", "units")


def grid_values(grid: Grid, dtype: str) -> dict[str, Any]:
    """Return shape, dtype and geometry as JSON values, lists in the order of the axes."""
    values = (list(grid.shape), dtype, grid.axes, list(grid.scale), list(grid.translate), list(grid.units))
    return dict(zip(_GRID, values, strict=True))


def _summarise(values: dict[str, Any]) -> None:
    for name, path in values["outputs"].items():
        typer.echo(f"{name}: {path}")
    if values["shape"] is not None:
        shape = " x ".join(map(str, values["shape"]))
        typer.echo(f"{values['axes']} {shape}, {describe_seconds(values['seconds'])} on {values['device']}")
    for name, value in values["metrics"].items():
        typer.echo(f"{name}: {value:.5g}")
