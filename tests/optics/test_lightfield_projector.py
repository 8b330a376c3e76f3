"""The light-field projector: exact transpose, gradients, energy, and agreement with projection pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.optics.fourier import SpectrumWindow, bicubic_transfer, gaussian_transfer
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS, geometric_psf_shift
from napari_recon.optics.lightfield_grid import VolumeGrid
from napari_recon.optics.lightfield_projector import FourierProjector, projector_from_shift
from napari_recon.optics.psf_projector import normalised_psf, projector_from_psf, psf_shift_of, psf_support
from napari_recon.optics.support import next_smooth_size
from napari_recon.optics.view_pairs import ViewPairs

S = 13 / 3


def _shift(planes: int = 7, views: int = 9, scale: float = 1.0) -> torch.Tensor:
    """The innermost views of the published order over a steeper, hence short, depth range."""
    shift = geometric_psf_shift(13, planes, z_step_um=1.0, views=VIEW_ORDERS[13][:views], medium_index=1.406)
    return torch.from_numpy(shift * scale)


def _projectors(dtype: torch.dtype = torch.float64) -> dict[str, FourierProjector]:
    shift = _shift()
    place = torch.arange(41) - 20.0
    wide = [torch.exp(-((place - s) ** 2) / 8) for s in shift.reshape(-1, 2).T[:, :, None]]
    psf = (wide[0][:, :, None] * wide[1][:, None, :]).reshape(9, 7, 41, 41)
    common = {"upsampling": S, "dtype": dtype}
    return {
        "half": projector_from_shift(shift, (10, 13), voxels_per_pixel=2.0, **common),
        "third": projector_from_shift(shift, (10, 13), voxels_per_pixel=3.0, interpolated=True, **common),
        "fine": projector_from_shift(shift, (9, 8), voxels_per_pixel=S, **common),
        "rebuilt": projector_from_shift(shift, (10, 13), voxels_per_pixel=2.0, cache_bytes=0, **common),
        "psf": projector_from_psf(normalised_psf(psf), (10, 13), **common),
    }


@pytest.fixture(scope="module", params=["half", "third", "fine", "rebuilt", "psf"])
def projector(request: pytest.FixtureRequest) -> FourierProjector:
    return _projectors()[request.param]


def _pair(projector: FourierProjector, seed: int, batch: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    volume = torch.rand(*batch, *projector.grid.shape, generator=generator, dtype=projector.dtype)
    views = torch.rand(*batch, *projector.views_shape, generator=generator, dtype=projector.dtype)
    return volume, views


@pytest.mark.parametrize("displaced", [False, True])
def test_the_adjoint_is_the_transpose(projector: FourierProjector, displaced: bool) -> None:
    projector.displace_views(torch.rand(9, 2) * 3 - 1.5 if displaced else None)
    volume, views = _pair(projector, 0)
    left = (projector.forward(volume) * views).sum()
    right = (volume * projector.adjoint(views)).sum()
    projector.displace_views(None)
    assert float(left) == pytest.approx(float(right), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    height=st.integers(3, 14),
    width=st.integers(3, 14),
    planes=st.integers(1, 6),
    voxels=st.sampled_from([1.0, 2.0, 3.0, S]),
    sigma=st.floats(0, 6),
    seed=st.integers(0, 99),
)
def test_the_adjoint_is_the_transpose_for_any_geometry(
    height: int, width: int, planes: int, voxels: float, sigma: float, seed: int
) -> None:
    shift = torch.rand(5, planes, 2, generator=torch.Generator().manual_seed(seed)) * 30 - 15
    projector = projector_from_shift(
        shift, (height, width), upsampling=S, sigma_fine=sigma, voxels_per_pixel=voxels, dtype=torch.float64
    )
    volume, views = _pair(projector, seed)
    left, right = (projector.forward(volume) * views).sum(), (volume * projector.adjoint(views)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-11)


def test_single_precision_agrees_with_double() -> None:
    double, single = _projectors()["half"], _projectors(torch.float32)["half"]
    volume, views = _pair(double, 1)
    for name, argument in (("forward", volume), ("adjoint", views)):
        exact, found = getattr(double, name)(argument), getattr(single, name)(argument.float())
        assert float((found.double() - exact).norm() / exact.norm()) < 1e-5, name


def test_gradients(projector: FourierProjector) -> None:
    """Checked along random directions, since the volume is too large for every element."""
    volume, _ = _pair(projector, 2)
    corner = volume[:, 30:33, 30:33].clone().requires_grad_()

    def through(part: torch.Tensor) -> torch.Tensor:
        whole = volume.clone()
        whole[:, 30:33, 30:33] = part
        return projector.forward(whole)[:, ::4, ::4]

    assert torch.autograd.gradcheck(through, (corner,), fast_mode=True)
    views = torch.rand(projector.views_shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: projector.adjoint(v)[:, ::9, ::9], (views,), fast_mode=True)


def test_batches_are_independent(projector: FourierProjector) -> None:
    volume, views = _pair(projector, 3, (2, 2))
    for call, argument in ((projector.forward, volume), (projector.adjoint, views)):
        together = call(argument)
        assert torch.allclose(together[1, 0], call(argument[1, 0]), atol=1e-10)


def test_planes_arrive_one_after_the_other(projector: FourierProjector) -> None:
    _, views = _pair(projector, 4)
    pieces = list(projector.adjoint_planes(views))
    assert [place.start for place, _ in pieces] == sorted(place.start for place, _ in pieces)
    assert torch.allclose(torch.cat([planes for _, planes in pieces]), projector.adjoint(views), atol=1e-12)


def test_rebuilt_responses_equal_kept_ones() -> None:
    kept, rebuilt = (_projectors()[name] for name in ("half", "rebuilt"))
    volume, _ = _pair(kept, 5)
    assert torch.equal(kept.forward(volume), rebuilt.forward(volume))
    assert kept._cache and not rebuilt._cache


def test_a_uniform_volume_keeps_its_light(projector: FourierProjector) -> None:
    """Gain one: every view of a uniform density is that density times the number of planes."""
    views = projector.forward(torch.ones(projector.grid.shape, dtype=torch.float64))
    assert torch.allclose(views, torch.full_like(views, 7.0), rtol=2e-3)


def test_light_is_conserved_for_a_point(projector: FourierProjector) -> None:
    grid = projector.grid
    volume = torch.zeros(grid.shape, dtype=torch.float64)
    middle = [int((grid.margin + n / 2) * grid.voxels_per_pixel) for n in grid.field_yx]
    volume[3, middle[0], middle[1]] = 1.0
    light = projector.forward(volume).sum(dim=(1, 2))
    assert torch.allclose(light, torch.full_like(light, grid.voxels_per_pixel**-2), rtol=0.02)


@pytest.mark.parametrize("voxels", [2.0, S])
def test_a_point_appears_where_psf_shift_says(voxels: float) -> None:
    shift = _shift()
    projector = projector_from_shift(shift, (21, 24), upsampling=S, voxels_per_pixel=voxels, dtype=torch.float64)
    grid = projector.grid
    volume = torch.zeros(grid.shape, dtype=torch.float64)
    at = [int((grid.margin + n / 2) * voxels) for n in grid.field_yx]
    plane = 1
    volume[plane, at[0], at[1]] = 1.0
    views = projector.forward(volume)
    for axis, other in ((1, 2), (2, 1)):
        profile = views.sum(dim=other)
        place = torch.arange(profile.shape[1], dtype=torch.float64) + 0.5
        found = (profile * place).sum(dim=1) / profile.sum(dim=1)
        expected = float(grid.centres(axis - 1)[at[axis - 1]]) + shift[:, plane, axis - 1].double() / S
        assert torch.allclose(found, expected, atol=0.02)


def _spatial_views(fine_zyx: torch.Tensor, shift: torch.Tensor, sigma: float, margin: int) -> torch.Tensor:
    """Displace, blur and resample pixel by pixel: the reference the Fourier operator stands for."""
    radius = math.ceil(4 * sigma)
    place = torch.arange(-radius, radius + 1.0)
    kernel = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = kernel / kernel.sum()
    height, width = fine_zyx.shape[1:]
    blurred = F.conv2d(fine_zyx[:, None], kernel[None, None, :, None], padding=(radius, 0))
    blurred = F.conv2d(blurred, kernel[None, None, None, :], padding=(0, radius))[:, 0]
    views = []
    for view in shift:
        total = torch.zeros(height, width)
        for plane, (shift_y, shift_x) in zip(blurred, view.tolist(), strict=True):
            low_y, low_x = math.floor(shift_y), math.floor(shift_x)
            part_y, part_x = shift_y - low_y, shift_x - low_x
            for dy, wy in ((0, 1 - part_y), (1, part_y)):
                for dx, wx in ((0, 1 - part_x), (1, part_x)):
                    total += wy * wx * torch.roll(plane, (low_y + dy, low_x + dx), (0, 1))
        size = (round(height / S), round(width / S))
        small = F.interpolate(total[None, None], size=size, mode="bicubic", antialias=True, align_corners=False)[0, 0]
        views.append(small[margin:-margin, margin:-margin])
    return torch.stack(views)


def test_agreement_with_projection_in_space() -> None:
    shift = _shift(planes=5)
    field, margin = (18, 21), 9
    projector = projector_from_shift(shift, field, upsampling=S, voxels_per_pixel=S, margin=margin)
    size = projector.grid.size_yx
    rng = np.random.default_rng(0)
    fine = torch.zeros(5, *(round((n + 2 * margin) * S) for n in field))
    for _ in range(60):
        z, y, x = rng.integers(5), rng.integers(30, fine.shape[1] - 30), rng.integers(30, fine.shape[2] - 30)
        fine[z, y : y + 3, x : x + 3] += float(rng.random())
    padded = F.pad(fine, (0, size[1] - fine.shape[2], 0, size[0] - fine.shape[1]))
    expected, found = _spatial_views(fine, shift, 2.0, margin), projector.forward(padded)
    # what differs is the blur of linear interpolation, which depends on the fraction of each shift
    assert float((found - expected).norm() / expected.norm()) < 0.015


def test_a_gaussian_psf_stack_is_the_same_operator_as_its_shifts() -> None:
    shift = _shift(planes=3)
    sigma = 2.0
    place = torch.arange(81, dtype=torch.float64) - 40
    # the mean blur of linear interpolation, part of the shift model, has the variance of a triangle: 1/6
    variance = sigma**2 + 1 / 6
    profile = [torch.exp(-((place - s) ** 2) / (2 * variance)) for s in shift.double().reshape(-1, 2).T[:, :, None]]
    psf = normalised_psf((profile[0][:, :, None] * profile[1][:, None, :]).reshape(9, 3, 81, 81))
    common = {"upsampling": S, "voxels_per_pixel": 2.0, "margin": 8, "dtype": torch.float64}
    from_shift = projector_from_shift(shift, (12, 15), sigma_fine=sigma, **common)
    from_psf = projector_from_psf(psf, (12, 15), **common)
    volume, _ = _pair(from_shift, 6)
    one, two = from_shift.forward(volume), from_psf.forward(volume)
    assert float((one - two).norm() / one.norm()) < 1e-3
    assert torch.allclose(psf_shift_of(psf), shift.double(), atol=1e-3)


def test_psf_support_holds_nearly_all_light() -> None:
    place = torch.arange(61) - 30.0
    line = torch.exp(-((place - 10) ** 2) / 8)
    psf = (line[:, None] * torch.exp(-(place**2) / 8)[None, :])[None, None]
    assert psf_support(psf, 4.0) == math.ceil((10 + 2.6 * 2) / 4 + 2)


def test_work_can_be_stopped_within_a_projection(projector: FourierProjector) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    volume, views = _pair(projector, 7)
    for call, argument in ((projector.forward, volume), (projector.adjoint, views)):
        calls = 0
        with pytest.raises(KeyboardInterrupt):
            call(argument, check)


@pytest.mark.parametrize("voxels", [1.0, 2.0, 3.0, S])
def test_grids_sample_and_average_in_place(voxels: float) -> None:
    grid = VolumeGrid((12, 15), 2, voxels, S, 4)
    y, x = grid.centres(0), grid.centres(1)
    plane = (2 * y[:, None] - 3 * x[None, :]).expand(2, -1, -1)
    inner_y, inner_x = torch.linspace(0, 12, 37, dtype=torch.float64), torch.linspace(0.3, 14, 21, dtype=torch.float64)
    expected = 2 * inner_y[:, None] - 3 * inner_x[None, :]
    assert torch.allclose(grid.sample(plane, inner_y, inner_x)[1], expected, atol=1e-9)
    fine_y = (torch.arange(grid.fine_yx[0], dtype=torch.float64) + 0.5) * 12 / grid.fine_yx[0]
    fine_x = (torch.arange(grid.fine_yx[1], dtype=torch.float64) + 0.5) * 15 / grid.fine_yx[1]
    fine = (2 * fine_y[:, None] - 3 * fine_x[None, :]).expand(2, -1, -1)
    averaged = grid.average(fine)
    inside = ((y > 1) & (y < 11))[:, None] & ((x > 1) & (x < 14))[None, :]
    assert float((averaged[0] - plane[0])[inside].abs().max()) < 0.35  # the mean over a voxel of pieces of fine voxels
    assert float((averaged[0] - plane[0])[inside].mean().abs()) < 0.02
    assert not averaged[:, y < -1].any()


@given(st.integers(1, 5000))
def test_smooth_sizes(size: int) -> None:
    found = next_smooth_size(size)
    assert size <= found <= max(8, 1.15 * size)
    for prime in (2, 3, 5, 7):
        while found % prime == 0:
            found //= prime
    assert found == 1


def test_transfers_start_at_one_and_fall() -> None:
    frequency = torch.linspace(0, 1, 11, dtype=torch.float64)
    for transfer in (gaussian_transfer(frequency, 0.4), bicubic_transfer(frequency)):
        assert float(transfer[0]) == pytest.approx(1)
        assert float(transfer[-1]) < 0.1
    assert float(bicubic_transfer(torch.tensor([0.5], dtype=torch.float64))) == pytest.approx(0.5, abs=0.1)


def test_a_spectrum_window_returns_what_it_took() -> None:
    window = SpectrumWindow.below((12, 15), (12.0, 15.0), 0.3)
    y, x = torch.arange(12.0)[:, None], torch.arange(15.0)[None, :]
    planes = (1 + torch.cos(2 * math.pi * (2 * y / 12 + 3 * x / 15)))[None].double()
    back = window.put(window.take(planes)) / (12 * 15)
    assert window.shape == (7, 5) and torch.allclose(back, planes, atol=1e-6)


@given(length_y=st.floats(5, 200), length_x=st.floats(5, 200), frequency=st.floats(0.05, 0.7), step=st.integers(1, 30))
def test_frequencies_in_a_disc_are_kept(length_y: float, length_x: float, frequency: float, step: int) -> None:
    window = SpectrumWindow.below((math.ceil(3 * length_y), math.ceil(3 * length_x)), (length_y, length_x), frequency)
    y, x = window.frequencies_y(), window.frequencies_x()
    for first in range(0, len(y), step):
        last = min(first + step, len(y))
        limit = window.columns(first, last)
        assert 1 <= limit <= len(x)
        beyond = y[first:last, None] ** 2 + x[None, limit:] ** 2
        assert bool((beyond > frequency**2 - 1e-9).all())


def test_opposite_views_are_paired_and_others_stay_alone() -> None:
    shift = torch.from_numpy(geometric_psf_shift(13, 5, views=VIEW_ORDERS[13], medium_index=1.406)).double()
    pairs = ViewPairs.of(shift)
    assert pairs.count == 25 and pairs.views == 49
    assert sorted([*pairs.first.tolist(), *(v for v in pairs.second.tolist() if v < 49)]) == list(range(49))
    generator = torch.Generator().manual_seed(0)
    crooked = ViewPairs.of(shift + torch.rand(shift.shape, generator=generator) * 0.5)
    assert crooked.count == 49 and torch.equal(crooked.shift(shift), shift)


def test_sharing_responses_changes_nothing() -> None:
    shift = _shift().double()
    common = {"upsampling": S, "voxels_per_pixel": 2.0, "margin": 6, "dtype": torch.float64}
    paired = projector_from_shift(shift, (10, 13), **common)
    # one more view without a mirror image
    extended = torch.cat([shift, torch.full_like(shift[:1], 3.0)])
    alone = projector_from_shift(extended, (10, 13), **common)
    volume, views = _pair(alone, 8)
    assert torch.allclose(paired.forward(volume), alone.forward(volume)[:-1], atol=1e-10)
    views[-1] = 0
    assert torch.allclose(paired.adjoint(views[:-1]), alone.adjoint(views), atol=1e-10)
    moved = alone.forward(volume)[-1]
    single = projector_from_shift(extended[-1:], (10, 13), **common)
    assert torch.allclose(moved, single.forward(volume)[0], atol=1e-10)
