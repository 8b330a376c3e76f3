"""How the options of training reach a run, and where its checkpoints go."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_recon.cli.options import Request
from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.plan import Plan
from napari_recon.engines.sim.train import Train
from napari_recon.hub import cache_folder, checkpoint_folder


def plan(memory_bytes: int = 10**9, seed: int = 0, **params: object) -> Plan:
    return Train().plan([], params, compute=Compute(device="cpu", threads=1, seed=seed, memory_bytes=memory_bytes))


def test_options_become_parameters(tmp_path: Path) -> None:
    checkpoint = tmp_path / "step-00000010.pt"
    checkpoint.touch()
    made, _ = Request("sim.train", devices=2, resume="auto").planned()
    assert (made.params["devices"], made.params["resume"]) == (2, "auto")
    made, _ = Request("sim.train", init=str(checkpoint)).planned()
    assert (made.params["devices"], made.params["init"]) == (1, str(checkpoint))
    with pytest.raises(InputError, match="check the path"):
        Request("sim.train", resume=str(tmp_path / "gone.pt")).planned()
    with pytest.raises(InputError, match="can't start from a checkpoint"):
        Request("simulate.sim", resume="auto").planned()
    with pytest.raises(InputError, match="uses one device"):
        Request("simulate.sim", devices=2).planned()


def test_checkpoints_of_a_run_have_a_folder_that_a_resumed_run_finds() -> None:
    first = checkpoint_folder(plan())
    assert first.parent == cache_folder() / "checkpoints"
    assert checkpoint_folder(plan(memory_bytes=2 * 10**9, resume="auto")) == first
    others = {checkpoint_folder(each) for each in (plan(steps=7), plan(seed=1), plan(init="weights.pt"))}
    assert len(others) == 3 and first not in others
