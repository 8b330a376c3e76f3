"""The queue of all docks: order, devices, what is left when napari ends."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady
from napari_recon.core.settings import config_folder
from napari_recon.jobs import make_plan
from napari_recon.viewer.kept_models import keep_quietly
from napari_recon.viewer.layer_input import stack_from_layer
from napari_recon.viewer.queue import JobQueue, job_queue
from napari_recon.viewer.queue_entry import Entry
from napari_recon.viewer.queue_store import Record, job_again, record_of_job
from napari_recon.viewer.run import Job, ProgressState, RunController
from tests.viewer.conftest import views, wait_for_workers
from tests.viewer.fake import Fake


@pytest.fixture
def queue() -> JobQueue:
    return job_queue()


@pytest.fixture
def layer(viewer):
    return viewer.add_layer(views())


@pytest.fixture
def second(viewer):
    made = RunController(viewer)
    yield made
    made.close()


def outlined(layer, title="cells · Planes", device="cpu", preview=False, **params) -> Job:
    """A job whose plan the queue knows before it runs; `device` is only said, everything runs on the processor."""
    stack = stack_from_layer(layer, "VYX")

    def planned():
        plan, inputs = make_plan("fake.planes", {"views": [stack]}, params)
        return plan.model_copy(update={"compute": plan.compute.model_copy(update={"device": device})}), inputs

    return Job(planned, title=title, parent_layers=(layer,), preview=preview, outline=lambda: planned()[0])


def states(queue: JobQueue) -> dict[str, str]:
    return {entry.job.title: entry.state for entry in queue.entries}


def done(queue: JobQueue) -> bool:
    return not any(entry.waits or entry.active for entry in queue.entries)


def test_one_job_at_a_time_in_the_order_that_a_person_gives(queue, controller, second, layer, qtbot) -> None:
    ended: list[str] = []
    for one in (controller, second):
        one.finished.connect(lambda result: ended.append(result.job.title))
    controller.start([outlined(layer, "a", delay=0.1), outlined(layer, "b")])
    second.start([outlined(layer, "c"), outlined(layer, "d")])
    assert states(queue) == {"a": "planning", "b": "waiting", "c": "waiting", "d": "waiting"}
    queue.move(queue.entries[3], -1)
    queue.move(queue.entries[2], -1)
    queue.move(queue.entries[3], 1)  # the last one stays the last
    assert [e.job.title for e in queue.entries] == ["a", "d", "b", "c"]
    qtbot.waitUntil(lambda: done(queue), timeout=10000)
    assert ended == ["a", "d", "b", "c"] and set(states(queue).values()) == {"finished"}
    assert all(e.text.startswith("finished in") and len(e.layers) == 1 for e in queue.entries)
    assert controller.state == second.state == "idle"
    assert all(not e.job.parent_layers for e in queue.entries), "data of what is done is not held"


def test_a_job_on_the_processor_runs_beside_one_on_the_graphics_card(
    queue, controller, second, viewer, layer, qtbot, monkeypatch
) -> None:
    monkeypatch.setattr(Fake, "uses_torch", True)

    def on_cpu(plan, inputs, token):
        return Fake().run(plan.model_copy(update={"compute": Compute(device="cpu", threads=1)}), inputs, token)

    controller._runner = second._runner = on_cpu
    third = RunController(viewer)
    controller.start([outlined(layer, "gpu", "cuda", delay=0.2, planes=20)])
    second.start([outlined(layer, "gpu too", "cuda:1", delay=0.01)])
    third.start([outlined(layer, "cpu", "cpu", delay=0.2, planes=20)])
    qtbot.waitUntil(lambda: states(queue) == {"gpu": "running", "gpu too": "waiting", "cpu": "running"}, timeout=5000)
    assert [e.device for e in queue.entries] == ["gpu", "gpu", "cpu"]
    controller.cancel()
    qtbot.waitUntil(lambda: queue.entries[1].text.startswith("finished"), timeout=15000)
    assert states(queue)["cpu"] == "running" and states(queue)["gpu"] == "partial"
    third.close()
    wait_for_workers()


def test_an_engine_without_torch_runs_on_the_processor_whatever_the_plan_says(layer) -> None:
    plan = outlined(layer, device="cuda").outline()
    assert Entry(Job(plan), None, plan=plan).device == "cpu"


def test_a_preview_goes_first(queue, controller, second, layer, qtbot) -> None:
    controller.start([outlined(layer, "a", delay=0.1), outlined(layer, "b")])
    second.start([outlined(layer, "preview", preview=True)])
    assert [e.job.title for e in queue.entries] == ["a", "preview", "b"]
    qtbot.waitUntil(lambda: done(queue), timeout=5000)


def test_pausing_one_or_all(queue, controller, layer, qtbot, gate) -> None:
    controller.start([outlined(layer, "a", planes=5), outlined(layer, "b"), outlined(layer, "c")])
    _, b, c = queue.entries
    queue.pause(b, True)
    qtbot.waitUntil(lambda: states(queue)["a"] == "running", timeout=5000)
    queue.pause_all(True)
    assert states(queue) == {"a": "paused", "b": "held", "c": "waiting"}
    qtbot.wait(100)
    assert states(queue)["c"] == "waiting"
    queue.pause_all(False)
    gate.set()
    qtbot.waitUntil(lambda: c.state == "finished", timeout=5000)
    assert b.state == "held" and controller.state == "planning"
    queue.pause(b, False)
    qtbot.waitUntil(lambda: b.state == "finished" and controller.state == "idle", timeout=5000)


def test_what_is_paused_while_it_is_planned_does_not_start(queue, controller, layer, qtbot) -> None:
    controller.start([outlined(layer, "a")])
    queue.pause_all(True)
    qtbot.waitUntil(lambda: states(queue) == {"a": "paused"}, timeout=5000)
    queue.pause_all(False)
    qtbot.waitUntil(lambda: done(queue), timeout=5000)


def test_cancelling_one_leaves_the_others(queue, controller, layer, qtbot) -> None:
    controller.start([outlined(layer, "a", delay=0.2, planes=30), outlined(layer, "b"), outlined(layer, "c")])
    a, b, _ = queue.entries
    queue.cancel(b)
    assert controller.queued == ["c"]
    qtbot.waitUntil(lambda: a.state == "running", timeout=5000)
    queue.cancel(a)
    qtbot.waitUntil(lambda: states(queue) == {"a": "partial", "c": "finished"}, timeout=5000)
    queue.cancel(a)
    assert "a" not in states(queue)
    queue.clear_ended()
    assert queue.entries == []


def test_cancelling_the_only_one_that_waits_frees_its_dock(queue, controller, second, layer) -> None:
    controller.start([outlined(layer, "a", delay=0.2, planes=30)])
    second.start([outlined(layer, "b")])
    assert second.state == "planning"
    queue.cancel(queue.entries[1])
    assert second.state == "idle"


def test_remaining_time_counts_devices_beside_each_other(queue, controller, layer, monkeypatch) -> None:
    monkeypatch.setattr(Fake, "uses_torch", True)
    plans = [outlined(layer, device=device).outline() for device in ("cpu", "cuda", "cuda", "cpu")]
    queue.entries = [
        Entry(Job(plan), controller, plan=plan, expected_s=seconds)
        for plan, seconds in zip(plans, (100.0, 30.0, 50.0, 7.0), strict=True)
    ]
    assert queue.remaining() == (107.0, True)
    queue.entries.append(Entry(Job(plans[0]), controller, expected_s=None))
    assert queue.remaining() == (107.0, False)
    queue.entries.clear()


def test_a_waiting_job_takes_as_long_as_a_running_one_of_its_kind(queue, controller, layer) -> None:
    small, large = outlined(layer).outline(), outlined(layer, planes=6).outline()
    resources = large.resources.model_copy(update={"work": 2 * small.work})
    runs, waits = (Entry(Job(p), controller, plan=p) for p in (small, large.model_copy(update={"resources": resources})))
    runs.state, runs.progress = "running", ProgressState(elapsed_s=2.0, remaining_s=8.0)
    queue.entries = [runs, waits]
    assert queue.remaining() == (8.0 + 20.0, True)
    queue.entries.clear()


def test_a_job_outlives_its_dock(queue, viewer, layer, qtbot, gate) -> None:
    dock = RunController(viewer)
    told: list[object] = []
    dock.finished.connect(told.append)
    dock.start([outlined(layer, "a", planes=6)])
    dock.start([outlined(layer, "preview", preview=True), outlined(layer, "b")])
    qtbot.waitUntil(lambda: states(queue)["a"] == "running", timeout=5000)
    dock.leave()
    del dock
    gate.set()
    assert "preview" not in states(queue)
    qtbot.waitUntil(lambda: states(queue) == {"a": "finished", "b": "finished"}, timeout=5000)
    assert [x.name for x in viewer.layers] == ["cells", "a", "b"] and told == []


def test_a_dock_with_nothing_but_a_preview_closes_at_once(queue, viewer, layer, qtbot) -> None:
    dock = RunController(viewer)
    dock.start([outlined(layer, "preview", preview=True, delay=0.3, planes=30)])
    qtbot.waitUntil(lambda: states(queue)["preview"] == "running", timeout=5000)
    dock.leave()
    qtbot.waitUntil(lambda: states(queue) == {"preview": "partial"}, timeout=5000)
    idle = RunController(viewer)
    idle.leave()
    assert idle.closed


def left_behind(queue: JobQueue, controller: RunController, qtbot, *jobs: Job) -> None:
    """Let jobs wait and be noted, and make the note look like that of a process that has ended."""
    queue.paused = True
    controller.start(list(jobs))
    qtbot.waitUntil(lambda: all(e.plan is not None for e in queue.entries), timeout=5000)
    queue.save()
    (path,) = config_folder().glob("jobs-*.json")
    content = json.loads(path.read_text())
    controller.close()
    queue.reset()
    queue.save()
    assert not path.exists()
    path.with_name("jobs-1.json").write_text(json.dumps({**content, "since": 0}))


def test_what_waited_is_offered_after_a_restart_and_runs(queue, controller, viewer, layer, qtbot) -> None:
    slow, quick = outlined(layer, "a", delay=0.3, planes=30), outlined(layer, "b", planes=4)
    left_behind(queue, controller, qtbot, slow, quick, outlined(layer, "preview", preview=True))
    wait_for_workers()
    job_queue.cache_clear()
    restarted = job_queue()
    assert [record.title for record in restarted.left] == ["a", "b"]
    restarted.left = restarted.left[1:]
    again = RunController(viewer)
    assert restarted.resume_left(again) == []
    assert not config_folder().joinpath("jobs-1.json").exists()
    assert [job["title"] for job in json.loads(next(config_folder().glob("jobs-*.json")).read_text())["jobs"]] == ["b"]
    qtbot.waitUntil(lambda: states(restarted) == {"b": "finished"}, timeout=5000)
    assert viewer.layers["b"].data.shape == (4, 16, 20)
    np.testing.assert_allclose(viewer.layers["b"].translate[1:], layer.translate[1:], atol=0.5)
    restarted.save()
    assert not list(config_folder().glob("jobs-*.json"))
    again.close()


def test_a_layer_that_is_not_open_is_named_and_the_job_stays(queue, controller, viewer, layer, qtbot) -> None:
    left_behind(queue, controller, qtbot, outlined(layer, "a"))
    job_queue.cache_clear()
    restarted, other = job_queue(), RunController(viewer)
    layer.name = "renamed"
    (problem,) = restarted.resume_left(other)
    assert problem == "a needs the layer cells, which is not open; open it under that name"
    assert [record.title for record in restarted.left] == ["a"] and list(config_folder().glob("jobs-*.json"))
    layer.name = "cells"
    assert restarted.resume_left(other) == [] and restarted.left == []
    qtbot.waitUntil(lambda: done(restarted), timeout=5000)
    other.close()


def test_what_nobody_wants_is_forgotten(queue, controller, layer, qtbot) -> None:
    left_behind(queue, controller, qtbot, outlined(layer, "a"))
    job_queue.cache_clear()
    job_queue().forget_left()
    job_queue.cache_clear()
    assert job_queue().left == [] and not list(config_folder().glob("jobs-*.json"))


def test_a_closing_window_leaves_its_jobs_to_the_next(queue, controller, second, layer, qtbot) -> None:
    controller.start([outlined(layer, "a", delay=0.2, planes=30), outlined(layer, "b")])
    second.start([outlined(layer, "c")])
    qtbot.waitUntil(lambda: all(e.plan is not None for e in queue.entries), timeout=5000)
    controller._worker.quit()  # what napari does to every worker
    qtbot.waitUntil(lambda: queue.entries == [], timeout=5000)
    assert [record.title for record in queue.left] == ["a", "b", "c"]
    queue.save()
    (path,) = config_folder().glob("jobs-*.json")
    assert len(json.loads(path.read_text())["jobs"]) == 3


def test_notes_of_the_living_and_broken_ones_are_left_alone(queue, layer) -> None:
    config_folder().mkdir(parents=True, exist_ok=True)
    config_folder().joinpath("jobs-2.json").write_text("{")
    config_folder().joinpath("jobs-3.json").write_text(json.dumps({"process": 1, "since": "never", "jobs": []}))
    job_queue.cache_clear()
    assert job_queue().left == []


def test_a_job_on_a_file_needs_no_layer(viewer, tmp_path) -> None:
    path = tmp_path / "views.npy"
    np.save(path, np.ones((5, 8, 10), np.float32))
    plan, _ = make_plan("fake.planes", {"views": [str(path)]}, {"planes": 2}, compute=Compute(device="cpu"))
    record = record_of_job("a", plan, "a.ome.zarr")
    assert job_again(record, viewer).out == "a.ome.zarr"
    made, inputs = job_again(record, viewer).prepared()
    assert made.params == plan.params and inputs["views"][0].data.shape == (5, 8, 10)
    with pytest.raises(InputError, match="should hold a recipe"):
        job_again(replace(record, recipe={}), viewer)
    assert Record("b", {}).own is False


def test_a_model_of_a_run_whose_dock_is_gone_is_kept(monkeypatch, qtbot) -> None:
    kept: list[tuple] = []
    said: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "napari_recon.viewer.kept_models.kept_model", lambda *args: kept.append(args) or SimpleNamespace(name="net")
    )
    early = {"card": {"training": {"complete": False}}}
    for kind, payload in (("table", []), ("model", early), ("model", {"card": {}})):
        event = ArtifactReady("model", kind, payload)
        keep_quietly(event, "serenet.train", "cells · Train", lambda text, level: said.append((text, level)))
    qtbot.waitUntil(lambda: bool(said), timeout=5000)
    ((payload, name, title),) = kept
    assert payload == {"card": {}} and name.startswith("serenet-train-") and title.startswith("cells · Train · ")
    assert said == [("The model net is in the menu of its dock", "info")]


def test_a_run_without_a_dock_speaks_through_napari(viewer, layer, qtbot, monkeypatch, gate) -> None:
    said: list[str] = []
    for name in ("show_info", "show_warning"):
        monkeypatch.setattr(f"napari_recon.viewer.run.{name}", said.append)
    dock = RunController(viewer)
    dock.start([outlined(layer, "a", planes=4)])
    qtbot.waitUntil(lambda: dock.state == "running", timeout=5000)
    dock.leave()
    gate.set()
    qtbot.waitUntil(lambda: any(text.startswith("finished in") for text in said), timeout=8000)
