from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.events import Finished, OutputOpened
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.jobs import collect, estimate, make_plan, probe, remember, run_plan
from napari_recon.jobs.estimates import describe_seconds


def test_a_plan_runs_from_its_references_alone(image_file: Path, image: np.ndarray) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image_file]}, {"radius": 0})
    travelled = Plan.model_validate_json(plan.model_dump_json())
    result = collect(run_plan(travelled))
    np.testing.assert_array_equal(result["smooth"], image.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(result["smooth"], collect(run_plan(plan, inputs))["smooth"])


def test_an_array_without_a_file_can_not_be_reopened(image: np.ndarray) -> None:
    plan, _ = make_plan("toy.smooth", {"image": [image]})
    with pytest.raises(InputError, match="give it again"):
        next(run_plan(plan))


def test_a_file_that_changed_shape_since_planning_is_refused(image_file: Path, image: np.ndarray) -> None:
    from napari_recon.core.stack import ImageStack
    from napari_recon.io import write_stack

    plan, _ = make_plan("toy.smooth", {"image": [image_file]})
    write_stack(image_file, ImageStack.of(image[:, :20], "TYX"))
    with pytest.raises(InputError, match="as planned"):
        next(run_plan(plan))


def test_collect_joins_table_parts_and_keeps_last_metrics(image: np.ndarray) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image]}, {"training_steps": 4})
    result = collect(run_plan(plan, inputs))
    assert [row["frame"] for row in result.artifacts["brightness"]] == [0, 1, 2]
    assert result.metrics["loss"] == result.curves["loss"][-1][1]
    assert not result.partial and result.outputs["smooth"].metadata["napari-recon"]["engine"] == "toy.smooth"


def test_a_cancelled_run_keeps_its_finished_blocks(image: np.ndarray) -> None:
    plan, inputs = make_plan("toy.steps", {"image": [image]})
    token, events = CancelToken(), []
    for event in run_plan(plan, inputs, token):
        events.append(event)
        if len(events) == 6:
            token.cancel()
    assert isinstance(events[0], OutputOpened) and isinstance(events[-1], Finished) and events[-1].partial
    result = collect(events)
    assert result.partial and result["smooth"][0, 3, 0] == 4 and result["smooth"][0, 4, 0] == 5


def test_speed_is_learned_from_finished_runs_and_scales_with_work(image: np.ndarray) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image]})
    assert estimate(plan) is None
    collect(run_plan(plan, inputs))
    learned = estimate(plan)
    assert learned is not None and learned > 0
    single, _ = make_plan("toy.smooth", {"image": [image[0]]})
    assert estimate(single) == pytest.approx(learned / 3)


def test_one_slow_run_does_not_spoil_the_estimate(image: np.ndarray) -> None:
    plan, _ = make_plan("toy.smooth", {"image": [image]})
    for seconds in (2.0, 2.0, 200.0):
        remember(plan, seconds)
    assert estimate(plan) == pytest.approx(2.0)


def test_a_damaged_store_is_forgotten(image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_RECON_CACHE", str(tmp_path))
    (tmp_path / "throughput.json").write_text('{"a": "b", "c|1": [0, "x"]}')
    plan, _ = make_plan("toy.smooth", {"image": [image]})
    assert estimate(plan) is None
    remember(plan, 3.0)
    assert estimate(plan) == pytest.approx(3.0)


def test_the_probe_times_a_small_central_box_of_the_first_frame(image: np.ndarray) -> None:
    plan, inputs = make_plan("toy.smooth", {"image": [image]})
    small = registry.get(plan.engine).sample(plan)
    assert small.selection.time is not None and len(small.selection.time) == 1
    (y0, y1), (x0, x1) = small.selection.box.y, small.selection.box.x
    assert y1 - y0 < 48 and x1 - x0 < 64 and abs(y0 + y1 - 48) <= 1 and abs(x0 + x1 - 64) <= 1
    assert probe(plan, inputs) > 0


def test_seconds_read_well() -> None:
    assert [describe_seconds(s) for s in (0.2, 59.6, 200, 120, 7300)] == [
        "less than 1 s",
        "1 min",
        "3 min 20 s",
        "2 min",
        "2 h 1 min",
    ]
