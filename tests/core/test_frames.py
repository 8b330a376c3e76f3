"""What FrameEngine gives an engine: neighbours, whole series, labels, static inputs, and what it refuses while planning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from napari_recon.core.arrange import arrangement
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import BlockReady, Event
from napari_recon.core.frames import Frame, FrameEngine
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams
from napari_recon.core.plan import InputRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack
from tests.contract.examples import collect


class Probe(FrameEngine[EngineParams]):
    """Gives the main input back (its mean over a leading T) and keeps the frames it was given."""

    uses_torch = False
    Params = EngineParams

    def __init__(self, *inputs: InputSpec, upsampling: int = 0) -> None:
        self.info = EngineInfo(  # type: ignore[misc]
            name="toy.probe", kind="reconstruct", title="", summary="", inputs=inputs, outputs=(OutputInfo(name="out"),)
        )
        self.upsampling, self.frames, self.prepared_times = upsampling, [], 0

    def outputs_of(self, refs: Any, params: Any, model: Any) -> tuple[OutputSpec, ...]:
        grid: Grid = refs["image"][0].grid
        if self.upsampling:
            grid = Grid.of("T", (self.upsampling * (grid.size("T") - 1) + 1,), {"T": 1 / self.upsampling}).joined(
                grid.only("YX")
            )
        return (OutputSpec(name="out", grid=grid if self.upsampling else grid.only("YX")),)

    def resources(self, *args: Any) -> Resources:
        return Resources()

    def prepared(self, plan: Plan) -> Probe:
        self.prepared_times += 1
        return self

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: Any) -> Iterator[Event]:
        self.frames.append(frame)
        image = frame["image"].mean(0) if frame["image"].ndim == 3 else frame["image"]
        if not self.upsampling:
            yield BlockReady("out", (slice(None), slice(None)), image)

    def on(self, stacks: Mapping[str, ImageStack], selection: Selection = Selection()) -> np.ndarray:
        plan = self.planned_for(stacks, selection)
        return collect(list(self.run(plan, {name: [stack] for name, stack in stacks.items()})), "out")

    def planned_for(self, stacks: Mapping[str, ImageStack], selection: Selection = Selection()) -> Plan:
        return self.plan([InputRef(name=n, grid=s.grid) for n, s in stacks.items()], {}, selection)


IMAGE = InputSpec(name="image", axes="YX")
MOVIE = np.random.default_rng(0).random((5, 4, 6)).astype(np.float32)


def test_neighbours_come_along_and_the_ends_repeat() -> None:
    engine = Probe(InputSpec(name="image", axes="YX", neighbours=1))
    stacks = {"image": ImageStack.of(MOVIE, "TYX")}
    result = engine.on(stacks)
    np.testing.assert_allclose(result[2], MOVIE[1:4].mean(0), rtol=1e-6)
    np.testing.assert_allclose(result[0], MOVIE[[0, 0, 1]].mean(0), rtol=1e-6)
    alone = engine.on(stacks, Selection(time=TimeRange(start=2, stop=3)))
    np.testing.assert_array_equal(alone[0], result[2])
    with pytest.raises(InputError, match="live"):
        engine.open(engine.planned_for(stacks), {})


@pytest.mark.parametrize(("upsampling", "start", "size"), [(1, 1.0, 2), (4, 1.0, 5)])
def test_a_time_range_crops_the_output_of_an_engine_that_sees_the_whole_series(upsampling, start, size) -> None:
    engine = Probe(InputSpec(name="image", axes="TYX"), upsampling=upsampling)
    stacks = {"image": ImageStack.of(MOVIE, "TYX")}
    plan = engine.planned_for(stacks, Selection(time=TimeRange(start=1, stop=3)))
    assert plan.looped == "" and plan.frames == 1 and plan.selection.time == TimeRange(start=1, stop=3)
    assert (plan.outputs[0].grid.origin("T"), plan.outputs[0].grid.size("T")) == (start, size)
    assert engine.planned_for(stacks).outputs[0].grid == engine.planned_for(stacks).whole["out"]
    list(engine.run(plan, {"image": [stacks["image"]]}))
    assert engine.frames[-1]["image"].shape == MOVIE.shape
    with pytest.raises(InputError, match="inside 0:5"):
        engine.planned_for(stacks, Selection(time=TimeRange(start=1, stop=9)))


def test_what_does_not_change_with_time_is_read_once() -> None:
    reads: list[Any] = []

    class Counting(np.ndarray):
        def __getitem__(self, key: Any) -> Any:
            reads.append(key)
            return np.asarray(super().__getitem__(key))

    engine = Probe(
        IMAGE, InputSpec(name="dark", axes="YX", required=False), InputSpec(name="gain", axes="YX", required=False)
    )
    dark = ImageStack.of(np.full((1, 4, 6), 7.0, np.float32).view(Counting), "TYX", "dark")
    gain = ImageStack.of(MOVIE, "TYX", "gain")
    engine.on({"image": ImageStack.of(MOVIE, "TYX"), "dark": dark, "gain": gain})
    assert len(reads) == 1 and engine.prepared_times == 1
    for t, frame in enumerate(engine.frames):
        np.testing.assert_array_equal(frame["gain"], MOVIE[t])
        assert (frame["dark"] == 7).all(), "a constant background is a background"


def test_labels_stay_whole_numbers() -> None:
    mask = InputSpec(name="mask", axes="YX", accepts=("labels",))
    engine, image = Probe(IMAGE, mask), ImageStack.of(MOVIE[0], "YX")
    engine.on({"image": image, "mask": ImageStack.of(np.ones((4, 6), np.uint8), "YX")})
    assert engine.frames[-1]["mask"].dtype == np.int32
    with pytest.raises(InputError, match="whole numbers"):
        engine.on({"image": image, "mask": ImageStack.of(MOVIE[0], "YX", "mask")})


def test_series_of_different_lengths_are_refused_while_planning() -> None:
    engine = Probe(IMAGE, InputSpec(name="gain", axes="YX"))
    with pytest.raises(InputError, match=r"gain should have one frame, or as many along T .*\(5\), found 3; crop"):
        engine.planned_for({"image": ImageStack.of(MOVIE, "TYX"), "gain": ImageStack.of(MOVIE[:3], "TYX")})


STACK = np.random.default_rng(1).random((3, 4, 5, 6)).astype(np.float32)


@pytest.mark.parametrize("space", ["output", "input"])
def test_planes_may_be_looped_over_and_a_box_selects_among_them(space: str) -> None:
    engine = Probe(InputSpec(name="image", axes="YX", loops="TZ"))
    stacks = {"image": ImageStack.of(STACK, "TZYX", scale={"Z": 2.0})}
    np.testing.assert_array_equal(engine.on(stacks), STACK)
    chosen = Selection(box=Box(z=(1, 3), y=(0, 5)), space=space, time=TimeRange(start=1, stop=3))
    plan = engine.planned_for(stacks, chosen)
    assert (plan.frames, plan.starts, plan.box) == (4, {"T": 1, "Z": 1}, Box(y=(0, 5), x=(0, 6)))
    assert plan.outputs[0].grid.shape == (2, 2, 5, 6) and plan.outputs[0].grid.origin("Z") == 2.0
    engine.frames.clear()
    collect(list(engine.run(plan, {"image": [stacks["image"]]})), "out")
    np.testing.assert_array_equal(engine.frames[-1]["image"], STACK[2, 2])
    again = engine.plan(plan.inputs, plan.params, plan.selection, compute=plan.compute)
    assert again == plan
    short = engine.sample(plan)
    assert short is not None and short.frames == 1 and short.starts == {"T": 1, "Z": 1}


def test_an_axis_that_is_not_looped_over_is_refused() -> None:
    engine = Probe(InputSpec(name="image", axes="YX"))
    with pytest.raises(InputError, match="T or C in front"):
        engine.planned_for({"image": ImageStack.of(STACK, "TZYX")})


class Packed(Probe):
    """Takes pages in pairs: N Y X with N even becomes T N Y X, two pages each."""

    def arranged(self, spec: InputSpec, grid: Grid, params: Any) -> Any:
        return arrangement(grid, [("T", grid.size("N") // 2), ("P", 2)], join="P") if grid.size("N") > 2 else None


def test_packed_pages_become_frames() -> None:
    engine = Packed(InputSpec(name="image", axes="NYX"))
    stacks = {"image": ImageStack.of(STACK[:, 0].repeat(2, 0), "NYX")}
    np.testing.assert_allclose(engine.on(stacks), STACK[:, 0], rtol=1e-6)
    assert engine.planned_for(stacks).inputs[0].grid == stacks["image"].grid, "the plan refers to the input as it is"
    part = Selection(time=TimeRange(start=2, stop=3))
    np.testing.assert_allclose(engine.on(stacks, part), STACK[2:, 0], rtol=1e-6)


def test_a_plan_knows_where_in_the_input_each_frame_of_the_run_is() -> None:
    stack = ImageStack.of(np.stack([MOVIE, MOVIE]), "CTYX")
    plan = Probe(IMAGE).planned_for({"image": stack}, Selection(time=TimeRange(start=2, stop=4)))
    assert [plan.place(n) for n in range(4)] == [{"C": c, "T": t} for c in (0, 1) for t in (2, 3)]
    assert plan.place(4) == plan.place(0), "a live session counts on"
