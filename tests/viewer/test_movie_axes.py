from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Image

from napari_recon.viewer.movie_axes import depth_hint, movie_problems, reordered, swapped, unevenness

LABELS = ("time", "z", "y", "x")


def texts(layer: Any, axes: str = "TZYX", accept: Any = lambda: None) -> list[str]:
    return [problem.text for problem in movie_problems(layer, axes, lambda _: None, accept)]


def image(shape: tuple[int, ...], **options: Any) -> Image:
    return Image(np.zeros(shape, np.float32), name="m", **({"units": ("s", "um", "um", "um")} | options))


def test_a_movie_with_steps_has_no_problem() -> None:
    assert texts(image((4, 5, 20, 24))) == []


@pytest.mark.parametrize(
    ("shape", "axes", "said"),
    [
        ((4, 1, 20, 24), "TZYX", "Several planes were expected, found one"),
        ((1, 4, 20, 24), "TZYX", "Several time points were expected, found one in m, but 4 along Z"),
        ((24, 20, 9, 4), "TZYX", "X looks like time"),
        ((24, 9, 5, 20), "TZYX", "Y looks like time"),
        ((4, 5, 20, 24), "ZTYX", "The dimensions of m are Z, T, Y, X, those of a result will be T, Z, Y, X"),
    ],
)
def test_what_is_wrong_is_one_sentence(shape: tuple[int, ...], axes: str, said: str) -> None:
    (text,) = texts(image(shape), axes)
    assert text.startswith(said)


def test_sizes_that_were_accepted_are_not_doubted_again() -> None:
    assert texts(image((24, 9, 5, 20)), accept=None) == []


def test_three_dimensions_are_no_movie_and_others_are_left_to_the_general_checks() -> None:
    assert "found 3 dimensions (5 × 20 × 24)" in texts(Image(np.zeros((5, 20, 24)), name="m"), "ZYX")[0]
    assert texts(image((4, 5, 20, 24)), "TZ") == texts(Image(np.zeros((9, 9, 3), np.uint8), rgb=True), "YX") == []


def test_reordering_copies_nothing_and_keeps_steps_with_their_axes() -> None:
    data = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(5, 4, 3, 2)
    layer = Image(data, name="m", scale=(0.5, 0.5, 2, 30), units=("um", "um", "um", "s"))
    found, attributes = reordered(layer, "XYZT")
    assert found.shape == (2, 3, 4, 5) and np.shares_memory(found, data)
    made = Image(found, **attributes)
    assert made.name == "m (TZYX)" and tuple(made.scale) == (30, 2, 0.5, 0.5)
    assert [str(u) for u in made.units] == ["second", "micrometer", "micrometer", "micrometer"]
    assert tuple(made.axis_labels) == LABELS
    five, attributes = reordered(Image(np.zeros((3, 4, 2, 8, 9))), "ZTCYX")
    assert five.shape == (2, 4, 3, 8, 9) and attributes["name"].endswith("(CTZYX)")


def test_a_lazy_array_without_a_transpose_is_reordered_too() -> None:
    zarr = pytest.importorskip("zarr")
    array = zarr.array(np.arange(24.0).reshape(2, 3, 2, 2))
    found, _ = reordered(Image(array, name="m"), "ZTYX")
    np.testing.assert_array_equal(np.asarray(found), np.swapaxes(np.asarray(array[:]), 0, 1))


def test_depth_is_told_from_time_by_what_the_brightness_does() -> None:
    random = np.random.default_rng(1)
    depth = np.exp(-((np.arange(12) - 4) ** 2) / 8)
    movie = depth[None, :, None, None] * random.random((7, 12, 20, 20)) + 0.02 * random.random((7, 12, 20, 20))
    assert unevenness(movie, "TZYX") < 1
    uneven = unevenness(np.swapaxes(movie, 0, 1), "TZYX")
    assert uneven > 3
    plain = image((12, 7, 20, 20))
    hint = depth_hint(plain, "TZYX", uneven, lambda _: None)
    assert hint is not None and hint.severity == "warning" and hint.offers[0][0] == "Swap T and Z"
    assert depth_hint(image((12, 7, 20, 20), axis_labels=LABELS), "TZYX", uneven, lambda _: None) is None
    assert unevenness(random.random((6, 7, 20, 20)), "TZYX") == 0
    assert swapped("CTZYX", "T", "Z") == "CZTYX"
