"""``metrics``: how close a result is to a reference."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from napari_recon.cli.json_text import dumps
from napari_recon.cli.options import Json
from napari_recon.core.errors import InputError
from napari_recon.jobs.api import compare


def metrics(
    result: Annotated[str, typer.Argument(metavar="RESULT")],
    reference: Annotated[str, typer.Argument(metavar="REFERENCE")],
    align: Annotated[str, typer.Option("--align", help="none, scale or affine: brightness alignment.")] = "none",
    crop: Annotated[
        str | None, typer.Option("--crop", metavar="z=20:-20,y=50:-50", help="Negative counts from the end.")
    ] = None,
    peak: Annotated[str, typer.Option("--peak", help="max or range of the reference, or a number.")] = "max",
    json: Json = False,
) -> None:
    """Compare a result with a reference."""
    found: dict[str, Any] = compare(result, reference, align, crop, _peak(peak))
    if json:
        typer.echo(dumps(found))
        return
    for name, value in found.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        text = "  ".join(f"{key} {number:.5g}".strip() for key, number in parts)
        typer.echo(f"{name:6} {text}")


def _peak(text: str) -> str | float:
    if text in ("max", "range"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--peak should be max, range or a number, found {text!r}; choose one of them") from None
