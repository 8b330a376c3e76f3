"""Cells from nuclei: drawn embryos, divisions, tables in every layout, series, what does not fit."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady
from napari_recon.core.stack import ImageStack
from napari_recon.engines.segmentation.membranes import isotropic, likelihood, sharpened, sheets
from napari_recon.engines.segmentation.regions import flooded, measured, membrane_between, resampled
from napari_recon.engines.segmentation.seeded import Seeded
from napari_recon.engines.segmentation.seeds import mother_of, nuclei_by_time
from tests.contract.examples import Example

from .cells import FINE, Embryo, dice, embryo, example


def segmented(drawn: Embryo, **params: Any) -> tuple[np.ndarray, dict[str, int], list[Any]]:
    """Return labels on isotropic voxels, the number of every cell, and the reports."""
    stack = ImageStack.of(drawn.stack, "ZYX", "membranes")
    kind = {"iso_shape": FINE, "grid": "isotropic", **params}
    case = Example(Seeded(), {"stack": stack}, kind, others={"seeds": [drawn.rows]})
    plan = case.plan()
    events = case.events(plan)
    from tests.contract.examples import collect

    rows = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "cells")
    reports = [e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "report"]
    return collect(events, "labels").astype(int), {row["name"]: row["label"] for row in rows}, reports


@pytest.mark.parametrize("seed", [0, 1])
def test_cells_of_a_drawn_embryo(seed: int) -> None:
    drawn = embryo(seed, 8, photons=(30.0, 12.0)[seed])
    found, names, reports = segmented(drawn)
    overlaps = [dice(found, drawn.isotropic, names[f"N{i}"], i + 1) for i in range(8)]
    assert np.mean(overlaps) > 0.94 and min(overlaps) > 0.9
    assert not reports, "nobody has sisters here"
    plain = flooded(isotropic(drawn.stack.astype(np.float32), FINE), [], 2.0, 0.1)
    assert not plain.any()


def test_a_dividing_cell_is_one_with_its_mothers_name() -> None:
    drawn = embryo(3, 8, names=("AB", *(f"N{i}" for i in range(1, 8))), dividing=True)
    found, names, reports = segmented(drawn)
    assert "AB" in names and not {"ABa", "ABp"} & set(names)
    assert dice(found, drawn.isotropic, names["AB"], 1) > 0.93
    sisters = reports[0]["sisters"]
    assert [s["mother"] for s in sisters if s["one_cell"]] == ["AB"]
    _, names, _ = segmented(drawn, divisions="never")
    assert {"ABa", "ABp"} <= set(names) and "AB" not in names


def test_separate_sisters_stay_apart() -> None:
    drawn = embryo(2, 8, names=("ABa", "ABp", "MS", "E", "P3", "C", "Za", "Zp"))
    _, names, reports = segmented(drawn)
    assert {"ABa", "ABp", "MS", "E", "P3", "C"} <= set(names)
    assert reports and not any(s["one_cell"] for s in reports[0]["sisters"])


def test_labels_on_the_stacks_own_voxels() -> None:
    drawn = embryo(0, 8)
    found, names, _ = segmented(drawn, grid="stack")
    assert found.shape == drawn.stack.shape
    overlaps = [dice(found, drawn.labels, names[f"N{i}"], i + 1) for i in range(8)]
    assert np.mean(overlaps) > 0.93


def test_a_name_has_one_number_throughout_a_series() -> None:
    case = example(3)
    rows = [dict(row) for row in case.others["seeds"][0]]
    late = [row for row in rows if not (row["time"] == 1 and row["cell"] == "N0")]  # appears at the second time point
    case = replace(case, others={"seeds": [late]})
    events = case.events(case.plan())
    tables = [e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "cells"]
    numbers = [{row["name"]: row["label"] for row in table} for table in tables]
    assert [(table[0]["frame"], table[0]["time"]) for table in tables] == [(0, 1), (1, 2), (2, 3)], "times of the seeds"
    assert "N0" not in numbers[0] and "N0" in numbers[1]
    assert all(numbers[1][name] == number for name, number in numbers[0].items()) and numbers[1] == numbers[2]


@pytest.mark.parametrize(
    "row",
    [
        {"cellTime": "ABa:4", "cell": "ABa", "time": 4, "none": 1, "z": 3.5, "x": 7, "y": 9, "size": 39, "gweight": 5},
        {"cell": "ABa", "time": 4, "z": 3.5, "x": 7, "y": 9},
        {"Cell & Time": "ABa:4", "X (Pixel)": 7, "Y (Pixel)": 9, "Z (Pixel)": 3.5},
        {" Cell ": "ABa", "Time": "4", "Z": "3.5", "X": "7", "Y": "9"},
        {"index": 0, "axis-0": 4, "axis-1": 3.5, "axis-2": 9, "axis-3": 7, "label": "ABa"},
    ],
)
def test_every_layout_of_a_tracing_table(row: dict[str, Any]) -> None:
    found = nuclei_by_time([row])
    assert {time: [(c.name, c.zyx) for c in cells] for time, cells in found.items()} == {4: [("ABa", (3.5, 9.0, 7.0))]}


def test_mothers() -> None:
    known = {("Ca", "Cp"): "C", ("E", "MS"): "EMS", ("P3", "C"): "P2", ("ABal", "ABar"): "ABa"}
    assert {pair: mother_of(*pair) for pair in known} == known
    assert mother_of("ABal", "ABpr") is None and mother_of("N1", "N2") is None


@given(st.integers(3, 9), st.integers(3, 9), st.integers(1, 4))
def test_resampling_keeps_places(planes: int, size: int, factor: int) -> None:
    """Halves stay halves: the border lies at the same place in the world at every sampling."""
    labels = np.ones((planes, size, 2 * size), np.int32)
    labels[..., size:] = 2
    found = resampled(labels, (factor * planes, size, 2 * factor * size))[0]
    assert (found[..., : factor * size] == 1).all() and (found[..., factor * size :] == 2).all()


def test_sheets_are_found_and_lines_are_not() -> None:
    volume = np.zeros((21, 21, 21), np.float32)
    volume[10] = 1
    sheet = sheets(volume, 1.0)[10, 10, 10]
    volume[:] = 0
    volume[10, 10] = 1
    assert sheets(volume, 1.0)[10, 10, 10] < 0.1 * sheet


def test_sharpening_undoes_a_blur_along_z() -> None:
    from scipy import ndimage

    truth = np.full((40, 8, 8), 0.1, np.float32)
    truth[[12, 20]] = 5
    blurred = ndimage.gaussian_filter(truth, (2.5, 0.8, 0.8))
    found = sharpened(blurred, (2.5, 0.8), 30, lambda: None)
    assert found[16, 4, 4] < 0.5 * blurred[16, 4, 4] and found[12, 4, 4] > 1.3 * blurred[12, 4, 4]


def test_depth_does_not_dim_membranes() -> None:
    rng = np.random.default_rng(0)
    volume = rng.random((30, 20, 20)).astype(np.float32) ** 4
    dimmed = volume * np.linspace(1, 0.4, 30, dtype=np.float32)[:, None, None]
    found = likelihood(dimmed)
    assert found[-6:].std() == pytest.approx(found[:6].std(), rel=0.25)


def test_measurements_of_boxes() -> None:
    labels = np.zeros((8, 8, 8), np.int32)
    labels[2:6, 2:6, 2:4], labels[2:6, 2:6, 4:6] = 1, 2
    rows = measured(labels, {1: "A", 2: "B", 3: "gone"}, (0.5, 0.2, 0.2))
    assert [row["name"] for row in rows] == ["A", "B"]
    assert rows[0]["volume"] == pytest.approx(32 * 0.02)
    assert rows[0]["contacts"] == "B:1.0667"
    faces = 16 * 0.1 * 2 + 2 * 8 * 0.1 + 2 * 8 * 0.04  # across x twice, y and z
    assert rows[0]["surface"] == pytest.approx(faces * 2 / 3, abs=1e-3)


def test_membrane_between_is_one_for_usual_and_zero_for_none() -> None:
    labels = np.zeros((6, 6, 12), np.int32)
    labels[1:5, 1:5, 1:4], labels[1:5, 1:5, 4:7], labels[1:5, 1:5, 7:11] = 1, 2, 3
    membrane = np.zeros(labels.shape, np.float32)
    membrane[..., 3:5] = 2
    found = membrane_between(labels, membrane, [(1, 2), (2, 3), (1, 3)])
    assert found[1, 2] > 0.9 and found[2, 3] == pytest.approx(0) and (1, 3) not in found


def test_what_does_not_fit_is_said() -> None:
    case = example()
    plain = ImageStack.of(np.asarray(case.main.data)[0], "ZYX", "m")
    with pytest.raises(InputError, match="no voxel size; give it"):
        replace(case, stacks={"stack": plain}).plan()
    rows = case.others["seeds"][0]

    def run(rows: Any, **params: Any) -> None:
        other = replace(case, others={"seeds": [rows]})
        other.events(other.plan(**params))

    with pytest.raises(InputError, match="columns cell, time, z, y, x, found cell, a, b"):
        run([{"cell": 1, "a": 2, "b": 3}])
    with pytest.raises(InputError, match="found 1 outside, the first is N0 at"):
        run([{**rows[0], "x": 99}, *rows[1:]])
    with pytest.raises(InputError, match="one nucleus at time 1, found two"):
        run([*rows, rows[0]])
    with pytest.raises(InputError, match="rows for time 7, found times 1"):
        run(rows, time_point=7)
    with pytest.raises(InputError, match=r"numbers for z, y and x, found z=.*, x='far'; mend it"):
        run([{**rows[0], "x": "far"}])
    for name in ("C:x", ":3", "C:"):
        with pytest.raises(InputError, match="as C:3 for time 3 alone"):
            run(rows, apart=(name,))
    sisters = [{**row, "cell": f"C{letter}"} for row, letter in zip(rows, "ap", strict=False)]
    for name, known in (("D", "(C)"), ("C:2", "(C:1)")):
        with pytest.raises(InputError, match=re.escape(f"{known}, found {name!r}; correct the name")):
            run(sisters, together=(name,))
    with pytest.raises(InputError, match=r"three axes .* or four .*, found axis-0, axis-1; save"):
        run([{"axis-0": 1, "axis-1": 2}])
    with pytest.raises(InputError, match="one row per nucleus, found none"):
        run([])
    two = [{**row, "time": t} for row in rows for t in (1, 2)]
    single = replace(case, stacks={"stack": ImageStack(np.asarray(case.main.data)[0], case.main.grid.only("ZYX"), "m")})
    with pytest.raises(InputError, match="found times 1, 2; set time_point"):
        other = replace(single, others={"seeds": [two]})
        other.events(other.plan())
