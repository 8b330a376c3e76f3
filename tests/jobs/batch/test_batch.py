"""A batch gives what single runs give, once, and goes on after any end."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import DiskFull, InputError
from napari_recon.core.provenance import Recipe
from napari_recon.core.token import CancelToken
from napari_recon.io import open_stack
from napari_recon.io.omezarr import ZarrOutput
from napari_recon.jobs.batch.parts import Held
from napari_recon.jobs.batch.records import FOLDER, Log
from napari_recon.jobs.batch.run import ItemChanged, prepare_batch
from napari_recon.jobs.recipes import read_recipe
from napari_recon.samples.files import path

from .conftest import recording

OPTIONS = {"each": "file"}


def _results(out: Path) -> dict[str, np.ndarray]:
    stores = [p.parent for p in out.rglob("zarr.json") if p.parent.name.endswith(".ome.zarr") and FOLDER not in p.parts]
    return {p.relative_to(out).as_posix(): np.asarray(open_stack(p).data) for p in stores}


def _left_over(out: Path) -> list[Path]:
    return [p for p in out.rglob(".*") if p.name != FOLDER] + list((out / FOLDER).glob("work/*"))


@pytest.fixture
def alone(recordings: Path) -> dict[str, np.ndarray]:
    """What single runs give."""
    params = {"preset": "SKL", "camera_offset": 5.0}
    return {
        f"{file.parent.name}/cells.ome.zarr": napari_recon.run("fusion.background", file, params=params)["clean"]
        for file in recordings.rglob("*.tif")
    }


def _same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_every_recording_is_what_a_single_run_gives(recordings, recipe, tmp_path, alone) -> None:
    broken = recordings / "monday" / "broken.ome.tif"
    broken.write_bytes(b"II*\0")
    out = tmp_path / "out"
    end = napari_recon.batch(recipe, recordings, out, **OPTIONS)
    _same(_results(out), alone)
    assert Held._latest is None, "inputs and weights would stay open"
    assert [item.stem for item in end.failed] == ["broken"] and "broken" in end.outcomes[end.failed[0]].message
    rows = {row["recording"]: row for row in csv.DictReader(end.table.read_text().splitlines())}
    assert rows["monday/cells"]["state"] == "done" and rows["monday/cells"]["frames"] == "4"
    assert rows["monday/cells"]["result"] == str(out / "monday" / "cells.ome.zarr")
    page = end.page.read_text()
    assert page.count("data:image/png;base64,") == 2 and "monday/broken" in page and "fusion.background" in page
    assert not _left_over(out)


def test_a_result_carries_its_recipe(recordings, recipe, tmp_path, alone) -> None:
    napari_recon.batch(recipe, recordings, tmp_path / "out", **OPTIONS)
    again = napari_recon.rerun(tmp_path / "out/monday/cells.ome.zarr")
    np.testing.assert_array_equal(again["clean"], alone["monday/cells.ome.zarr"])


@pytest.mark.parametrize("name", ["{folder}/{stem}.ome.tif", "{index}.npy"])
def test_other_formats_are_copied_from_what_was_gathered(recordings, recipe, tmp_path, alone, name) -> None:
    end = napari_recon.batch(recipe, recordings, tmp_path / "out", name=name, **OPTIONS)
    for item, outcome in end.outcomes.items():
        np.testing.assert_array_equal(open_stack(outcome.outputs["clean"]).data, alone[f"{item.folder}/cells.ome.zarr"])


def test_a_cancelled_batch_goes_on_and_makes_nothing_twice(recordings, recipe, tmp_path, alone, monkeypatch) -> None:
    out, token, made = tmp_path / "out", CancelToken(), []
    write = ZarrOutput._write
    monkeypatch.setattr(
        ZarrOutput, "_write", lambda self, at, array: (made.append((self.path, at[0])), write(self, at, array))
    )

    def stop(event) -> None:
        if isinstance(event, ItemChanged) and event.item.folder == "monday" and event.done == 2:
            token.cancel()

    first = napari_recon.batch(recipe, recordings, out, token=token, on_event=stop, **OPTIONS)
    assert first.cancelled and not _results(out)
    frames = len({str(m) for m in made})
    with pytest.raises(InputError, match="holds a batch already; add --resume"):
        napari_recon.batch(recipe, recordings, out, **OPTIONS)
    second = napari_recon.batch(recipe, recordings, out, resume=True, **OPTIONS)
    assert not second.cancelled and not second.failed
    _same(_results(out), alone)
    assert frames == 2 and len({str(m) for m in made}) == 8
    made.clear()
    napari_recon.batch(recipe, recordings, out, resume=True, **OPTIONS)
    assert not made


def test_a_changed_recording_is_made_anew(recordings, recipe, tmp_path) -> None:
    token, file = CancelToken(), recordings / "monday" / "cells.ome.tif"
    stop = lambda event: token.cancel() if isinstance(event, ItemChanged) and event.done == 2 else None  # noqa: E731
    napari_recon.batch(recipe, recordings, tmp_path / "out", token=token, on_event=stop, **OPTIONS)
    recording(file, 77)
    napari_recon.batch(recipe, recordings, tmp_path / "out", resume=True, **OPTIONS)
    params = {"preset": "SKL", "camera_offset": 5.0}
    expected = napari_recon.run("fusion.background", file, params=params)["clean"]
    np.testing.assert_array_equal(_results(tmp_path / "out")["monday/cells.ome.zarr"], expected)


def test_a_full_disk_keeps_what_was_finished(recordings, recipe, tmp_path, alone, monkeypatch) -> None:
    out, write, count = tmp_path / "out", ZarrOutput._write, iter(range(100))

    def full(self, at, array) -> None:
        if next(count) == 3:
            raise OSError(28, "No space left on device")
        write(self, at, array)

    with monkeypatch.context() as patch:
        patch.setattr(ZarrOutput, "_write", full)
        with pytest.raises(DiskFull, match="--resume"):
            napari_recon.batch(recipe, recordings, out, **OPTIONS)
    assert not _results(out)
    napari_recon.batch(recipe, recordings, out, resume=True, **OPTIONS)
    _same(_results(out), alone)


def test_existing_files_are_refused_skipped_or_replaced(recordings, recipe, tmp_path, alone) -> None:
    out = tmp_path / "out"
    recording(out / "monday" / "cells.ome.zarr", 5)
    with pytest.raises(InputError, match=r"exists already; .*--existing skip or overwrite"):
        napari_recon.batch(recipe, recordings, out, **OPTIONS)
    end = napari_recon.batch(recipe, recordings, out, existing="skip", resume=True, **OPTIONS)
    assert sorted(o.state for o in end.outcomes.values()) == ["done", "skipped"]
    napari_recon.batch(recipe, recordings, out, existing="overwrite", resume=True, **OPTIONS)
    _same(_results(out), alone)


def test_a_folder_that_holds_a_batch_is_gone_on_with_kept_or_made_anew(recordings, recipe, tmp_path, alone) -> None:
    out, made = tmp_path / "out", []
    napari_recon.batch(recipe, recordings / "monday", out, name="{stem}.ome.zarr", **OPTIONS)
    options = {"name": "{stem}.ome.zarr", "on_event": made.append, **OPTIONS}
    with pytest.raises(InputError, match="--resume to go on with it, --existing overwrite to make all of it anew"):
        napari_recon.batch(recipe, recordings / "monday", out, **options)
    end = napari_recon.batch(recipe, recordings / "monday", out, existing="skip", **options)
    assert [o.state for o in end.outcomes.values()] == ["done"] and len(made) == 2  # nothing was made
    with pytest.raises(InputError, match="holds a batch with another folder of recordings"):
        napari_recon.batch(recipe, recordings / "tuesday", out, resume=True, **options)
    end = napari_recon.batch(recipe, recordings / "tuesday", out, existing="skip", **options)
    assert [o.state for o in end.outcomes.values()] == ["skipped"]
    napari_recon.batch(recipe, recordings / "tuesday", out, existing="overwrite", **options)
    np.testing.assert_array_equal(open_stack(out / "cells.ome.zarr").data, alone["tuesday/cells.ome.zarr"])


def test_settings_have_to_be_the_same_on_resume(recordings, recipe, tmp_path) -> None:
    napari_recon.batch(recipe, recordings, tmp_path / "out", **OPTIONS)
    with pytest.raises(InputError, match="another recipe or other parameters"):
        napari_recon.batch(recipe, recordings, tmp_path / "out", resume=True, params={"preset": "ER"}, **OPTIONS)
    with pytest.raises(InputError, match="the recipe has no parameter 'presets'"):
        napari_recon.batch(recipe, recordings, tmp_path / "new", params={"presets": "ER"}, **OPTIONS)


def test_the_result_is_the_picture_and_not_what_lies_beside_it(tmp_path: Path) -> None:
    sample = path("sim")
    once = napari_recon.run("sim.wiener", sample, roi={"y": (0, 64), "x": (0, 64)})
    end = napari_recon.batch(once, sample, tmp_path / "out")
    (outcome,) = end.outcomes.values()
    assert len(outcome.outputs) > 1 and outcome.result == outcome.outputs["sr"]
    assert f'href="{Path(outcome.result).name}"' in end.page.read_text()


def test_what_another_version_noted_does_not_count(tmp_path: Path) -> None:
    log = Log(tmp_path / "a.jsonl")
    log.add({"outcome": {"state": "done", "colour": "red"}})
    assert log.outcome().state == "waiting"


def test_a_recording_is_what_it_was_for_the_recipe(recordings, recipe, tmp_path) -> None:
    recording(recordings / "monday" / "more.ome.tif", 5)  # no series: the recipe had a file
    recording(recordings / "tuesday" / "more.ome.tif", 6)
    assert len(prepare_batch(recipe, recordings, tmp_path / "out").targets) == 4
    step = read_recipe(recipe).steps[0]
    layer = step.model_copy(update={"inputs": {"raw": [step.inputs["raw"][0].model_copy(update={"path": "layer:7"})]}})
    assert len(prepare_batch(Recipe(steps=(layer,)), recordings, tmp_path / "out").targets) == 2
