from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.plan import ModelRef
from napari_recon.core.region import Box, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.widgets.planner import Planner
from napari_recon.widgets.request import Request, Unfit


@pytest.fixture
def planner(qtbot: Any) -> Any:
    made = Planner(delay_ms=5)
    yield made
    made.close()


def request(shape: tuple[int, ...] = (3, 5, 8, 10), axes: str = "TVYX", **more: Any) -> Request:
    scale = {"Y": 0.5, "X": 0.5}
    stack = ImageStack.of(np.ones(shape, np.float32), axes, scale=scale, units=dict.fromkeys("YX", "micrometer"))
    return Request(**({"engine": "fake.planes", "inputs": {"views": (stack,)}, "params": {"planes": 7}} | more))


def test_only_the_newest_request_answers(planner: Planner, qtbot: Any) -> None:
    answers: list[int] = []
    planner.ready.connect(answers.append)
    go = threading.Event()
    planner.request(lambda: go.wait(60) and 1)
    qtbot.wait(30)
    planner.request(lambda: 2)
    planner.request(lambda: 3)
    go.set()
    qtbot.waitUntil(lambda: not planner.busy, timeout=3000)
    qtbot.wait(30)
    assert answers == [3]


def test_errors_are_described_and_dropped_ones_silent(planner: Planner, qtbot: Any) -> None:
    def fail() -> None:
        raise MemoryError

    with qtbot.waitSignal(planner.failed, timeout=3000) as told:
        planner.request(fail)
    assert "smaller" in str(told.args[0])
    with qtbot.assertNotEmitted(planner.ready, wait=60):
        planner.request(lambda: 1)
        planner.drop()


def test_planning_runs_outside_the_main_thread(planner: Planner, qtbot: Any) -> None:
    with qtbot.waitSignal(planner.ready, timeout=3000) as told:
        planner.request(threading.get_ident)
    assert told.args[0] != threading.get_ident()


def test_box_of_the_input_becomes_output_voxels() -> None:
    plan, _ = request(boxes=(Box(y=(1, 3), x=(2, 5)),)).plan(Box(y=(1, 3), x=(2, 5)))
    assert plan.selection.box == Box(z=(0, 7), y=(2, 6), x=(4, 10))


def test_planes_of_the_output_can_be_limited_with_and_without_a_box() -> None:
    plan, _ = request().plan(Box(z=(2, 4)))
    assert plan.selection.box == Box(z=(2, 4), y=(0, 16), x=(0, 20))
    plan, _ = request().plan(Box(z=(2, 9), y=(1, 3), x=(2, 5)))
    assert plan.selection.box == Box(z=(2, 7), y=(2, 6), x=(4, 10))


def test_estimate_reads_no_pixels_and_adds_up_jobs() -> None:
    class Unread(np.ndarray):
        def __getitem__(self, key: Any) -> Any:
            raise AssertionError("pixels were read")

    asked = request(boxes=(Box(y=(0, 2)), Box(y=(4, 8))))
    stack = asked.inputs["views"][0]
    lazy = ImageStack(np.ones(stack.grid.shape, np.float32).view(Unread), stack.grid)
    estimate = request(boxes=asked.boxes, inputs={"views": (lazy,)}).estimate()
    assert len(estimate.plans) == 2 and estimate.seconds is None and estimate.memory_bytes == 1


def test_preview_is_small_central_and_single_frame() -> None:
    small = request(boxes=(Box(z=(1, 3), y=(2, 8)),)).preview(1, 4, {"planes": 3})
    assert small.boxes == (Box(z=(1, 3), y=(3, 7), x=(3, 7)),)
    assert small.time == TimeRange(start=1, stop=2) and small.params["planes"] == 3
    assert request((5, 8, 10), "VYX").preview(0, 4, {}).time is None
    assert request().preview(0, 100, {}).boxes == (Box(y=(0, 8), x=(0, 10)),)


def test_model_that_does_not_fit_is_told_apart_from_settings_that_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.viewer.fake import Fake

    plain = Fake.outputs_of

    def picky(self: Any, refs: Any, params: Any, model: Any) -> Any:
        if model is not None and model.id == "bad":
            raise InputError("9 views were expected, found 5; choose another model")
        return plain(self, refs, params, model)

    monkeypatch.setattr(Fake, "outputs_of", picky)
    good, bad = ModelRef(id="good", path="g"), ModelRef(id="bad", path="b")
    assert dict(request(engine="fake.net", model=good).estimate([good, bad]).unfit) == {
        "bad": "9 views were expected, found 5; choose another model"
    }
    with pytest.raises(Unfit, match="9 views") as refused:
        request(engine="fake.net", model=bad).estimate([good, bad])
    assert set(refused.value.unfit) == {"bad"}
    with pytest.raises(InputError, match="planes"):
        request(engine="fake.net", model=good, params={"planes": 0}).estimate([good, bad])
