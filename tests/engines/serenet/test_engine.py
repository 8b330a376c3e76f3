"""The engines: regions, tiles, intensity, cancel, plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.compute import Compute
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import BlockReady, Finished, Warned
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.region import Box, Selection
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.engine import Reconstruct, Refocus
from tests.contract.examples import collect

from .examples import drawn_model, views

ARCHITECTURES = ["serenet", "fserenet"]


def plan_of(stack: ImageStack, architecture: str = "serenet", selection: Selection = Selection(), **params: Any) -> Plan:
    ref = InputRef(name="views", uri="memory", grid=stack.grid, dtype=str(stack.dtype))
    compute = Compute(device="cpu", threads=1, memory_bytes=params.pop("memory_bytes", 2**32))
    return Reconstruct().plan([ref], params, selection, drawn_model(architecture), compute)


def result_of(stack: ImageStack, plan: Plan) -> np.ndarray:
    return collect(list(Reconstruct().run(plan, {"views": [stack]})), "volume")


@pytest.fixture(scope="module")
def frame() -> ImageStack:
    stack = views(1, 38, 31)
    return ImageStack(stack.data[0], stack.grid.only("VYX"), "frame")


@pytest.fixture(scope="module")
def whole(frame: ImageStack) -> dict[str, np.ndarray]:
    """Untiled volumes of 33 planes."""
    return {name: result_of(frame, plan_of(frame, name, planes=33, tile_size=60)) for name in ARCHITECTURES}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tile_size", [7, 13])
def test_tiles_of_any_size_give_the_untiled_volume(
    frame: ImageStack, whole: dict[str, np.ndarray], architecture: str, tile_size: int
) -> None:
    tiled = result_of(frame, plan_of(frame, architecture, planes=33, tile_size=tile_size))
    assert np.abs(tiled - whole[architecture]).max() <= 1e-5 * whole[architecture].max()


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_a_region_is_the_crop(frame: ImageStack, whole: dict[str, np.ndarray], data: st.DataObject) -> None:
    architecture = data.draw(st.sampled_from(ARCHITECTURES))
    volume = whole[architecture]
    z, y, x = (
        tuple(sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)))) for n in volume.shape
    )
    plan = plan_of(frame, architecture, Selection(box=Box(z=z, y=y, x=x)), planes=33)
    found = result_of(frame, plan)
    crop = volume[slice(*z), slice(*y), slice(*x)]
    assert found.shape == crop.shape
    assert np.abs(found - crop).max() <= 1e-5 * volume.max()


def test_a_few_planes_cost_less(frame: ImageStack) -> None:
    few = plan_of(frame, selection=Selection(box=Box(z=(45, 50))))
    assert few.work < 0.3 * plan_of(frame).work
    assert few.outputs[0].grid.size("Z") == 5


def test_an_offset_changes_nothing_and_a_gain_little(frame: ImageStack) -> None:
    plan = plan_of(frame, planes=9)
    reference = result_of(frame, plan)
    lifted = ImageStack(np.asarray(frame.data) + 100, frame.grid, "lifted")
    assert np.abs(result_of(lifted, plan) - reference).max() <= 1e-5 * reference.max()


@pytest.mark.parametrize("intensity", ["auto", "counts"])
def test_data_in_zero_to_one_are_rescaled_aloud(frame: ImageStack, intensity: str) -> None:
    array = np.asarray(frame.data, np.float32)
    unit = ImageStack(array / array.max(), frame.grid, "unit")
    plan = plan_of(unit, planes=9, intensity=intensity)
    events = list(Reconstruct().run(plan, {"views": [unit]}))
    warnings = [e.message for e in events if isinstance(e, Warned)]
    assert len(warnings) == (intensity == "auto")
    if warnings:
        assert "camera counts" in warnings[0]
        reference = result_of(frame, plan_of(frame, planes=9))
        found = collect(events, "volume") * array.max()
        assert np.linalg.norm(found - reference) < 0.2 * np.linalg.norm(reference)


def test_cancel_acts_between_layers(frame: ImageStack) -> None:
    plan, token, looks = plan_of(frame, "fserenet"), CancelToken(), []
    check = token.check

    def counted() -> None:
        looks.append(len(looks))
        if len(looks) == 20:  # of many before the first block is there
            token.cancel()
        check()

    token.check = counted  # type: ignore[method-assign]
    seen = list(Reconstruct().run(plan, {"views": [frame]}, token))
    assert 20 <= len(looks) <= 21 and not any(isinstance(event, BlockReady) for event in seen)
    assert isinstance(seen[-1], Finished) and seen[-1].partial


def test_large_fields_show_their_middle_first() -> None:
    stack = views(1, 150, 150)
    stack = ImageStack(stack.data[0], stack.grid.only("VYX"), "large")
    plan = plan_of(stack, planes=33)
    token = CancelToken()
    events = Reconstruct().run(plan, {"views": [stack]}, token)
    first = next(e for e in events if isinstance(e, BlockReady))
    token.cancel()
    list(events)
    assert first.array.shape == (17, 91, 91)
    assert all(s.start < n / 2 < s.stop for s, n in zip(first.slices, (33, 650, 650), strict=True))


def test_fast_is_close(frame: ImageStack, whole: dict[str, np.ndarray]) -> None:
    found = result_of(frame, plan_of(frame, "serenet", planes=33, precision="fast"))
    reference = whole["serenet"]
    assert np.abs(found - reference).max() < 0.05 * reference.max()


def test_the_plan_says_where_the_volume_lies(frame: ImageStack) -> None:
    plan = plan_of(frame, planes=21)
    grid = plan.outputs[0].grid
    assert grid.axes == "ZYX" and grid.shape == (21, 165, 134)
    assert grid.origin("Z") == pytest.approx(-2.0) and grid.step("Z") == pytest.approx(0.2)
    assert set(grid.units) == {"micrometer"}
    assert not plan.resources.warnings


def test_another_pixel_size_is_said(frame: ImageStack) -> None:
    coarse = frame.grid.model_copy(update={"scale": (1.0, 2.0, 2.0)})
    plan = plan_of(ImageStack(frame.data, coarse, "coarse"))
    assert "light-field pixel is 2 um" in plan.resources.warnings[0]


def test_tight_memory_means_small_tiles() -> None:
    stack = views(1, 150, 150)
    stack = ImageStack(stack.data[0], stack.grid.only("VYX"), "large")
    tight, ample = (plan_of(stack, "fserenet", memory_bytes=m).resources for m in (2**27, 2**33))
    assert tight.tiles > ample.tiles and tight.memory_bytes < ample.memory_bytes


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"planes": 10}, "odd number up to 101"),
        ({"psf_shift": "geometric-15"}, "takes 49 views.*describes 81"),
        ({"psf_shift": "nowhere.pt"}, "existing file"),
        ({"compat": "upstream", "tile_size": 26}, "multiples of 3"),
        ({"compat": "upstream", "overlap": 0}, "0 < overlap < tile_size"),
        ({"tile_size": -3}, "tile_size"),
    ],
)
def test_unfit_parameters(frame: ImageStack, params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        plan_of(frame, **params)


def test_unfit_views_and_models(frame: ImageStack) -> None:
    short = ImageStack(np.asarray(frame.data)[:40], frame.grid.cropped({"V": (0, 40)}), "short")
    with pytest.raises(InputError, match=r"169 views.*found 40"):
        plan_of(short)
    ref = InputRef(name="views", grid=frame.grid)
    with pytest.raises(InputError):
        Reconstruct().plan([ref], {})
    other = ModelRef(id="twnet", path="x.pth", architecture="twnet")
    with pytest.raises(CheckpointError, match=r"VCD-Net or HyLFM-Net, found twnet .TW-Net.; run serenet.twnet"):
        Reconstruct().plan([ref], {}, model=other)


@pytest.mark.parametrize("method", ["mean", "geometric"])
def test_refocus_of_a_region(frame: ImageStack, method: str) -> None:
    engine, ref = Refocus(), InputRef(name="views", grid=frame.grid)
    compute = Compute(device="cpu", threads=1)
    plan = engine.plan([ref], {"planes": 21, "method": method}, compute=compute)
    volume = collect(list(engine.run(plan, {"views": [frame]})), "volume")
    box = Box(z=(3, 11), y=(20, 90), x=(1, 60))
    part = engine.plan([ref], {"planes": 21, "method": method}, Selection(box=box), compute=compute)
    found = collect(list(engine.run(part, {"views": [frame]})), "volume")
    np.testing.assert_allclose(found, volume[3:11, 20:90, 1:60], atol=1e-5 * np.abs(volume).max())
