"""Checkpoints of the toy network in every wrapping, and a hub that knows only its recogniser."""

from __future__ import annotations

from collections import OrderedDict

import pytest

from napari_recon.hub import menu, recognise

PUBLISHED = list(recognise.RECOGNISERS)


@pytest.fixture(autouse=True)
def only_the_toy_network(monkeypatch, tmp_path):
    monkeypatch.setattr(recognise, "RECOGNISERS", ["tests.hub.recognisers:recognise"])
    monkeypatch.setattr(menu, "BUILT_IN", tmp_path / "built_in")
    (tmp_path / "built_in").mkdir()


@pytest.fixture
def built_in(tmp_path):
    return tmp_path / "built_in"


@pytest.fixture
def state():
    import torch

    torch.manual_seed(0)
    return OrderedDict({"body.weight": torch.rand(4, 9, 3, 3), "body.bias": torch.rand(4)})


@pytest.fixture
def checkpoint(tmp_path, state):
    import torch

    path = tmp_path / "epoch-800.pth"
    torch.save({"model": {"name": "toynet", "args": {"views": 9}, "sd": state}, "optimizer": {"sd": {"state": {}}}}, path)
    return path


@pytest.fixture
def all_recognisers(only_the_toy_network, monkeypatch):
    """The recognisers of the real engines instead of the toy's."""
    monkeypatch.setattr(recognise, "RECOGNISERS", PUBLISHED)
