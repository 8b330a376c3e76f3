"""Recognising ML-SIM checkpoints from names and shapes, and refusing what was made for another task."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.sim.networks.checkpoint import build, load_network, recognise
from napari_recon.engines.sim.networks.shapes import expected_shapes
from napari_recon.hub import check, load_state, resolve

SMALL = {
    "nch_in": 9,
    "nch_out": 1,
    "n_feats": 8,
    "n_resgroups": 2,
    "n_resblocks": 3,
    "reduction": 16,
    "scale": 1,
    "narch": 0,
}


class Shape:
    def __init__(self, *shape: int) -> None:
        self.shape = shape


def shapes_of(architecture: str, options: dict[str, Any]) -> dict[str, Shape]:
    return {name: Shape(*shape) for name, shape in expected_shapes(architecture, options).items()}


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.integers(1, 15),
    outputs=st.integers(1, 9),
    features=st.sampled_from([8, 16, 24, 48, 64, 96]),
    groups=st.integers(1, 12),
    blocks=st.integers(1, 12),
    reduction=st.sampled_from([4, 8, 16]),
    scale=st.sampled_from([1, 2, 3, 4, 8]),
    narch=st.booleans(),
)
def test_an_rcan_is_read_off_its_shapes(
    inputs: int, outputs: int, features: int, groups: int, blocks: int, reduction: int, scale: int, narch: bool
) -> None:
    options = {
        **{"nch_in": 9 if narch else inputs, "nch_out": outputs, "n_feats": features, "n_resgroups": groups},
        **{"n_resblocks": blocks, "reduction": reduction, "scale": scale, "narch": int(narch)},
    }
    found = recognise(shapes_of("rcan", options))
    assert found is not None and found.fits, found
    assert (found.engine, found.architecture) == ("sim.network", "rcan")
    same = {"reduction": found.options["reduction"]} if features // found.options["reduction"] <= 1 else {}
    assert found.options == options | same  # with one hidden unit every larger reduction is the same network


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("edsr", {"nch_in": 9, "nch_out": 1, "n_feats": 24, "n_resblocks": 3, "scale": 1}),
        ("edsr", {"nch_in": 3, "nch_out": 2, "n_feats": 64, "n_resblocks": 16, "scale": 4}),
        ("unet", {"nch_in": 9, "nch_out": 1, "scale": 1}),
        ("unet_n2n", {"nch_in": 6, "nch_out": 3, "scale": 1}),
    ],
)
def test_the_other_networks(architecture: str, options: dict[str, Any]) -> None:
    found = recognise(shapes_of(architecture, options))
    assert found is not None and found.fits, found
    assert (found.architecture, found.options) == (architecture, options)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        *(("rcan", {**SMALL, "scale": scale}) for scale in (1, 2, 3, 4)),
        ("rcan", {**SMALL, "narch": 1}),
        ("rcan", {**SMALL, "nch_in": 5, "nch_out": 4}),
        ("edsr", {"nch_in": 9, "nch_out": 1, "n_feats": 8, "n_resblocks": 2, "scale": 2}),
        ("unet", {"nch_in": 2, "nch_out": 1}),
        ("unet_n2n", {"nch_in": 2, "nch_out": 1}),
    ],
)
def test_what_is_built_has_the_expected_shapes_and_size(architecture: str, options: dict[str, Any]) -> None:
    network = build(architecture, options).eval()
    assert {n: tuple(t.shape) for n, t in network.state_dict().items()} == expected_shapes(architecture, options)
    with torch.inference_mode():
        image = network(torch.rand(1, options["nch_in"], 32, 64))
    scale = options.get("scale", 1)
    assert image.shape == (1, options["nch_out"], 32 * scale, 64 * scale)


@pytest.mark.parametrize(
    ("options", "parameters", "tensors"),
    [
        ({"n_feats": 96, "n_resgroups": 3, "n_resblocks": 10}, 5_360_917, 252),
        ({"n_feats": 48, "n_resgroups": 2, "n_resblocks": 5}, 485_791, 90),
        ({"n_feats": 64, "n_resgroups": 10, "n_resblocks": 10}, 7_855_633, 826),
    ],
)
def test_published_sizes(options: dict[str, int], parameters: int, tensors: int) -> None:
    shapes = expected_shapes("rcan", {**SMALL, **options})
    assert (sum(torch.Size(s).numel() for s in shapes.values()), len(shapes)) == (parameters, tensors)


@pytest.mark.parametrize(
    "form", ["training", "training without module", "bare", "bare module", "plain dict", "plain dict module"]
)
def test_every_layout_loads(tmp_path: Path, form: str) -> None:
    network = build("rcan", SMALL)
    state = network.state_dict()
    prefixed = OrderedDict((f"module.{name}", tensor) for name, tensor in state.items())
    optimizer = torch.optim.Adam(network.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5)
    training = {"epoch": 7, "optimizer": optimizer.state_dict()}
    content: Any = {
        "training": {**training, "state_dict": prefixed, "scheduler": scheduler.state_dict()},
        "training without module": {**training, "state_dict": state},
        "bare": state,
        "bare module": prefixed,
        "plain dict": dict(state),
        "plain dict module": dict(prefixed),
    }[form]
    torch.save(content, tmp_path / "final.pth")
    model = resolve(tmp_path / "final.pth", "sim.network")
    assert (model.architecture, model.options) == ("rcan", SMALL)
    loaded = load_network(model)
    assert not loaded.training and load_network(model) is loaded
    torch.testing.assert_close(loaded.state_dict()["body.1.body.2.body.0.weight"], state["body.1.body.2.body.0.weight"])


def _segmentation(state: dict[str, Any]) -> None:
    state["tail.0.weight"], state["tail.0.bias"] = torch.zeros(4, 8, 1, 1), torch.zeros(4)


def _photographs(state: dict[str, Any]) -> None:
    state["sub_mean.weight"] = torch.zeros(3, 3, 1, 1)


def _incomplete(state: dict[str, Any]) -> None:
    del state["body.1.body.2.body.3.conv_du.2.bias"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_segmentation, "segmentation .* labels 4 classes"),
        (_photographs, "photographs, not SIM"),
        (_incomplete, r"missing: body\.1\.body\.2\.body\.3\.conv_du\.2\.bias"),
    ],
)
def test_networks_of_other_tasks_are_refused_with_a_sentence(tmp_path: Path, spoil: Any, said: str) -> None:
    state = build("rcan", SMALL).state_dict()
    spoil(state)
    torch.save(state, tmp_path / "other.pth")
    report = check(tmp_path / "other.pth")
    assert not report.fits
    with pytest.raises(CheckpointError, match=said):
        resolve(tmp_path / "other.pth", "sim.network")
    with pytest.raises(CheckpointError, match=said):
        load_network(ModelRef(id="other", path=str(tmp_path / "other.pth")))


def test_unknown_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "x.pth")
    assert recognise(load_state(tmp_path / "x.pth")) is None
    with pytest.raises(CheckpointError, match="RCAN, EDSR, U-Net"):
        load_network(ModelRef(id="x", path=str(tmp_path / "x.pth")))
    with pytest.raises(CheckpointError, match="rrdb"):
        build("rrdb", {})
