"""Recognising and writing the published checkpoint layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import CheckpointError
from napari_recon.engines.lightfield_inr import checkpoint
from napari_recon.engines.lightfield_inr.field import PRESETS, Layers, guessed
from napari_recon.hub import check, load_state, resolve

from .fields import SMALL, dense, drawn, model, scene, sequence


@given(st.integers(1, 9), st.integers(1, 32), st.integers(3, 70), st.data())
@settings(max_examples=60, deadline=None)
def test_sizes_are_read_off_shapes(depth: int, width: int, encoded: int, data: st.DataObject) -> None:
    skips = tuple(sorted(data.draw(st.sets(st.integers(0, max(depth - 2, 0)), max_size=depth - 1))))
    layers = Layers(depth=depth, width=width, skips=skips, encoded=encoded)

    class Shaped:
        def __init__(self, shape: tuple[int, ...]) -> None:
            self.shape = shape

    found = checkpoint.recognise({name: Shaped(shape) for name, shape in layers.shapes().items()})
    assert found is not None and found.fits, found
    assert Layers.model_validate({name: found.options[name] for name in Layers.model_fields}) == layers


@pytest.mark.parametrize("name", ["mito", "lf_t", "tube", "opt", "cryo_et"])
def test_published_networks_are_known_by_their_sizes(name: str) -> None:
    preset = PRESETS[name]
    layers = Layers(depth=preset.depth, width=preset.width, skips=preset.skips, encoded=preset.encoding.length)
    assert guessed(layers) == preset.encoding


def test_every_layout_is_recognised(tmp_path: Path) -> None:
    one, many, table = scene(tmp_path / "a.tar"), sequence(tmp_path / "b.tar"), dense(tmp_path / "c.tar")
    assert check(one).architecture == "nerf" and check(one).engine == "lightfield_inr.query"
    assert check(many).options["frames"] == 3 and check(many).architecture == "nerf_sequence"
    assert check(table).architecture == "nerf_ex" and check(table).fits


def test_wrapped_names_are_the_same_network(tmp_path: Path) -> None:
    import torch

    state = {f"module.{name}": tensor for name, tensor in drawn(SMALL.shapes()).items()}
    torch.save({"global_step": 1, "network_fn_state_dict": state}, tmp_path / "a.tar")
    torch.save([{"network_fn_state_dict": state, "Timepoint": "timepoint_000"}], tmp_path / "b.tar")
    assert check(tmp_path / "a.tar").fits
    assert check(tmp_path / "b.tar").options["frames"] == 1


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    import torch

    state = drawn(SMALL.shapes())
    state["output_linear.weight"] = torch.zeros(3, SMALL.width)
    path = checkpoint.save_checkpoint(tmp_path / "a.tar", 1, state)
    assert not check(path).fits and "output_linear.weight is (3, 16) instead of (1, 16)" in check(path).problems[0]
    frames = [drawn(SMALL.shapes()), drawn(Layers(depth=3, width=8, encoded=27).shapes())]
    assert "time point 1 differs" in check(checkpoint.save_sequence(tmp_path / "b.tar", frames)).problems[0]
    with pytest.raises(CheckpointError, match="one scene"):
        checkpoint.load_training(sequence(tmp_path / "c.tar"))


def test_written_checkpoints_are_read_back(tmp_path: Path) -> None:
    import torch

    state = drawn(SMALL.shapes())
    weights = [torch.nn.Parameter(tensor.clone()) for tensor in state.values()]
    adam = torch.optim.Adam(weights, 5e-4)
    sum(w.square().sum() for w in weights).backward()  # type: ignore[union-attr]
    adam.step()
    path = checkpoint.save_checkpoint(tmp_path / "cp_000009.tar", 9, state, adam.state_dict())
    step, network, optimiser = checkpoint.load_training(path)
    assert step == 9 and list(network) == list(SMALL.shapes())
    fresh = torch.optim.Adam([torch.nn.Parameter(tensor.clone()) for tensor in state.values()], 1.0)
    checkpoint.restored(fresh, optimiser)
    np.testing.assert_array_equal(fresh.state_dict()["state"][0]["exp_avg"], adam.state_dict()["state"][0]["exp_avg"])
    assert fresh.param_groups[0]["lr"] == 5e-4
    assert list(load_state(path)) == list(SMALL.shapes())


def test_the_networks_of_a_sequence_stay_in_order(tmp_path: Path) -> None:
    states = [drawn(SMALL.shapes(), seed) for seed in range(12)]
    loaded = checkpoint.load_states(resolve(checkpoint.save_sequence(tmp_path / "many.tar", states)))
    for state, found in zip(states, loaded, strict=True):
        np.testing.assert_array_equal(found["pts_linear.0.bias"], state["pts_linear.0.bias"])
    assert len(checkpoint.load_states(model("scene"))) == 1
