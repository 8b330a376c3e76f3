"""SeReNet and F-SeReNet against the volumes their published code and weights give."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_recon.core.compute import Compute
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.compat import blend_weight
from napari_recon.engines.serenet.engine import Reconstruct, Refocus
from napari_recon.hub import resolve
from tests.contract.examples import collect

Volume = NDArray[np.float32]
Run = Callable[..., Volume]


@pytest.fixture(scope="module")
def family(parity_dir: Path) -> Path:
    return parity_dir / "serenet"


@pytest.fixture(scope="module")
def run(family: Path) -> Run:
    """Reconstruct a case of the fixtures through the engine, each once."""

    def run(case: str, network: str | None, **params: Any) -> Volume:
        views = tifffile.imread(family / case / "lf_views169.tif")
        stack = ImageStack.of(views, "VYX", case)
        engine = Reconstruct() if network else Refocus()
        model = resolve(family / "upstream_weights" / f"{network}_pth" / "epoch-800.pth") if network else None
        shift = next((family / "upstream_weights" / "psf").glob("*_psfshift_49views.pt"))
        ref = InputRef(name="views", uri=case, grid=stack.grid, dtype="uint16")
        compute = Compute(device="cpu", threads=1)
        plan = engine.plan([ref], {"psf_shift": str(shift), **params}, model=model, compute=compute)
        return collect(list(engine.run(plan, {"views": [stack]})), "volume").astype(np.float32)

    return cache(run)


def assert_parity(found: Volume, expected: Volume) -> None:
    """The tolerance the fixtures name."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


def assert_summary(found: Volume, summary: Any) -> None:
    assert found.shape == tuple(summary["shape"])
    assert_parity(found.ravel()[summary["sample_index"]], summary["sample_value"])
    for axis, name in enumerate(("mip_z", "mip_y", "mip_x")):
        if name in summary:
            assert_parity(found.max(axis=axis), summary[name])
    for name in ("mean", "std", "max"):
        assert getattr(found, name)() == pytest.approx(float(summary[name]), rel=1e-4)


@pytest.mark.parametrize(
    ("case", "network", "planes"),
    [("serenet_small", "serenet", 33), ("serenet_odd", "serenet", 9), ("fserenet_small", "fserenet", 33)],
)
def test_volumes(family: Path, run: Run, case: str, network: str, planes: int) -> None:
    assert_parity(run(case, network, planes=planes), np.load(family / case / "expected.npz")["volume"])


def test_full_depth(family: Path, run: Run) -> None:
    found = run("serenet_full_depth", "serenet")
    summary = np.load(family / "serenet_full_depth" / "expected_summary.npz")
    assert_summary(found, summary)
    assert_parity(found[summary["planes_z"]], summary["planes"])


def test_the_authors_blended_tiles(family: Path, run: Run) -> None:
    found = run("serenet_patched", "serenet", planes=11, compat="upstream", tile_size=27, overlap=9)
    assert_parity(found, np.load(family / "serenet_patched" / "expected.npz")["volume"])


def test_exact_tiles_differ_from_blended_ones_by_what_blending_costs(family: Path, run: Run) -> None:
    blended = np.load(family / "serenet_patched" / "expected.npz")["volume"]
    exact = run("serenet_patched", "serenet", planes=11, tile_size=27)
    assert 0.005 < np.abs(exact - blended).max() / blended.max() < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("network", ["serenet", "fserenet"])
def test_quality_case(family: Path, run: Run, network: str) -> None:
    summary = np.load(family / "quality_group001" / f"expected_{network}_summary.npz")
    assert_summary(run("quality_group001", network), summary)


def _seeded(shapes: dict[str, list[int]], seed: int) -> dict[str, Any]:
    import torch

    state = {}
    for key, shape in shapes.items():
        rng = np.random.default_rng([zlib.crc32(key.encode()), seed])
        values = rng.standard_normal(shape)
        values = 0.02 * values if key.endswith("bias") else values * np.sqrt(2 / np.prod(shape[1:])) * 0.9
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


def test_the_81_view_network(family: Path) -> None:
    import torch

    from napari_recon.engines.serenet.checkpoint import recognise
    from napari_recon.engines.serenet.networks.build import build
    from napari_recon.engines.serenet.streaming import streamed

    fixture = np.load(family / "serenetup5_seeded" / "fixture.npz")
    shapes = json.loads((family / "seeded_state_dict_keys.json").read_text())["serenetup5"]
    state = _seeded(shapes, int(fixture["seed"]))
    found = recognise(state)
    assert found is not None and found.fits and found.options["views"] == 81
    network = build(found.architecture, found.options)
    network.load_state_dict(state)
    features = torch.from_numpy(fixture["input"])
    with torch.inference_mode():
        plain = network(features, (45, 45))
        by_plane = torch.cat(list(streamed(network, features.split(2, dim=2))), dim=2)
    for volume in (plain, by_plane):
        assert_parity(volume.numpy(), fixture["out_eval"])


def test_refocus_of_a_field(family: Path) -> None:
    import torch

    from napari_recon.engines.serenet.intensity import prepare
    from napari_recon.optics.lightfield_geometry import load_psf_shift, page_indices
    from napari_recon.optics.refocus import Refocuser

    units = np.load(family / "units" / "units.npz")
    small = Refocuser(torch.from_numpy(units["lf"]), torch.from_numpy(units["shift"]), 1.0).part((0, 3), (0, 10), (0, 13))
    np.testing.assert_allclose(small[0].numpy(), units["rolldim"], atol=1e-4 * np.abs(units["rolldim"]).max())

    steps = np.load(family / "serenet_small" / "intermediate.npz")
    pages = tifffile.imread(family / "serenet_small" / "lf_views169.tif").astype(np.float32)
    views = pages[list(page_indices(len(pages), 49))]
    prepared = prepare(views)
    assert prepared.background == pytest.approx(float(steps["quantile01"]))
    geometry = load_psf_shift(next((family / "upstream_weights" / "psf").glob("*_49views.pt"))).with_planes(33)
    refocuser = Refocuser(torch.from_numpy(prepared.views_vyx), torch.from_numpy(geometry.psf_shift), 13 / 3)
    features = refocuser.part((0, 33), (0, 18), (0, 18))[0].numpy()
    assert_parity(features[steps["refocus_views"]][:, steps["refocus_planes"]], steps["refocus"])


def test_blend_weight(family: Path) -> None:
    expected = np.load(family / "units" / "units.npz")["blend_weight_27_9"]
    np.testing.assert_allclose(blend_weight(27, 9, 13 / 3), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "network", "method", "psnr", "correlation"),
    [
        ("group001", "serenet", "", 34.33, 0.639),
        ("group007", "fserenet", "", 33.91, 0.354),
        ("group001", None, "mean", 32.14, 0.190),
        ("group007", None, "geometric", 34.57, 0.498),
    ],
)
def test_quality_numbers(
    family: Path, run: Run, case: str, network: str | None, method: str, psnr: float, correlation: float
) -> None:
    found = run(f"quality_{case}", network, **({"method": method} if method else {}))
    truth = tifffile.imread(family / f"quality_{case}" / "gt.tif").astype(np.float64)
    inner = (slice(20, -20), slice(50, -50), slice(50, -50))
    a, g = found[inner].astype(np.float64), truth[inner]
    alpha = (a * g).sum() / (a * a).sum()
    assert 10 * np.log10(g.max() ** 2 / ((alpha * a - g) ** 2).mean()) == pytest.approx(psnr, abs=0.02)
    assert np.corrcoef(a.ravel(), g.ravel())[0, 1] == pytest.approx(correlation, abs=0.002)
