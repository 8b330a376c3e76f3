"""Loading weights: wrappers and prefixes go, damaged files and files with code are refused and nothing runs."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from napari_recon import hub
from napari_recon.core.errors import CheckpointError
from napari_recon.hub.state import read_shapes, unprefixed


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": {"name": "x", "args": {}, "sd": s}},
        lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {0: {"step": torch.zeros(())}}}},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
        lambda s: {"params": s, "lr": 0.1},
        lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "epoch": 3},
    ],
)
def test_wrappers_and_prefixes_go(tmp_path, state, wrap):
    torch.save(wrap(state), tmp_path / "a.pth")
    found = hub.load_state(tmp_path / "a.pth")
    assert list(found) == list(state)
    torch.testing.assert_close(found["body.weight"], state["body.weight"])


def test_prefixes_stay_unless_all_share_them():
    assert unprefixed({"module.a": 1, "b": 2}) == {"module.a": 1, "b": 2}
    assert unprefixed({}) == {}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_not_finite_are_refused(tmp_path, state, suffix):
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken["body.weight"].view(-1)[1] = float("nan")
    path = tmp_path / f"a{suffix}"
    save_file(broken, path) if suffix == ".safetensors" else torch.save(broken, path)
    with pytest.raises(CheckpointError, match=r"NaN or infinity in body\.weight"):
        hub.load_state(path)


def test_safetensors_headers_need_no_pixels(tmp_path, state):
    save_file(dict(state), tmp_path / "a.safetensors", metadata={"note": "x"})
    assert {n: s.shape for n, s in read_shapes(tmp_path / "a.safetensors").items()} == {
        n: tuple(t.shape) for n, t in state.items()
    }
    torch.testing.assert_close(hub.load_state(tmp_path / "a.safetensors")["body.bias"], state["body.bias"])
    assert hub.check(tmp_path / "a.safetensors").fits


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("use", [hub.check, hub.load_state, hub.resolve, hub.import_model])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, state, use, legacy):
    target = tmp_path / "executed"
    torch.save({"state_dict": state, "extra": Bomb(target)}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="nothing was executed"):
        use(tmp_path / "a.pth")
    assert not target.exists()
    assert hub.catalogue() == []


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    target = tmp_path / "executed"
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Bomb(target)))
    with pytest.raises(CheckpointError):
        hub.check(tmp_path / "a.pth")
    assert not target.exists()


def test_a_whole_pickled_module_says_what_to_do(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="state_dict"):
        hub.check(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".tar", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "html", "lfs", "half", "almost", "start"])
def test_damaged_files_are_one_sentence(tmp_path, checkpoint, state, suffix, damage):
    whole = checkpoint.read_bytes()
    if suffix == ".safetensors":
        save_file(dict(state), tmp_path / "whole.safetensors")
        whole = (tmp_path / "whole.safetensors").read_bytes()
    content = {
        "empty": b"",
        "text": b"loss: 0.1\n" * 40,
        "html": b"\n<!DOCTYPE html><html>",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "half": whole[: len(whole) // 2],
        "almost": whole[:-5],
        "start": whole[:6],
    }[damage]
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        hub.check(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_tensor_is_not_a_network(tmp_path):
    torch.save(torch.zeros(49, 101, 2), tmp_path / "shift.pt")
    with pytest.raises(CheckpointError, match=r"\(49, 101, 2\).*psf_shift"):
        hub.check(tmp_path / "shift.pt")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], {"state_dict": {}}])
def test_no_tensors_inside(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="weights of a network"):
        hub.check(tmp_path / "a.pth")


def test_weights_saved_on_a_gpu_load_on_the_cpu(parity_dir):
    state = hub.load_state(parity_dir / "serenet" / "upstream_weights" / "serenet_pth" / "epoch-800.pth")
    assert len(state) == 18
    assert all(t.device.type == "cpu" for t in state.values())
    assert tuple(state["fusion.0.weight"].shape) == (64, 49, 3, 3, 3)


@pytest.fixture
def folder(tmp_path, state, monkeypatch):
    """A model of two files, the second a single tensor, in a folder with a file that is none of it."""
    monkeypatch.setattr(hub.state, "FOLDERS", [("body.pth", "code.pt")])
    torch.save({"model": {name.removeprefix("body."): tensor for name, tensor in state.items()}}, tmp_path / "body.pth")
    torch.save(torch.arange(4.0), tmp_path / "code.pt")
    torch.save({"other": torch.zeros(2)}, tmp_path / "discriminator.pth")
    return tmp_path


def test_files_that_belong_together_are_one_model(folder, state):
    found = hub.load_state(folder)
    assert set(found) == {*state, "code"}
    torch.testing.assert_close(found["code"], torch.arange(4.0))
    before = hub.sha256(folder)
    torch.save(torch.arange(5.0), folder / "code.pt")
    assert hub.sha256(folder) != before


def test_a_missing_or_spoilt_file_of_several_is_named(folder):
    (folder / "code.pt").write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match=r"code\.pt should be a checkpoint, found a text file"):
        hub.load_state(folder)
    (folder / "code.pt").unlink()
    with pytest.raises(CheckpointError, match=r"should hold one checkpoint, found: body\.pth, discriminator\.pth"):
        hub.resolve(folder)


def test_several_files_are_imported_as_one(folder, state, monkeypatch):
    assert hub.check(folder).problems == ("not expected: code",)
    monkeypatch.setattr(hub.state, "FOLDERS", [("body.pth",)])
    card = hub.import_model(folder, "two-parts")
    assert card.path.endswith(".safetensors") and card.title == f"{folder.parent.name}/{folder.name}"
    torch.testing.assert_close(hub.load_state(hub.resolve("two-parts")), dict(state))


def test_one_file_of_several_stands_for_all(folder, state, monkeypatch):
    monkeypatch.setattr(hub.state, "FOLDERS", [("body.pth",)])
    assert hub.import_model(folder / "body.pth").title == f"{folder.parent.name}/{folder.name}"
