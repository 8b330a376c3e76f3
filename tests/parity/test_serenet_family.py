"""The other networks of the SeReNet family against what their published code gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_recon.core.compute import Compute
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.engine import Reconstruct
from napari_recon.hub import resolve
from tests.contract.examples import collect
from tests.parity.serenet_weights import seeded

Run = Callable[..., NDArray[np.float32]]


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


@pytest.fixture
def run(family: Path, tmp_path: Path) -> Run:
    """Reconstruct a stack through the engine, with weights of the fixtures, drawn or published."""
    import torch

    def run(views: NDArray[Any], network: str, **params: Any) -> NDArray[np.float32]:
        path = family / "upstream_weights" / f"{network}_pth" / "epoch-800.pth"
        if not path.exists():
            path = tmp_path / f"{network}.pth"
            torch.save({"model": {"name": network, "args": {}, "sd": seeded(family, network)}}, path)
        stack = ImageStack.of(views, "VYX", "views")
        engine, shift = Reconstruct(), next((family / "upstream_weights" / "psf").glob("*_49views.pt"))
        ref = InputRef(name="views", uri="views", grid=stack.grid, dtype=str(stack.dtype))
        compute = Compute(device="cpu", threads=1)
        plan = engine.plan([ref], {"psf_shift": str(shift), **params}, model=resolve(path), compute=compute)
        return collect(list(engine.run(plan, {"views": [stack]})), "volume").astype(np.float32)

    return run


@pytest.mark.parametrize("params", [{}, {"compat": "upstream"}, {"tile_size": 9}])
def test_rlnet_volume(family: Path, run: Run, params: dict[str, Any]) -> None:
    views = tifffile.imread(family / "rlnet_small" / "lf_views169.tif")
    expected = np.load(family / "rlnet_small" / "expected.npz")["volume"]
    assert_parity(run(views, "rlnet", planes=33, **params), expected)


@pytest.mark.slow
def test_rlnet_quality_case(family: Path, run: Run) -> None:
    folder = family / "quality_group001"
    found = run(tifffile.imread(folder / "lf_views169.tif"), "rlnet")
    summary = np.load(folder / "expected_rlnet_summary.npz")
    assert found.shape == tuple(summary["shape"])
    assert_parity(found.ravel()[summary["sample_index"]], summary["sample_value"])
    assert_parity(found.max(axis=0), summary["mip_z"])
    truth = tifffile.imread(folder / "gt.tif").astype(np.float64)
    inner = (slice(20, -20), slice(50, -50), slice(50, -50))
    a, g = found[inner].astype(np.float64), truth[inner]
    alpha = (a * g).sum() / (a * a).sum()
    assert 10 * np.log10(g.max() ** 2 / ((alpha * a - g) ** 2).mean()) == pytest.approx(34.56, abs=0.02)


@pytest.mark.parametrize(
    ("name", "params", "output"),
    [
        ("vcdnet", {}, "out_eval"),
        ("vcdnet", {"compat": "upstream", "batch_norm": "stored"}, "out_eval"),
        ("vcdnet", {"compat": "upstream"}, "out_train_bn"),
        ("hylfmnet", {}, "out_eval"),
        ("hylfmnet", {"compat": "upstream"}, "out_eval"),
    ],
)
def test_networks_of_all_views_through_the_engine(
    family: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str, params: dict[str, Any], output: str
) -> None:
    from napari_recon.engines.serenet import intensity

    fixture = np.load(family / f"{name}_seeded" / "fixture.npz")
    as_it_is = {**intensity.RULES, name: lambda views, _: intensity.Prepared(views, 0.0, 1.0, 1.0, relative=True)}
    monkeypatch.setattr(intensity, "RULES", as_it_is)  # the fixture's input is scaled already
    expected = fixture[output][0, 0]
    found = run(fixture["input"][0], name, **params)
    assert_parity(found, expected if "compat" in params else np.maximum(expected, 0))


def test_the_blended_tiles_of_vcdnet_are_clipped_one_by_one(family: Path, run: Run) -> None:
    """Re-typed from the description of the script: tiles, percentiles of the whole, clip, weights, sum."""
    import torch

    from napari_recon.engines.serenet.networks.build import build

    views = np.random.default_rng(3).random((169, 9, 15)).astype(np.float32)
    found = run(views, "hylfmnet", compat="upstream", tile_size=9, overlap=3)
    low, high = np.percentile(views, [10, 99.9])
    scaled = torch.from_numpy(np.clip((views - low) / (high - low), 0, 1).astype(np.float32))
    network = build("hylfmnet", {})
    network.load_state_dict(seeded(family, "hylfmnet"))
    total, weights = np.zeros((101, 39, 65)), np.zeros((39, 65))
    edge = 1 / (1 + np.exp(-(np.arange(13) - 13 // 2) / 13 * 15))
    profile = np.concatenate([edge, np.full(39 - 26, edge.max()), edge[::-1]])
    weight = np.outer(profile, profile) + 1e-3
    for start in (0, 6):
        with torch.inference_mode():
            tile = network(scaled[None, :, :, start : start + 9], (39, 39))[0, 0].numpy()
        total[:, :, round(start * 13 / 3) :][..., :39] += weight * np.maximum(tile, 0)
        weights[:, round(start * 13 / 3) :][:, :39] += weight
    assert_parity(found, (total / weights).astype(np.float32))


def test_the_blended_tiles_of_rlnet_are_fine_pixels(family: Path, run: Run) -> None:
    from napari_recon.engines.serenet.compat import SCRIPTS

    rules = SCRIPTS["rlnet"].with_sizes(52, 20, 3)
    weight = rules.weight(13 / 3)
    assert weight.shape == (52, 52)
    assert (weight[-1] == np.float32(1e-9)).all() and (weight[:, -1] == np.float32(1e-9)).all()
    views = tifffile.imread(family / "rlnet_small" / "lf_views169.tif")
    exact = run(views, "rlnet", planes=11)
    blended = run(views, "rlnet", planes=11, compat="upstream", tile_size=52, overlap=20)
    difference = np.abs(blended - exact).max() / exact.max()
    assert 1e-4 < difference < 0.3
