"""The authors' published files: recognised from keys and shapes alone, or refused with a sentence."""

from __future__ import annotations

import pytest

from napari_recon import hub
from napari_recon.core.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("all_recognisers")


@pytest.fixture
def weights(parity_dir):
    return parity_dir / "serenet" / "upstream_weights"


@pytest.mark.parametrize("name", ["serenet", "fserenet"])
def test_checkpoints_of_the_engine_fit(weights, name):
    path = weights / f"{name}_pth" / "epoch-800.pth"
    report = hub.check(path)
    assert report.fits, report.problems
    assert (report.engine, report.architecture, report.options["views"]) == ("serenet.reconstruct", name, 49)
    assert any("49 views" in sentence for sentence in report.inferred)
    ref = hub.resolve(path, "serenet.reconstruct")
    assert hub.import_model(path).sha256 == ref.sha256
    assert hub.resolve(name, "serenet.reconstruct").id == ref.id


def test_single_tensors_are_no_networks(weights):
    for path in (weights / "psf").glob("*.pt"):
        with pytest.raises(CheckpointError, match="single tensor"):
            hub.resolve(path)


def test_a_checkpoint_that_is_almost_right_is_refused_with_the_difference(weights, tmp_path):
    import torch

    state = hub.load_state(weights / "serenet_pth" / "epoch-800.pth")
    del state["fusion.18.bias"]
    state["head.weight"] = torch.zeros(2)
    state["fusion.16.weight"] = torch.zeros(5, 8, 3, 3, 3)
    torch.save(state, tmp_path / "mended.pth")
    report = hub.check(tmp_path / "mended.pth")
    assert not report.fits
    said = " ".join(report.problems)
    assert "fusion.18.bias" in said
    assert "head.weight" in said
    with pytest.raises(CheckpointError, match=r"fusion\.18\.bias"):
        hub.import_model(tmp_path / "mended.pth")
    assert hub.catalogue() == []
