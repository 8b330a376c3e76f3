"""Naming the dimensions of files that do not, or name them by what their format can express."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.io.axes import in_standard_unit, name_axes


@pytest.mark.parametrize(
    ("found", "shape", "default", "expected"),
    [
        ("QYX", (169, 9, 9), "VYX", "VYX"),
        ("IYX", (169, 9, 9), "VYX", "VYX"),
        ("SYX", (4, 9, 9), "VYX", "VYX"),
        ("ZYX", (169, 9, 9), "VYX", "VYX"),
        ("TYX", (169, 9, 9), "VYX", "VYX"),
        ("CYX", (169, 9, 9), "VYX", "VYX"),
        ("TZYX", (2, 169, 9, 9), "VYX", "TVYX"),
        ("TCYX", (2, 169, 9, 9), "VYX", "TVYX"),
        ("QQYX", (2, 169, 9, 9), "VYX", "TVYX"),
        ("TQYX", (2, 169, 9, 9), "VYX", "TVYX"),
        (None, (169, 9, 9), "VYX", "VYX"),
        (None, (2, 169, 9, 9), "VYX", "TVYX"),
        (None, (2, 3, 169, 9, 9), "VYX", "TCVYX"),
        ("QYX", (9, 9, 9), "ZYX", "ZYX"),
        ("TVYX", (2, 9, 9, 9), "VYX", "TVYX"),
        ("QQYX", (5, 7, 9, 9), "VZYX", "VZYX"),
        ("ZYX", (9, 9, 9), "NYX", "NYX"),
        ("ZCYX", (9, 2, 9, 9), "ZYX", "ZCYX"),
        ("YX", (9, 9), "VYX", "YX"),
        ("CYX", (9, 9, 9), "ZYX", "CYX"),
        ("APYX", (3, 3, 9, 9), "APYX", "APYX"),
    ],
)
def test_declared_axes_name_what_the_file_does_not(found, shape, default, expected):
    assert name_axes(found, shape, default_axes=default) == expected


@pytest.mark.parametrize(("found", "shape"), [("QYX", (5, 9, 9)), (None, (9, 9, 9)), (None, (9, 9)), ("TTYX", (2, 3, 9, 9))])
def test_without_names_and_declaration_the_remedy_is_named(found, shape):
    with pytest.raises(InputError, match="--axes"):
        name_axes(found, shape)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("default", [None, "VYX", "ZYX"])
def test_colour_images_are_refused(channels, default):
    with pytest.raises(InputError, match="RGB"):
        name_axes("YXS", (32, 32, channels), default_axes=default)


def test_too_few_dimensions_name_what_was_expected():
    with pytest.raises(InputError, match=r"2 dimensions.*VYX was expected.*--axes"):
        name_axes(None, (9, 9), default_axes="VYX")


def test_the_user_wins_over_the_file():
    assert name_axes("ZYX", (9, 9, 9), axes="tyx", default_axes="VYX") == "TYX"


@pytest.mark.parametrize("axes", ["ZYXX", "ZZX", "QYX", "ZYXT"])
def test_wrong_axes_from_the_user_are_one_sentence(axes):
    with pytest.raises(InputError):
        name_axes("ZYX", (9, 9, 9), axes=axes)


@given(st.permutations("TCVZYX"), st.integers(2, 5))
def test_fully_named_files_that_fit_are_never_relabelled(letters, ndim):
    axes = "".join(letters)[:ndim]
    assert name_axes(axes, (5,) * ndim, default_axes=axes) == axes


@given(
    st.text(alphabet="TCVZYXQIS", min_size=2, max_size=5),
    st.sampled_from([None, "VYX", "ZYX", "NYX", "VZYX"]),
)
def test_the_answer_is_distinct_known_letters_or_one_sentence(found, default):
    try:
        named = name_axes(found, (7,) * len(found), default_axes=default)
    except InputError:
        return
    assert len(set(named)) == len(named) == len(found)
    assert set(named) <= set("TCVZYXAPN")


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.5, "µm", (0.5, "micrometer")),
        (500.0, "nm", (0.5, "micrometer")),
        (20.0, "ms", (0.02, "second")),
        (2.0, "min", (120.0, "second")),
        (1.0, "pixel", (1.0, "pixel")),
        (1.0, "", (1.0, "pixel")),
        (1.0, "furlong", (1.0, "furlong")),
    ],
)
def test_units_become_micrometers_and_seconds(value, unit, expected):
    number, name = in_standard_unit(value, unit)
    assert (pytest.approx(number), name) == expected


def test_names_that_fit_only_in_part_are_not_guessed() -> None:
    assert name_axes("ZYX", (9, 8, 8), default_axes="APYX") == "ZYX"
    assert name_axes("CZYX", (3, 3, 8, 8), default_axes="APYX") == "APYX"
    assert name_axes("ZYX", (49, 8, 8), default_axes="VYX") == "VYX"
