"""Training VSI-SR: examples that meet their truth, the three methods, data that don't fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, MetricLogged
from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.train_vsi import TrainVsi
from napari_recon.engines.fusion.training.vsi_examples import contents, cut, recording
from napari_recon.engines.fusion.training.vsi_losses import similarity, vsi_loss
from napari_recon.engines.fusion.training.vsi_params import TrainVsiParams
from napari_recon.engines.fusion.training.vsi_task import VsiTask, fitted, psnr
from tests.contract.examples import Example

from .vsi import volume

SMALL: dict[str, Any] = {"blocks": 1, "features": 16, "patch": 16}


def pair(seed: int = 0, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return a stack and its truth: threads, and their image through a blur along y at coarser pixels."""
    fine = volume((9, 3 * size // 2, 3 * size // 2), seed).astype(np.float32)
    coarse = F.interpolate(torch.from_numpy(fine)[None], (size, size), mode="bilinear", antialias=True)[0]
    return F.avg_pool2d(coarse, (3, 1), 1, (1, 0)).round().numpy(), fine


def example(count: int = 2, **params: object) -> Example:
    pairs = [pair(seed) for seed in range(count)]
    stacks = {
        "stack": [ImageStack.of(s, "ZYX", f"stack{i}") for i, (s, _) in enumerate(pairs)],
        "truth": [ImageStack.of(t, "ZYX", f"truth{i}") for i, (_, t) in enumerate(pairs)],
    }
    quick = {"method": "supervised", "steps": 4, "batch_size": 2, "validate_every": 2, "checkpoint_every": 2}
    return Example(TrainVsi(), stacks, {**SMALL, **quick, **params})


def test_patches_meet_their_truth() -> None:
    """A ramp in the stack is the same ramp in the truth, at every place that may be cut."""
    at = np.arange(64, dtype=np.float32)
    stack = np.broadcast_to(at, (9, 64, 64)) + np.linspace(0, 9, 9, dtype=np.float32)[:, None, None]
    fine = np.broadcast_to((np.arange(96) + 0.5) / 1.5 - 0.5, (9, 96, 96)) + np.linspace(0, 9, 9)[:, None, None]
    found = recording(stack, fine.astype(np.float32), 16, 0.0)
    assert len(found.places) > 10
    for place in found.places[:: len(found.places) // 7]:
        seen, sharp = cut(found, place, 16)
        assert seen.shape == (7, 16, 16) and sharp.shape == (3, 24, 24)
        coarse = F.interpolate(torch.from_numpy(sharp.copy())[None], (16, 16), mode="bilinear", antialias=True)[0]
        stack_range, fine_range = np.ptp(stack), np.ptp(fine)
        inner = (slice(None), slice(2, -2), slice(2, -2))
        a = seen[2:5][inner] * stack_range + stack.min()
        b = coarse.numpy()[inner] * fine_range + fine.min()
        np.testing.assert_allclose(a, b, atol=0.05)


def test_patches_lie_where_there_is_something() -> None:
    truth = np.zeros((9, 120, 120), np.float32)
    truth[4, 60:70, 90:100] = 1
    assert contents(truth)[4, 65, 95] and not contents(truth)[4, 20, 20]
    found = recording(truth[:, ::3, ::3].repeat(2, 1).repeat(2, 2), truth, 16, 0.0)
    rows, columns = found.places[:, 1] + 8, found.places[:, 2] + 8
    assert abs(rows.mean() - 65 / 1.5) < 6 and abs(columns.mean() - 95 / 1.5) < 6


def test_an_empty_truth_is_cut_anywhere() -> None:
    found = recording(np.zeros((9, 20, 20), np.float32), np.zeros((9, 30, 30), np.float32), 16, 0.0)
    assert len(found.places) == 3 * 3 * 3


def test_the_loss_is_zero_for_the_truth_and_blind_to_scale() -> None:
    truth = torch.rand(2, 3, 32, 32)
    assert float(vsi_loss(truth, truth)) == pytest.approx(0, abs=1e-6)
    assert float(vsi_loss(5 * truth + 2, truth)) == pytest.approx(0, abs=1e-5)
    other = torch.rand(2, 3, 32, 32)
    assert float(similarity(truth, truth)) == pytest.approx(1, abs=1e-5)
    assert float(similarity(truth, other)) < 0.2
    assert float(vsi_loss(other, truth)) > 0.1


def test_planes_are_judged_after_fitting_their_scale() -> None:
    truth = torch.rand(16, 16)
    torch.testing.assert_close(fitted(-3 * truth + 1, truth), truth, atol=1e-5, rtol=0)
    assert psnr(4 * truth, truth) > 60


def test_unnamed_values_follow_from_the_method() -> None:
    assert TrainVsiParams(init="x").model_dump() | {"init": ""} == TrainVsiParams().model_dump()
    meta = TrainVsiParams(method="meta", steps=7)
    assert (meta.steps, meta.batch_size, meta.learning_rate, meta.schedule) == (7, 3, 1e-4, "constant")
    again = TrainVsiParams.model_validate(meta.model_dump())
    assert again == meta


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """Return a network after a few supervised steps, and the losses on the way."""
    case = example(2, steps=6, batch_size=4, learning_rate=3e-3, schedule="constant", averaging=0, validate_every=6)
    events = case.events(case.plan())
    found = next(e.payload for e in events if isinstance(e, ArtifactReady))
    path = tmp_path_factory.mktemp("vsi") / "start.pth"
    torch.save({name: torch.from_numpy(a) for name, a in found["state"].items()}, path)
    return path, [e.value for e in events if isinstance(e, MetricLogged) and e.name == "loss"]


def test_a_network_learns_from_nothing(trained: tuple[Path, list[float]]) -> None:
    _, losses = trained
    assert losses[-1] < 0.7 * losses[0]


def test_fine_tuning_goes_on_from_a_network(trained: tuple[Path, list[float]]) -> None:
    start, before = trained
    case = example(2, method="finetune", init=str(start), steps=12, batch_size=6, validate_every=12, features=32)
    events = case.events(case.plan())
    losses = [e.value for e in events if isinstance(e, MetricLogged) and e.name == "loss"]
    assert losses[0] < 0.7 * before[0]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    found = next(e.payload for e in events if isinstance(e, ArtifactReady))
    assert found["card"]["options"]["features"] == 16, "the network's own size counts"


def test_meta_training_leaves_the_generator_alone_as_the_model() -> None:
    case = example(2, method="meta", steps=1, batch_size=1, examples_per_task=2, task_iterations=1, generator_steps=1)
    events = case.events(case.plan())
    found = next(e.payload for e in events if isinstance(e, ArtifactReady))
    assert all(name.startswith("vars.") for name in found["state"]) and len(found["state"]) == 6 + 8


def test_both_networks_learn_in_meta_training() -> None:
    params = TrainVsiParams(**SMALL, method="meta", batch_size=1, examples_per_task=2, task_iterations=1, generator_steps=1)
    cut_ = recording(*pair(), 16, 0.6)
    task = VsiTask(params, 0, {"blocks": 1, "features": 16, "slices_in": 7, "slices_out": 3}, [cut_], [cut_])
    network = task.network()
    optimiser = task.optimiser(network, params)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([1e-4, 2e-5])
    task.loss(network, task.batch(0, 0, 1)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim == 4)


def test_a_trained_network_is_found_by_vsi_sr(tmp_path: Path) -> None:
    case = example(1)
    napari_recon.run("fusion.train_vsi", inputs=case.inputs, params=case.params, out=f"{tmp_path}/")
    from napari_recon.hub import check

    assert check(next(tmp_path.glob("model*"))).options == {"blocks": 1, "features": 16, "slices_in": 7, "slices_out": 3}


def test_what_does_not_fit_is_said() -> None:
    case = example(2)
    with pytest.raises(InputError, match="found none; name one"):
        case.plan(method="finetune")
    with pytest.raises(InputError, match="found 2 of stack and 1 of truth"):
        replace(case, stacks={**case.stacks, "truth": case.inputs["truth"][:1]}).plan()
    with pytest.raises(InputError, match=r"the same planes, \(9, 48, 48\), found \(9, 32, 32\)"):
        replace(case, stacks={"stack": case.inputs["stack"], "truth": case.inputs["stack"]}).plan()
    with pytest.raises(InputError, match="planes of patch=64"):
        case.plan(patch=64)
