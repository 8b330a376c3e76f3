"""What users give by mistake: refused in one sentence that says which axis is meant, or said before the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.region import Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.engines.inr4d.place import looks_like_time

from .recordings import SMALL, fit_example, movie, recording


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        ((5, 12, 14), "ZYX", r"found Z=5, Y=12, X=14 without time; choose a movie"),
        ((9, 12, 14), "TYX", r"found T=9, Y=12, X=14 without Z"),
        ((1, 5, 12, 14), "TZYX", r"several time points, found 1 along T"),
        ((9, 5, 12, 14), "CZYX", r"C looks like time: name the axes \(--axes TZYX\)"),
        ((48, 40, 25, 9), "TZYX", r"of which X looks like time; name the axes .*--axes, for example XYZT"),
        ((64, 64, 20, 40), "TZYX", r"of which X looks like time; name the axes .*--axes, for example XYZT"),
        ((30, 20, 7, 40), "TZYX", r"of which Y looks like time; name the axes .*--axes, for example ZYTX"),
        ((9, 1, 12, 14), "TZYX", r"two voxels or more along z"),
        ((2, 4, 5, 12, 14), "CTZYX", r"one channel is used, found C=2, T=4, Z=5, Y=12, X=14; set channel to"),
    ],
)
def test_axes_that_are_none_of_a_movie(shape: tuple[int, ...], axes: str, sentence: str) -> None:
    stack = ImageStack.of(np.random.default_rng(0).random(shape), axes, "odd")
    with pytest.raises(InputError, match=sentence) as caught:
        napari_recon.plan("inr4d.fit", stack)
    assert "\n" not in str(caught.value)


def test_a_small_field_may_be_said_to_be_right() -> None:
    stack = ImageStack.of(np.random.default_rng(0).random((48, 40, 25, 9)), "TZYX", "narrow")
    assert napari_recon.plan("inr4d.fit", stack, params={"axes_checked": True}).outputs[0].grid.axes == "TZYX"


@pytest.mark.parametrize("shape", [(9, 25, 48, 48), (200, 10, 512, 512), (5, 25, 48, 48), (100, 30, 64, 60), (4, 5, 12, 14)])
def test_common_movies_look_right(shape: tuple[int, ...]) -> None:
    assert looks_like_time(Grid.of("TZYX", shape)) is None


def test_axes_in_another_order_are_no_mistake(tmp_path: Path) -> None:
    results = [
        napari_recon.run("inr4d.fit", recording(axes=axes), params={**SMALL, "checkpoint_folder": str(tmp_path / axes)})[
            "movie"
        ]
        for axes in ("TZYX", "XYZT")
    ]
    np.testing.assert_array_equal(*results)


def test_a_nifti_file_is_x_y_z_t(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(movie().transpose(3, 2, 1, 0), np.diag([0.2, 0.2, 1.0, 1])), tmp_path / "movie.nii.gz")
    plan = napari_recon.plan("inr4d.fit", tmp_path / "movie.nii.gz")
    assert plan.outputs[0].grid.axes == "TZYX" and plan.outputs[0].grid.shape == movie().shape


def test_an_unknown_voxel_size_is_said() -> None:
    bare = ImageStack.of(movie(), "TZYX", "bare")
    said = napari_recon.plan("inr4d.fit", bare).resources.warnings
    assert len(said) == 1 and "voxel size" in said[0] and "--voxel-size" in said[0]
    assert not napari_recon.plan("inr4d.fit", recording()).resources.warnings


def test_a_selected_part_has_to_be_a_movie() -> None:
    example = fit_example(region_only=True)
    with pytest.raises(InputError, match="the selected part should have several time points"):
        example.plan(Selection(time=TimeRange(start=1, stop=2)))


def test_a_dark_region_is_said(tmp_path: Path) -> None:
    values = movie()
    values[:, :, :, :6] = 7
    example = fit_example(region_only=True, checkpoint_folder=str(tmp_path))
    plan = example.plan(Selection(box={"x": (0, 4)}))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"is constant \(every value is 7\)"):
        list(example.engine.run(plan, {"movie": [ImageStack(values, recording().grid, "dark")]}))


@pytest.mark.parametrize(("axes", "odd"), [("TZYX", None), ("ZTYX", "Z"), ("YZTX", "Y"), ("XZYT", "X")])
def test_an_axis_along_which_all_stays_looks_like_time(axes: str, odd: str | None) -> None:
    """`axes` is the order that the movie's axes really have, read as TZYX."""
    from .test_fast import balls

    real = balls([0.2 * frame for frame in range(10)], (9, 24, 20)).numpy()
    misread = np.transpose(real, ["TZYX".index(axis) for axis in axes])
    params = {"method": "linear"}
    result = napari_recon.run("inr4d.fit", ImageStack.of(misread, "TZYX", "misread"), params=params)
    heard = [said for said in result.warnings if "looks like time" in said]
    assert bool(heard) == (odd is not None)
    if odd is not None:
        assert heard[0].startswith(f"{odd} looks like time") and "--axes" in heard[0]
        checked = napari_recon.run(
            "inr4d.fit", ImageStack.of(misread, "TZYX", "misread"), params={**params, "axes_checked": True}
        )
        assert not [said for said in checked.warnings if "looks like time" in said]


def test_another_recording_of_the_same_size_and_range_is_refused(tmp_path: Path) -> None:
    field = tmp_path / "field.safetensors"
    napari_recon.train("inr4d.fit", recording(), out=field, params={"method": "linear"})
    napari_recon.run("inr4d.query", recording(), model=str(field))
    other = ImageStack(movie()[::-1].copy(), recording().grid, "backwards")
    with pytest.raises(InputError, match="found other values of the same size and range; choose that recording"):
        napari_recon.run("inr4d.query", other, model=str(field))
