from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from napari_recon.core.errors import InputError
from napari_recon.core.params import EngineParams, describe_parameters, make_params, param


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    rate: float = param(1e-5, "A rate.", unit="1/s", gt=0)


class Params(EngineParams):
    iterations: int | Literal["auto"] = param("auto", "How many.", ge=1, le=500)
    mode: Literal["fast", "exact"] = param("exact", "Which.")
    psf: str = param("", "A file.", file=(".pt", ".npy"), advanced=True)
    inner: Inner = Inner()


def test_the_table_has_every_parameter_flattened() -> None:
    rows = {row.name: row for row in describe_parameters(Params)}
    assert list(rows) == ["iterations", "mode", "psf", "inner.rate"]
    assert rows["iterations"].type == "int | auto" and rows["iterations"].choices == ("auto",)
    assert rows["mode"].choices == ("fast", "exact")
    assert rows["inner.rate"].default == 1e-5 and rows["inner.rate"].range == "> 0"
    assert rows["psf"].file == (".pt", ".npy") and rows["psf"].advanced


def test_dotted_names_reach_nested_settings() -> None:
    assert make_params(Params, {"inner.rate": 2.0, "iterations": 7}).inner.rate == 2.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"iterations": True}, "parameter iterations should be int | auto"),
        ({"iteration": 3}, "iteration is not a parameter of x.y; choose from iterations, mode"),
        ({"mode": "slow"}, "parameter mode should be fast | exact, found 'slow'"),
        ({"iterations": 0}, "parameter iterations should be int | auto (>= 1, <= 500), found 0"),
        ({"inner.rate": -1}, "parameter inner.rate should be float (> 0 1/s), found -1"),
        ({"inner.rate": "many"}, "parameter inner.rate should be float"),
    ],
)
def test_wrong_values_are_one_sentence(values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        make_params(Params, values, "x.y")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_ranges_of_mixed_types_are_kept() -> None:
    assert {r.name: r.range for r in describe_parameters(Params)}["iterations"] == ">= 1, <= 500"


def test_the_type_of_a_limited_number_is_the_number() -> None:
    class Limited(EngineParams):
        steps: Annotated[int, Field(ge=1)] | Literal["auto"] = param("auto", "How many.")

    (row,) = describe_parameters(Limited)
    assert (row.type, row.range) == ("int | auto", ">= 1")


@pytest.mark.parametrize(
    ("given", "taken"), [("1,2.5", (1.0, 2.5)), (3, (3.0,)), (30.8, (30.8,)), ([4], (4.0,)), ("auto", "auto")]
)
def test_a_list_is_numbers_with_commas_or_a_single_one(given: object, taken: object) -> None:
    class Lists(EngineParams):
        angles: tuple[float, ...] | Literal["auto"] = param("auto", "Some numbers.")

    assert make_params(Lists, {"angles": given}).angles == taken


def test_a_number_stays_one_where_one_is_meant() -> None:
    class Either(EngineParams):
        size: float | tuple[float, float] = param(1.0, "One number or two.")

    assert make_params(Either, {"size": 3.5}).size == 3.5
