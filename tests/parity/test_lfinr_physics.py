"""The PSF projector against the published projection, back projection and Richardson-Lucy iteration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_recon.optics.psf_convolution import PsfProjector


@pytest.fixture(scope="module")
def physics(parity_dir: Path) -> tuple[Any, Any]:
    folder = parity_dir / "lfinr" / "physics_losses"
    return np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")


def test_projection_and_back_projection(physics: tuple[Any, Any]) -> None:
    given, expected = physics
    psf, volume = torch.from_numpy(given["psf_raw"]), torch.from_numpy(given["volume"])
    psf = psf / psf.sum(dim=(1, 2, 3), keepdim=True)
    np.testing.assert_allclose(psf.numpy(), expected["psf_normalised"], atol=1e-8)
    same = PsfProjector.same(psf, (33, 33)).forward(volume)
    np.testing.assert_allclose(same.numpy(), expected["proj_same"], atol=1e-5 * expected["proj_same"].max())
    left, right, top, bottom = given["padding_lrtb"].tolist()
    padded = F.pad(volume, (left, right, top, bottom))
    valid = PsfProjector.valid(psf, (padded.shape[1], padded.shape[2])).forward(padded)
    np.testing.assert_allclose(valid.numpy(), expected["proj_valid_padded"], atol=1e-5 * expected["proj_same"].max())
    back = PsfProjector.same(psf.flip(-2, -1), (33, 33)).adjoint(torch.from_numpy(expected["proj_same"])) / len(psf)
    np.testing.assert_allclose(back.numpy(), expected["back_project_flippedH"], rtol=1e-5, atol=1e-6)


def test_richardson_lucy_on_the_whole_sensor(parity_dir: Path) -> None:
    """Start from ones, no division by the sensitivity: the published iteration."""
    case = np.load(parity_dir / "lfinr" / "flfm_rl_deconv" / "rl.npz")
    psf = torch.from_numpy(np.moveaxis(case["h_norm"], -1, 0))[None].clone()
    projector = PsfProjector.same(psf, case["projection"].shape, dtype=torch.float64)
    truth = torch.from_numpy(np.moveaxis(case["volume"], -1, 0).copy())
    image = projector.forward(truth)
    np.testing.assert_allclose(image[0].numpy(), case["projection"], rtol=1e-6)
    share = 1 / float(psf.sum())
    back = projector.adjoint(image) * share
    np.testing.assert_allclose(np.moveaxis(back.numpy(), 0, -1), case["backprojection"], rtol=1e-6)
    estimate = torch.ones_like(truth)
    for _ in range(int(case["iterations"])):
        ratio = torch.nan_to_num(image / projector.forward(estimate), 0.0, 0.0, 0.0).clamp_min(0)
        estimate = estimate * projector.adjoint(ratio) * share
    np.testing.assert_allclose(np.moveaxis(estimate.numpy(), 0, -1), case["recon"], rtol=1e-6)
