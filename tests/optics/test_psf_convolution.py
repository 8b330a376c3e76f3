"""Convolution with one PSF per view and plane: direct sums, exact transpose, gradients, blocks, displacements, memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.optics.psf_convolution import PsfProjector

D = torch.float64


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=D)


def _direct(volume: torch.Tensor, psf: torch.Tensor, field: tuple[int, int], margin: tuple[int, int]) -> torch.Tensor:
    """Sum of true convolutions, pixel by pixel, of a volume (Z, Y, X) that is zero outside."""
    (reach_y, reach_x), (height, width) = (n // 2 for n in psf.shape[-2:]), field
    room_y, room_x = reach_y + height + margin[0], reach_x + width + margin[1]
    padded = F.pad(volume, (room_x, room_x, room_y, room_y))
    views = F.conv2d(padded[None], psf.flip(-2, -1))[0]
    top, left = room_y - reach_y + margin[0], room_x - reach_x + margin[1]
    return views[:, top : top + height, left : left + width]


@settings(max_examples=60, deadline=None)
@given(
    views=st.integers(1, 4),
    planes=st.integers(1, 10),
    kernel=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    field=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    margin=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    volume=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    cached=st.booleans(),
)
def test_it_is_the_direct_sum_and_its_transpose(
    views: int,
    planes: int,
    kernel: tuple[int, int],
    field: tuple[int, int],
    margin: tuple[int, int],
    volume: tuple[int, int],
    cached: bool,
) -> None:
    """Whatever field, margin and volume: nothing that wraps round the transform reaches a pixel or a voxel."""
    psf = _random(views, planes, 2 * kernel[0] + 1, 2 * kernel[1] + 1)
    bytes_kept = 1 << 30 if cached else 0
    projector = PsfProjector(psf, field, margin_yx=margin, volume_yx=volume, dtype=D, cache_bytes=bytes_kept)
    x, y = _random(*projector.volume_shape, seed=1), _random(*projector.views_shape, seed=2)
    found = projector.forward(x)
    assert torch.allclose(found, _direct(x, psf, field, margin), atol=1e-10)
    assert float((found * y).sum()) == pytest.approx(float((x * projector.adjoint(y)).sum()), rel=1e-11, abs=1e-11)


def test_single_precision_keeps_six_digits() -> None:
    """Volumes between 0 and 1, PSFs of sum 1 per view: 4e-7, and twice that relative to the maximum, which is about 0.5."""
    psf, volume = _random(7, 11, 17, 17), _random(11, 49, 49, seed=1)
    psf = psf / psf.sum(dim=(1, 2, 3), keepdim=True)
    found = PsfProjector.valid(psf.float(), (49, 49)).forward(volume.float())
    exact = F.conv2d(volume[None], psf.flip(-2, -1))[0]
    difference = float((found - exact).abs().max())
    assert difference <= 4e-7 and difference <= 8e-7 * float(exact.max())


@pytest.mark.parametrize("size", [(12, 13), (15, 16)])
def test_same_and_valid_agree_inside(size: tuple[int, int]) -> None:
    psf, volume = _random(3, 4, 5, 7), _random(4, *size, seed=1)
    same = PsfProjector.same(psf, size, dtype=D).forward(volume)
    valid = PsfProjector.valid(psf, size, dtype=D).forward(volume)
    assert torch.allclose(same[:, 2:-2, 3:-3], valid, atol=1e-12)


@pytest.mark.parametrize("displaced", [False, True])
def test_gradients(displaced: bool) -> None:
    """Including those of the adjoint and second ones, in double precision; the transform's even length has a Nyquist row."""
    projector = PsfProjector.valid(_random(2, 2, 3, 5), (5, 8), dtype=D)
    projector.displace_views(_random(2, 2) if displaced else None)
    volume = _random(1, *projector.volume_shape).requires_grad_()
    views = _random(1, *projector.views_shape).requires_grad_()
    assert torch.autograd.gradcheck(projector.forward, (volume,))
    assert torch.autograd.gradcheck(projector.adjoint, (views,))
    assert torch.autograd.gradgradcheck(lambda v: projector.forward(v) ** 2, (volume,))
    with torch.no_grad():
        left, right = (projector.forward(volume) * views).sum(), (volume * projector.adjoint(views)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-12)


def test_gradients_flow_to_the_positions_of_the_views() -> None:
    projector = PsfProjector.valid(_random(2, 2, 3, 3), (9, 9), dtype=D)
    volume, offset = _random(2, 9, 9), _random(2, 2).requires_grad_()

    def through(offset: torch.Tensor) -> torch.Tensor:
        projector.displace_views(offset)
        return projector.forward(volume)

    assert torch.autograd.gradcheck(through, (offset,))


def test_a_displaced_view_is_the_displaced_view() -> None:
    size = (33, 33)
    place = torch.arange(9, dtype=D) - 4
    spot = torch.exp(-(place**2) / 6)
    psf = (spot[:, None] * spot[None, :])[None, None].expand(2, 1, 9, 9)
    projector = PsfProjector.same(psf, size, dtype=D)
    volume = torch.zeros(1, *size, dtype=D)
    volume[0, 16, 16] = 1
    still = projector.forward(volume)
    projector.displace_views(torch.tensor([[2.0, -3.0], [0.5, 0.0]]))
    moved = projector.forward(volume)
    assert torch.allclose(moved[0], still[0].roll((2, -3), (0, 1)), atol=1e-3)
    rows = torch.arange(33, dtype=D)
    assert float((moved[1].sum(dim=1) * rows).sum() / moved[1].sum()) == pytest.approx(16.5, abs=1e-3)


def test_sample_gradients_are_derivatives() -> None:
    projector = PsfProjector.same(_random(2, 3, 5, 5), (12, 15), dtype=D)
    volume, step = _random(3, 12, 15), 1e-6
    projector.forward(volume)
    spectrum = projector.last_view_spectrum
    assert spectrum is not None
    for axis, found in enumerate(projector.sample_gradients(spectrum)):
        moved = []
        for sign in (1, -1):
            offset = torch.zeros(2, 2, dtype=D)
            offset[:, axis] = sign * step
            projector.displace_views(offset)
            moved.append(projector.forward(volume))
        assert torch.allclose((moved[1] - moved[0]) / (2 * step), found, atol=1e-6)


@pytest.mark.parametrize("block", [4, 7, 40])
@pytest.mark.parametrize("size", [(16, 19), (5, 30)])
def test_blocks_are_the_whole(block: int, size: tuple[int, int]) -> None:
    """Bounded memory: each block of pixels from its surroundings by `valid`, and the transposes added up."""
    psf = _random(3, 4, 5, 9)
    whole = PsfProjector.same(psf, size, dtype=D)
    small = PsfProjector.valid(psf, (block + 4, block + 8), dtype=D)
    volume, views = _random(2, *whole.volume_shape, seed=1), _random(2, *whole.views_shape, seed=2)
    wide = F.pad(volume, (4, 4 + block, 2, 2 + block))
    found, back = torch.zeros_like(F.pad(views, (0, block, 0, block))), torch.zeros_like(wide)
    for top in range(0, size[0], block):
        for left in range(0, size[1], block):
            around = ..., slice(top, top + block + 4), slice(left, left + block + 8)
            found[..., top : top + block, left : left + block] = small.forward(wide[around])
            part = F.pad(views, (0, block, 0, block))[..., top : top + block, left : left + block]
            back[around] += small.adjoint(part)
    assert torch.allclose(found[..., : size[0], : size[1]], whole.forward(volume), atol=1e-12)
    assert torch.allclose(back[..., 2 : 2 + size[0], 4 : 4 + size[1]], whole.adjoint(views), atol=1e-12)


def test_batches_subsets_and_planes() -> None:
    projector = PsfProjector(_random(5, 11, 7, 7), (10, 9), margin_yx=(2, 2), dtype=D)
    projector.displace_views(_random(5, 2))
    volume, views = _random(2, 3, *projector.volume_shape), _random(2, 3, *projector.views_shape)
    assert torch.allclose(projector.forward(volume)[1, 2], projector.forward(volume[1, 2]))
    assert torch.allclose(projector.adjoint(views)[1, 2], projector.adjoint(views[1, 2]))
    part = projector.subset(1, 2)
    assert part.views_shape[0] == 2
    assert torch.allclose(part.forward(volume), projector.forward(volume)[:, :, 1::2])
    total = sum(projector.subset(k, 2).adjoint(views[:, :, k::2]) for k in (0, 1))
    assert torch.allclose(total, projector.adjoint(views))
    pieces = list(projector.adjoint_planes(views[0, 0]))
    assert torch.allclose(torch.cat([planes for _, planes in pieces]), projector.adjoint(views[0, 0]))


def test_single_precision_is_as_good_as_it_can_be() -> None:
    psf = _random(7, 11, 17, 17)
    psf /= psf.sum(dim=(1, 2, 3), keepdim=True)
    volume = _random(11, 49, 49)
    exact = PsfProjector.valid(psf, (49, 49), dtype=D).forward(volume)
    found = PsfProjector.valid(psf.float(), (49, 49)).forward(volume.float())
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 4e-7


def test_rebuilt_transfer_functions_take_less_memory() -> None:
    psf = _random(2, 20, 3, 3).float()
    kept, rebuilt = PsfProjector.same(psf, (40, 40)), PsfProjector.same(psf, (40, 40), cache_bytes=0)
    assert kept._transfer is not None and rebuilt._transfer is None
    volume = _random(20, 40, 40).float()
    assert torch.equal(kept.forward(volume), rebuilt.forward(volume))


def test_an_even_psf_and_a_small_volume_are_one_sentence() -> None:
    with pytest.raises(InputError, match="found 4 x 5: its middle lies half a pixel below and no pixel right"):
        PsfProjector.same(torch.ones(1, 1, 4, 5), (9, 9))
    with pytest.raises(InputError, match="larger than the PSF"):
        PsfProjector.valid(torch.ones(1, 1, 5, 5), (4, 9))


def test_check_is_called() -> None:
    calls = []
    projector = PsfProjector.same(_random(1, 20, 3, 3), (1021, 1021))
    projector.forward(_random(20, 1021, 1021).float(), lambda: calls.append(1))
    assert len(calls) == 20
