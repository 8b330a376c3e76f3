"""Offsets of single views are found together with the volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_recon.engines.deconvolution.richardson_lucy import flat_start, richardson_lucy, sensitivity_weight
from napari_recon.engines.deconvolution.view_positions import (
    ViewPositions,
    align_views,
    blurred_views,
    gauss_newton_step,
    remove_gauge,
)
from napari_recon.optics.lightfield_projector import projector_from_shift
from tests.engines.deconvolution.scenes import S, beads, psf_shift, views_of

FIELD = (36, 39)


def _nothing() -> None:
    return None


def _slope() -> torch.Tensor:
    shift = torch.from_numpy(psf_shift()).double()
    return (shift[:, -1] - shift[:, 0]) / (shift.shape[1] - 1) / S


def _offsets(rms_fine: float, seed: int) -> torch.Tensor:
    """Offsets in fine pixels without the two gauge components."""
    rng = np.random.default_rng(seed)
    free = remove_gauge(torch.from_numpy(rng.normal(size=(49, 2))), _slope())
    return free * (rms_fine / float(free.square().mean().sqrt()))


def test_the_gauge_is_removed_once_and_for_all() -> None:
    free = _offsets(1.0, 0)
    moved = free + torch.tensor([3.0, -2.0]) + 5.0 * _slope()
    assert torch.allclose(remove_gauge(moved, _slope()), free, atol=1e-9)
    assert torch.allclose(free.mean(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-12)


def test_one_step_finds_a_small_displacement() -> None:
    y, x = torch.meshgrid(torch.arange(30.0), torch.arange(34.0), indexing="ij")

    def image(dy: float, dx: float) -> torch.Tensor:
        return 100 * torch.exp(-((y - 15 - dy) ** 2 + (x - 16 - dx) ** 2) / 30)[None]

    model = image(0, 0)
    slope_y, slope_x = -model * 2 * (y - 15) / 30, -model * 2 * (x - 16) / 30
    step = gauss_newton_step(image(0.2, -0.1), model, slope_y, slope_x)
    assert step.tolist() == [[pytest.approx(0.2, abs=0.01), pytest.approx(-0.1, abs=0.01)]]


def test_a_view_without_content_stays_where_it_is() -> None:
    flat = torch.full((1, 20, 20), 4.0)
    assert gauss_newton_step(flat + 1, flat, torch.zeros_like(flat), torch.zeros_like(flat)).abs().max() < 1e-6


def test_blurring_keeps_light_and_constants() -> None:
    views = torch.rand(3, 20, 25)
    assert blurred_views(views, 1.5).shape == views.shape
    assert torch.allclose(blurred_views(torch.full((1, 9, 9), 2.5), 3.0), torch.full((1, 9, 9), 2.5), atol=1e-5)


@pytest.mark.parametrize(("rms_fine", "seed"), [(1.3, 0), (6.0, 1), (6.0, 2)])
def test_injected_offsets_are_recovered(rms_fine: float, seed: int) -> None:
    truth, offsets = beads(FIELD, seed=seed, count=40), _offsets(rms_fine, seed)
    data = torch.from_numpy(views_of(truth, FIELD, offset_fine=offsets.numpy()))
    shift = torch.from_numpy(psf_shift())

    def projector_of(scale: object) -> object:
        blur, cut = (scale.blur * S, scale.frequency_cut) if scale else (0.0, 2 / 3)  # type: ignore[attr-defined]
        return projector_from_shift(
            shift,
            FIELD,
            upsampling=S,
            sigma_fine=float(np.hypot(2.0, blur)),
            voxels_per_pixel=1.0 if scale else 2.0,
            frequency_cut=cut,
        )

    *_, offset = align_views(projector_of, data, 1.2, _slope(), _nothing)  # type: ignore[arg-type]
    coarse = float((offset * S - offsets).square().mean().sqrt())
    projector = projector_of(None)
    weight, seen = sensitivity_weight(projector, data, _nothing)  # type: ignore[arg-type]
    positions = ViewPositions(projector, _slope(), offset)  # type: ignore[arg-type]
    start = flat_start(data, 1.2, seen)
    *_, last = richardson_lucy(
        projector,  # type: ignore[arg-type]
        data,
        background=1.2,
        iterations=16,
        weight=weight,
        start=start,
        after_projection=positions,
    )
    fine = float((positions.offset_pixels * S - offsets).square().mean().sqrt())
    assert coarse < 0.5 and fine < 0.1
    assert last.deviance < 1.5
