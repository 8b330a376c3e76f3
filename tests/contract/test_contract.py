"""One contract over every engine: the invariants of docs/architecture.md."""

from __future__ import annotations

import math
import pickle
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from napari_recon.core.errors import InputError
from napari_recon.core.events import BlockReady, Finished, FrameDone, OutputOpened, PreviewReady
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import Recipe
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry

from .cases import EXAMPLES, example_of
from .examples import Example, collect


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Example:
    return example_of(request.param)


def _inner_box(example: Example) -> Box:
    """A box that is neither centred nor aligned to anything."""
    grid = next(iter(example.plan().whole.values()))
    bounds = {a: (n // 4 + 1, n // 4 + 2 + n // 3) for a, n in zip(grid.axes, grid.shape, strict=True) if a in "ZYX"}
    return Box.of(bounds)


def _close(a: np.ndarray, b: np.ndarray, tolerance: float) -> None:
    assert a.shape == b.shape
    assert np.isfinite(a).all() and np.isfinite(b).all(), "some voxels were never written"
    assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-12)


def test_every_engine_has_an_example() -> None:
    assert set(registry.names()) <= {name.partition("/")[0] for name in EXAMPLES}


def test_the_plan_survives_json_and_pickle(example: Example) -> None:
    plan = example.plan()
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert plan.resources.memory_bytes > 0 and plan.work > 0 and plan.resources.tiles >= 1


def test_events_are_picklable_and_end_with_finished(example: Example) -> None:
    plan, events = example.plan(), example.reference_events
    pickle.loads(pickle.dumps(events))
    assert isinstance(events[-1], Finished) and not events[-1].partial
    assert sum(isinstance(e, Finished) for e in events) == 1
    opened = [e.output for e in events if isinstance(e, OutputOpened)]
    assert opened == [spec.name for spec in plan.outputs]
    recipe = Recipe.from_dict(events[-1].provenance)
    assert recipe.steps[0].engine == plan.engine
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


def test_a_region_is_the_crop_of_the_whole(example: Example) -> None:
    if example.engine.info.kind in ("simulate", "train"):
        pytest.skip("this engine makes whole recordings")
    whole, box = example.reference, _inner_box(example)
    plan = example.plan(Selection(box=box))
    part = example.result(plan)
    grid = plan.whole[plan.outputs[0].name]
    crop = whole[(..., *box.slices(grid.axes))]
    assert part.shape == plan.outputs[0].grid.shape
    tolerance = example.engine.info.roi_tolerance or 1e-6
    assert np.abs(part - crop).max() <= tolerance * np.abs(whole).max()
    assert plan.outputs[0].grid.origin("Y") == pytest.approx(grid.to_world("Y", box.y[0]))  # type: ignore[index]


def test_tiles_do_not_show(example: Example) -> None:
    if not example.tilings:
        pytest.skip("this engine has no tile parameter")
    for change in example.tilings:
        _close(example.result(example.plan(**change)), example.reference, example.tile_tolerance)


def test_outputs_cover_the_same_world_extent_as_the_input(example: Example) -> None:
    if not example.stacks or example.engine.info.kind == "train":
        pytest.skip("this engine has no input, or learns from it")
    main = example.main.grid
    for grid in example.plan().whole.values():
        for axis in set("YX") & set(grid.axes):
            if axis in example.reshaped:
                middles = [g.to_world(axis, (g.size(axis) - 1) / 2) for g in (grid, main)]
                assert middles[0] == pytest.approx(middles[1], abs=1e-6)
                continue
            if grid.origin(axis) == main.origin(axis):  # index n j on pixel j: samples coincide, edges need not
                assert grid.step(axis) * grid.size(axis) == pytest.approx(main.step(axis) * main.size(axis))
                continue
            for grid_edge, main_edge in ((-0.5, -0.5), (grid.size(axis) - 0.5, main.size(axis) - 0.5)):
                assert grid.to_world(axis, grid_edge) == pytest.approx(main.to_world(axis, main_edge), abs=1e-6)


def test_a_frame_alone_equals_the_frame_in_a_series(example: Example) -> None:
    plan = example.plan()
    if "T" not in plan.looped:
        pytest.skip("the example is a single frame")
    if example.chained:
        pytest.skip("a time point starts from the one before")
    alone = example.result(example.plan(Selection(time=TimeRange(start=1, stop=2))))
    _close(alone[0], example.reference[1], 1e-6)


def test_parts_make_the_whole_in_any_order(example: Example) -> None:
    plan = example.plan()
    if not example.engine.frames_apart(plan):
        pytest.skip("the frames are not made apart")
    whole, held = example.reference, example.engine.prepared(plan)
    first = plan.outputs[0]
    parts = np.full(first.grid.shape, np.nan, first.dtype) if first.kind == "image" else np.zeros_like(whole)
    for number in reversed(plan.numbers):
        done = []
        for event in held.run(plan.model_copy(update={"part": (number, number + 1)}), example.inputs):
            if isinstance(event, BlockReady) and event.output == first.name:
                parts[event.slices] = event.array
            elif isinstance(event, FrameDone):
                done.append(event.number)
        assert done == [number]
    _close(parts, whole, 1e-6)


def test_no_more_than_a_time_point_is_read_at_once(example: Example) -> None:
    series = [stack for stacks in example.watched.values() for stack in stacks if stack.grid.size("T") > 1]
    if not series:
        pytest.skip("the example is a single frame")
    assert example.reference_events
    for stack in series:
        assert 0 < stack.data.largest <= math.prod(stack.grid.shape) // stack.grid.size("T")  # type: ignore[attr-defined]


def test_the_same_plan_gives_the_same_result(example: Example) -> None:
    np.testing.assert_array_equal(example.result(example.plan()), example.reference)


def test_cancel_at_any_event_keeps_finished_blocks_and_inputs(example: Example) -> None:
    plan = example.plan()
    complete = example.reference_events
    final = {str(e.slices): e for e in complete if isinstance(e, BlockReady)}
    for stop_after in sorted({0, 1, 2, len(complete) // 2, len(complete) - 2} & set(range(len(complete) - 1))):
        token, seen = CancelToken(), []
        for number, event in enumerate(example.engine.run(plan, example.inputs, token)):
            seen.append(event)
            if number == stop_after:
                token.cancel()
        assert isinstance(seen[-1], Finished)
        for event in seen:
            if isinstance(event, BlockReady) and str(event.slices) in final and not _superseded(event, complete):
                np.testing.assert_array_equal(event.array, final[str(event.slices)].array)
    assert example.fingerprints() == example.untouched


def _superseded(event: BlockReady, events: Sequence[object]) -> bool:
    return sum(isinstance(e, BlockReady) and e.slices == event.slices for e in events) > 1


def test_pause_holds_and_cancel_ends_a_pause(example: Example) -> None:
    plan, token = example.plan(), CancelToken()
    seen: list[object] = []
    token.pause()
    thread = threading.Thread(target=lambda: seen.extend(example.events(plan, token)))
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive() and not seen
    token.cancel()
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(seen[-1], Finished) and seen[-1].partial


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, np.nan, a), id="nan"),
        pytest.param(lambda a: np.where(np.arange(a.size).reshape(a.shape) == 7, np.inf, a), id="inf"),
        pytest.param(lambda a: np.full_like(a, 3), id="constant"),
        pytest.param(lambda a: a > a.mean(), id="bool"),
        pytest.param(lambda a: a.astype(np.complex64), id="complex"),
    ],
)
def test_unfit_content_is_one_sentence_before_the_first_block(
    example: Example, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    if not example.stacks:
        pytest.skip("this engine has no input")
    stack = example.main
    bad = ImageStack(spoil(np.asarray(stack.data, np.float32)), stack.grid, stack.name)
    seen = []
    with pytest.raises(InputError) as caught:
        for event in example.engine.run(example.plan(), example.with_main(bad)):
            seen.append(event)
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 30
    assert not any(isinstance(e, BlockReady | PreviewReady) for e in seen)


@pytest.mark.parametrize(
    "selection",
    [
        pytest.param(Selection(box=Box(y=(0, 100_000))), id="outside"),
        pytest.param(Selection(box=Box(y=(-3, 2))), id="negative"),
        pytest.param(Selection(time=TimeRange(start=0, stop=10_000)), id="late"),
    ],
)
def test_an_impossible_selection_is_one_sentence(example: Example, selection: Selection) -> None:
    with pytest.raises(InputError, match=r"\w+.*[;,] "):
        example.plan(selection)


def test_unknown_parameters_and_wrong_values_name_what_is_allowed(example: Example) -> None:
    with pytest.raises(InputError, match="not a parameter"):
        example.plan(no_such_parameter=1)


def test_integer_and_float_input_give_the_same_result(example: Example) -> None:
    if not example.stacks:
        pytest.skip("this engine has no input")
    plan = example.plan()
    reference, stack = example.reference, example.main
    for dtype in (np.uint16, np.float64):
        other = ImageStack(np.asarray(stack.data).astype(dtype), stack.grid, stack.name)
        events = list(example.engine.run(plan, example.with_main(other)))
        np.testing.assert_array_equal(collect(events, plan.outputs[0].name), reference)
