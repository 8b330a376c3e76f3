from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_recon.core.errors import DiskFull, InputError, OutOfMemory
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.hub import load_state
from napari_recon.io import open_stack, read_provenance
from napari_recon.jobs import OutputWriter, collect, make_plan, run_plan
from napari_recon.jobs.artifacts import write_artifact, write_table


def _write(image: np.ndarray, out: Path | str, engine: str = "toy.smooth", **params: object) -> OutputWriter:
    plan, inputs = make_plan(engine, {"image": [image]}, params)
    writer = OutputWriter(out, plan)
    for _ in writer.through(run_plan(plan, inputs)):
        pass
    return writer


def test_a_file_takes_the_first_output_and_names_the_rest(image: np.ndarray, tmp_path: Path) -> None:
    writer = _write(image, tmp_path / "new" / "a.ome.tif", training_steps=2)
    names = {p.name for p in (tmp_path / "new").iterdir()}
    assert names == {"a.ome.tif", "a.brightness.csv", "a.gain.safetensors", "a.metrics.csv"}
    assert writer.paths["smooth"].endswith("a.ome.tif")
    assert read_provenance(tmp_path / "new" / "a.ome.tif")["engine"] == "toy.smooth"
    rows = list(csv.DictReader((tmp_path / "new" / "a.brightness.csv").read_text().splitlines()))
    assert [row["frame"] for row in rows] == ["0", "1", "2"]


def test_a_folder_holds_every_output_under_its_name(image: np.ndarray, tmp_path: Path) -> None:
    _write(image, f"{tmp_path}/results/")
    assert {p.name for p in (tmp_path / "results").iterdir()} == {"smooth.ome.tif", "brightness.csv"}


def test_a_result_never_takes_the_place_of_its_input(image: np.ndarray, tmp_path: Path) -> None:
    _write(image, tmp_path / "raw.tif")
    raw = (tmp_path / "raw.tif").read_bytes()
    plan, _ = make_plan("toy.smooth", {"image": [tmp_path / "raw.tif"]}, {})
    with pytest.raises(InputError, match="its own input"):
        OutputWriter(tmp_path / ".." / tmp_path.name / "raw.tif", plan)
    assert (tmp_path / "raw.tif").read_bytes() == raw


def test_a_name_of_a_model_says_how_to_train_one(image: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use train"):
        _write(image, tmp_path / "a.safetensors")


def test_formats_without_room_for_a_recipe_get_it_beside_them(image: np.ndarray, tmp_path: Path) -> None:
    _write(image, tmp_path / "a.npy")
    assert (tmp_path / "a.npy.recipe.yaml").exists()
    assert read_provenance(tmp_path / "a.npy")["recipe"]["steps"][0]["engine"] == "toy.smooth"


def test_files_hold_what_collect_gives(image: np.ndarray, tmp_path: Path) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image]}, {"radius": 3, "tile_size": 5})
    _write(image, tmp_path / "a.ome.zarr", radius=3, tile_size=5)
    stack = open_stack(tmp_path / "a.ome.zarr")
    np.testing.assert_array_equal(stack.read(), collect(run_plan(plan, inputs))["smooth"])


def test_a_cancelled_run_leaves_a_valid_partial_file_with_the_latest_estimate(image: np.ndarray, tmp_path: Path) -> None:
    plan, inputs = make_plan("toy.steps", {"image": [image[0]]})
    token, writer = CancelToken(), OutputWriter(tmp_path / "a.tif", plan)
    for number, _ in enumerate(writer.through(run_plan(plan, inputs, token))):
        if number == 5:
            token.cancel()
    yx = open_stack(tmp_path / "a.tif").read()
    np.testing.assert_array_equal(yx[:4, 0], [1, 2, 3, 4])
    assert (yx[4:] == 5).all() and read_provenance(tmp_path / "a.tif")["partial"] is True


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr", "a.npy"])
def test_a_partial_result_never_replaces_an_older_one(image: np.ndarray, tmp_path: Path, steps: object, name: str) -> None:
    _write(image[0], tmp_path / name, "toy.steps")
    whole = open_stack(tmp_path / name).read().copy()
    steps.fail_at = 3
    with pytest.raises(OutOfMemory, match=r"what was finished is in .*a\.partial\."):
        _write(image[0], tmp_path / name, "toy.steps")
    np.testing.assert_array_equal(open_stack(tmp_path / name).read(), whole)
    partial = tmp_path / name.replace("a.", "a.partial.")
    assert open_stack(partial).read()[:3, 0].tolist() == [1, 2, 3] and read_provenance(partial)["partial"] is True
    assert read_provenance(tmp_path / name)["partial"] is False


def test_nothing_is_kept_of_a_run_cancelled_before_its_first_block(image: np.ndarray, tmp_path: Path) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image]})
    token = CancelToken()
    token.cancel()
    list(OutputWriter(tmp_path / "a.tif", plan).through(run_plan(plan, inputs, token)))
    assert list(tmp_path.iterdir()) == []


def test_what_was_finished_is_kept_when_memory_runs_out(image: np.ndarray, tmp_path: Path, steps: object) -> None:
    steps.fail_at = 3
    with pytest.raises(OutOfMemory):
        _write(image[0], tmp_path / "a.tif", "toy.steps")
    yx = open_stack(tmp_path / "a.tif").read()
    assert yx[:3, 0].tolist() == [1, 2, 3]
    assert read_provenance(tmp_path / "a.tif")["partial"] is True


def test_bad_content_found_during_the_run_leaves_no_file_and_keeps_the_old_one(image: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "old.tif").write_bytes(b"old")
    bad = image.astype(np.float32)
    bad[0, 3, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        _write(bad, tmp_path / "old.tif")
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.tif")} == {"old.tif": b"old"}
    assert not list(tmp_path.glob(".*"))


def test_too_small_a_disk_is_said_before_the_run(image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    plan, _ = make_plan("toy.smooth", {"image": [image]})
    with pytest.raises(DiskFull, match=r"36\.9 kB"):
        OutputWriter(tmp_path / "a.tif", plan)


def test_a_disk_that_fills_during_the_run_keeps_what_was_finished(
    image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_recon.io.tiff_write import TiffOutput

    real, count = TiffOutput._write, [0]

    def full_after_two(self: TiffOutput, slices: tuple, array: np.ndarray) -> None:
        count[0] += 1
        if count[0] == 3:
            raise OSError(28, "No space left on device")
        real(self, slices, array)

    monkeypatch.setattr(TiffOutput, "_write", full_after_two)
    with pytest.raises(DiskFull):
        _write(image, tmp_path / "a.tif")
    assert open_stack(tmp_path / "a.tif").read().any()


@pytest.mark.parametrize("name", ["a.xyz", "blocked/a.tif", "folder.tif"])
def test_an_unfit_place_is_refused_before_the_run(image: np.ndarray, tmp_path: Path, name: str) -> None:
    (tmp_path / "blocked").write_text("a file, no folder")
    (tmp_path / "folder.tif").mkdir()
    plan, _ = make_plan("toy.smooth", {"image": [image]})
    before = sorted(tmp_path.rglob("*"))
    # an existing folder is a place for results, even one with an odd name
    if name == "folder.tif":
        OutputWriter(tmp_path / name, plan)
    else:
        with pytest.raises(InputError, match="; "):
            OutputWriter(tmp_path / name, plan)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_training_writes_the_model_alone(image: np.ndarray, tmp_path: Path, suffix: str) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image]}, {"training_steps": 3})
    writer = OutputWriter(tmp_path / f"model{suffix}", plan, only_model=True)
    list(writer.through(run_plan(plan, inputs)))
    assert writer.paths["gain"] == str(tmp_path / f"model{suffix}") and "smooth" not in writer.paths
    if suffix == ".pt":
        import torch

        state = torch.load(tmp_path / "model.pt", weights_only=True)
    else:
        from safetensors.numpy import load_file

        state = load_file(tmp_path / "model.safetensors")
    assert state["gain"].shape == (1,)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_model_keeps_the_shapes_of_its_tensors(tmp_path: Path, suffix: str) -> None:
    state = {"weight": np.arange(12.0).reshape(3, 4).T, "num_batches_tracked": np.array(5)}
    write_artifact(tmp_path / f"model{suffix}", "model", {"state": state, "card": {"engine": "x"}})
    found = {name: tensor.numpy() for name, tensor in load_state(tmp_path / f"model{suffix}").items()}
    assert {name: array.shape for name, array in found.items()} == {"weight": (4, 3), "num_batches_tracked": ()}
    np.testing.assert_array_equal(found["weight"], state["weight"])
    (tmp_path / "other").touch()
    assert (tmp_path / f"model{suffix}").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_artifacts_of_every_kind_are_written(tmp_path: Path) -> None:
    (tmp_path / "made.bin").write_bytes(b"12")
    write_artifact(tmp_path / "copy.bin", "file", str(tmp_path / "made.bin"))
    write_artifact(tmp_path / "report.json", "report", {"psnr": np.float32(31.5)})
    write_table(tmp_path / "columns.csv", {"t": [0, 1], "x": [2, 3]})
    write_table(tmp_path / "rows.csv", [[1, 2], [3, 4]])
    assert (tmp_path / "copy.bin").read_bytes() == b"12"
    assert json.loads((tmp_path / "report.json").read_text()) == {"psnr": 31.5}
    assert (tmp_path / "columns.csv").read_text().split() == ["t,x", "0,2", "1,3"]
    assert (tmp_path / "rows.csv").read_text().split() == ["1,2", "3,4"]


def test_a_bad_frame_late_in_a_series_leaves_the_earlier_ones_beside(image: np.ndarray, tmp_path: Path) -> None:
    series = np.stack([image.reshape(-1, *image.shape[-2:])[0].astype(np.float32)] * 3)
    series[2, 0, 0] = np.nan
    plan, inputs = make_plan("toy.smooth", {"image": [ImageStack.of(series, "TYX")]})
    with pytest.raises(InputError, match=r"at t=2 .*NaN.*; what was finished is in .*a\.partial\.ome\.tif"):
        list(OutputWriter(tmp_path / "a.ome.tif", plan).through(run_plan(plan, inputs)))
    assert not (tmp_path / "a.ome.tif").exists()
    kept = open_stack(tmp_path / "a.partial.ome.tif").read()
    assert kept[:2].any() and not kept[2].any() and read_provenance(tmp_path / "a.partial.ome.tif")["partial"] is True


def test_the_model_of_a_cancelled_training_takes_no_other_ones_place(image: np.ndarray, tmp_path: Path) -> None:
    def train(cancel: bool) -> OutputWriter:
        plan, inputs = make_plan("toy.smooth", {"image": [image]}, {"training_steps": 2})
        writer, token = OutputWriter(tmp_path / "m.safetensors", plan, only_model=True), CancelToken()
        for event in writer.through(run_plan(plan, inputs, token)):
            if cancel and getattr(event, "kind", "") == "model":
                token.cancel()
        return writer

    assert train(cancel=False).main == "gain"
    whole = (tmp_path / "m.safetensors").read_bytes()
    assert train(cancel=True).paths["gain"] == str(tmp_path / "m.partial.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == whole
    (tmp_path / "m.safetensors").unlink()
    assert train(cancel=True).paths["gain"] == str(tmp_path / "m.safetensors")
