"""The other networks of the family are recognised from names and shapes, and built with the parameters expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from napari_recon.core.errors import CheckpointError
from napari_recon.engines.serenet.checkpoint import load_network
from napari_recon.engines.serenet.networks.build import ARCHITECTURES, build
from napari_recon.engines.serenet.networks.recognise import SUMMARIES, expected_shapes, nnum_of, recognise
from napari_recon.hub import check, resolve

SMALL: dict[str, dict[str, Any]] = {
    "rlnet": {},
    "vcdnet": {"views": 9, "planes": 5, "interp": 32, "channels": [4, 4, 5, 6, 6, 6], "ups": [6, 5, 4, 4]},
    "hylfmnet": {"views": 9, "planes": 5, "wide": 8, "features": 2},
    "twnet": {"channels": [2, 3, 4, 5, 6], "scanning": 3},
    "vsnet": {"nnum": 3, "groups": 2, "blocks": 2, "channels": 4, "factor": 3},
}


def test_every_network_has_a_sentence() -> None:
    assert set(SUMMARIES) == set(ARCHITECTURES)
    assert all(text.endswith(".") for text in SUMMARIES.values())


@pytest.mark.parametrize("architecture", SMALL)
@pytest.mark.parametrize("published", [False, True])
def test_networks_are_what_their_shapes_say(architecture: str, published: bool) -> None:
    if published and architecture == "vsnet":
        options: dict[str, Any] = {"nnum": 13, "groups": 4, "blocks": 4, "channels": 8, "factor": 3}
    else:
        options = {} if published else SMALL[architecture]
    with torch.device("meta"):
        network = build(architecture, options)
    state = network.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected_shapes(architecture, options)
    found = recognise(state)
    assert found is not None and found.fits and found.architecture == architecture and found.inferred
    for name, value in options.items():
        assert found.options[name] == value
    with torch.device("meta"):
        assert build(architecture, found.options).state_dict().keys() == state.keys()


@pytest.mark.parametrize("architecture", SMALL)
def test_files_as_the_authors_save_them(architecture: str, tmp_path: Path) -> None:
    network = build(architecture, SMALL[architecture])
    path = tmp_path / "epoch-800.pth"
    state = network.state_dict()
    torch.save({"model": {"name": architecture, "args": {}, "sd": state}, "epoch": 800}, path)
    assert check(path).fits
    assert load_network(resolve(path)).state_dict().keys() == state.keys()
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    model = resolve(path)
    assert model.architecture == architecture
    loaded = load_network(model)
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, state[name])


@pytest.mark.parametrize("architecture", SMALL)
def test_incomplete_files_are_refused_with_the_difference(architecture: str, tmp_path: Path) -> None:
    state = build(architecture, SMALL[architecture]).state_dict()
    missing = [name for name in state if "conv" in name.lower() or "Conv" in name][-1]
    state = {name: tensor for name, tensor in state.items() if name != missing}
    torch.save(state, tmp_path / "half.pth")
    report = check(tmp_path / "half.pth")
    if report.engine.startswith("serenet."):
        assert not report.fits and missing in "; ".join(report.problems)
    with pytest.raises(CheckpointError):
        resolve(tmp_path / "half.pth")


def test_views_that_are_no_odd_square_are_a_problem() -> None:
    state = build("hylfmnet", {**SMALL["hylfmnet"], "views": 16}).state_dict()
    found = recognise(state)
    assert found is not None and "16 views" in found.problems[0]
    assert [nnum_of(n) for n in (169, 225, 49, 81, 16, 50, 1)] == [13, 15, 7, 9, 0, 0, 1]


def test_published_checkpoints(parity_dir: Path) -> None:
    folder = parity_dir / "serenet" / "upstream_weights"
    for name, engine in (("rlnet", "serenet.reconstruct"), ("twnet", "serenet.twnet")):
        model = resolve(folder / f"{name}_pth" / "epoch-800.pth")
        assert (model.architecture, model.engine) == (name, engine)
        assert sum(p.numel() for p in load_network(model).parameters()) == {"rlnet": 16_060, "twnet": 144_753}[name]
