"""Environment variables stand in for options that nobody gave."""

from __future__ import annotations

import pytest

from napari_recon.core import settings
from napari_recon.core.compute import Compute
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
