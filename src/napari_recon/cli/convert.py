"""``convert``: an image in another format."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_recon.cli.options import Axes, Quiet, VoxelSize, parse_voxel_size
from napari_recon.cli.progress import say
from napari_recon.jobs.api import convert as convert_file


def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="A file, folder, quoted glob or FILE::NAME.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="The suffix chooses the format.")],
    axes: Axes = None,
    voxel_size: VoxelSize = None,
    quiet: Quiet = False,
) -> None:
    """Copy an image with its axes, voxel size and recipe."""
    written = convert_file(source, out, axes, parse_voxel_size(voxel_size), None if quiet else _note)
    if not quiet:
        typer.echo(str(written))


def _note(text: str) -> None:
    say(f"warning: {text}")
