"""Batches as they are typed: what can not be is one sentence, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import napari_recon
from napari_recon.cli.batch import batch as command
from napari_recon.core.errors import InputError
from napari_recon.jobs.batch.run import prepare_batch


@pytest.mark.parametrize(("option", "number"), [("workers", 0), ("workers", -1), ("idle", -3.0), ("complete", -1.0)])
def test_numbers_below_the_least_are_refused(recordings, recipe, tmp_path, option, number) -> None:
    with pytest.raises(InputError, match=f"--{option} should be . or more, found {number:g}"):
        command(str(recipe), str(recordings), str(tmp_path / "out"), **{option: number})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["raw", "."])
def test_results_do_not_go_where_the_recordings_are(recordings, recipe, tmp_path, out) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="does not hold the recordings"):
        prepare_batch(recipe, recordings, tmp_path / out)
    assert sorted(tmp_path.rglob("*")) == before


def test_recordings_of_one_stem_have_an_outcome_each(recordings: Path, recipe: Path, tmp_path: Path) -> None:
    from napari_recon.cli import app

    folder = recordings / "monday"
    np.save(folder / "cells.npy", np.zeros(3, np.float32))
    arguments = ["batch", recipe, folder, "-o", tmp_path / "out", "--name", "{stem}_{index}.ome.zarr", "--json", "--quiet"]
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    items = json.loads(answer.stdout)["items"]
    assert {Path(source).name: item["state"] for source, item in items.items()} == {
        "cells.ome.tif": "done",
        "cells.npy": "failed",
    }


def test_a_refused_batch_has_not_begun(recordings: Path, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "monday/cells.ome.zarr").mkdir(parents=True)
    with pytest.raises(InputError, match="exists already"):
        napari_recon.batch(recipe, recordings, out, each="file")
    end = napari_recon.batch(recipe, recordings, out, each="file", existing="skip")
    assert sorted(outcome.state for outcome in end.outcomes.values()) == ["done", "skipped"]
