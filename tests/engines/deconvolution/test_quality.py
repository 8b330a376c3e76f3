"""Quality on the public crops, with the metric definitions of the parity README."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_recon.engines.deconvolution.view_positions import remove_gauge

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
from lightfield_rl_quality import PSF, Quality, case, quality, reconstruct

#: PSNR, SSIM, correlation, MIP PSNR, MIP correlation: the automatic stop has to reach these.
AIMS = {
    "group001": Quality(psnr=36.3, ssim=0.965, corr=0.79, mip_psnr=25.0, mip_corr=0.93),
    "group007": Quality(psnr=35.7, ssim=0.990, corr=0.65, mip_psnr=25.8, mip_corr=0.0),
}


@pytest.fixture(scope="module")
def folder(parity_dir: Path) -> Path:
    found = parity_dir / "serenet"
    if not (found / PSF).is_file():
        pytest.skip("the quality crops are absent")
    return found


def _reached(found: Quality, aim: Quality) -> bool:
    return all(getattr(found, name) >= getattr(aim, name) for name in aim.__dataclass_fields__)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(AIMS))
@pytest.mark.parametrize("shift", ["file", "geometric-13"])
def test_the_automatic_stop_reaches_the_aims(folder: Path, name: str, shift: str) -> None:
    """Also with the geometric stand-in for the file the views were simulated with."""
    views, truth = case(name, folder)
    volume, report, _ = reconstruct(views, psf_shift=str(folder / PSF) if shift == "file" else shift)
    found = quality(volume, truth)
    assert _reached(found, AIMS[name]), found
    assert report["reduced_deviance"] <= 1.1 and report["verdict"] == "the model explains the data"
    if (name, shift) == ("group007", "file"):  # solid balls keep their projection and their dark surroundings
        assert found.mip_psnr >= 26.5 and found.ssim >= 0.989 and report["damping"] > 0  # plain iterations reach either


@pytest.mark.slow
def test_more_iterations_reach_further(folder: Path) -> None:
    views, truth = case("group001", folder)
    volume, _, _ = reconstruct(views, psf_shift=str(folder / PSF), iterations=40)
    found = quality(volume, truth)
    assert found.psnr >= 38.0 and found.corr >= 0.86 and found.mip_psnr >= 27.0


@pytest.mark.slow
def test_displaced_views_cost_less_than_a_decibel(folder: Path, tmp_path: Path) -> None:
    """Offsets of six fine pixels rms, as if the views had moved by that against the psf_shift at hand."""
    views, truth = case("group001", folder)
    shift = torch.load(folder / PSF, weights_only=True)
    slope = (shift[:, -1] - shift[:, 0]).double()
    offset = remove_gauge(torch.from_numpy(np.random.default_rng(3).normal(size=(49, 2))), slope)
    offset *= 6.0 / offset.square().mean().sqrt()
    np.save(tmp_path / "moved.npy", (shift - offset[:, None]).float().numpy())
    common: dict[str, Any] = {"iterations": 20, "voxel": "half"}
    exact, _, _ = reconstruct(views, psf_shift=str(folder / PSF), **common)
    mended, _, _ = reconstruct(views, psf_shift=str(tmp_path / "moved.npy"), refine_views=True, **common)
    assert quality(mended, truth).psnr > quality(exact, truth).psnr - 0.8
