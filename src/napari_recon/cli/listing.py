"""``engines`` and ``params``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_recon.cli.json_text import dumps
from napari_recon.cli.options import Json
from napari_recon.jobs.api import list_engines, list_parameters


def engines(json: Json = False) -> None:
    """List every engine."""
    found = list_engines()
    if json:
        typer.echo(dumps(found))
        return
    width = max((len(engine["name"]) for engine in found), default=0)
    model = {"none": "", "optional": "; model optional", "required": "; needs a model"}
    for engine in found:
        inputs = ", ".join(f"{i['name']} {i['axes']}".strip() + ("" if i["required"] else "?") for i in engine["inputs"])
        typer.echo(
            f"{engine['name']:{width}}  {engine['summary']} (inputs: {inputs or 'none'}{model[engine['needs_model']]})"
        )


def params(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="family.method")],
    json: Json = False,
) -> None:
    """List an engine's parameters."""
    rows = list_parameters(engine)
    if json:
        typer.echo(dumps([row.model_dump(mode="json") for row in rows]))
        return
    for row in rows:
        limits = f", {row.range}" if row.range else ""
        unit = f" {row.unit}" if row.unit else ""
        typer.echo(f"{row.name} ({row.type}{limits}; default {row.default}{unit})")
        typer.echo(f"    {row.description}")
