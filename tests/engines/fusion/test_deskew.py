"""Deskewing: is the result the volume that the skewed stack was made from?"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import BlockReady, Decided, Warned
from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.preparing.shear import cubic_weights, spline_bends, straight_planes
from napari_recon.engines.fusion.preparing.skew import Skew

from .skewed import ANGLE, PIXEL, STEP, UM, blobs, bright, stack


def places(grid: object) -> list[np.ndarray]:
    return [np.array([grid.to_world(a, i) for i in range(grid.size(a))]) for a in "ZYX"]  # type: ignore[attr-defined]


def middle(raw: ImageStack) -> list[float]:
    return [raw.grid.to_world(a, (raw.grid.size(a) - 1) / 2) for a in "ZYX"]


def truth(raw: ImageStack, grid: object, direction: int, coverslip: bool) -> np.ndarray:
    z, y, x = (p - m for p, m in zip(places(grid), middle(raw), strict=True))
    z, y, x = z[:, None, None], y[None, :, None], x[None, None]
    if coverslip:
        cos, sin = math.cos(math.radians(ANGLE)), direction * math.sin(math.radians(ANGLE))
        z, x = -x * sin + z * cos, x * cos + z * sin
    return bright(blobs(), z, y, x)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("coverslip", [False, True])
@pytest.mark.parametrize("rule", ["cubic", "spline", "linear"])
def test_the_volume_comes_back(direction: int, coverslip: bool, rule: str) -> None:
    raw = stack(direction, noise=0.5)
    params = {"angle_deg": ANGLE, "coverslip": coverslip, "interpolation": rule}
    found = napari_recon.run("fusion.deskew", raw, params=params)["volume"]
    expected = truth(raw, napari_recon.plan("fusion.deskew", raw, params=params).outputs[0].grid, direction, coverslip)
    seen = found > 0
    assert seen.mean() > 0.3
    error = np.abs(found - 5 - expected)[seen].max() / expected.max()
    assert error < (0.08 if rule == "linear" else 0.03)


def test_the_middle_stays_and_steps_are_those_of_the_geometry() -> None:
    raw = stack()
    for coverslip in (False, True):
        grid = napari_recon.plan("fusion.deskew", raw, params={"coverslip": coverslip}).outputs[0].grid
        for axis, at in zip("ZYX", middle(raw), strict=True):
            assert grid.to_world(axis, (grid.size(axis) - 1) / 2) == pytest.approx(at)
        assert grid.step("Z") == pytest.approx(PIXEL if coverslip else STEP * math.sin(math.radians(ANGLE)))
        assert grid.size("X") == math.ceil(
            60 * math.cos(math.radians(ANGLE)) + 24 * STEP / PIXEL
            if coverslip
            else 60 + 24 * STEP * math.cos(math.radians(ANGLE)) / PIXEL
        )


@pytest.mark.parametrize("coverslip", [False, True])
def test_either_axis_may_be_skewed(coverslip: bool) -> None:
    along_x = napari_recon.run("fusion.deskew", stack(), params={"coverslip": coverslip})["volume"]
    along_y = napari_recon.run("fusion.deskew", stack(skew_axis="y"), params={"coverslip": coverslip, "skew_axis": "y"})[
        "volume"
    ]
    np.testing.assert_allclose(along_y.transpose(0, 2, 1), along_x, atol=1e-2)


@pytest.mark.parametrize("direction", [1, -1])
def test_auto_sees_the_direction_and_says_it(direction: int) -> None:
    raw, seen = stack(direction, noise=20), []
    automatic = napari_recon.run("fusion.deskew", raw, on_event=seen.append)
    assert [e.params["direction"] for e in seen if isinstance(e, Decided)] == [direction]
    assert not [e for e in seen if isinstance(e, Warned)]
    told = napari_recon.run("fusion.deskew", raw, params={"direction": direction})
    np.testing.assert_array_equal(automatic["volume"], told["volume"])
    assert automatic.artifacts["report"]["pycudadecon"]["angle"] == -direction * 30.8


@pytest.mark.parametrize("params", [{"direction": -1}, {"direction": "backward"}, {"angle_deg": -30.8, "direction": 1}])
def test_a_wrong_sign_is_said(params: dict[str, object]) -> None:
    seen: list[object] = []
    napari_recon.run("fusion.deskew", stack(1), params=params, on_event=seen.append)
    (warned,) = [e for e in seen if isinstance(e, Warned)]
    assert "towards larger x" in warned.message and "auto or the other sign" in warned.message


def test_a_negative_angle_is_the_other_direction() -> None:
    raw = stack(-1)
    turned = napari_recon.run("fusion.deskew", raw, params={"angle_deg": -30.8, "direction": 1})["volume"]
    np.testing.assert_array_equal(turned, napari_recon.run("fusion.deskew", raw, params={"direction": -1})["volume"])


def test_noise_alone_tells_no_direction() -> None:
    noise = np.random.default_rng(0).normal(100, 5, (20, 20, 40)).astype(np.float32)
    seen: list[object] = []
    raw = ImageStack.of(noise, "ZYX", scale={"Z": STEP, "Y": PIXEL, "X": PIXEL}, units=UM)
    napari_recon.run("fusion.deskew", raw, on_event=seen.append)
    (warned,) = [e for e in seen if isinstance(e, Warned)]
    assert "does not tell which way" in warned.message


def test_what_stands_still_in_the_picture_tells_no_direction() -> None:
    picture = np.random.default_rng(0).random((20, 40)) * 1000
    noise = np.random.default_rng(1).normal(0, 5, (20, 20, 40))
    raw = ImageStack.of((picture + noise).astype(np.float32), "ZYX", scale={"Z": STEP, "Y": PIXEL, "X": PIXEL}, units=UM)
    seen: list[object] = []
    napari_recon.run("fusion.deskew", raw, on_event=seen.append)
    assert any(isinstance(e, Warned) and "does not tell" in e.message for e in seen)


def test_bad_stacks_are_one_sentence() -> None:
    raw = stack()
    flat = ImageStack.of(np.full((9, 9, 9), 100, np.uint16), "ZYX", scale={"Z": STEP, "Y": PIXEL, "X": PIXEL}, units=UM)
    nowhere = ImageStack.of(np.asarray(raw.data), "ZYX", "raw")
    one = ImageStack.of(np.asarray(raw.data)[:1], "ZYX", scale={"Z": STEP, "Y": PIXEL, "X": PIXEL}, units=UM)
    for given_stack, params, words in (
        (flat, {}, "constant"),
        (nowhere, {}, "pixel size in micrometers along x, found none.*--voxel-size"),
        (one, {}, "at least 2 planes"),
        (raw, {"angle_deg": 0.0}, "at least 1 deg off zero, found 0"),
        (raw, {"angle_deg": 120.0}, "angle_deg should be"),
        (raw, {"direction": "sideways"}, "direction should be"),
    ):
        with pytest.raises(InputError, match=words):
            napari_recon.run("fusion.deskew", given_stack, params=params)


def test_step_and_pixel_may_be_given() -> None:
    raw = stack()
    bare = np.asarray(raw.data)
    given_sizes = napari_recon.run("fusion.deskew", bare, voxel_size={"z": STEP, "y": PIXEL, "x": PIXEL})["volume"]
    told = napari_recon.run("fusion.deskew", bare, voxel_size={"y": PIXEL, "x": PIXEL}, params={"step_um": STEP})["volume"]
    expected = napari_recon.run("fusion.deskew", raw)["volume"]
    np.testing.assert_array_equal(given_sizes, expected)
    np.testing.assert_array_equal(told, expected)


@pytest.mark.parametrize("coverslip", [False, True])
def test_a_box_drawn_on_the_raw_stack_keeps_its_content(coverslip: bool) -> None:
    raw = stack(noise=0.0)
    inside = np.zeros(raw.grid.shape, np.float32)
    inside[4:9, 5:12, 20:30] = np.asarray(raw.data)[4:9, 5:12, 20:30]
    only = ImageStack(inside, raw.grid, "raw")
    params = {"coverslip": coverslip, "direction": 1}
    whole = napari_recon.run("fusion.deskew", only, params=params)["volume"]
    part = napari_recon.run("fusion.deskew", only, params=params, roi="z=4:9,y=5:12,x=20:30", roi_space="input")["volume"]
    assert part.size < whole.size / 3
    assert part.sum() == pytest.approx(whole.sum(), rel=0.02)  # interpolation reaches a little beyond the box


def test_memory_is_bounded_by_pieces() -> None:
    raw = stack(shape=(40, 30, 80))
    small = napari_recon.plan("fusion.deskew", raw, params={"tile_size": 2})
    assert small.resources.tiles == 20
    seen: list[object] = []
    napari_recon.run("fusion.deskew", raw, params={"tile_size": 2}, on_event=seen.append)
    assert max(e.array.shape[0] for e in seen if isinstance(e, BlockReady)) == 2


@given(part=st.floats(0, 1))
def test_cubic_weights_keep_parabolas(part: float) -> None:
    weights = [float(w) for w in cubic_weights(torch.tensor(part, dtype=torch.float64))]
    for power in (0, 1, 2):
        kept = sum(w * at**power for w, at in zip(weights, (-1, 0, 1, 2), strict=True))
        assert kept == pytest.approx(part**power, abs=1e-9)


@given(n=st.integers(4, 40))
def test_a_spline_keeps_cubics(n: int) -> None:
    x = torch.arange(n, dtype=torch.float64) / n
    bends = spline_bends(n) @ (2 * x**3 - x**2 + x)
    np.testing.assert_allclose(bends, (12 * x - 2) / n**2, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 9),
    st.integers(4, 30),
    st.sampled_from([1, -1]),
    st.floats(5, 80),
    st.floats(0.05, 2),
    st.sampled_from(["cubic", "linear", "spline"]),
    st.data(),
)
def test_columns_and_planes_asked_for_are_those_of_the_whole(
    planes: int, columns: int, direction: int, angle: float, step: float, rule: str, data: st.DataObject
) -> None:
    skew = Skew(angle, direction, step, 0.1, planes, columns)
    raw = torch.from_numpy(np.random.default_rng(0).random((planes, 3, columns)).astype(np.float32))
    whole = straight_planes(raw, skew, 0, (0, skew.straight_columns), rule)
    start = data.draw(st.integers(0, skew.straight_columns - 1))
    stop = data.draw(st.integers(start + 1, skew.straight_columns))
    first = data.draw(st.integers(0, planes - 1))
    part = straight_planes(raw[first:], skew, first, (start, stop), rule)
    np.testing.assert_allclose(part, whole[first:, :, start:stop], atol=1e-6)
