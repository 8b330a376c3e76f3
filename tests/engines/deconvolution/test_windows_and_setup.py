"""How a field is cut, and what planning works out from headers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.region import Box
from napari_recon.engines.deconvolution.setup import setup_of
from napari_recon.engines.deconvolution.windows import axis_pieces, brightest, fine_bounds, overlap, windows_of
from napari_recon.optics.lightfield_geometry import volume_grid

UM = dict.fromkeys("ZYX", "micrometer")


@given(size=st.integers(1, 700), halo=st.integers(0, 30), core=st.integers(9, 120))
def test_cores_cover_an_axis_once_and_reads_have_one_length(size: int, halo: int, core: int) -> None:
    pieces = axis_pieces(size, halo, core)
    assert [stop for (_, stop), _ in pieces[:-1]] == [start for (start, _), _ in pieces[1:]]
    assert pieces[0][0][0] == 0 and pieces[-1][0][1] == size
    assert len({high - low for _, (low, high) in pieces}) == 1
    for (start, stop), (low, high) in pieces:
        assert 0 <= low <= max(0, start - halo) and high <= size and high >= min(size, stop + halo)


@given(pixels=st.integers(1, 300), upsampling=st.sampled_from([13 / 3, 5.0, 3.7]), cut=st.integers(0, 300))
def test_fine_voxels_belong_to_one_window(pixels: int, upsampling: float, cut: int) -> None:
    fine, cut = round(pixels * upsampling), min(cut, pixels)
    left, right = fine_bounds((0, cut), pixels, fine), fine_bounds((cut, pixels), pixels, fine)
    assert left[0] == 0 and left[1] == right[0] and right[1] == fine


def test_a_small_field_is_one_window_and_a_camera_frame_several() -> None:
    assert len(windows_of((135, 63), 18)) == 1
    assert len(windows_of((459, 459), 18)) == 25
    views = np.zeros((2, 459, 459), np.float32)
    views[:, 210, 400] = 1
    best = brightest(windows_of((459, 459), 18), views)
    assert best.core_yx == ((198, 297), (396, 459)) and best.read_yx == ((180, 315), (324, 459))
    assert best.cut(views).shape == (2, 135, 135) and best.cut(views).any()


def test_overlap() -> None:
    assert overlap((0, 5), (3, 9)) == (3, 5) and overlap((0, 3), (3, 9)) is None


def test_the_volume_lies_on_the_field_with_focus_at_zero() -> None:
    field = Grid.of("VYX", (169, 63, 60), {"Y": 0.529, "X": 0.529}, {"Y": 2.0, "X": -1.0}, UM)
    setup = setup_of(field, None, "geometric-13", 0, 2.0)
    volume = setup.volume
    assert (volume.axes, volume.shape) == ("ZYX", (101, 273, 260))
    assert volume.step("Z") == pytest.approx(0.2) and volume.to_world("Z", 50) == pytest.approx(0)
    for axis in "YX":
        for mine, theirs in ((-0.5, -0.5), (volume.size(axis) - 0.5, field.size(axis) - 0.5)):
            assert volume.to_world(axis, mine) == pytest.approx(field.to_world(axis, theirs))
    assert setup.halo == 18 and len(setup.pages) == 49 and setup.pages[0] == 84


def test_without_calibration_the_proportions_are_right() -> None:
    field = Grid.of("VYX", (49, 30, 30))
    grid = volume_grid(field, 13 / 3, 101, 0.2, 0.1221)
    assert grid.step("Z") / grid.step("Y") == pytest.approx(0.2 / 0.1221) and grid.unit("Z") == "pixel"


def test_a_psf_gives_views_planes_and_sampling() -> None:
    field = Grid.of("VYX", (9, 20, 22), {"Y": 1.0, "X": 1.0}, units=UM)
    psf = Grid.of("VZYX", (9, 31, 61, 61), {"Z": 0.5, "Y": 0.2, "X": 0.2}, units=UM)
    setup = setup_of(field, psf, "geometric-13", 21, 2.0)
    assert setup.upsampling == pytest.approx(5) and setup.psf_planes == (5, 26)
    assert setup.volume.shape == (21, 100, 110) and setup.volume.step("Z") == pytest.approx(0.5)
    assert setup.pages == tuple(range(9)) and setup.psf_shift is None


@pytest.mark.parametrize(
    ("views", "psf_views", "planes", "message"),
    [
        (50, None, 0, "169 views"),
        (169, None, 20, "odd number"),
        (169, None, 103, "odd number"),
        (9, 8, 0, "same views, found 9 and 8"),
        (49, 49, 32, "odd number"),
    ],
)
def test_what_does_not_belong_together_is_one_sentence(views: int, psf_views: int | None, planes: int, message: str) -> None:
    psf = Grid.of("VZYX", (psf_views, 31, 61, 61)) if psf_views else None
    with pytest.raises(InputError, match=message):
        setup_of(Grid.of("VYX", (views, 20, 20)), psf, "geometric-13", planes, 2.0)


def test_a_psf_shift_file_of_other_views_is_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(48, 11, 2), tmp_path / "wrong.pt")
    with pytest.raises(InputError, match="48"):
        setup_of(Grid.of("VYX", (169, 20, 20)), None, str(tmp_path / "wrong.pt"), 0, 2.0)


def test_resources_grow_with_the_work_and_stay_bounded() -> None:
    small, large = (setup_of(Grid.of("VYX", (49, n, n)), None, "geometric-13", 0, 2.0) for n in (63, 459))
    free = 8 << 30
    one = small.resources("third", "auto", False, Box.whole(small.volume), free)
    whole = large.resources("third", "auto", False, Box.whole(large.volume), free)
    part = large.resources("third", 20, False, Box(y=(10, 60), x=(10, 60)), free)
    assert one.tiles == 1 and not one.warnings and whole.tiles == 25 and "windows" in whole.warnings[0]
    assert part.tiles == 1 and part.work < whole.work / 20
    assert 3e8 < one.memory_bytes < 1.5e9 and whole.memory_bytes < 3e9


def test_little_memory_means_small_windows_and_too_little_is_said() -> None:
    setup = setup_of(Grid.of("VYX", (49, 459, 459)), None, "geometric-13", 0, 2.0)
    box = Box.whole(setup.volume)
    sizes = [setup.resources("third", 20, False, box, free << 28) for free in (1, 4, 6, 40)]
    cores = [size.tile["y"] for size in sizes]
    assert cores == sorted(cores) and len(set(cores)) >= 3
    assert all(size.memory_bytes <= free << 28 for size, free in zip(sizes[1:], (4, 6, 40), strict=True))
    assert "free" in sizes[0].warnings[-1] and "free" not in sizes[-1].warnings[-1]
