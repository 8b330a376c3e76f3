"""Environment variables stand in for options that nobody gave."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from napari_recon.core import compute, settings
from napari_recon.core.compute import Compute, Machine, planning_for
from napari_recon.core.engine import torch_settings
from napari_recon.core.errors import InputError


def test_they_hold_for_runs_without_a_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (settings.DEVICE, settings.MEMORY_GB):
        monkeypatch.delenv(name, raising=False)
    assert (Compute.headless().device, Compute.headless().memory_bytes) == ("auto", 0)
    monkeypatch.setenv(settings.DEVICE, "cuda:1")
    monkeypatch.setenv(settings.MEMORY_GB, "1.5")
    assert (Compute.headless().device, Compute.headless("cpu").device) == ("cuda:1", "cpu")
    assert Compute.headless().memory_bytes == 1_500_000_000


@pytest.mark.parametrize("text", ["much", "-1", "inf"])
def test_a_memory_that_is_no_number_is_one_sentence(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(settings.MEMORY_GB, text)
    with pytest.raises(InputError, match=f"should be a number of GB, found '{text}'; mend"):
        Compute.headless()


@pytest.mark.parametrize(("text", "may"), [("", True), ("0", True), ("no", True), ("1", False), ("yes", False)])
def test_downloads_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, text: str, may: bool) -> None:
    monkeypatch.setenv(settings.OFFLINE, text)
    assert settings.may_download() is may


def test_runs_beside_each_other_leave_torch_as_it_was() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    on_cpu = torch_settings(Compute(device="cpu", threads=3, seed=1))
    on_gpu = torch_settings(Compute(device="cuda", threads=5, seed=2, deterministic=True))
    torch.manual_seed(1)
    drawn = torch.rand(4)
    with ThreadPoolExecutor(1) as other:
        on_cpu.__enter__()
        first = torch.rand(2)
        other.submit(on_gpu.__enter__).result()
        assert torch.get_num_threads() == 3 and other.submit(torch.get_num_threads).result() == 5
        assert torch.equal(torch.cat([first, torch.rand(2)]), drawn), "nobody else changes what a run draws"
        on_cpu.__exit__(None, None, None)
        assert torch.are_deterministic_algorithms_enabled()
        other.submit(on_gpu.__exit__, None, None, None).result()
        after = other.submit(torch.get_num_threads).result()
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before and after == before[0]


def test_a_plan_may_be_for_another_machine() -> None:
    node = Machine(backend="cuda", memory_bytes=1_000, device_bytes=5_000)
    with planning_for(node):
        assert Compute().resolved().device == "cuda" and Compute(device="cuda").resolved().memory_bytes == 5_000
        recorded = Compute(device="cpu", memory_bytes=10**12).resolved()  # on a larger machine
        assert recorded.memory_bytes == 1_000
        assert Compute(device="cpu", memory_bytes=300).resolved().memory_bytes == 300
    assert Compute(device="cpu", memory_bytes=10**12).resolved().memory_bytes == 10**12


@pytest.mark.parametrize(
    ("shown", "device", "asked"), [("", "cuda", "0"), ("3,5", "cuda", "3"), ("GPU-a, GPU-b", "cuda:1", "GPU-b")]
)
def test_the_memory_of_a_card_is_that_of_the_one_a_process_sees(monkeypatch, shown, device, asked) -> None:
    calls = []
    answer = lambda call, **options: calls.append(call) or compute.subprocess.CompletedProcess(call, 0, "7\n")  # noqa: E731
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    monkeypatch.setattr(compute.shutil, "which", lambda name: name)
    monkeypatch.setattr(compute.subprocess, "run", answer)
    assert compute.free_memory(device) == 7 * 2**20 and f"--id={asked}" in calls[0]


@pytest.mark.parametrize(("shown", "backend"), [("0", "cuda"), ("2", "cuda"), ("", "cpu"), ("NoDevFiles", "cpu")])
def test_a_process_that_is_shown_no_card_has_none(monkeypatch, tmp_path, shown, backend) -> None:
    (tmp_path / "version.py").write_text("cuda: str = '12.4'\n")
    monkeypatch.setattr(compute.importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "torch.py")))
    monkeypatch.setattr(compute.shutil, "which", lambda name: name)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert compute._torch_backend.__wrapped__() == backend
