"""``rerun``: a recipe, or a result that carries one, once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_recon.cli.execute import CANCELLED, carry_out, interruptible
from napari_recon.cli.options import InputFiles, Json, Quiet, RecipeOut, named_files
from napari_recon.cli.progress import say
from napari_recon.io.suffixes import WRITABLE, stem_of, suffix_of
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.recipes import prepare, read_recipe, scratch_for


def rerun(
    source: Annotated[str, typer.Argument(metavar="RECIPE.yaml|RESULT", help="A recipe, or a result that carries one.")],
    out: Annotated[str | None, typer.Option("--out", "-o", metavar="OUT", help="Default: SOURCE-stem.rerun.ext.")] = None,
    input_files: InputFiles = (),  # type: ignore[assignment]
    device: Annotated[str, typer.Option("--device", help="Instead of the recorded one.")] = "",
    recipe_out: RecipeOut = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Repeat a run; a message says which input, model or device is not the one of the first time."""
    recipe = read_recipe(source)
    with scratch_for(recipe, out or source.partition("::")[0]) as scratch:
        with interruptible() as token:
            stage = prepare(recipe, named_files(input_files), token, device, scratch=scratch)
            if token.cancelled:
                say("cancelled; an earlier step was not finished")
                raise typer.Exit(CANCELLED)
        only_model = not stage.plan.outputs
        writer = OutputWriter(out or default_out(source, only_model), stage.plan, recipe_out, only_model)
        carry_out(stage.plan, writer, stage.run, json, quiet)


def default_out(source: str, only_model: bool) -> str:
    """Return the place beside `source` that a repeated run goes to."""
    path = Path(source.partition("::")[0])
    if only_model:
        return str(path.with_name(f"{stem_of(path)}.rerun.safetensors"))
    suffix = suffix_of(path) if suffix_of(path) in WRITABLE else ".ome.tif"
    stem = stem_of(path).removesuffix(".recipe")
    return str(path.with_name(f"{stem}.rerun{suffix}"))
