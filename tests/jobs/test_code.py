from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import napari_recon
from napari_recon.cli import options
from napari_recon.core.compute import Compute
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.jobs import make_plan
from napari_recon.jobs.code import as_command, as_python, yaml_text

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "parameters": {"params": {"radius": 3, "tile_size": 8}},
    "region and time": {"selection": Selection(box=Box(y=(4, 20), x=(0, 33)), time=TimeRange(start=1, stop=3))},
    "whole region": {"selection": Selection(box=Box(y=(0, 48), x=(0, 64)))},
    "axes and voxel size": {"axes": "CYX", "voxel_size_um": {"y": 0.1, "x": 1e-05}},
    "seed and device": {"compute": Compute(device="cpu", seed=7)},
}


def _parsed(command: str, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Return the plan the command line makes of `command`."""
    from napari_recon.cli import app, run

    plans = []

    def stop(plan: Plan, *rest: object) -> None:
        plans.append(plan)

    monkeypatch.setattr(run, "carry_out", stop)
    words = shlex.split(command)
    assert words[0] == "napari-recon"
    with pytest.raises(SystemExit) as end:
        app(words[1:])
    assert end.value.code == 0
    return plans[0]


def _timeless(plan: Plan) -> dict[str, Any]:
    """Everything but the memory that happened to be free."""
    return plan.model_copy(update={"compute": plan.compute.model_copy(update={"memory_bytes": 0})}).model_dump()


@pytest.mark.parametrize("case", CASES)
def test_the_command_parses_back_to_the_same_plan(
    case: str, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan, _ = make_plan("toy.smooth", {"image": [image_file]}, **CASES[case])
    assert _timeless(_parsed(as_command(plan), monkeypatch)) == _timeless(plan)


@pytest.mark.parametrize("name", ["it's.npy", "$HOME & more.npy", "-start.npy", 'quo"te.npy', "new\nline.npy"])
def test_odd_file_names_are_quoted(name: str, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / name, image)
    plan, _ = make_plan("toy.smooth", {"image": [tmp_path / name]})
    assert _timeless(_parsed(as_command(plan), monkeypatch)) == _timeless(plan)


def test_two_inputs_keep_their_places(image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", image)
    np.save("b.npy", image[0])
    plan, _ = make_plan("toy.smooth", {"background": ["b.npy"], "image": ["a.npy"]})
    assert _timeless(_parsed(as_command(plan), monkeypatch)) == _timeless(plan)


@pytest.mark.parametrize("case", CASES)
def test_the_script_makes_the_same_plan(case: str, image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = make_plan("toy.smooth", {"image": [image_file]}, **CASES[case])
    scope: dict[str, Any] = {}
    exec(as_python(plan), scope)
    result = scope["result"]
    remade = napari_recon.core.provenance.Recipe.from_dict(result.provenance).steps[0]
    assert remade.params == plan.params and remade.selection == plan.selection
    assert result.specs["smooth"] == plan.outputs[0]
    assert scope["smooth"].shape == plan.outputs[0].grid.shape


def test_a_layer_is_taken_from_the_viewer_or_saved_first(image: np.ndarray) -> None:
    from napari_recon.core.stack import ImageStack

    layer = ImageStack.of(image, "TYX", "my layer")
    plan, _ = make_plan("toy.smooth", {"image": [layer]})
    assert "viewer.layers['my layer'].data" in as_python(plan) and "axes='TYX'" in as_python(plan)
    assert "my_layer.ome.tif" in shlex.split(as_command(plan))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(values)
def test_any_value_survives_the_command_line(value: Any) -> None:
    text = yaml_text(value)
    assert options.assigned([f"x={text}"]) == {"x": value}


def test_what_needs_no_quotes_gets_none() -> None:
    assert [yaml_text(v) for v in ("auto", 3, 0.5, True, [1, 2])] == ["auto", "3", "0.5", "true", "[1, 2]"]
    assert yaml.safe_load(yaml_text(1e-05)) == 1e-05 and math.isinf(yaml.safe_load(yaml_text(math.inf)))
