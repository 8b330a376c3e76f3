"""The published objective and whole training runs, step by step, against the recorded ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_recon.engines.lightfield_inr import flagfile
from napari_recon.engines.lightfield_inr.checkpoint import load_training
from napari_recon.engines.lightfield_inr.field import Encoding
from napari_recon.engines.lightfield_inr.network import FieldNetwork
from napari_recon.engines.lightfield_inr.params import post_of_flags
from napari_recon.engines.lightfield_inr.upstream import losses
from napari_recon.engines.lightfield_inr.upstream.fit import Draw, Fitter, Scene
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings, layers_of_flags
from napari_recon.engines.lightfield_inr.upstream.stage import Stage, Targets, normalised_psf, reduced_psf, reduced_targets
from napari_recon.io.scene_folder import cut_psf, index_at, open_scenes, read_matlab, read_psf
from napari_recon.optics.psf_convolution import PsfProjector


@pytest.fixture(scope="module")
def family(parity_dir: Path) -> Path:
    return parity_dir / "lfinr"


@pytest.fixture(scope="module")
def physics(family: Path) -> tuple[dict[str, torch.Tensor], Any]:
    given = np.load(family / "physics_losses" / "inputs.npz")
    inputs = {name: torch.from_numpy(given[name]) for name in given.files}
    return inputs, np.load(family / "physics_losses" / "expected.npz")


def replay(centres: Mapping[int, Sequence[int]]) -> Draw:
    """A drawing that takes recorded centres (y, x) by the number of the step."""

    def draw(step: int, stage: Stage) -> tuple[int, int]:
        y, x = centres[step]
        return int(y), int(x)

    return draw


def edge_loss(views: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The squared difference of Sobel derivatives, which the published program has and doesn't use."""
    along_x = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([along_x, along_x.T])[:, None]
    return F.mse_loss(F.conv2d(views[:, None], kernels, padding=1), F.conv2d(targets[:, None], kernels, padding=1))


def assert_relative(found: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert np.abs(found.detach().numpy() - expected).max() <= tolerance * np.abs(expected).max()


def test_projections(physics: tuple[dict[str, torch.Tensor], Any]) -> None:
    inputs, expected = physics
    psf, volume = normalised_psf(inputs["psf_raw"]), inputs["volume"]
    assert_relative(psf, expected["psf_normalised"])
    same = PsfProjector.same(psf, volume.shape[-2:]).forward(volume)
    assert_relative(same, expected["proj_same"])
    padded = F.pad(volume, inputs["padding_lrtb"].tolist())
    assert_relative(PsfProjector.valid(psf, padded.shape[-2:]).forward(padded), expected["proj_valid_padded"])
    turned = PsfProjector.same(psf.flip(-1, -2), volume.shape[-2:])
    assert_relative(turned.adjoint(same) / len(psf), expected["back_project_flippedH"])
    assert_relative(reduced_psf(psf, 2), expected["ds_psf"])
    assert_relative(reduced_targets(same, 2), expected["ds_targets"])


def test_objective_and_its_gradient(physics: tuple[dict[str, torch.Tensor], Any]) -> None:
    inputs, expected = physics
    volume = inputs["volume"].clone().requires_grad_()
    padded = F.pad(volume, inputs["padding_lrtb"].tolist())
    views = PsfProjector.valid(normalised_psf(inputs["psf_raw"]), padded.shape[-2:]).forward(padded)
    terms = {
        "mse": F.mse_loss(views, inputs["targets"]),
        "ssim7": 1 - losses.dissimilarity(views, inputs["targets"]),
        "l1": volume.abs().mean(),
        "hessian": losses.hessian(volume),
        "regulariser_01_001": losses.regulariser(volume, 0.1, 0.01),
        "sobel_edge_loss": edge_loss(views, inputs["targets"]),
    }
    total = terms["mse"] + 0.1 * (1 - terms["ssim7"]) + terms["regulariser_01_001"]
    for name, value in {**terms, "total": total, "psnr": -10 * torch.log10(terms["mse"])}.items():
        assert float(value.detach()) == pytest.approx(float(expected[name]), rel=1e-5), name
    total.backward()
    assert volume.grad is not None
    np.testing.assert_allclose(volume.grad.numpy(), expected["grad_volume"], rtol=0, atol=1e-6)


def test_similarity_and_error_map(physics: tuple[dict[str, torch.Tensor], Any]) -> None:
    _, expected = physics
    first, second = (torch.from_numpy(expected["proj_same"][i]) for i in (0, 1))
    predicted = 0.8 * first + 0.1 * second
    similarity = losses.structural_similarity(first[None], predicted[None], 11)
    np.testing.assert_allclose(similarity.numpy(), expected["ssim11_map"][0], rtol=0, atol=1e-5)
    found = losses.error_map(first, predicted, int(0.8 * len(first)))
    if np.isfinite(expected["saliency"]).all():
        np.testing.assert_allclose(found.numpy(), expected["saliency"], rtol=0, atol=1e-6)
    else:  # the published map divides nothing by nothing here: no place is bad enough
        assert float(found.sum()) == pytest.approx(1, abs=1e-5) and found.isfinite().all()


@pytest.mark.parametrize(("case", "saved"), [("train_trace", {0: 16, 1: 6, 2: 6}), ("train_resume", {0: 505})])
def test_a_whole_run_repeats(family: Path, case: str, saved: dict[int, int]) -> None:
    folder = family / case
    flags, expected = flagfile.read(folder / "config.cfg"), np.load(folder / "expected.npz")
    settings = FitSettings.of_flags(flags)
    encoding = Encoding(encoder="positional", octaves=flags["multires"])
    start, weights, optimiser = load_training(folder / flags["weights_path"])
    network = FieldNetwork(layers_of_flags(flags, encoding), encoding)
    network.load_state_dict(weights)
    fitter = Fitter(network, settings, post_of_flags(flags), optimiser)
    index = index_at(folder / flags["datadir"])
    assert index is not None and flags["skip"] == 1 and not flags.get("centercut")
    response = normalised_psf(torch.from_numpy(open_scenes(index, "psf").read()))
    recorded = open_scenes(index, "views")
    scenes = recorded.read("TVYX") if recorded.grid.axes == "TVYX" else recorded.read()[None]
    peaks = scenes.max(axis=(1, 2, 3), keepdims=True) if settings.local_normalisation else scenes.max()
    for time, views in enumerate(scenes / peaks):
        mine = expected["timepoint"] == time
        places = zip(expected["centre_y"][mine], expected["centre_x"][mine], strict=True)
        draw = replay(dict(zip(expected["step"][mine].tolist(), places, strict=True)))
        ready = Scene(Targets(torch.from_numpy(views), response))
        steps = list(fitter.next_scene(ready, 0, draw) if time else fitter.first_scene(ready, start, draw))
        assert [done.step for done in steps] == expected["step"][mine].tolist()
        np.testing.assert_allclose([done.loss for done in steps], expected["loss"][mine], rtol=0, atol=1e-5)
        step, weights, moments = load_training(folder / f"out_timepoint_{time:03d}_cp_{saved[time]:06d}.tar")
        assert step == saved[time] == steps[-1].step
        for name, tensor in network.state_dict().items():
            np.testing.assert_allclose(tensor.numpy(), weights[name].numpy(), rtol=0, atol=1e-4)
        assert fitter.optimiser.param_groups[0]["lr"] == pytest.approx(moments["param_groups"][0]["lr"], rel=1e-9)
        for number, state in fitter.optimiser.state_dict()["state"].items():
            np.testing.assert_allclose(state["exp_avg"], moments["state"][number]["exp_avg"], rtol=0, atol=1e-5)


def test_psf_and_views_from_files(family: Path) -> None:
    pytest.importorskip("h5py")
    folder = family / "psf_loading"
    expected = np.load(folder / "expected.npz")
    index = index_at(folder)
    assert index is not None
    np.testing.assert_array_equal(open_scenes(index, "psf").read(), expected["Hs"])
    views = open_scenes(index, "views").read()
    assert float(views.max()) == float(expected["maxval"])
    np.testing.assert_array_equal(views[0] / views.max(), expected["targets"][..., 0])
    for name in ("Hs_cropped.npy", "Hs_cropped.tif"):
        np.testing.assert_array_equal(read_psf(folder / name), expected["Hs"])

    cuts = {"centres": [[15, 15], [15, 40], [45, 15], [45, 40]], "radius": 6}
    turned = read_matlab(folder / "H_integrated.mat")[::-1, ::-1]  # turned before it is cut, planes reversed
    np.testing.assert_array_equal(cut_psf(turned, **cuts)[:, ::-1], expected["Ht"])
    np.testing.assert_array_equal(cut_psf(read_matlab(folder / "H_integrated.mat"), **cuts), expected["Hs"])
