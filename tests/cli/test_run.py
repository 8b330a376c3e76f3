from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.events import BlockReady, Progress
from napari_recon.io import open_stack, read_provenance

from .conftest import Cli, Steps


def test_run_writes_the_image_and_reports_it_as_one_json_object(cli: Cli, image_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "a.ome.tif"
    words = ["--roi", "y=4:20,x=0:30", "--time", "1:3", "--set", "radius=2", "--seed", 5, "--device", "cpu", "--json"]
    answer = cli("run", "toy.smooth", image_file, "-o", out, *words)
    assert answer.code == 0 and answer.err == ""
    values = answer.json
    assert set(values) == set(
        "result outputs shape dtype axes scale translate units seconds peak_memory_bytes device metrics report warnings "
        "partial".split()
    )
    assert values["result"] == str(out) == values["outputs"]["smooth"]
    assert values["shape"] == [2, 16, 30] and values["axes"] == "TYX" and values["dtype"] == "float32"
    assert values["scale"][1:] == [0.25, 0.25] and values["units"][1:] == ["micrometer"] * 2
    assert values["translate"][1] == pytest.approx(4 * 0.25 - 0.125)
    assert values["device"] == "cpu" and values["partial"] is False and values["peak_memory_bytes"] > 10**7
    assert open_stack(out).grid.shape == (2, 16, 30)


def test_the_same_region_in_every_space(cli: Cli, image_file: Path, tmp_path: Path) -> None:
    spaces = {"output": "y=4:20,x=8:16", "input": "y=2:10,x=4:8", "world": "y=0.75:4.75,x=1.75:3.75"}
    shapes = {}
    for space, roi in spaces.items():
        answer = cli(
            "run", "toy.smooth", image_file, "-o", tmp_path / f"{space}.npy", "--roi", roi, "--roi-space", space, "--json"
        )
        shapes[space] = (answer.json["shape"], answer.json["translate"])
    assert shapes["output"] == shapes["input"] == shapes["world"]


def test_parameters_from_a_file_are_overridden_by_set(cli: Cli, image_file: Path, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("radius: 4\ntile_size: 9\n")
    cli(
        "run",
        "toy.smooth",
        image_file,
        "-o",
        tmp_path / "a.tif",
        "--params",
        tmp_path / "settings.yaml",
        "--set",
        "radius=1",
    )
    assert read_provenance(tmp_path / "a.tif")["recipe"]["steps"][0]["params"] == {
        "radius": 1,
        "tile_size": 9,
        "training_steps": 0,
    }


def test_named_inputs_and_hand_given_axes(cli: Cli, image: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "raw.npy", image)
    np.save(tmp_path / "dark.npy", image[0])
    words = ["--input", f"background={tmp_path / 'dark.npy'}", "--axes", "cyx", "--voxel-size", "y=0.2,x=0.2"]
    answer = cli("run", "toy.smooth", tmp_path / "raw.npy", "-o", tmp_path / "a.npy", *words, "--set", "radius=0", "--json")
    assert answer.json["axes"] == "CYX" and answer.json["scale"] == pytest.approx([1.0, 0.1, 0.1])
    assert not np.load(tmp_path / "a.npy")[0].any()


def test_a_quoted_glob_is_a_series(cli: Cli, image: np.ndarray, tmp_path: Path) -> None:
    for number in (1, 2, 10):
        np.save(tmp_path / f"t{number}.npy", image[0] + number)
    answer = cli("run", "toy.smooth", tmp_path / "t*.npy", "-o", tmp_path / "r.tif", "--set", "radius=0", "--json")
    assert answer.json["shape"] == [3, 48, 64]
    assert (np.diff(open_stack(tmp_path / "r.tif").read()[:, 0, 0]) == [1, 8]).all()


def test_recipe_out_and_rerun(cli: Cli, image_file: Path, tmp_path: Path) -> None:
    cli("run", "toy.smooth", image_file, "-o", tmp_path / "a.tif", "--recipe-out", tmp_path / "r" / "a.recipe.yaml")
    for source, default in ((tmp_path / "a.tif", "a.rerun.tif"), (tmp_path / "r" / "a.recipe.yaml", "r/a.rerun.ome.tif")):
        answer = cli("rerun", source, "--json")
        assert answer.code == 0 and answer.json["result"] == str(tmp_path / default)
        np.testing.assert_array_equal(open_stack(tmp_path / default).read(), open_stack(tmp_path / "a.tif").read())


def test_rerun_says_when_the_input_is_another_one(cli: Cli, image: np.ndarray, image_file: Path, tmp_path: Path) -> None:
    cli("run", "toy.smooth", image_file, "-o", tmp_path / "a.tif")
    np.save(tmp_path / "other.npy", image)
    answer = cli(
        "rerun", tmp_path / "a.tif", "-o", tmp_path / "b.tif", "--input", f"image={tmp_path / 'other.npy'}", "--json"
    )
    assert answer.code == 0 and "fingerprint" in answer.json["warnings"][0]


def test_train_writes_the_model_alone(cli: Cli, image_file: Path, tmp_path: Path) -> None:
    answer = cli("train", "toy.smooth", image_file, "-o", tmp_path / "m.safetensors", "--set", "training_steps=3", "--json")
    assert answer.code == 0 and answer.json["result"] == str(tmp_path / "m.safetensors")
    assert answer.json["shape"] is None and "loss" in answer.json["metrics"] and not (tmp_path / "m.tif").exists()


def test_plan_is_a_dry_run(cli: Cli, image_file: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    answer = cli("plan", "toy.smooth", image_file, "--set", "tile_size=6", "--json")
    assert answer.code == 0 and answer.json["outputs"]["smooth"]["shape"] == [3, 48, 64]
    assert answer.json["tiles"] == 3 * 4 * 6 and answer.json["memory_bytes"] > 0 and answer.json["seconds"] > 0
    assert sorted(tmp_path.iterdir()) == before
    text = cli("plan", "toy.smooth", image_file).out
    assert "48 x 64" in text and "memory" in text and "time: " in text


def test_quiet_says_nothing_and_json_nothing_else(cli: Cli, image_file: Path, tmp_path: Path) -> None:
    answer = cli("run", "toy.steps", image_file, "-o", tmp_path / "a.tif", "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    answer = cli("run", "toy.steps", image_file, "-o", tmp_path / "a.tif", "--json")
    assert answer.json["warnings"] == ["rows take a while"] and "rows take a while" in answer.err


def test_ctrl_c_keeps_the_partial_result_and_leaves_with_3(
    cli: Cli, image_file: Path, tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(plan, frame, index, token):
        for row in range(48):
            token.check()
            yield BlockReady("smooth", (slice(row, row + 1), slice(0, 64)), np.full((1, 64), row + 1.0))
            yield Progress(row, 48)
            if row == 9:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(steps, "process_frame", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    answer = cli("run", "toy.steps", image_file, "-o", tmp_path / "a.tif", "--json")
    assert answer.code == 3 and answer.json["partial"] is True and "cancelled" in answer.err
    tyx = open_stack(tmp_path / "a.tif").read()
    assert tyx[0, 9, 0] == 10 and not tyx[0, 11:].any() and not tyx[1:].any()
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.skipif(sys.platform == "win32", reason="a signal of a terminal")
@pytest.mark.parametrize("module", ["typer", "napari_recon.cli.options", "napari_recon.jobs.planning"])
def test_ctrl_c_while_the_program_is_still_loaded_leaves_with_3(module: str) -> None:
    code = f"""
import os, signal, sys
class Interrupts:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
sys.argv[1:] = ["plan", "sim.wiener", "nothing.tif"]
from napari_recon.__main__ import main
main()
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stderr) == (3, "cancelled\n")


def test_out_of_memory_leaves_with_4_and_keeps_what_was_finished(
    cli: Cli, image_file: Path, tmp_path: Path, steps: Steps
) -> None:
    steps.fail_at = 4
    answer = cli("run", "toy.steps", image_file, "-o", tmp_path / "a.tif")
    assert answer.code == 4 and "smaller tiles" in answer.sentence
    assert open_stack(tmp_path / "a.tif").read()[0, 3, 0] == 4


def test_a_defect_is_short_unless_debugging(
    cli: Cli, image_file: Path, tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "process_frame", lambda *a: iter([1 / 0]))
    answer = cli("run", "toy.steps", image_file, "-o", tmp_path / "a.tif")
    assert answer.code == 1 and "ZeroDivisionError" in answer.sentence and not list(tmp_path.glob("a*"))
    monkeypatch.setenv("NAPARI_RECON_DEBUG", "1")
    assert "Traceback" in cli("run", "toy.steps", image_file, "-o", tmp_path / "a.tif").err


def test_numbers_that_are_not_finite_stay_strict_json() -> None:
    from napari_recon.cli.json_text import dumps

    text = dumps({"a": float("inf"), "b": [np.float32("nan"), np.array([1, 2])], "c": -np.inf, "d": "infinity"})
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": float("inf"),
        "b": [None, [1, 2]],
        "c": float("-inf"),
        "d": "infinity",
    }
