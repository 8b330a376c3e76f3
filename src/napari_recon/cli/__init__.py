"""The command line. Sub-commands are imported when they are called, so that help costs nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_recon import __version__
from napari_recon.cli.group import COMMANDS, LazyGroup

app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=False,
    help="Reconstruct light-field and other computational microscopy data, headless or in napari.",
)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _placeholder() -> None:
    """Stand in for a command in the list of commands; the real one is imported when it is called."""


for _name, (_target, _help) in COMMANDS.items():
    app.command(_name, help=_help)(_placeholder)


def main() -> None:
    """Run the command line; exits with 0 done, 2 bad input, 3 cancelled, 4 out of memory or disk, 1 a defect of ours."""
    app()
