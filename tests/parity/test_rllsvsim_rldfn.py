"""RL-DFN against the published program: corrections, networks, a volume of patches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from napari_recon.core.compute import Compute
from napari_recon.core.plan import InputRef
from napari_recon.core.stack import ImageStack
from napari_recon.engines.deconvolution.volumes.upstream import corrections, transfer_of
from napari_recon.engines.fusion.networks.rldfn_checkpoint import load_rldfn
from napari_recon.engines.fusion.rldfn import RlDfnFusion
from napari_recon.hub import resolve
from tests.contract.examples import collect


@pytest.fixture(scope="module")
def folder(parity_dir: Path) -> Path:
    return parity_dir / "rllsvsim"


@pytest.mark.parametrize("case", ["rl_deconv_even", "rl_deconv_odd", "rldfn_a"])
def test_corrections(folder: Path, case: str) -> None:
    data = np.load(folder / case / "data.npz")
    views = torch.stack([torch.from_numpy((data[k] / data[k].max()).astype(np.float32)) for k in ("viewA", "viewB")])
    psfs = [torch.from_numpy(tifffile.imread(folder / case / f"psf_{k}.tif")) for k in "AB"]
    blur = torch.stack([transfer_of(psf, tuple(views.shape[1:]), published=True) for psf in psfs])
    for found, name in zip(corrections(views, blur).numpy(), ("curA", "curB"), strict=True):
        np.testing.assert_allclose(found, data[name], rtol=0, atol=1e-5 * data[name].max())


def test_networks(folder: Path) -> None:
    networks = load_rldfn(resolve(folder / "rldfn_a" / "checkpoint", "fusion.rldfn"))
    data = np.load(folder / "rldfn_a" / "data.npz")
    changes = torch.from_numpy(np.stack([data["curA"], data["curB"]]))[None]
    for name, view in (("v1_ch0_3", changes[:, :1]), ("v2_ch0_3", changes[:, 1:])):
        np.testing.assert_allclose(networks.net_FA(view)[0, :3].numpy(), data[name], rtol=0, atol=1e-5)
    fused = networks(changes, lambda: None)[0, 0].numpy()
    np.testing.assert_allclose(fused, data["fake"], rtol=0, atol=1e-5 * data["fake"].max())


def test_patches(folder: Path) -> None:
    case = folder / "step4_tiled_a"
    said = json.loads((case / "params.json").read_text())
    files = {"view_a": "view_A", "view_b": "view_B", "psf_a": "psf_A", "psf_b": "psf_B"}
    stacks = {name: ImageStack.of(tifffile.imread(case / f"{file}.tif"), "ZYX", name) for name, file in files.items()}
    refs = [InputRef(name=n, uri=f"memory:{n}", grid=s.grid, dtype=str(s.dtype)) for n, s in stacks.items()]
    params = {"compat": "upstream", **{name: said[name] for name in ("patch_x", "patch_y", "patch_z")}}
    engine, model = RlDfnFusion(), resolve(folder / "rldfn_a" / "checkpoint", "fusion.rldfn")
    plan = engine.plan(refs, params, model=model, compute=Compute(device="cpu", threads=1))
    found = collect(list(engine.run(plan, {name: [stack] for name, stack in stacks.items()})), "fused")
    expected = tifffile.imread(case / "expected_001.tif")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max())


def test_training_step(folder: Path) -> None:
    from napari_recon.engines.fusion.training.rldfn_losses import kernel, seen
    from napari_recon.engines.fusion.training.rldfn_sections import Cut, section
    from napari_recon.engines.fusion.training.rldfn_task import ORDER, Training, losses_of
    from napari_recon.hub import load_state

    case = folder / "rldfn_train_step_a"
    said, expected = json.loads((case / "expected.json").read_text()), np.load(case / "expected.npz")
    data = np.load(folder / "rldfn_a" / "data.npz")
    views = torch.stack([torch.from_numpy((data[k] / data[k].max()).astype(np.float32)) for k in ("viewA", "viewB")])
    psfs = [torch.from_numpy(tifffile.imread(folder / "rldfn_a" / f"psf_{k}.tif")) for k in "AB"]
    blur = torch.stack([transfer_of(psf, tuple(views.shape[1:]), published=True) for psf in psfs])
    networks = Training()
    networks.fusion.load_state_dict(load_state(folder / "rldfn_a" / "checkpoint"))
    for judge, file in ((networks.judge_a, "netD_A.pth"), (networks.judge_b, "netD_B.pth")):
        judge.load_state_dict(torch.load(folder / "rldfn_a" / "checkpoint" / file, weights_only=True))
    optimiser = torch.optim.Adam(networks.parameters(), 1e-4)

    fused = networks(corrections(views, blur)[None])[0, 0]
    np.testing.assert_allclose(fused.detach(), expected["fake_trainmode"], rtol=0, atol=1e-4)
    kernels = [kernel(psf) for psf in psfs]
    for one, name in zip(kernels, ("degrA", "degrB"), strict=True):
        np.testing.assert_allclose(seen(fused.detach(), one), expected[name], rtol=0, atol=1e-4)
    cut = Cut((said["H"], said["W"]), said["theta"], said["theta_off_deg"], said["pixel_off"])
    assert [int(kind) for kind in ORDER] == [kind for kind, _ in said["section_order"]]
    places = [place for _, place in said["section_order"]]
    sources = {0: views[0], 1: views[1]}
    for number, (kind, place) in enumerate(zip(ORDER, places, strict=True)):
        found = section(sources.get(int(kind), fused.detach()), cut, kind, tuple(place))
        np.testing.assert_allclose(found, expected[f"section{number}_axis{int(kind)}"], rtol=0, atol=1e-4)

    found = losses_of(networks, fused, views, kernels, cut, places)
    losses = said["losses"]
    assert found.convincing_a.item() == pytest.approx(losses["G_A"], rel=1e-3)
    assert found.convincing_b.item() == pytest.approx(losses["G_B"], rel=1e-3)
    assert 10 * found.error_a.item() == pytest.approx(losses["cycle1"], rel=1e-3)
    assert 1e-4 * found.roughness.item() == pytest.approx(losses["TV_raw"], rel=1e-3)
    assert found.judge_a.item() / 2 == pytest.approx(losses["D_A"], rel=1e-3)
    assert found.judge_b.item() / 2 == pytest.approx(losses["D_B"], rel=1e-3)
    total = found.total(said["cycle_loss_weight"] * 1000, 1e-4 * said["TV_loss_weight"])
    assert (total - found.judge_a - found.judge_b).item() == pytest.approx(losses["G_total"], rel=1e-5)
    total.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    fusion = networks.fusion
    for weight, name in ((fusion.net_G.one_by_one, "g_one_by_one_after"), (fusion.net_FA.first_conv, "fa_first_after")):
        np.testing.assert_allclose(weight.weight.detach(), expected[name], rtol=0, atol=2.1e-4)
