"""Joining three orientations: turning planes, the filter's algebra, files that don't fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.joint_wiener.planes import brightened, brightness, joined, sixteen_bit
from napari_recon.engines.fusion.joint_wiener.simulated import simulated
from napari_recon.engines.fusion.joint_wiener.transfer import prepare, resized
from napari_recon.engines.fusion.joint_wiener.turning import middle, turn, turned_size

from .vsi import transfer, wiener_example, wiener_stacks


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40), st.sampled_from([-120, -60, 30.8, 60, 90, 120]), st.integers(0, 99))
def test_turning_is_scipys(y: int, x: int, angle: float, seed: int) -> None:
    planes = np.random.default_rng(seed).random((2, y, x))
    expected = ndimage.rotate(planes, angle, axes=(1, 2), reshape=True)
    found = turn((y, x), angle, None, "float64")(planes)
    assert turned_size((y, x), angle) == expected.shape[1:]
    inside = np.abs(found) > 0  # rounding decides whether a corner that lies on the border is inside
    assert (inside == (np.abs(expected) > 0)).mean() > 0.99
    both = inside & (np.abs(expected) > 0)
    np.testing.assert_allclose(found[both], expected[both], atol=1e-9)


@pytest.mark.parametrize("size", [(40, 50), (41, 50), (40, 51), (41, 51)])
def test_turned_there_and_back_is_the_plane(size: tuple[int, int]) -> None:
    y, x = np.mgrid[: size[0], : size[1]]
    plane = np.exp(-((y - 22) ** 2 + (x - 24) ** 2) / 40)
    there = turn(size, 60, None, "float64")(plane[None])
    pivots = middle(there.shape[1:]), middle(size)
    back = turn(there.shape[1:], -60, size, "float64", pivots)(there)[0]
    np.testing.assert_allclose(back, plane, atol=2e-3)


def _arrays() -> list[np.ndarray]:
    return [np.asarray(stack.data) for stack in transfer().values()]


def test_the_filter_is_what_the_formula_says() -> None:
    rng = np.random.default_rng(1)
    views, coarse = rng.random((1, 3, 30, 36)), rng.random((1, 15, 18))
    otf0, otf1, apodisation = _arrays()
    size, weight, wiener = (30, 36), 8.0, 0.1

    def spectrum(image: np.ndarray) -> np.ndarray:
        return np.fft.fftshift(np.fft.fft2(image))

    def to_size(image: np.ndarray) -> np.ndarray:
        return resized(image.astype(np.float64), size).numpy()

    base = to_size(2.0 * otf0)
    turned = ndimage.rotate(otf1.astype(np.float64), 90)
    sharp = [to_size(ndimage.rotate(turned, -angle, reshape=False)) for angle in (0, 60, 120)]
    numerator = sum((base + weight * s) * spectrum(v) for s, v in zip(sharp, views[0], strict=True))
    numerator = numerator - 2 * base * spectrum(to_size(coarse[0])) * to_size(apodisation.astype(np.float64) ** 2)
    expected = np.fft.ifft2(np.fft.ifftshift(numerator / (base + sum(sharp) + wiener**2))).real

    filter_ = prepare(otf0, otf1, apodisation, size, weight=weight, wiener=wiener, dtype=torch.float64)
    found = filter_.join(torch.from_numpy(views), resized(coarse, size))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


def test_sixteen_bit_transfer_functions_mean_the_same() -> None:
    otf0, otf1, apodisation = _arrays()
    kind: Any = {"weight": 8.0, "wiener": 0.1, "dtype": torch.float64}
    plain = prepare(otf0, otf1, apodisation, (30, 36), **kind)
    whole = prepare(np.round(otf0 * 65535).astype(np.uint16), np.round(otf1 * 65535), apodisation, (30, 36), **kind)
    np.testing.assert_allclose(whole.views, plain.views, atol=2e-3 * float(plain.views.abs().max()))


def test_planes_keep_the_brightness_of_what_was_measured() -> None:
    """Scaling one plane's views alone changes nothing but that plane's brightness: no plane is stretched by its noise."""
    stacks = wiener_stacks()
    views = torch.from_numpy(np.stack([np.asarray(stacks["views"][0].data)[0]] * 3, 1))
    coarse = torch.from_numpy(np.asarray(stacks["widefield"].data)[0].astype(np.float32))
    filter_ = prepare(*_arrays(), (30, 36), weight=8.0, wiener=0.1)
    found = joined(filter_, views, coarse, published=False)
    np.testing.assert_allclose(found.mean((-2, -1)), views[:, 0].mean((-2, -1)), rtol=1e-4)


def test_brightness_is_a_moving_mean_that_shrinks_towards_the_ends() -> None:
    planes = np.zeros((12, 20, 20))
    planes[:, :2] = np.arange(1, 13)[:, None, None]  # a tenth of the pixels: above the 80th percentile
    found = brightness(planes, 80)
    np.testing.assert_allclose(found[:3], [1, 2, 3])
    np.testing.assert_allclose(found[[5, 6, -1]], [6, 7, 12])
    planes[4] = 0
    assert brightness(planes, 80)[5] == pytest.approx((sum(range(1, 12)) - 5) / 11)
    np.testing.assert_array_equal(brightened(planes[4], 3.0), planes[4])
    assert brightened(planes[6], 3.0, 80).max() == pytest.approx(3.0)
    assert sixteen_bit(planes).max() == 65534  # the published program's 1e-7 keeps it below


def test_transfer_functions_must_be_there_and_fit() -> None:
    example = wiener_example()
    without = {name: stack for name, stack in example.stacks.items() if name != "otf1"}
    with pytest.raises(InputError, match=r"found no otf1; give the files \(--input otf1=FILE\)"):
        replace(example, stacks=without).plan()
    small = ImageStack.of(np.ones((8, 8), np.float32), "YX", "otf1")
    with pytest.raises(InputError, match="same size"):
        replace(example, stacks={**example.stacks, "otf1": small}).plan()


def test_views_must_be_three_of_one_recording() -> None:
    example = wiener_example()
    views = example.inputs["views"]
    with pytest.raises(InputError, match="three volumes"):
        replace(example, stacks={**example.stacks, "views": views[:2]}).plan()
    with pytest.raises(InputError, match="in the order 0, 60, 120"):
        replace(example, stacks={**example.stacks, "views": [views[1], views[0], views[2]]}).plan()
    fewer = ImageStack.of(np.asarray(views[0].data)[:, :3], "TZYX", "fewer")
    with pytest.raises(InputError, match="number of planes"):
        replace(example, stacks={**example.stacks, "views": [fewer, *views[1:]]}).plan()


def test_computed_transfer_functions_end_at_the_diffraction_limit_and_reach_farther_across() -> None:
    found = simulated(na=1.0, wavelength_um=0.5, pixel_um=0.06)
    k = (np.arange(256) - 128) / (256 * 0.06)  # cycles per um; the limit is 4
    y, x = np.meshgrid(k, k, indexing="ij")
    assert (found["otf0"][np.hypot(y, x) > 4.0] == 0).all() and found["otf0"][128, 128] == pytest.approx(1)
    assert (found["otf1"][np.abs(y) > 6.0] == 0).all() and (found["otf1"][np.abs(x) > 4.0] == 0).all()
    assert found["otf1"][np.abs(k - 5.0).argmin(), 128] > 0
    for array in found.values():
        assert array.dtype == np.float32 and np.abs(array[1:, 1:] - array[:0:-1, :0:-1]).max() < 1e-6 and array.max() < 1.1


def test_the_upright_view_counts_most_where_columns_are_fine() -> None:
    size = (64, 64)
    found = simulated(na=1.0, wavelength_um=0.5, pixel_um=0.06)
    filters = prepare(found["otf0"], found["otf1"], found["apodisation"], size, weight=8.0, wiener=0.1)
    upright = filters.views[0]
    beyond = round(5.0 * 0.06 * 64)  # 5 cycles per um, which only the sharper direction holds
    assert float(upright[0, beyond]) > 1 and float(upright[beyond, 0]) < 0.1


def test_the_optics_take_the_place_of_files() -> None:
    stacks = {name: stack for name, stack in wiener_stacks().items() if name in ("widefield", "views")}
    found = napari_recon.run("fusion.wiener", inputs=stacks, params={"na": 1.0, "wavelength_um": 0.5}, threads=1)
    assert found["sr"].max() > 0 and np.isfinite(found["sr"]).all()
    with pytest.raises(InputError, match="na and wavelength_um instead of all three"):
        napari_recon.plan("fusion.wiener", inputs=stacks, params={"na": 1.0})
    with pytest.raises(InputError, match="square pixels of a known size"):
        napari_recon.plan(
            "fusion.wiener", inputs={n: _bare(s) for n, s in stacks.items()}, params={"na": 1, "wavelength_um": 1}
        )


def _bare(stacks: Any) -> Any:
    if isinstance(stacks, list):
        return [_bare(stack) for stack in stacks]
    return ImageStack.of(np.asarray(stacks.data), stacks.grid.axes, stacks.name)


def test_views_that_tell_no_size_cover_what_the_wide_field_covers() -> None:
    example = wiener_example()
    told = example.plan().output("sr").grid
    plain = [ImageStack.of(np.asarray(view.data), "TZYX", view.name) for view in example.inputs["views"]]
    grid = replace(example, stacks={**example.stacks, "views": plain}).plan().output("sr").grid
    for axis in "ZYX":
        assert (grid.step(axis), grid.origin(axis)) == pytest.approx((told.step(axis), told.origin(axis)))
