from __future__ import annotations

import pickle
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from napari_recon.core.compute import Compute
from napari_recon.core.errors import Cancelled, CheckpointError, InputError
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Event, MetricLogged, PreviewReady, Progress, Warned
from napari_recon.core.token import CancelToken
from napari_recon.training.loop import train
from napari_recon.training.params import TrainingParams
from napari_recon.training.run import relative_rate
from napari_recon.training.task import Task

from .tasks import Blur, Broken, Deep, Unreadable

CPU = Compute(device="cpu", threads=1, seed=3)


def params(**values: object) -> TrainingParams:
    few = {"steps": 12, "batch_size": 4, "learning_rate": 0.02, "validate_every": 4, "checkpoint_every": 4, "averaging": 0.8}
    return TrainingParams(**{**few, **values})  # type: ignore[arg-type]


def run(folder: Path, task: Task | None = None, token: CancelToken | None = None, **values: object) -> list[Event]:
    return list(train(task or Blur(), params(**values), CPU, folder, token or CancelToken()))


def model_of(events: list[Event]) -> dict[str, np.ndarray]:
    payload = next(e.payload for e in events if isinstance(e, ArtifactReady))
    return payload["state"]  # type: ignore[no-any-return]


def metric(events: list[Event], name: str) -> dict[int, float]:
    return {e.step: e.value for e in events if isinstance(e, MetricLogged) and e.name == name}


def cancelled_after(folder: Path, step: int, **values: object) -> list[Event]:
    token, seen = CancelToken(), []
    with pytest.raises(Cancelled):
        for event in train(Blur(), params(**values), CPU, folder, token):
            seen.append(event)
            if isinstance(event, Progress) and event.done == step:
                token.cancel()
    return seen


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)


def test_a_run_tells_its_losses_previews_checkpoints_and_gives_the_best_model(tmp_path: Path) -> None:
    events = run(tmp_path, steps=60, averaging=0.0)
    pickle.loads(pickle.dumps(events))
    loss, score = metric(events, "loss"), metric(events, "validation")
    assert np.mean([loss[s] for s in range(51, 61)]) < 0.5 * np.mean([loss[s] for s in range(1, 6)])
    assert list(score) == list(range(4, 61, 4))
    assert {e.step for e in events if isinstance(e, PreviewReady)} == set(score)
    assert [e.step for e in events if isinstance(e, CheckpointSaved)] == list(range(4, 61, 4))
    assert len(list(tmp_path.glob("*"))) == 2  # older checkpoints are removed
    assert [(e.done, e.total) for e in events if isinstance(e, Progress)][-1] == (60, 60)
    model = events[-1]
    assert isinstance(model, ArtifactReady) and model.payload["card"]["training"]["validation"] == max(score.values())
    network = Blur().network().eval().requires_grad_(False)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in model.payload["state"].items()})
    assert Blur().validate(network, 0).score == pytest.approx(max(score.values()), rel=1e-5)


def test_the_same_run_gives_the_same_weights(tmp_path: Path) -> None:
    assert same(model_of(run(tmp_path / "a")), model_of(run(tmp_path / "b")))


@pytest.mark.parametrize("options", [{}, {"schedule": "step", "weight_decay": 0.01, "clip": 0}, {"averaging": 0}])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(tmp_path: Path, options: dict[str, object]) -> None:
    whole = run(tmp_path / "whole", **options)
    first = cancelled_after(tmp_path / "parts", 7, **options)
    second = run(tmp_path / "parts", resume="auto", **options)
    assert same(model_of(whole), model_of(second))
    assert metric(whole, "loss") == metric(first, "loss") | metric(second, "loss")
    assert metric(whole, "validation") == metric(first, "validation") | metric(second, "validation")
    ends = [max((tmp_path / name).glob("step-*.pt")) for name in ("whole", "parts")]
    whole_end, parts_end = (torch.load(path, weights_only=True)["training"]["network"] for path in ends)
    assert all(torch.equal(whole_end[name], parts_end[name]) for name in whole_end)


def test_resuming_from_a_regular_checkpoint_repeats_the_rest(tmp_path: Path) -> None:
    whole = run(tmp_path, checkpoint_every=6)
    checkpoint = tmp_path / "step-00000006.pt"
    again = run(tmp_path / "again", resume=str(checkpoint), checkpoint_every=6)
    assert min(metric(again, "loss")) == 7
    assert same(model_of(whole), model_of(again))


def test_init_takes_weights_alone_from_any_file(tmp_path: Path) -> None:
    trained = run(tmp_path / "first", steps=40)
    save_file(model_of(trained), str(tmp_path / "model.safetensors"))
    fresh, warm = run(tmp_path / "a"), run(tmp_path / "b", init=str(tmp_path / "model.safetensors"))
    assert metric(warm, "loss")[1] < 0.5 * metric(fresh, "loss")[1]
    from_checkpoint = run(tmp_path / "c", init=str(tmp_path / "first" / "step-00000040.pt"))
    assert metric(from_checkpoint, "loss")[1] < 0.5 * metric(fresh, "loss")[1]


def test_checkpoints_that_do_not_fit_are_refused_with_the_difference(tmp_path: Path) -> None:
    save_file({"other.weight": np.zeros((3, 3), np.float32)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError, match=r"missing: 0\.weight"):
        run(tmp_path, init=str(tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError, match="weights alone; start from them with init"):
        run(tmp_path, resume=str(tmp_path / "other.safetensors"))
    with pytest.raises(CheckpointError, match=r"found differences: .*missing: 0\.weight"):
        run(tmp_path, init="sim-wiener-rcan")
    with pytest.raises(InputError, match="sim-wiener-rcn"):
        run(tmp_path, init="sim-wiener-rcn")
    with pytest.raises(InputError, match="found none; name a checkpoint"):
        run(tmp_path / "empty", resume="auto")
    with pytest.raises(InputError, match="leave one out"):
        run(tmp_path, init="a.pt", resume="b.pt")


def test_a_cancelled_run_keeps_its_best_model_and_a_checkpoint(tmp_path: Path) -> None:
    events = cancelled_after(tmp_path, 6)
    saved, model = events[-2:]
    assert isinstance(saved, CheckpointSaved) and saved.step == 6 and Path(saved.path).is_file()
    assert isinstance(model, ArtifactReady) and model.payload["card"]["training"]["complete"] is False
    assert model.payload["card"]["training"]["validation"] == metric(events, "validation")[4]


@pytest.mark.parametrize("after", [3, 15 + 3], ids=["forward", "backward"])
def test_cancel_acts_in_the_middle_of_a_step(tmp_path: Path, after: int) -> None:
    token, layers = CancelToken(), []

    def passed() -> None:
        layers.append(len(layers))
        if len(layers) == after:
            token.cancel()

    with pytest.raises(Cancelled):
        run(tmp_path, Deep(passed), token)
    assert after <= len(layers) <= after + 1


def test_a_pause_holds_the_run(tmp_path: Path) -> None:
    token, seen = CancelToken(), []
    thread = threading.Thread(target=lambda: seen.extend(run(tmp_path, token=token)))
    token.pause()
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive() and not list(tmp_path.glob("*"))
    token.resume()
    thread.join(60)
    assert isinstance(seen[-1], ArtifactReady)


def test_a_loss_that_is_not_finite_ends_the_run_with_the_model_before(tmp_path: Path) -> None:
    events = run(tmp_path, Broken())
    assert any(isinstance(e, Warned) and "not finite at step 6" in e.message for e in events)
    assert all(np.isfinite(array).all() for array in model_of(events).values())
    assert events[-1].payload["card"]["training"]["complete"] is False  # type: ignore[union-attr]


def test_an_error_in_the_examples_is_not_lost_in_their_thread(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such example"):
        run(tmp_path, Unreadable())


def test_mixed_precision_learns_the_same(tmp_path: Path) -> None:
    exact, mixed = (metric(run(tmp_path / p, steps=40, precision=p), "validation")[40] for p in ("float32", "mixed"))
    assert mixed == pytest.approx(exact, rel=0.2)


def test_several_devices_need_lightning_and_an_even_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(InputError, match=r"napari-recon\[train\]"):
        run(tmp_path, devices=2)
    with pytest.raises(InputError, match="set batch_size=6"):
        run(tmp_path, devices=3)
    assert isinstance(run(tmp_path)[-1], ArtifactReady)


@given(
    st.sampled_from(["cosine", "step", "constant"]),
    st.integers(1, 10_000),
    st.floats(0, 0.5),
    st.floats(0, 1, exclude_max=True),
)
def test_the_learning_rate_stays_between_zero_and_its_highest(kind: str, steps: int, warmup: float, part: float) -> None:
    rate = relative_rate(int(part * steps), TrainingParams(schedule=kind, steps=steps, warmup=warmup))
    assert 0 < rate <= 1
    if kind == "cosine" and part * steps >= warmup * steps:
        assert rate == pytest.approx(0.505 + 0.495 * np.cos(np.pi * int(part * steps) / steps), abs=0.02 + 1.6 / steps)
