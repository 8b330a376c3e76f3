"""Agreement with the published program: recorded numbers of its networks, sampling, rendering, losses and queries."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

import napari_recon
from napari_recon.core.events import Event, MetricLogged
from napari_recon.engines.inr4d.checkpoint import layers_of, load_field
from napari_recon.engines.inr4d.query import published_look
from napari_recon.engines.inr4d.upstream import coordinates
from napari_recon.engines.inr4d.upstream.fit import adaptive_loss, clipped, encoder_data, rendered, unit_range
from napari_recon.engines.inr4d.upstream.networks import Encoder, FieldNetwork
from napari_recon.engines.inr4d.upstream.render import Shells, render
from napari_recon.engines.inr4d.upstream.settings import PublishedSettings
from napari_recon.hub import resolve
from napari_recon.hub.state import load_torch
from napari_recon.io import open_stack


class Case:
    """One set of recorded numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.expected = folder, np.load(folder / "expected.npz")
        self.model = resolve(folder / "save")
        state, self.latent = load_field(self.model)
        self.layers = layers_of(self.model.options)
        self.network = FieldNetwork(self.layers)
        self.network.load_state_dict(state)
        self.xyzt = open_stack(folder / "volume.nii.gz").read("XYZT").astype(np.float32)
        self.settings = PublishedSettings.model_validate(PublishedSettings.of_config(str(folder / "config.yaml")))

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.expected[name])

    def latents(self, name: str) -> torch.Tensor:
        x, y, z, _ = self.tensor(name).T
        return self.latent[x, y, z]


@pytest.fixture(scope="module", params=["small", "configured"])
def case(request: pytest.FixtureRequest, parity_dir: Path) -> Case:
    folder = parity_dir / "spatime" / request.param
    if not folder.is_dir():
        pytest.skip("the recorded numbers of the published 4-D fields are absent")
    return Case(folder)


def test_sizes_are_recognised_and_read_from_settings(case: Case) -> None:
    config = yaml.safe_load((case.folder / "config.yaml").read_text())
    assert case.layers == case.settings.layers
    assert case.layers.encoded == config["len_lz"] and case.layers.octaves == config["model"]["max_freq"] + 1
    assert case.settings.encoder(6).features == config["rcan"]["n_feats"]


def test_the_encoder_and_its_data(case: Case) -> None:
    full, half = encoder_data(case.xyzt)
    np.testing.assert_allclose(full, case.expected["down_full_t"], atol=1e-5)
    np.testing.assert_allclose(half, case.expected["down_half_t"], atol=1e-5)
    encoder = Encoder(case.settings.encoder(case.xyzt.shape[3]))
    state = torch.load(case.folder / "rcan_state.pth", weights_only=True)
    assert list(encoder.state_dict()) == list(state)
    encoder.load_state_dict(state)
    with torch.no_grad():
        out, latent = encoder(case.tensor("down_half_t")[None])
    torch.testing.assert_close(out, case.tensor("rcan_out"), rtol=0, atol=1e-4)
    torch.testing.assert_close(latent[0], case.latent, rtol=0, atol=1e-4)
    assert float(F.mse_loss(out[0], case.tensor("down_full_t"))) == pytest.approx(
        float(case.expected["rcan_loss"]), rel=1e-4
    )


def test_a_plane_point_by_point(case: Case) -> None:
    n = [2 * size for size in case.xyzt.shape]
    places = np.unravel_index(case.expected["plane_scale2_x3_rows"], n[1:])
    index = torch.from_numpy(np.stack([np.full_like(places[0], 3), *places], axis=1))
    rows = coordinates.rows(index, tuple(n))
    torch.testing.assert_close(rows, case.tensor("plane_coords"), rtol=0, atol=0)
    looked_up = [coordinates.latent_index(index[:, axis] / 2, case.latent.shape[axis]) for axis in range(3)]
    torch.testing.assert_close(torch.stack(looked_up, dim=1), case.tensor("plane_latent_index")[:, :3])
    halves = coordinates.half_extents(rows)
    np.testing.assert_allclose(halves, case.expected["plane_half_extent"], rtol=1e-5)
    points = coordinates.sample_points(rows, 16, case.tensor("jitter_table"))
    torch.testing.assert_close(points, case.tensor("plane_pts")[..., :4], rtol=0, atol=0)
    embedded = coordinates.embed(points[0, 0], case.layers.octaves)
    torch.testing.assert_close(embedded, case.tensor("embed_first_row"), rtol=0, atol=1e-6)
    with torch.no_grad():
        raw = case.network(points, case.latents("plane_latent_index")[:, None])
    spread = float(case.tensor("plane_raw").std())
    torch.testing.assert_close(raw, case.tensor("plane_raw"), rtol=0, atol=1e-4 * spread)
    shells = Shells.of_points(points, rows[:, :4], halves)
    assert torch.equal(shells.order, case.tensor("plane_order"))
    values, weights = render(raw, shells)
    torch.testing.assert_close(values, case.tensor("plane_rgb"), rtol=0, atol=1e-3)
    torch.testing.assert_close(weights, case.tensor("plane_weights"), rtol=0, atol=1e-3)


def test_points_without_jitter(case: Case) -> None:
    """Here rendering is rounding noise, the network's outputs are not."""
    rows = case.tensor("plane_coords")
    points = coordinates.sample_points(rows, 16, None)
    torch.testing.assert_close(points, case.tensor("grid_pts")[..., :4], rtol=0, atol=0)
    with torch.no_grad():
        raw = case.network(points, case.latents("plane_latent_index")[:, None])
    torch.testing.assert_close(raw, case.tensor("grid_raw"), rtol=0, atol=1e-4 * float(case.tensor("grid_raw").std()))


def test_queries_agree(case: Case) -> None:
    """The whole way: save folder, recording, lattice; also what the program makes of it, and a region."""
    small = case.folder.name == "small"
    low, high = float(case.xyzt.min()), float(case.xyzt.max())
    names = [name for name in case.expected.files if name.startswith("query_s")]
    for name in names if small else names[-1:]:
        s, t = (float(part[1:]) for part in name.split("_")[1:])
        options = {"scale": f"t={t},z={s},y={s},x={s}", "compat": "upstream"}
        movie = _query(case, **options)
        found = (movie.transpose(3, 2, 1, 0) - low) / (high - low)
        difference = np.abs(found - case.expected[name])
        assert found.shape == case.expected[name].shape
        assert difference.max() < (5e-4 if small else 1e-2) and difference.mean() < 5e-4
    look = _query(case, **options, intensities="upstream").transpose(3, 2, 1, 0)
    assert look.dtype == np.uint8 and np.abs(look.astype(int) - case.expected["post_output"]).max() <= 1
    bounds = case.expected["roi_bounds"]
    box = {axis: tuple(int(n) for n in bounds["xyz".index(axis)]) for axis in "zyx"}
    part = _query(case, **options, roi=box).transpose(3, 2, 1, 0)[..., slice(*bounds[3])]
    np.testing.assert_allclose((part - low) / (high - low), case.expected["roi_expected"], atol=1e-2)


def _query(case: Case, roi: Any = None, **params: Any) -> np.ndarray:
    jitter = f"{case.folder / 'expected.npz'}::jitter_table"
    model, volume = str(case.folder / "save"), str(case.folder / "volume.nii.gz")
    result = napari_recon.run("inr4d.query", volume, model=model, params={**params, "jitter": jitter}, roi=roi)
    return np.asarray(result["movie"])


def test_the_published_look(case: Case) -> None:
    name = [name for name in case.expected.files if name.startswith("query_s")][-1]
    found = published_look(case.expected[name].transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    assert np.abs(found.astype(int) - case.expected["post_output"]).max() <= 1


def test_a_training_step(case: Case) -> None:
    expected, target = case.expected, case.tensor("train_target")
    rows, index = case.tensor("train_coords"), case.tensor("train_latent_index")
    assert torch.isin(target, torch.from_numpy(unit_range(case.xyzt))).all()
    values = rendered(case.network, rows, case.latents("train_latent_index"), 16, case.tensor("jitter_table"))
    small = case.folder.name == "small"
    torch.testing.assert_close(values.detach(), case.tensor("train_rgb"), rtol=0, atol=5e-4 if small else 1e-2)
    loss = F.mse_loss(values, target)
    assert float(loss.detach()) == pytest.approx(float(expected["train_mse"]), rel=1e-3)
    level = 10 * np.log10(1 / (float(loss.detach()) + 1e-8))
    assert level == pytest.approx(float(expected["train_psnr_display"]), abs=0.01)
    parameters = list(case.network.parameters())
    optimiser = torch.optim.Adam(parameters, lr=5e-4, betas=(0.9, 0.999), eps=1e-6)
    before = {name: tensor.clone() for name, tensor in case.network.state_dict().items()}
    loss.backward()
    norms = [float(p.grad.norm()) for p in parameters if p.grad is not None]
    np.testing.assert_allclose(norms, expected["grad_norm_before"], rtol=1e-2)
    clipped(parameters, case.settings)
    norms = [float(p.grad.norm()) for p in parameters if p.grad is not None]
    np.testing.assert_allclose(norms, expected["grad_norm_after"], rtol=1e-2)
    optimiser.step()
    after = [float(p.detach().norm()) for p in parameters]
    case.network.load_state_dict(before)
    optimiser.zero_grad()
    np.testing.assert_allclose(after, expected["param_norm_after_step"], rtol=1e-4)
    assert index.shape == (len(rows), 4)


def test_a_step_of_both_networks(case: Case) -> None:
    """Weights and moments after it, from the file that the published program wrote."""
    file = case.folder / "save_after_one_step" / "current.pth"
    if not file.is_file():
        pytest.skip("not recorded for this case")
    after = load_torch(file)
    encoder = Encoder(case.settings.encoder(case.xyzt.shape[3]))
    encoder.load_state_dict(torch.load(case.folder / "rcan_state.pth", weights_only=True))
    network = copy.deepcopy(case.network)
    parameters = [*network.parameters(), *encoder.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=5e-4, betas=(0.9, 0.999), eps=1e-6)
    latents, jitter = case.latents("train_latent_index"), case.tensor("jitter_table")
    values = rendered(network, case.tensor("train_coords"), latents, 16, jitter)
    full, half = (torch.from_numpy(part) for part in encoder_data(case.xyzt))
    encoding = F.mse_loss(encoder(half[None])[0][0], full)
    assert float(encoding.detach()) == pytest.approx(float(case.expected["rcan_loss_joint_step"]), rel=1e-4)
    (F.mse_loss(values, case.tensor("train_target")) + encoding).backward()
    clipped(parameters, case.settings)
    optimiser.step()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, after["model1_state_dict"][name], rtol=0, atol=1e-5)
    moments = optimiser.state_dict()["state"]
    for number, theirs in after["optimizer_state_dict"]["state"].items():
        torch.testing.assert_close(moments[number]["exp_avg"], theirs["exp_avg"], rtol=0, atol=1e-6)


def test_a_published_run_is_gone_on_with(case: Case, tmp_path: Path) -> None:
    """A genuine save folder with the moments of both networks, by a run with its settings."""
    file = case.folder / "save_after_one_step" / "current.pth"
    if not file.is_file():
        pytest.skip("not recorded for this case")
    for source in (file, case.folder / "save" / "latent_code.pt"):
        shutil.copyfile(source, tmp_path / source.name)
    params = {"method": "upstream", "config": str(case.folder / "config.yaml"), "resume": str(tmp_path)}
    params |= {"upstream.steps": 3, "upstream.batch": 64, "checkpoint_folder": str(tmp_path / "ours")}
    seen: list[Event] = []
    napari_recon.run("inr4d.fit", str(case.folder / "volume.nii.gz"), params=params, on_event=seen.append)
    assert [e.step for e in seen if isinstance(e, MetricLogged) and e.name == "loss"] == [2, 3]
    assert {e.series for e in seen if isinstance(e, MetricLogged)} == {"field"}
    assert load_torch(tmp_path / "ours" / "current.pth")["step"] == 3


def test_the_adaptive_loss(case: Case) -> None:
    """Of the published objectives, the one that no published run uses."""
    if "adaptive_rgb" not in case.expected:
        pytest.skip("not recorded for this case")
    found = adaptive_loss(case.tensor("adaptive_rgb"), case.tensor("adaptive_rgb0"), case.tensor("train_target"))
    assert float(found) == pytest.approx(float(case.expected["adaptive_mse_loss"]), rel=1e-5)


def test_the_step_size(case: Case) -> None:
    if "lr_steps" not in case.expected:
        pytest.skip("not recorded for this case")
    rates = [case.settings.rate_after(int(step)) for step in case.expected["lr_steps"]]
    np.testing.assert_allclose(rates, case.expected["lr_values"], rtol=1e-6)
