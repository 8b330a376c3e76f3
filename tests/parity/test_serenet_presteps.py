"""TW-Net, VsNet and digital adaptive optics against what their published code gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from napari_recon.core.compute import Compute
from napari_recon.core.engine import Engine
from napari_recon.core.events import ArtifactReady
from napari_recon.core.plan import InputRef, ModelRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet import motion
from napari_recon.engines.serenet.predao import Predao
from napari_recon.engines.serenet.twnet import ORDER, Twnet
from napari_recon.engines.serenet.vsnet import Vsnet
from napari_recon.hub import resolve
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS
from tests.contract.examples import collect
from tests.parity.serenet_weights import seeded


@pytest.fixture(scope="module")
def family(parity_dir: Path) -> Path:
    return parity_dir / "serenet"


def assert_parity(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """The tolerance the fixtures name."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    assert np.linalg.norm(found - expected) <= 1e-4 * np.linalg.norm(expected)


def run(engine: Engine[Any], views: NDArray[Any], model: ModelRef | None = None, **params: Any) -> list[Any]:
    stack = ImageStack.of(views, "VYX", "views")
    ref = InputRef(name="views", uri="views", grid=stack.grid, dtype=str(stack.dtype))
    plan = engine.plan([ref], params, model=model, compute=Compute(device="cpu", threads=1))
    return list(engine.run(plan, {"views": [stack]}))


def test_twnet(family: Path) -> None:
    views = tifffile.imread(family / "twnet" / "input.tif")
    expected = np.load(family / "twnet" / "expected.npz")
    model = resolve(family / "upstream_weights" / "twnet_pth" / "epoch-800.pth")
    events = run(Twnet(), views, model, mask=True)
    assert_parity(collect(events, "corrected"), expected["output"])
    assert_parity(collect(events, "mask"), expected["mask"])
    frames = motion.placed(torch.from_numpy(views.astype(np.float32)), ORDER, "reflection")
    assert_parity(frames[0, [0, 4, 8]].numpy(), expected["bicubic_view0_t0_t4_t8"])


def test_mean_over_time(family: Path) -> None:
    units = np.load(family / "units" / "units.npz")
    found = motion.over_time(torch.from_numpy(units["tw_X"]), torch.from_numpy(units["tw_mask"]))
    assert_parity(found.numpy(), units["tw_out"])


@pytest.mark.parametrize("params", [{}, {"compat": "upstream"}])
def test_vsnet(family: Path, tmp_path: Path, params: dict[str, Any]) -> None:
    fixture = np.load(family / "vsnet_seeded" / "fixture.npz")
    path = tmp_path / "vsnet.pth"
    torch.save({"epoch": 1, "state_dict": {f"module.{k}": v for k, v in seeded(family, "vsnet").items()}}, path)
    views = fixture["input"][0]
    assert views.max() == pytest.approx(1, abs=1e-4)  # what the engine divides by
    assert_parity(collect(run(Vsnet(), views, resolve(path), **params), "finer"), fixture["out_eval"][0, 0])


@pytest.mark.parametrize(("defocus", "name"), [("removed", "corrected"), ("kept", "corrected_nodefocus")])
def test_digital_adaptive_optics_as_published(family: Path, defocus: str, name: str) -> None:
    views = tifffile.imread(family / "predao" / "lf_views169.tif")
    expected = np.load(family / "predao" / "expected.npz")
    found = collect(run(Predao(), views, compat="upstream", defocus=defocus), "corrected")
    assert found.shape == (49, 45, 45)
    close = [
        np.abs(found[view] - wanted).max() <= 1e-3 * np.abs(expected[name]).max()
        for view, wanted in zip(expected["corrected_views"], expected[name], strict=True)
    ]
    assert sum(close) >= 7


def test_shifts_are_found_to_a_part_of_a_light_field_pixel(family: Path) -> None:
    """Where the published correlation loses views in the fixture's scene, the default does not."""
    views = tifffile.imread(family / "predao" / "lf_views169.tif")
    injected = -np.load(family / "predao" / "expected.npz")["injected_shift_yx"] * 13 / 3
    order = np.asarray(VIEW_ORDERS[13])
    angles = np.stack([order // 13, order % 13], axis=1) - 6
    errors = {}
    for compat in ("none", "upstream"):
        events = run(Predao(), views, compat=compat)
        rows = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "shifts")
        assert [row["view"] for row in rows] == order.tolist()
        off = np.array([[row["shift_y"], row["shift_x"]] for row in rows]) - injected
        off -= off[0]
        off -= (off * angles).sum() / (angles**2).sum() * angles
        errors[compat] = np.sqrt((off**2).sum(axis=1).mean())
    assert errors["none"] < 2.0, "fine pixels; 4.9 were injected"
    assert errors["none"] < 0.2 * errors["upstream"]
