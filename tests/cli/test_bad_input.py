"""Everything malformed that can reach the command line: code 2, one sentence with a remedy, nothing left behind."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from napari_recon import samples
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack, write_stack

from .conftest import Cli

RL = "deconvolution.lightfield_rl"
NET = "serenet.reconstruct"


class Runs:
    """A pickle that would make a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="session")
def views() -> np.ndarray:
    """One small frame of the sample: 49 views of 15 x 15."""
    return open_stack(samples.path("lightfield.ome.tif")).read("VYX", t=0)[:, :15, :15]


@pytest.fixture
def folder(tmp_path: Path, views: np.ndarray) -> Path:
    """A folder with a good light field and many bad ones."""

    def save(name: str, array: np.ndarray) -> None:
        np.save(tmp_path / f"{name}.npy", array)

    write_stack(tmp_path / "good.ome.tif", ImageStack.of(views, "VYX"))
    save("plain", views)
    save("48views", views[:48])
    save("2d", views[0])
    save("5d", views[None, None])
    save("6d", views[None, None, None])
    save("empty_axis", views[:, :0])
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        bad = views.astype(np.float32)
        bad[5, 4, 3] = value
        save(name, bad)
    save("constant", np.full_like(views, 7))
    save("zero", np.zeros_like(views))
    save("bool", views > 10)
    save("complex", views.astype(np.complex64))
    save("text", views.astype(str))
    save("objects", np.array([{}, 1], dtype=object))
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((32, 32, 3), np.uint8), photometric="rgb")
    whole = (tmp_path / "good.ome.tif").read_bytes()
    (tmp_path / "zero_bytes.tif").write_bytes(b"")
    (tmp_path / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "header_only.tif").write_bytes(whole[:200])
    (tmp_path / "no_image.tif").write_text("These are words, not pixels.\n" * 50)
    (tmp_path / "no_image.npy").write_bytes(b"\x93NUMPYnonsense")
    (tmp_path / "notes.docx").write_bytes(b"PK\x03\x04")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "a_file").write_text("in the way")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    (tmp_path / "broken.yaml").write_text("a: [1, 2\n")
    (tmp_path / "wrong.yaml").write_text("iterationz: 3\n")
    _checkpoints(tmp_path)
    return tmp_path


def _checkpoints(folder: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3, 4), "layer.bias": torch.zeros(3)}, folder / "other_network.pth")
    torch.save(torch.zeros(3, 4), folder / "one_tensor.pth")
    torch.save({}, folder / "no_tensors.pth")
    (folder / "code.pth").write_bytes(pickle.dumps(Runs(folder / "executed")))
    torch.save({"layer.weight": Runs(folder / "executed")}, folder / "code_inside.pth")
    (folder / "zero_bytes.pth").write_bytes(b"")
    (folder / "page.pth").write_text("<!DOCTYPE html><html>not found</html>")
    good = folder / "good.pth"
    torch.save({"layer.weight": torch.zeros(300, 40)}, good)
    (folder / "truncated.pth").write_bytes(good.read_bytes()[:1000])
    (folder / "broken.safetensors").write_bytes(b"\xff" * 64)
    torch.save(torch.zeros(48, 101, 2), folder / "shift48.pt")
    torch.save(torch.zeros(49, 101), folder / "shift2d.pt")
    torch.save(torch.full((49, 101, 2), float("nan")), folder / "shiftnan.pt")


Words = list[str]


def _run(*words: str, engine: str = RL, out: str = "out.tif") -> Words:
    return ["run", engine, *words, "-o", out]


# id -> (words with paths relative to the folder, what the sentence must hold)
CASES: dict[str, tuple[Words, str]] = {
    # data
    "wrong number of views": (_run("48views.npy"), "48"),
    "no views at all": (_run("2d.npy"), "VYX"),
    "two dimensions too many": (_run("6d.npy"), "axes"),
    "empty axis": (_run("empty_axis.npy"), "shape"),
    "rgb": (_run("rgb.tif"), "RGB"),
    "nan": (_run("nan.npy"), "NaN"),
    "inf": (_run("inf.npy"), "infinite"),
    "constant": (_run("constant.npy"), "constant"),
    "all zero": (_run("zero.npy"), "constant"),
    "bool": (_run("bool.npy"), "bool"),
    "complex": (_run("complex.npy"), "complex"),
    "text": (_run("text.npy"), ""),
    "objects": (_run("objects.npy"), ""),
    "zero bytes": (_run("zero_bytes.tif"), "empty"),
    "truncated": (_run("truncated.tif"), "truncated.tif"),
    "header only": (_run("header_only.tif"), "header_only.tif"),
    "words in a tif": (_run("no_image.tif"), "no_image.tif"),
    "words in an npy": (_run("no_image.npy"), "no_image.npy"),
    "unknown suffix": (_run("notes.docx"), ".docx"),
    "missing file": (_run("missing.tif"), "missing.tif"),
    "missing array in a file": (_run("good.ome.tif::deconvolved"), ""),
    "folder without images": (_run("nothing"), "nothing"),
    "glob that matches nothing": (_run("z*.tif2"), ""),
    "no input": (_run(), "views"),
    "too many inputs": (_run(*["good.ome.tif"] * 9), "takes the inputs"),
    "unknown input name": (_run("good.ome.tif", "--input", "spf=plain.npy"), "spf"),
    "input without a file": (_run("good.ome.tif", "--input", "psf"), "NAME=FILE"),
    # axes and geometry
    "wrong axes": (_run("plain.npy", "--axes", "TYX"), "axes"),
    "too few axes": (_run("plain.npy", "--axes", "YX"), "axes"),
    "unknown axis": (_run("plain.npy", "--axes", "QYX"), "axes"),
    "repeated axis": (_run("plain.npy", "--axes", "YYX"), "axes"),
    "voxel size in words": (_run("plain.npy", "--voxel-size", "small"), "voxel size"),
    "voxel size zero": (_run("plain.npy", "--voxel-size", "y=0,x=0"), "voxel size"),
    # region and time
    "roi outside": (_run("good.ome.tif", "--roi", "y=0:5000"), "inside"),
    "roi empty": (_run("good.ome.tif", "--roi", "y=8:8"), "at least one voxel"),
    "roi reversed": (_run("good.ome.tif", "--roi", "y=9:3"), "at least one voxel"),
    "roi negative": (_run("good.ome.tif", "--roi", "y=-3:9"), "inside"),
    "roi along an axis that is not there": (_run("good.ome.tif", "--roi", "v=0:3"), "region"),
    "roi in words": (_run("good.ome.tif", "--roi", "everything"), "region"),
    "roi in fractions of a voxel": (_run("good.ome.tif", "--roi", "y=0.5:3"), "region"),
    "roi space unknown": (_run("good.ome.tif", "--roi", "y=0:9", "--roi-space", "moon"), "moon"),
    "world roi outside": (_run("good.ome.tif", "--roi", "y=900:990", "--roi-space", "world"), "region"),
    "time reversed": (_run("good.ome.tif", "--time", "5:2"), "forward"),
    "time empty": (_run("good.ome.tif", "--time", "2:2"), "at least one frame"),
    "time in words": (_run("good.ome.tif", "--time", "all"), "time range"),
    "time negative": (_run("good.ome.tif", "--time", "-1:3"), "time range"),
    "single frame where a series is asked": (_run("good.ome.tif", "--time", "3:10"), "single frame"),
    "time outside": (_run("5d.npy", "--axes", "TCVYX", "--time", "0:4"), "inside 0:1"),
    # parameters
    "unknown parameter": (_run("good.ome.tif", "--set", "iteration=3"), "iterations"),
    "parameter out of range": (_run("good.ome.tif", "--set", "psf_sigma=-1"), "psf_sigma"),
    "parameter of another type": (_run("good.ome.tif", "--set", "psf_sigma=wide"), "psf_sigma"),
    "parameter not finite": (_run("good.ome.tif", "--set", "psf_sigma=.nan"), "psf_sigma"),
    "parameter without value": (_run("good.ome.tif", "--set", "psf_sigma"), "NAME=VALUE"),
    "parameter with broken yaml": (_run("good.ome.tif", "--set", "psf_sigma=[1"), "YAML"),
    "parameter file missing": (_run("good.ome.tif", "--params", "none.yaml"), "none.yaml"),
    "parameter file holds a list": (_run("good.ome.tif", "--params", "list.yaml"), "list"),
    "parameter file is broken": (_run("good.ome.tif", "--params", "broken.yaml"), "YAML"),
    "parameter file with a typo": (_run("good.ome.tif", "--params", "wrong.yaml"), "iterationz"),
    "psf_shift of the wrong view count": (_run("good.ome.tif", "--set", "psf_shift=shift48.pt"), "48"),
    "psf_shift of the wrong shape": (_run("good.ome.tif", "--set", "psf_shift=shift2d.pt"), "psf_shift"),
    "psf_shift not finite": (_run("good.ome.tif", "--set", "psf_shift=shiftnan.pt"), "psf_shift"),
    "psf_shift missing": (_run("good.ome.tif", "--set", "psf_shift=gone.pt"), "gone.pt"),
    "psf_shift that runs code": (_run("good.ome.tif", "--set", "psf_shift=code.pth"), ""),
    "init for an engine that is not trained": (_run("good.ome.tif", "--init", "good.pth"), "--init"),
    # engines, models, devices
    "unknown engine": (_run("good.ome.tif", engine="deconvolution.magic"), RL),
    "model where none is used": (_run("good.ome.tif", "--model", "missing.pth"), "missing.pth"),
    "no model where one is needed": (_run("good.ome.tif", engine="serenet.twnet"), "model"),
    "unknown model": (_run("good.ome.tif", "--model", "no-such-model", engine=NET), "no-such-model"),
    "model file missing": (_run("good.ome.tif", "--model", "gone.pth", engine=NET), "gone.pth"),
    "checkpoint of another network": (_run("good.ome.tif", "--model", "other_network.pth", engine=NET), "layer.weight"),
    "checkpoint that is one tensor": (_run("good.ome.tif", "--model", "one_tensor.pth", engine=NET), "tensor"),
    "checkpoint without tensors": (_run("good.ome.tif", "--model", "no_tensors.pth", engine=NET), "weights"),
    "checkpoint that runs code": (_run("good.ome.tif", "--model", "code.pth", engine=NET), "code.pth"),
    "checkpoint with code inside": (_run("good.ome.tif", "--model", "code_inside.pth", engine=NET), "code_inside.pth"),
    "checkpoint of zero bytes": (_run("good.ome.tif", "--model", "zero_bytes.pth", engine=NET), "empty"),
    "checkpoint that is a web page": (_run("good.ome.tif", "--model", "page.pth", engine=NET), "text"),
    "checkpoint truncated": (_run("good.ome.tif", "--model", "truncated.pth", engine=NET), "truncated.pth"),
    "safetensors broken": (_run("good.ome.tif", "--model", "broken.safetensors", engine=NET), "broken.safetensors"),
    "unknown device": (_run("good.ome.tif", "--device", "gpu"), "gpu"),
    "absent device": (_run("good.ome.tif", "--device", "mps"), "mps"),
    "several devices": (_run("good.ome.tif", "--devices", "2"), "one device"),
    "number in words": (_run("good.ome.tif", "--seed", "lucky"), "--seed"),
    "train without a model to make": (["train", RL, "good.ome.tif", "-o", "m.pt"], "use run"),
    # places
    "no place": (["run", RL, "good.ome.tif"], "--out"),
    "unknown format": (_run("good.ome.tif", out="out.docx"), ".docx"),
    "no suffix": (_run("good.ome.tif", out="result"), "suffix"),
    "file in the way of a folder": (_run("good.ome.tif", out="a_file/out.tif"), "a_file"),
    "file in the way of an output folder": (_run("good.ome.tif", out="a_file/"), "a_file"),
    "unwritable folder": (_run("good.ome.tif", out="/proc/napari-recon/out.tif"), "/proc"),
    "unwritable recipe": (_run("good.ome.tif", "--recipe-out", "a_file/r.yaml"), "a_file"),
    "model with an image's suffix": (["train", "toy.smooth", "2d.npy", "-o", "m.tif"], ".safetensors"),
    # words
    "unknown command": (["reconstruct", "good.ome.tif"], "reconstruct"),
    "unknown option": (_run("good.ome.tif", "--gpu"), "--gpu"),
    "no engine": (["run"], "ENGINE"),
    "params of nothing": (["params", "magic"], "magic"),
    "simulation of nothing": (["simulate", "galaxy", "-o", "sim"], "lightfield"),
    "simulation parameter": (["simulate", "lightfield", "-o", "sim", "--set", "frames=0"], "frames"),
    "plan of a missing file": (["plan", RL, "missing.tif"], "missing.tif"),
    "rerun of nothing": (["rerun", "gone.recipe.yaml"], "gone.recipe.yaml"),
    "rerun of an image without recipe": (["rerun", "good.ome.tif"], "recipe"),
    "rerun of a list": (["rerun", "list.yaml"], "recipe"),
    "metrics of different shapes": (["metrics", "plain.npy", "48views.npy"], "shape"),
    "metrics with nan": (["metrics", "nan.npy", "plain.npy"], "NaN"),
    "metrics aligned oddly": (["metrics", "plain.npy", "plain.npy", "--align", "sideways"], "sideways"),
    "metrics with an odd peak": (["metrics", "plain.npy", "plain.npy", "--peak", "high"], "high"),
    "metrics cropped to nothing": (["metrics", "plain.npy", "plain.npy", "--crop", "z=90:95"], "crop"),
    "convert of nothing": (["convert", "gone.tif", "out.tif"], "gone.tif"),
    "convert to an unknown format": (["convert", "good.ome.tif", "out.docx"], ".docx"),
    "convert with too few axes": (["convert", "plain.npy", "out.tif", "--axes", "YX"], "--axes"),
    "check of nothing": (["models", "check", "gone.pth"], "gone.pth"),
    "check of code": (["models", "check", "code.pth"], "code.pth"),
    "check of another network": (["models", "check", "other_network.pth"], "no engine knows"),
    "import of another network": (["models", "import", "other_network.pth"], "layer.weight"),
    "show of nothing": (["models", "show", "nobody"], "nobody"),
    "fetch of nothing": (["models", "fetch", "nobody"], "nobody"),
    "remove of nothing": (["models", "remove", "nobody"], "nobody"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_one_sentence(case: str, cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, needed = CASES[case]
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    answer = cli(*words)
    assert answer.code == 2, (answer, case)
    assert answer.sentence.startswith("error: ") and needed in answer.sentence
    assert "Traceback" not in answer.err and answer.out == ""
    assert len(answer.sentence) > 35 and (";" in answer.sentence or "choose" in answer.sentence), answer.sentence
    assert [p for p in sorted(folder.rglob("*")) if p.is_file()] == [p for p in before if p.is_file()]
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_every_intensity_type_is_taken(dtype: str, cli: Cli, folder: Path, views: np.ndarray) -> None:
    np.save(folder / "typed.npy", np.clip(views, 0, 255).astype(dtype))
    words = ["--set", "iterations=1", "--set", "planes=5", "--roi", "y=0:20,x=0:20", "--json"]
    answer = cli("run", RL, folder / "typed.npy", "-o", folder / "out.npy", *words)
    assert answer.code == 0, answer.err
    assert answer.json["dtype"] == "float32" and np.isfinite(np.load(folder / "out.npy")).all()


def test_a_full_disk_leaves_with_4_before_anything_runs(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    answer = cli("run", RL, folder / "good.ome.tif", "-o", folder / "out.tif")
    assert answer.code == 4 and "free" in answer.sentence and not (folder / "out.tif").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(cli: Cli, folder: Path) -> None:
    locked = folder / "locked"
    locked.mkdir(mode=0o500)
    answer = cli("run", RL, folder / "good.ome.tif", "-o", locked / "out.tif")
    assert answer.code == 2 and "locked" in answer.sentence


def test_an_old_result_survives_a_failed_run(cli: Cli, folder: Path) -> None:
    (folder / "out.tif").write_bytes(b"yesterday's work")
    assert cli("run", RL, folder / "nan.npy", "-o", folder / "out.tif").code == 2
    assert (folder / "out.tif").read_bytes() == b"yesterday's work"


def test_the_table_covers_every_kind_of_bad_input() -> None:
    """A guard against rows lost in editing; the viewer's own rows (layer deleted, window closed) are tested there."""
    asked: list[Callable[[str], bool]] = [
        lambda c, w=word: w in c
        for word in (
            "number of views", "wrong axes", "rgb", "single frame", "roi outside", "roi empty", "time reversed", "nan",
            "inf", "constant", "bool", "zero bytes", "truncated", "words in a tif", "another network", "runs code",
            "psf_shift of the wrong view count", "unwritable folder",
        )
    ]  # fmt: skip
    assert all(any(found(case) for case in CASES) for found in asked)
