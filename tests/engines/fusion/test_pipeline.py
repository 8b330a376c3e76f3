"""fusion.pipeline: equal to its steps one by one, resumable, one transform for a series, clear about what is missing."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Finished, Progress, Warned
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.chain.params import PipelineParams
from napari_recon.engines.fusion.chain.run import mirrored
from napari_recon.engines.fusion.chain.work import Making, WorkFolder
from tests.engines.fusion.chain import QUICK, recording

FRAME = slice(0, 1)


def run(raw: Any = None, psfs: int = 2, on_event: Any = None, **options: Any) -> Any:
    made = recording()
    inputs = {"raw": [made["raw"] if raw is None else raw], "psf": [made["psf_a"], made["psf_b"]][:psfs]}
    if not psfs:
        inputs.pop("psf")
    params = {**QUICK, **options.pop("params", {})}
    return napari_recon.run("fusion.pipeline", inputs=inputs, params=params, threads=1, on_event=on_event, **options)


def test_it_is_the_engines_one_after_the_other() -> None:
    made = recording()
    first = ImageStack(np.asarray(made["raw"].data)[0], made["raw"].grid.only("ZYX"), "raw")
    found = run(first, params={"keep_intermediate": True})
    clean = napari_recon.run("fusion.background", first, params={"preset": "SKL"}, threads=1)
    straight = napari_recon.run("fusion.deskew", clean.outputs["clean"], threads=1)
    split = {name.partition(".")[2]: value for name, value in QUICK.items() if name.startswith("split")}
    views = napari_recon.run("fusion.split_views", straight.outputs["volume"], params=split, threads=1)
    pair = {"views": [views.outputs["view_a"], views.outputs["view_b"]], "psf": [made["psf_a"], made["psf_b"]]}
    fused = napari_recon.run("fusion.multiview_rl", inputs=pair, params={"iterations": 3, "background": 0}, threads=1)
    for ours, theirs in ((found["clean"], clean["clean"]), (found["straight"], straight["volume"])):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found["view_b"], views["view_b"])
    np.testing.assert_array_equal(found["fused"], fused["volume"])
    assert found.outputs["fused"].grid == fused.outputs["volume"].grid
    assert set(found.report) >= {"background", "deskew", "split_views", "multiview_rl"}


def test_an_interrupted_run_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    whole = run()["fused"]
    ran: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, Progress) and event.message.endswith("done"):
            ran.append(event.message)

    for stop in (1, 3, 6):  # between two steps of the first frame, of its last, of the second frame
        folder = {"work_folder": str(tmp_path / str(stop))}
        token, seen = CancelToken(), []

        def leave(event: Event, seen: list[str] = seen, token: CancelToken = token, stop: int = stop) -> None:
            if isinstance(event, Progress) and event.message.endswith("done"):
                seen.append(event.message)
                if len(seen) == stop:
                    token.cancel()

        partial = run(params=folder, token=token, on_event=leave)
        assert partial.partial
        kept = sorted(p.name for p in (tmp_path / str(stop)).iterdir() if p.is_dir())
        assert len(kept) == stop and not any(name.endswith(".part") for name in kept)
        times = {p: (tmp_path / str(stop) / p / "record.json").stat().st_mtime_ns for p in kept}
        np.testing.assert_array_equal(run(params=folder, on_event=note)["fused"], whole)
        assert all((tmp_path / str(stop) / p / "record.json").stat().st_mtime_ns == t for p, t in times.items())


KILLED = """
import os, sys
from tests.engines.fusion.test_pipeline import run
def die(event):
    if "split views" in getattr(event, "message", ""):  # in the middle of a step
        os._exit(9)
run(params={"work_folder": sys.argv[1]}, on_event=die)
"""


def test_a_killed_process_leaves_nothing_half_done(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=250, check=False).returncode == 9
    done = [p for p in tmp_path.iterdir() if (p / "record.json").exists()]
    assert 2 <= len(done) <= 3 and not any(p.name.startswith(".") for p in done)
    np.testing.assert_array_equal(run(params={"work_folder": str(tmp_path)})["fused"], run()["fused"])


def test_the_cache_is_left_empty_by_a_whole_run_and_used_by_the_next_after_a_partial_one() -> None:
    from napari_recon.hub import cache_folder

    folder, token = cache_folder() / "pipeline", CancelToken()

    def leave(event: Event) -> None:
        if isinstance(event, Progress) and event.message == "time point 0, multiview rl, done":
            token.cancel()

    run(token=token, on_event=leave)
    kept = list(folder.iterdir())
    assert len(kept) == 4 and not any(token in p.name for p in kept for token in (".part",))
    run()
    assert not list(folder.iterdir())


def test_other_settings_of_the_last_step_start_from_the_work_folder(tmp_path: Path) -> None:
    folder = {"work_folder": str(tmp_path)}
    run(params=folder)
    before = {p.name for p in tmp_path.iterdir() if p.is_dir()}
    again = run(params={**folder, "multiview_rl.iterations": 4})
    new = {p.name for p in tmp_path.iterdir() if p.is_dir()} - before
    assert len(before) == 8 and len(new) == 2
    np.testing.assert_array_equal(again["fused"], run(params={"multiview_rl.iterations": 4})["fused"])


def test_a_result_is_known_by_what_it_follows_from(tmp_path: Path) -> None:
    raw = recording()["raw"]
    one = run(params={"work_folder": str(tmp_path)})["fused"]
    other = ImageStack(np.asarray(raw.data)[::-1].copy(), raw.grid, "raw", metadata=raw.metadata)
    np.testing.assert_array_equal(run(other, params={"work_folder": str(tmp_path)})["fused"], run(other)["fused"])
    assert not np.array_equal(one, run(other)["fused"])
    count = len([p for p in tmp_path.iterdir() if p.is_dir()])
    run(psfs=1, params={"work_folder": str(tmp_path)})  # the second is the first turned over: nothing new
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == count
    run(psfs=0, params={"work_folder": str(tmp_path)})
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == count + 2


def test_a_series_is_split_by_one_transform_also_when_its_first_frame_is_not_asked_for() -> None:
    found: list[Any] = []

    def note(event: Event) -> None:
        if isinstance(event, ArtifactReady) and event.kind == "transform":
            found.append(event.payload)

    options = {"multiview_rl.iterations": "auto"}
    whole = run(params=options, on_event=note)
    assert len(found) == 1
    late = run(params=options, time=1, on_event=note)
    assert len(found) == 2 and found[0] == found[1]
    np.testing.assert_array_equal(late["fused"][0], whole["fused"][1])
    frames = whole.report["frames"]
    assert [f["time_point"] for f in frames] == [0, 1]
    assert frames[0]["multiview_rl"]["iterations"] == frames[1]["multiview_rl"]["iterations"]
    decided = whole.provenance["recipe"]["steps"][0]["params"]
    assert isinstance(decided["multiview_rl"]["iterations"], int) and decided["deskew"]["direction"] == 1
    again = napari_recon.rerun(
        whole, inputs={"raw": recording()["raw"], "psf": [recording()["psf_a"], recording()["psf_b"]]}
    )
    np.testing.assert_array_equal(again["fused"], whole["fused"])


def test_progress_covers_all_steps_and_never_goes_back() -> None:
    done: list[float] = []
    run(on_event=lambda e: done.append(e.done / e.total) if isinstance(e, Progress) else None)
    assert all(b >= a - 1e-9 for a, b in pairwise(done)) and done[-1] == pytest.approx(1)


def test_a_time_point_without_one_view_is_said_and_fused_from_the_other() -> None:
    made = recording(line=0.0)["raw"]
    data = np.asarray(made.data).copy()
    data[1, :, :, data.shape[-1] // 2 :] = 100  # the mirror image never reached the camera
    half = ImageStack(data, made.grid, "raw", metadata=made.metadata)
    found = run(half, params={"background.enabled": False})
    assert any("time point 1" in w and "hardly any light in view_" in w for w in found.warnings)
    assert found.report["frames"][1]["split_views"]["missing_view"] in ("a", "b")
    assert len(found.report["frames"][1]["multiview_rl"]["brightness"]) == 1
    assert len(found.report["frames"][0]["multiview_rl"]["brightness"]) == 2
    assert found["fused"][1].max() > 0


def test_an_empty_time_point_is_one_sentence_that_names_it() -> None:
    made = recording()["raw"]
    data = np.asarray(made.data).copy()
    data[1] = 100
    with pytest.raises(InputError, match="raw at t=1 is constant"):
        run(ImageStack(data, made.grid, "raw", metadata=made.metadata))


def test_a_mirror_turns_the_psf_over() -> None:
    made = recording()
    both = run(psfs=2)["fused"]
    one = run(psfs=1)["fused"]
    assert np.abs(one - both).max() < 0.02 * both.max()
    even = ImageStack.of(np.arange(4.0)[:, None, None] * np.ones((4, 3, 3)), "ZYX", "psf")
    np.testing.assert_array_equal(np.asarray(mirrored(even).data)[:, 0, 0], [0, 3, 2, 1])  # the middle, 2, stays
    assert made["psf_a"].grid.shape == made["psf_b"].grid.shape


def test_without_psfs_they_are_computed_for_the_views() -> None:
    computed, measured = run(psfs=0)["fused"], run()["fused"]
    assert np.corrcoef(computed.ravel(), measured.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("off", "last"),
    [
        ({"fusion": "none"}, {"view_a", "view_b"}),
        ({"fusion": "none", "split_views.enabled": False}, {"straight"}),
        ({"split_views.enabled": False, "background.enabled": False}, {"fused"}),
    ],
)
def test_steps_can_be_switched_off(off: dict[str, Any], last: set[str]) -> None:
    raw = recording()["raw"]
    first = ImageStack(np.asarray(raw.data)[0], raw.grid.only("ZYX"), "raw", metadata=raw.metadata)
    found = run(first, psfs=0, params=off)
    assert set(found.outputs) == last and all(found[name].max() > 0 for name in last)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({f"{s}.enabled": False for s in ("background", "deskew", "split_views")} | {"fusion": "none"}, "at least one step"),
        ({"vsi_sr.enabled": True}, "vsi_sr needs a model"),
        ({"fusion": "rldfn"}, "fusion=rldfn needs a model"),
        ({"deskew.angle": 3}, "deskew.angle is not a parameter"),
        ({"split_views.margin": 40}, "margin 40 needs more than"),
    ],
)
def test_what_does_not_fit_is_said_while_planning(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        napari_recon.plan("fusion.pipeline", recording()["raw"], params=params)


def test_psfs_that_no_view_takes_are_refused() -> None:
    made = recording()
    inputs = {"raw": [made["raw"]]}
    with pytest.raises(InputError, match="at most one psf for each of the 2 views, found 3"):
        napari_recon.plan("fusion.pipeline", inputs={**inputs, "psf": [made["psf_a"]] * 3})


def test_networks_take_their_place_in_the_chain(tmp_path: Path) -> None:
    from tests.engines.fusion.rldfn import example as fusing
    from tests.engines.fusion.vsi import vsi_example

    sharpening = vsi_example()
    raw = recording()["raw"]
    first = ImageStack(np.asarray(raw.data)[0], raw.grid.only("ZYX"), "raw", metadata=raw.metadata)
    found = run(
        first,
        model=sharpening.model(),
        params={"vsi_sr.orientations": 1, "multiview_rl.iterations": 1, "keep_intermediate": True},
    )
    assert found["sr"].shape[1:] == tuple(n * 3 // 2 for n in found["straight"].shape[1:])
    assert len(found["sr"]) == len(found["straight"]) - 6
    fused = run(first, model=fusing().model(), params={"fusion": "rldfn"})
    assert fused["fused"].shape == run(first)["fused"].shape and np.isfinite(fused["fused"]).all()
    with pytest.raises(InputError, match="set fusion=rldfn"):
        run(first, model=fusing().model())


def test_every_parameter_of_every_step_is_there() -> None:
    from napari_recon.engines.fusion.multiview_rl import MultiviewRL
    from napari_recon.engines.fusion.split_views import SplitViews

    names = {row["name"] if isinstance(row, dict) else row.name for row in napari_recon.list_parameters("fusion.pipeline")}
    for engine in (MultiviewRL, SplitViews):
        group = engine.info.name.partition(".")[2]
        assert {f"{group}.{n}" for n in engine.Params.model_fields} <= names
    assert PipelineParams().deskew.angle_deg == 30.8


def test_a_result_that_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    work = WorkFolder(str(tmp_path))
    making: Making = work.making("abc", [])
    making.drop()
    assert not list(tmp_path.iterdir()) and work.find("abc") is None
    kept = work.making("abc", []).done()
    assert work.find("abc") is not None and kept.whole
    (tmp_path / "abc" / "record.json").write_text("{")
    assert work.find("abc") is None


def test_warnings_say_which_step() -> None:
    seen: list[Event] = []
    raw = recording()["raw"]
    run(raw, psfs=0, params={"deskew.direction": -1, "split_views.enabled": False}, on_event=seen.append)
    assert any(isinstance(e, Warned) and e.message.startswith("deskew, time point 0: ") for e in seen)
    assert sum(isinstance(e, Finished) for e in seen) == 1 and any(isinstance(e, BlockReady) for e in seen)
