"""Refocus of any part of a field equals grid_sample of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.optics.refocus import Refocuser, combined
from napari_recon.optics.resize import resize_taps

VIEWS, PLANES, HEIGHT, WIDTH, UPSAMPLING = 4, 5, 11, 14, 13 / 3


@pytest.fixture(scope="module")
def scene() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    views = torch.from_numpy(rng.normal(50, 20, (VIEWS, HEIGHT, WIDTH)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-40, 40, (VIEWS, PLANES, 2)).astype(np.float32))
    shift[0] = 0
    return views, shift


def _by_grid_sample(views: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """The whole field as specification section 2.4 says: normalised coordinates, zeros outside."""
    y = (2 * torch.arange(HEIGHT, dtype=torch.float64) + 1) / HEIGHT - 1
    x = (2 * torch.arange(WIDTH, dtype=torch.float64) + 1) / WIDTH - 1
    pixels = shift.double() / UPSAMPLING
    rows = y[None, None, :, None] + pixels[..., 0, None, None] * 2 / HEIGHT
    columns = x[None, None, None, :] + pixels[..., 1, None, None] * 2 / WIDTH
    grid = torch.stack(torch.broadcast_tensors(columns, rows), dim=-1).view(VIEWS, PLANES * HEIGHT, WIDTH, 2)
    sampled = F.grid_sample(views.double()[:, None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.view(VIEWS, PLANES, HEIGHT, WIDTH).float()


def test_the_whole_field(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    views, shift = scene
    found = Refocuser(views, shift, UPSAMPLING).part((0, PLANES), (0, HEIGHT), (0, WIDTH))
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    expected = _by_grid_sample(views, shift)
    assert (found[0] - expected).abs().max() <= 1e-4 * expected.abs().max()
    torch.testing.assert_close(found[0, 0, 3], views[0], rtol=0, atol=0)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_part_has_the_very_values_of_the_whole(data: st.DataObject) -> None:
    rng = np.random.default_rng(3)
    views = torch.from_numpy(rng.normal(50, 20, (VIEWS, HEIGHT, WIDTH)).astype(np.float32))
    refocuser = Refocuser(views, torch.from_numpy(rng.uniform(-70, 70, (VIEWS, PLANES, 2))), UPSAMPLING)
    whole = refocuser.part((0, PLANES), (0, HEIGHT), (0, WIDTH))
    z, y, x = (
        sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))) for n in (PLANES, HEIGHT, WIDTH)
    )
    part = refocuser.part((z[0], z[1]), (y[0], y[1]), (x[0], x[1]))
    torch.testing.assert_close(part, whole[:, :, slice(*z), slice(*y), slice(*x)], rtol=0, atol=1e-5)


def test_beyond_the_field_is_zero(scene: tuple[torch.Tensor, torch.Tensor]) -> None:
    views, shift = scene
    refocuser = Refocuser(views, torch.zeros_like(shift), UPSAMPLING)
    around = refocuser.part((0, 1), (-3, HEIGHT + 2), (-20, WIDTH + 1))[0, :, 0]
    assert not around[:, :3].any() and not around[:, :, :20].any() and not around[:, -2:].any()
    torch.testing.assert_close(around[:, 3:-2, 20:-1], views, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["mean", "geometric"])
def test_combined_planes(scene: tuple[torch.Tensor, torch.Tensor], method: str) -> None:
    views, shift = scene
    refocused = _by_grid_sample(views, shift)
    expected = refocused.mean(0) if method == "mean" else (refocused.clamp(min=0) + 1e-3).log().mean(0).exp()
    size = (round(HEIGHT * UPSAMPLING), round(WIDTH * UPSAMPLING))
    expected = F.interpolate(expected[None], size=size, mode="bilinear", align_corners=False)[0]
    refocuser = Refocuser(views, shift, UPSAMPLING)
    found = combined(refocuser, (1, 4), (5, 40), (0, size[1]), size, method)
    assert (found - expected[1:4, 5:40]).abs().max() <= 1e-3 * expected.abs().max()


@pytest.mark.parametrize(("source", "size"), [(8, 9), (80, 87), (9, 9), (40, 20)])
def test_resize_taps_are_those_of_interpolate(source: int, size: int) -> None:
    row = torch.randn(1, 1, source)
    expected = F.interpolate(row, size=size, mode="linear", align_corners=False)[0, 0].numpy()
    taps = resize_taps((1, size), size, source)
    values = row[0, 0].numpy()
    found = values[taps.low] * (1 - taps.weight) + values[taps.high] * taps.weight
    np.testing.assert_allclose(found, expected[1:], atol=1e-4)
