"""Two processes on the CPU, as they would be on two accelerators."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_recon.core.errors import Cancelled, EngineError
from napari_recon.core.events import ArtifactReady, CheckpointSaved, MetricLogged, Progress
from napari_recon.core.token import CancelToken
from napari_recon.training.loop import train

from .tasks import Blur, Unreadable
from .test_loop import CPU, metric, model_of, params, run

pytest.importorskip("lightning_fabric")


def test_two_devices_learn_what_one_learns(tmp_path: Path) -> None:
    task = Blur(dropout=0.0)
    alone, together = run(tmp_path / "1", task), run(tmp_path / "2", task, devices=2)
    assert list(metric(together, "loss")) == list(metric(alone, "loss"))
    for name in ("loss", "validation"):
        np.testing.assert_allclose(list(metric(together, name).values()), list(metric(alone, name).values()), rtol=1e-3)
    for name, array in model_of(alone).items():
        np.testing.assert_allclose(model_of(together)[name], array, atol=1e-4)
    assert sum(isinstance(event, ArtifactReady) for event in together) == 1  # only the first process tells


def test_pause_and_cancel_reach_every_process(tmp_path: Path) -> None:
    token, seen, raised = CancelToken(), [], []

    def work() -> None:
        try:
            for event in train(Blur(), params(devices=2, steps=10**6), CPU, tmp_path, token):
                seen.append(event)
        except Cancelled as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    _wait(lambda: any(isinstance(e, MetricLogged) for e in seen))
    token.pause()
    _wait(lambda: _rests(seen))
    count = len(seen)
    token.resume()
    _wait(lambda: len(seen) > count)
    token.cancel()
    _wait(lambda: isinstance(seen[-1], ArtifactReady))
    thread.join(30)
    assert raised and not thread.is_alive()
    assert any(isinstance(e, CheckpointSaved) for e in seen)
    assert max(e.done for e in seen if isinstance(e, Progress)) < 10**6


def test_an_error_in_one_process_ends_all_with_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such example"):
        run(tmp_path, Unreadable(), devices=2)


def _rests(seen: list[object]) -> bool:
    """Nothing comes for a second."""
    count = len(seen)
    time.sleep(1.0)
    return len(seen) == count


def _wait(met: object, seconds: float = 60.0) -> None:
    end = time.perf_counter() + seconds
    while not met():  # type: ignore[operator]
        assert time.perf_counter() < end, "nothing happened"
        time.sleep(0.05)
