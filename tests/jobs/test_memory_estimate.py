"""What runs took of their planned memory corrects the next estimate."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import napari_recon
from napari_recon.core.plan import Plan
from napari_recon.jobs import estimates


@pytest.fixture
def plan(image: np.ndarray) -> Plan:
    made = napari_recon.plan("toy.smooth", image, axes="TYX")
    return made.model_copy(update={"resources": made.resources.model_copy(update={"memory_bytes": 10**9})})


@pytest.mark.parametrize(("peak", "expected"), [(3 * 10**9, 2 * 10**9), (99 * 10**9, 4 * 10**9), (5 * 10**8, 10**9)])
def test_a_new_record_of_the_process_is_learnt_from(monkeypatch, plan: Plan, peak: int, expected: int) -> None:
    import torch  # noqa: F401  its import must not count

    monkeypatch.setattr(estimates, "resident_bytes", lambda device: 10**9)
    monkeypatch.setattr(estimates, "peak_memory_bytes", lambda device: 10**9)
    gauge = estimates.Gauge(plan)
    monkeypatch.setattr(estimates, "peak_memory_bytes", lambda device: peak)
    gauge.learn()
    assert estimates.expected_memory(plan) == expected


def test_small_runs_and_runs_that_import_torch_say_nothing(monkeypatch, plan: Plan) -> None:
    small = plan.model_copy(update={"resources": plan.resources.model_copy(update={"memory_bytes": 1000})})
    monkeypatch.setattr(estimates, "peak_memory_bytes", lambda device: 0)
    fresh = dict(sys.modules)
    fresh.pop("torch", None)
    monkeypatch.setattr(estimates.sys, "modules", fresh)
    gauges = [estimates.Gauge(plan)]
    monkeypatch.undo()
    gauges.append(estimates.Gauge(small))
    for gauge in gauges:
        gauge._peak = 0
        gauge.learn()
    assert estimates.expected_memory(plan) == 10**9 and estimates.expected_memory(small) == 1000
