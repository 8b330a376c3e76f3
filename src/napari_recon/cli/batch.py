"""``batch``: announced, not there yet."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_recon.core.errors import InputError


def batch(
    words: Annotated[list[str] | None, typer.Argument(metavar="RECIPE.yaml INPUT_FOLDER", help="Not used yet.")] = None,
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT_FOLDER")] = "",
    resume: Annotated[bool, typer.Option("--resume")] = False,
    workers: Annotated[int, typer.Option("--workers")] = 1,
    scheduler: Annotated[str, typer.Option("--scheduler", metavar="ADDRESS")] = "",
) -> None:
    """Run a recipe over a folder (comes later)."""
    raise InputError("batch comes in a later version; until then call rerun RECIPE.yaml --input NAME=FILE once per file")
