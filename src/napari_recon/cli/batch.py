"""``batch``: a recipe over a folder of recordings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from napari_recon.cli.execute import CANCELLED, interruptible
from napari_recon.cli.json_text import dumps
from napari_recon.cli.options import Device, Json, Quiet, Set, assigned
from napari_recon.cli.progress import say
from napari_recon.core.errors import InputError

if TYPE_CHECKING:
    from napari_recon.jobs.batch.run import BatchEvent, BatchFinished, Prepared

LOG_INTERVAL_S = 10.0


def batch(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml|RESULT", help="A recipe, or a result that carries one.")],
    source: Annotated[str, typer.Argument(metavar="INPUT_FOLDER", help="A folder, a quoted glob, or an OME-Zarr.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT_FOLDER")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier batch in OUT_FOLDER stopped.")] = False,
    each: Annotated[str, typer.Option("--each", help="file, folder (its files are one series) or auto.")] = "auto",
    name: Annotated[
        str | None, typer.Option("--name", metavar="PATTERN", help="Of {folder} {stem} {position} {index}, with a suffix.")
    ] = None,
    existing: Annotated[str, typer.Option("--existing", help="Files in the way: refuse, skip or overwrite.")] = "refuse",
    assignments: Set = (),  # type: ignore[assignment]
    workers: Annotated[int, typer.Option("--workers", help="Processes on this machine, one thread each.")] = 1,
    scheduler: Annotated[str, typer.Option("--scheduler", metavar="ADDRESS", help="A running dask scheduler.")] = "",
    device: Device = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what lands in the folder, newest first, until Ctrl-C.")
    ] = False,
    idle: Annotated[float, typer.Option("--idle", help="End a watch after so many seconds without anything new.")] = 0.0,
    complete: Annotated[
        float, typer.Option("--complete", metavar="SECONDS", help="A watched recording gets its name after so long a rest.")
    ] = 60.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be written.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a recipe over a folder; every recording gets a file, the batch a report."""
    from napari_recon.jobs.batch.api import workers_for
    from napari_recon.jobs.batch.items import DEFAULT_NAME
    from napari_recon.jobs.batch.run import BatchFinished, choice, prepare_batch, run_batch
    from napari_recon.jobs.batch.watch import Patience, watch_batch

    least = {"workers": (workers, 1), "idle": (idle, 0), "complete": (complete, 0)}
    for option, (number, low) in least.items():
        if number < low:
            raise InputError(f"--{option} should be {low} or more, found {number:g}; choose another number")
    prepared = prepare_batch(
        recipe,
        source,
        out,
        resume=resume,
        each=choice(each, "each"),
        name=name or DEFAULT_NAME,
        existing=choice(existing, "existing"),
        params=assigned(assignments),
        device=device,
        may_be_empty=watch,
    )
    if watch and (workers > 1 or scheduler):
        raise InputError("a watch works in one process, found --workers or --scheduler; leave them out")
    if dry_run:
        for item, target in prepared.targets.items():
            typer.echo(f"{item.label} -> {target}")
        return
    end: BatchFinished | None = None
    with interruptible() as token, workers_for(workers, scheduler) as helpers:
        patience = Patience(idle=idle, complete=min(idle or complete, complete))
        events = watch_batch(prepared, token, patience) if watch else run_batch(prepared, token, helpers)
        for event in shown(events, prepared, quiet):
            end = event if isinstance(event, BatchFinished) else end
    assert end is not None  # run_batch ends with it
    _summarise(end, json, quiet)
    if end.cancelled:
        say("cancelled; --resume goes on with what is left")
        raise typer.Exit(CANCELLED)
    if end.failed:
        first = end.failed[0]
        say(
            f"{len(end.failed)} of {len(end.outcomes)} recordings failed, {first.label} first: {end.outcomes[first].message}"
        )
        raise typer.Exit(2)


def shown(events: Iterator[BatchEvent], prepared: Prepared, quiet: bool) -> Iterator[BatchEvent]:
    """Yield `events`, saying on stderr how it goes."""
    from napari_recon.jobs.batch.run import ItemChanged

    last, ended = 0.0, 0
    for event in events:
        if isinstance(event, ItemChanged) and not quiet:
            of = max(len(prepared.targets), ended + 1)
            if event.warning:
                say(event.warning)
            elif event.state != "running":
                ended += 1
                say(f"{ended}/{of} {event.item.label}: {event.state}{f' ({event.message})' if event.message else ''}")
            elif time.monotonic() - last > LOG_INTERVAL_S:
                last = time.monotonic()
                doing = f" ({event.message})" if event.message else ""
                say(f"{ended + 1}/{of} {event.item.label}: {event.done:g} of {event.total:g}{doing}")
        yield event


def _summarise(end: BatchFinished, as_json: bool, quiet: bool) -> None:
    if as_json:
        labels = [item.label for item in end.outcomes]
        items = {
            item.label if labels.count(item.label) == 1 else item.source: outcome.model_dump(
                mode="json", exclude={"thumbnail"}
            )
            for item, outcome in end.outcomes.items()
        }
        typer.echo(dumps({"items": items, "table": str(end.table), "report": str(end.page), "cancelled": end.cancelled}))
    elif not quiet:
        states = [outcome.state for outcome in end.outcomes.values()]
        typer.echo(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
        typer.echo(f"report: {end.page}")
