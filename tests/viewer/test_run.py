"""Jobs in the background, their layers, cancel, pause, errors and what people do meanwhile."""

from __future__ import annotations

import numpy as np
import pytest

from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.viewer.run import RunController, job_title
from tests.viewer.conftest import job_of, rests, run, views, wait_for_workers

KEY = "napari-recon"


def added(viewer, layer):
    viewer.add_layer(layer)
    return layer


def collected(signal) -> list:
    found: list = []
    signal.connect(lambda *args: found.append(args if len(args) > 1 else args[0]))
    return found


def test_a_run_fills_a_layer_and_says_how_it_went(controller, viewer, qtbot):
    layer = added(viewer, views())
    states, messages = collected(controller.state_changed), collected(controller.message)
    artifacts, progress = collected(controller.artifact), collected(controller.progressed)
    (result,) = run(controller, qtbot, job_of(layer))
    assert states == ["planning", "running", "idle"]
    (made,) = result.layers
    assert made in viewer.layers and viewer.layers.selection.active is made
    assert made.data.shape == (3, 16, 20) and made.data[2, 6, 8] == 300 and made.data[0].min() == 1
    assert ("intensities were left alone", "warning") in messages
    assert messages[-1][0].startswith("finished in") and messages[-1][0].endswith("; intensities were left alone")
    assert messages[-1][1] == "warning"
    assert artifacts[0].name == "summary"
    assert progress[-1].fraction == 1 and progress[-1].unit == "plane" and progress[-1].title == "cells · Planes"
    assert made.metadata[KEY]["recipe"]["steps"][0]["engine"] == "fake.planes"
    assert made.metadata[KEY]["partial"] is False and result.partial is False
    assert made.contrast_limits[1] > 1


def test_the_layer_exists_and_fills_before_the_run_ends(controller, viewer, qtbot, gate):
    layer = added(viewer, views())
    controller.start([job_of(layer, planes=4)])
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=3000)
    made = viewer.layers[1]
    assert made.metadata[KEY]["partial"] is True
    qtbot.waitUntil(lambda: made.contrast_limits[1] > 1, timeout=3000)
    assert controller.state == "running"
    assert made.data[0].any() and not made.data[3].any()
    gate.set()
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    assert made.data[3].any()


def test_a_selection_gives_exactly_that_box(controller, viewer, qtbot):
    layer = added(viewer, views())
    selection = Selection(box=Box(y=(2, 6), x=(3, 9)), space="input")
    (result,) = run(controller, qtbot, job_of(layer, selection=selection))
    (made,) = result.layers
    assert made.data.shape == (3, 8, 12)
    bright = np.argwhere(made.data[0] > 50).mean(axis=0)
    world = made.data_to_world((0, *bright))
    np.testing.assert_allclose(world[1:], layer.data_to_world((0, 3, 4))[1:])


@pytest.mark.parametrize("when", ["running", "paused", "planning"])
def test_cancel_acts_at_once_and_keeps_what_is_done(controller, viewer, qtbot, when):
    layer = added(viewer, views())
    results, messages = collected(controller.finished), collected(controller.message)
    controller.start([job_of(layer, delay=0.2, planes=1000), job_of(layer)])
    if when != "planning":
        qtbot.waitUntil(lambda: len(viewer.layers) == 2 and viewer.layers[1].data[0].any(), timeout=5000)
    if when == "paused":
        controller.pause()
    controller.cancel()
    assert controller.state == "stopping"
    qtbot.waitUntil(lambda: controller.state == "idle")
    (result,) = results
    assert result.partial and result.error is None
    if when == "planning":
        assert len(viewer.layers) == 1 and "nothing was finished" in messages[-1][0]
    else:
        assert result.layers[0].name.endswith("(partial)")
        assert result.layers[0].metadata[KEY]["partial"] is True
        assert result.layers[0].data[0].any()


def test_pause_holds_and_resume_goes_on(controller, viewer, qtbot):
    layer = added(viewer, views())
    progress = collected(controller.progressed)
    controller.start([job_of(layer, delay=0.05, planes=1000)])
    qtbot.waitUntil(lambda: controller.state == "running" and len(viewer.layers) == 2, timeout=3000)
    controller.pause()
    assert controller.state == "paused"

    def filled() -> int:
        return int(viewer.layers[1].data.any(axis=(1, 2)).sum())

    rests(qtbot, filled)
    before, elapsed = filled(), progress[-1].elapsed_s
    qtbot.wait(100)
    assert filled() == before < 1000
    assert progress[-1].elapsed_s == pytest.approx(elapsed)
    controller.resume()
    qtbot.waitUntil(lambda: filled() > before)
    controller.cancel()
    qtbot.waitUntil(lambda: controller.state == "idle")


def test_an_engine_deaf_to_its_token_is_left_at_its_next_event(controller, viewer, qtbot):
    layer = added(viewer, views())
    results = collected(controller.finished)
    controller.start([job_of(layer, delay=0.4, planes=50, deaf=True)])
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and viewer.layers[1].data[0].any(), timeout=5000)
    controller.cancel()
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    assert results[0].partial and viewer.layers[1].name.endswith("(partial)")


@pytest.mark.parametrize("fail, expected", [("runtime", "mat1 and mat2"), ("value", "unexpected ValueError")])
def test_an_error_is_told_and_finished_blocks_are_kept(controller, viewer, qtbot, fail, expected):
    layer = added(viewer, views())
    messages = collected(controller.message)
    first, second = run(controller, qtbot, job_of(layer, fail=fail), job_of(layer))
    assert expected in str(first.error) and first.partial
    assert any(expected in text and level == "error" for text, level in messages)
    assert first.layers[0].data[0].any() and first.layers[0].name.endswith("(partial)")
    assert first.layers[0].metadata[KEY]["recipe"]["steps"][0]["params"]["fail"] == fail
    assert second.error is None and not second.partial


def test_out_of_memory_offers_smaller_tiles_that_work(controller, viewer, qtbot):
    layer = added(viewer, views())
    offers = collected(controller.offered)
    (result,) = run(controller, qtbot, job_of(layer, fail="memory", tile_size=16))
    assert "smaller tile_size" in str(result.error)
    assert len(viewer.layers) == 1, "an empty result is not left behind"
    assert offers[0].label == "Retry with tile_size 8"
    results = collected(controller.finished)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.viewer.fake.Fake._maybe_fail", lambda self, how: None)
        offers[0].action()
        qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    assert results[0].error is None and results[0].plan.params["tile_size"] == 8


def test_bad_input_is_one_sentence_and_leaves_nothing(controller, viewer, qtbot):
    layer = added(viewer, views())
    (result,) = run(controller, qtbot, job_of(layer, selection=Selection(box=Box(y=(0, 900)), space="input")))
    assert "draw it on the data" in str(result.error) and len(viewer.layers) == 1 and result.plan is None
    layer.data = np.full((5, 8, 10), np.nan, np.float32)
    (result,) = run(controller, qtbot, job_of(layer))
    assert "NaN" in str(result.error) and len(viewer.layers) == 1


def test_the_result_layer_may_be_deleted_and_put_back(controller, viewer, qtbot, gate):
    layer = added(viewer, views())
    offers, messages = collected(controller.offered), collected(controller.message)
    controller.start([job_of(layer, planes=8)])
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and viewer.layers[1].data[0].any(), timeout=5000)
    made = viewer.layers[1]
    viewer.layers.remove(made)
    qtbot.waitUntil(lambda: bool(offers), timeout=1000)
    assert controller.state == "running" and "put back" in messages[-1][0]
    offers[0].action()
    assert made in viewer.layers
    gate.set()
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    assert made.data[7].any() and made.metadata[KEY]["partial"] is False


def test_a_deleted_result_stays_deleted_when_nobody_wants_it(controller, viewer, qtbot, gate):
    layer = added(viewer, views())
    controller.start([job_of(layer, planes=4)])
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=5000)
    viewer.layers.pop(1)
    gate.set()
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    assert list(viewer.layers) == [layer]


def test_other_layers_come_and_go_and_the_input_may_be_deleted(controller, viewer, qtbot, gate):
    layer = added(viewer, views())
    controller.start([job_of(layer, planes=6)])
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=5000)
    other = viewer.add_image(np.zeros((4, 4)), name="other")
    viewer.layers.remove(layer)
    viewer.dims.ndisplay = 3
    viewer.layers.remove(other)
    viewer.dims.ndisplay = 2
    gate.set()
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    assert [item.metadata[KEY]["partial"] for item in viewer.layers] == [False]


def test_several_jobs_run_one_after_another(controller, viewer, qtbot):
    layer = added(viewer, views())
    queues = collected(controller.queue_changed)
    boxes = [Box(y=(0, 4)), Box(y=(4, 8)), Box(x=(0, 5))]
    jobs = [
        job_of(layer, selection=Selection(box=b, space="input"), title=job_title("cells", "Planes", b), delay=0.02)
        for b in boxes
    ]
    results = run(controller, qtbot, *jobs)
    assert queues[0] == ["cells · Planes · y 0-4", "cells · Planes · y 4-8", "cells · Planes · x 0-5"]
    assert queues[-1] == []
    assert [r.layers[0].name for r in results] == queues[0]
    assert [r.layers[0].data.shape for r in results] == [(3, 8, 20), (3, 8, 20), (3, 16, 10)]


def test_every_run_makes_a_layer_and_a_preview_replaces_the_last(controller, viewer, qtbot):
    layer = added(viewer, views())
    run(controller, qtbot, job_of(layer))
    run(controller, qtbot, job_of(layer))
    assert [item.name for item in viewer.layers] == ["cells", "cells · Planes", "cells · Planes (2)"]
    (first,) = run(controller, qtbot, job_of(layer, preview=True, title="preview"))
    first.layers[0].colormap = "magma"
    first.layers[0].contrast_limits = (5, 50)
    (second,) = run(controller, qtbot, job_of(layer, preview=True, title="preview"))
    assert first.layers[0] not in viewer.layers and second.layers[0] in viewer.layers
    assert len(viewer.layers) == 4 and second.layers[0].name == "preview"
    assert second.layers[0].colormap.name == "magma" and list(second.layers[0].contrast_limits) == [5, 50]


def test_estimates_swap_and_curves_grow(controller, viewer, qtbot):
    layer = added(viewer, views())
    metrics = collected(controller.metric)
    run(controller, qtbot, job_of(layer, previews=4))
    assert metrics == [("residual", i, 1 / (i + 1), "") for i in range(4)]


def test_every_frame_has_a_curve_of_its_own(controller, viewer, qtbot):
    layer = added(viewer, views((2, 5, 8, 10)))
    metrics = collected(controller.metric)
    run(controller, qtbot, job_of(layer, "TVYX", previews=2))
    assert [(step, series) for _, step, _, series in metrics] == [
        (0, "frame 1"),
        (1, "frame 1"),
        (0, "frame 2"),
        (1, "frame 2"),
    ]


def test_contrast_set_by_the_user_is_left_alone(controller, viewer, qtbot, gate):
    layer = added(viewer, views())
    controller.start([job_of(layer, planes=5)])
    qtbot.waitUntil(lambda: len(viewer.layers) == 2 and viewer.layers[1].contrast_limits[1] > 1, timeout=5000)
    viewer.layers[1].contrast_limits = (2, 7)
    gate.set()
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    assert list(viewer.layers[1].contrast_limits) == [2, 7]


def test_the_end_tells_other_plugins_that_the_data_changed(controller, viewer, qtbot, gate):
    layer = added(viewer, views())
    controller.start([job_of(layer)])
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=5000)
    told = []
    viewer.layers[1].events.data.connect(lambda event: told.append(event.value))
    gate.set()
    qtbot.waitUntil(lambda: controller.state == "idle", timeout=5000)
    assert told == [viewer.layers[1].data]


def test_docks_take_turns(controller, viewer, qtbot, gate):
    layer = added(viewer, views())
    other = RunController(viewer)
    results = collected(other.finished)
    controller.start([job_of(layer)])
    other.start([job_of(layer, title="second")])
    assert other.state == "planning"
    qtbot.waitUntil(lambda: controller.state == "running", timeout=3000)
    assert other.state == "planning" and "second" not in [item.name for item in viewer.layers]
    gate.set()
    qtbot.waitUntil(lambda: other.state == "idle", timeout=5000)
    assert controller.state == "idle" and results[0].error is None
    other.close()


def test_closing_the_dock_stops_the_run_and_frees_the_turn(controller, viewer, qtbot):
    layer = added(viewer, views())
    started = RunController(viewer)
    started.start([job_of(layer, delay=1.0, planes=100)])
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=5000)
    started.close()
    wait_for_workers()
    qtbot.wait(50)
    (result,) = run(controller, qtbot, job_of(layer))
    assert result.error is None
    started.start([job_of(layer)])
    assert started.state != "planning", "a closed controller starts nothing"


def test_time_and_channels(controller, viewer, qtbot):
    layer = added(viewer, views((4, 2, 5, 8, 10)))
    selection = Selection(time=TimeRange(start=1, stop=3))
    (result,) = run(controller, qtbot, job_of(layer, "TCVYX", selection=selection))
    assert result.error is None
    first, second = result.layers
    assert [item.name for item in result.layers] == ["cells · Planes · channel 0", "cells · Planes · channel 1"]
    assert first.data.shape == second.data.shape == (2, 1, 3, 16, 20)
    assert first.data_to_world((0, 0, 0, 0, 0))[:2] == (1, 0) and second.data_to_world((1, 0, 0, 0, 0))[:2] == (2, 1)
    assert first.axis_labels == ("time", "channel", "z", "y", "x")
    assert first.data[1, 0, 2, 6, 8] == 300 and second.metadata[KEY]["channel"] == 1


def test_sliders_move_to_the_result_when_it_would_be_out_of_sight(controller, viewer, qtbot):
    layer = added(viewer, views((41, 8, 10)))
    viewer.dims.set_point(0, 30)
    zoom = viewer.camera.zoom = 3.5
    run(controller, qtbot, job_of(layer))
    assert viewer.dims.point[0] == 0 and viewer.camera.zoom == zoom
    run(controller, qtbot, job_of(layer))
    viewer.dims.set_point(0, 0.5)
    run(controller, qtbot, job_of(layer))
    assert viewer.dims.point[0] == 0.5
