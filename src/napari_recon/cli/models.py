"""``models``: the catalogue, and looking into checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from napari_recon import hub
from napari_recon.cli.json_text import dumps
from napari_recon.cli.options import Json
from napari_recon.cli.progress import say
from napari_recon.core.errors import CheckpointError

app = typer.Typer(add_completion=False, help="List, show, check, import, fetch and remove models.")
Id = Annotated[str, typer.Argument(metavar="ID")]
File = Annotated[str, typer.Argument(metavar="FILE")]


@app.command("list")
def list_models(
    json: Json = False,
    engine: Annotated[str | None, typer.Option("--engine", help="Only models of this engine.")] = None,
) -> None:
    """List every model: built in, imported, downloadable."""
    cards = hub.catalogue(engine)
    if json:
        typer.echo(dumps([_values(card) for card in cards]))
        return
    for card in cards:
        there = "" if card.available else " (not fetched)"
        typer.echo(f"{card.id}  {card.engine} {card.architecture}, {card.origin}{there}: {card.name}")
    if not cards:
        say("no models yet; import a checkpoint with: napari-recon models import FILE")


@app.command()
def show(id: Id, json: Json = False) -> None:
    """Show a model's card."""
    _print(_values(hub.find(id)), json)


@app.command()
def check(file: File, json: Json = False) -> None:
    """Say what a checkpoint is and whether it fits; leaves with 2 when it does not."""
    try:
        report = hub.check(file)
        problem = f"{file} fits no engine: {'; '.join(report.problems)}; choose another file"
    except CheckpointError as error:
        report, problem = hub.CheckReport(fits=False, problems=(str(error),)), str(error)
    if json:
        typer.echo(dumps(report.model_dump(mode="json")))
    elif report.fits:
        typer.echo(f"fits {report.engine} ({report.architecture})")
        for sentence in report.inferred:
            typer.echo(f"  {sentence}")
    if not report.fits:
        raise CheckpointError(problem)


@app.command("import")
def import_file(
    file: File,
    json: Json = False,
    id: Annotated[str | None, typer.Option("--id", help="Its id here; default: from its architecture.")] = None,
) -> None:
    """Copy a checkpoint into the model folder, with a card of what was recognised."""
    card = hub.import_model(file, id)
    if json:
        typer.echo(dumps(_values(card)))
    else:
        typer.echo(f"{card.id}: {card.engine} {card.architecture}")


@app.command()
def fetch(id: Id, json: Json = False) -> None:
    """Download a model and check it."""
    card = hub.fetch(id)
    if json:
        typer.echo(dumps(_values(card)))
    else:
        typer.echo(f"{card.id}: {card.path}")


@app.command()
def remove(id: Id, json: Json = False) -> None:
    """Delete an imported or fetched model."""
    card = hub.find(id)
    hub.remove(card.id)
    if json:
        typer.echo(dumps({"removed": card.id}))
    else:
        typer.echo(f"removed {card.id}")


def _values(card: hub.ModelCard) -> dict[str, Any]:
    return {**card.model_dump(mode="json"), "available": card.available}


def _print(values: dict[str, Any], json: bool) -> None:
    if json:
        typer.echo(dumps(values))
        return
    for name, value in values.items():
        if value not in ("", {}, [], None):
            typer.echo(f"{name}: {value if isinstance(value, str | bool) else dumps(value)}")
