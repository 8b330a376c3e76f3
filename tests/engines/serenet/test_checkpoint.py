"""Recognising checkpoints from names and shapes, and refusing what does not fit."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.serenet.checkpoint import DEFAULTS, expected_shapes, load_network, recognise
from napari_recon.hub import check, resolve

from .examples import drawn_state


class Shape:
    def __init__(self, *shape: int) -> None:
        self.shape = shape


def shapes_of(architecture: str, **changes: Any) -> dict[str, Shape]:
    return {n: Shape(*s) for n, s in expected_shapes(architecture, {**DEFAULTS[architecture], **changes}).items()}


@pytest.mark.parametrize(
    ("architecture", "changes", "second_up"),
    [
        ("serenet", {}, 2.0),
        ("fserenet", {}, 2.0),
        ("serenet", {"views": 81}, 2.5),
        ("serenet", {"channels": (12, 10, 8, 8, 6, 6, 4, 2)}, 2.0),
        ("fserenet", {"channels": (12, 10, 8, 8, 6, 6), "decoder": (6, 7, 9)}, 2.0),
    ],
)
def test_networks_are_recognised_from_shapes(architecture: str, changes: dict[str, Any], second_up: float) -> None:
    found = recognise(shapes_of(architecture, **changes))
    assert found is not None and found.fits
    assert (found.engine, found.architecture) == ("serenet.reconstruct", architecture)
    assert found.options["second_up"] == second_up
    for name, value in changes.items():
        assert found.options[name] == (list(value) if isinstance(value, tuple) else value)
    assert any("views" in sentence for sentence in found.inferred)


def test_published_sizes() -> None:
    for architecture, views, parameters in (("serenet", 49, 194_689), ("serenet", 81, 249_985), ("fserenet", 49, 214_713)):
        state = shapes_of(architecture, views=views)
        assert sum(torch.Size(s.shape).numel() for s in state.values()) == parameters


def test_other_networks_are_nobodys() -> None:
    assert recognise({"layer.0.weight": Shape(3, 3), "layer.0.bias": Shape(3)}) is None
    assert recognise({"fusion.0.weight": Shape(49, 64), "fusion.0.bias": Shape(64)}) is None
    assert recognise({}) is None


def test_differences_are_readable() -> None:
    state = shapes_of("serenet")
    del state["fusion.4.bias"]
    state["fusion.9.weight"] = Shape(16, 17, 3, 3, 3)
    state["extra.weight"] = Shape(1)
    found = recognise(state)
    assert found is not None and not found.fits
    text = "; ".join(found.problems)
    assert "missing: fusion.4.bias" in text
    assert "fusion.9.weight is (16, 17, 3, 3, 3) instead of (16, 16, 3, 3, 3)" in text
    assert "not expected: extra.weight" in text


def test_another_number_of_views_is_left_to_the_psf_shift() -> None:
    found = recognise(shapes_of("serenet", views=50))
    assert found is not None and found.fits and found.contract["nnum"] == 0


@pytest.mark.parametrize("form", ["bare", "module", "published", "state_dict"])
def test_every_wrapping_loads(tmp_path: Path, form: str) -> None:
    options = {**DEFAULTS["serenet"], "channels": [4] * 8}
    state = drawn_state("serenet", options)
    wrapped: Any = {
        "bare": state,
        "module": {f"module.{k}": v for k, v in state.items()},
        "published": {"model": {"name": "serenet", "args": {}, "sd": OrderedDict(state)}, "epoch": 800},
        "state_dict": {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    }[form]
    path = tmp_path / "weights.pth"
    torch.save(wrapped, path)
    report = check(path)
    assert report.fits and report.architecture == "serenet"
    network = load_network(resolve(path))
    torch.testing.assert_close(network.state_dict()["fusion.2.weight"], state["fusion.2.weight"])
    assert not network.training


def test_published_checkpoints(parity_dir: Path) -> None:
    folder = parity_dir / "serenet" / "upstream_weights"
    for name in ("serenet", "fserenet"):
        model = resolve(folder / f"{name}_pth" / "epoch-800.pth")
        assert model.architecture == name
        assert load_network(model) is load_network(model)


def test_truncated_and_foreign_files_are_refused_by_the_loader(tmp_path: Path) -> None:
    state = drawn_state("serenet", {**DEFAULTS["serenet"], "channels": [4] * 8})
    del state["fusion.16.weight"]
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(CheckpointError, match=r"does not fit: missing: fusion\.16\.weight"):
        load_network(ModelRef(id="half", path=str(tmp_path / "half.pth")))
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="found other parameters"):
        load_network(ModelRef(id="other", path=str(tmp_path / "other.pth")))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"model": Evil()}))
    with pytest.raises(CheckpointError):
        load_network(ModelRef(id="evil", path=str(tmp_path / "evil.pth")))
    assert not Path("executed").exists()


def test_recognising_and_planning_need_no_torch() -> None:
    code = (
        "import sys\n"
        "from napari_recon.core.grid import Grid\n"
        "from napari_recon.core.plan import InputRef, ModelRef\n"
        "from napari_recon.engines import registry\n"
        "from napari_recon.engines.serenet.checkpoint import recognise\n"
        "recognise({})\n"
        "ref = InputRef(name='views', grid=Grid.of('TVYX', (2, 169, 20, 20)))\n"
        "model = ModelRef(id='m', path='m.pth', architecture='fserenet')\n"
        "registry.get('serenet.reconstruct').plan([ref], {}, model=model)\n"
        "registry.get('serenet.refocus').plan([ref], {})\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
