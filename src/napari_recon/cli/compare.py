"""``compare``: several methods on one light field, in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from napari_recon.cli.json_text import dumps
from napari_recon.cli.options import Axes, Device, Json, Seed, Set, assigned
from napari_recon.jobs.methods import NUMBERS, compare_methods


def compare(
    views: Annotated[str, typer.Argument(metavar="VIEWS", help="A light field, realigned to one page per view.")],
    methods: Annotated[
        list[str], typer.Argument(metavar="METHOD...", help="Engines or models, each with settings: NAME:key=value,...")
    ],
    truth: Annotated[str | None, typer.Option("--truth", metavar="FILE", help="The volume that is right.")] = None,
    psf: Annotated[str | None, typer.Option("--psf", metavar="FILE", help="For the methods that take one.")] = None,
    time: Annotated[int, typer.Option("--time", help="Frame of a series.")] = 0,
    halves: Annotated[bool, typer.Option("--halves/--no-halves", help="Resolution from halves of the views.")] = True,
    set_: Set = [],  # noqa: B006
    out: Annotated[str | None, typer.Option("--out", "-o", metavar="TABLE.csv", help="Write the table.")] = None,
    axes: Axes = None,
    device: Device = "auto",
    threads: Annotated[int, typer.Option("--threads", help="CPU threads; 0 takes every core.")] = 0,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Reconstruct a light field with several methods and say how they compare."""

    def told(method: str, numbers: Mapping[str, float]) -> None:
        if not json:
            typer.echo(method)
            for name in NUMBERS:
                if name in numbers:
                    typer.echo(f"  {name:32} {numbers[name]:.4g}")

    found = compare_methods(
        views, methods, truth=truth, psf=psf, params=assigned(set_), time=time, halves=halves, axes=axes, out=out,
        on_method=told, device=device, threads=threads, seed=seed,
    )  # fmt: skip
    if json:
        typer.echo(dumps(found))
