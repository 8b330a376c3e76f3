"""The other networks of the SeReNet family against what their published code gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.parity.serenet_weights import seeded


@pytest.fixture(scope="module")
def family(parity_dir: Path) -> Path:
    return parity_dir / "serenet"


def assert_parity(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """The tolerance the fixtures name."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("name", "training", "output"),
    [
        ("vcdnet", False, "out_eval"),
        ("vcdnet", True, "out_train_bn"),
        ("hylfmnet", False, "out_eval"),
        ("vsnet", False, "out_eval"),
    ],
)
def test_bare_networks(family: Path, name: str, training: bool, output: str) -> None:
    import torch

    from napari_recon.engines.serenet.networks.build import build

    fixture = np.load(family / f"{name}_seeded" / "fixture.npz")
    network = build(name, {})
    network.load_state_dict(seeded(family, name, int(fixture["seed"])))
    network.train(training)
    size = () if name == "vsnet" else ((39, 39),)
    with torch.inference_mode():
        found = network(torch.from_numpy(fixture["input"]), *size).numpy()
    assert_parity(found.reshape(fixture[output].shape), fixture[output])
