"""``simulate``: raw data with ground truth, into a folder."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_recon.cli.execute import carry_out
from napari_recon.cli.options import Device, InputFiles, Json, Quiet, Seed, Set, assigned, named_files, read_params
from napari_recon.core.compute import Compute
from napari_recon.jobs.api import simulator
from napari_recon.jobs.outputs import OutputWriter
from napari_recon.jobs.planning import make_plan
from napari_recon.jobs.running import run_plan


def simulate(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="phantom, lightfield, sim, llsm, lfm-psf ...")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="FOLDER", help="Where raw, truth and parameters go.")],
    seed: Seed = 0,
    assignments: Set = (),  # type: ignore[assignment]
    params: Annotated[str | None, typer.Option("--params", metavar="FILE.yaml", help="Parameters from a file.")] = None,
    input_files: InputFiles = (),  # type: ignore[assignment]
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make raw data with ground truth: raw.ome.tif, truth.ome.tif, the point spread function, parameters.json."""
    values = {**read_params(params), **assigned(assignments)}
    plan, inputs = make_plan(simulator(kind), named_files(input_files), values, compute=Compute.headless(device, seed))
    writer = OutputWriter(f"{out.rstrip('/')}/", plan)
    carry_out(plan, writer, lambda token: run_plan(plan, inputs, token), json, quiet)
