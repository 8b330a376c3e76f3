"""The convolution of volumes with several PSFs: exact transpose, exact convolution, subsets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from napari_recon.engines.deconvolution.volumes.projector import VolumeViews, quick_size

SIZES = st.tuples(st.integers(1, 9), st.integers(2, 11), st.integers(2, 11))
REACHES = st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3))


def _psfs(reaches: tuple[int, ...], count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand([2 * r + 1 for r in reaches], generator=generator) for _ in range(count)]


def _adjoint(projector: VolumeViews, views: torch.Tensor) -> torch.Tensor:
    return torch.cat([planes for _, planes in projector.adjoint_planes(views)])


@settings(max_examples=25, deadline=None)
@given(size=SIZES, reaches=REACHES, views=st.integers(1, 3))
def test_adjoint_passes_the_dot_product_test(size: tuple[int, int, int], reaches: tuple[int, ...], views: int) -> None:
    gains = [1.0, 0.7, 1.6][:views]
    projector = VolumeViews(_psfs(reaches, views), size, gains)
    generator = torch.Generator().manual_seed(2)
    volume, data = torch.rand(projector.shape, generator=generator), torch.rand((views, *size), generator=generator)
    one = float((projector.forward(volume).double() * data).sum())
    other = float((volume.double() * _adjoint(projector, data)).sum())
    assert one == pytest.approx(other, rel=1e-4)


def test_forward_is_the_convolution_with_everything_around() -> None:
    psf = _psfs((1, 2, 3), 1)[0]
    projector = VolumeViews([psf], (6, 9, 8))
    volume = torch.rand(projector.shape, generator=torch.Generator().manual_seed(3))
    around = tuple(slice(0, 2 * m + n) for m, n in zip(projector.margin, (6, 9, 8), strict=True))
    expected = fftconvolve(volume.numpy()[around], psf.numpy(), mode="valid")
    np.testing.assert_allclose(projector.forward(volume)[0].numpy(), expected, rtol=1e-5)


def test_a_subset_sees_what_the_whole_sees() -> None:
    projector = VolumeViews(_psfs((1, 1, 2), 3), (5, 6, 7), (1.0, 0.5, 2.0))
    volume = torch.rand(projector.shape, generator=torch.Generator().manual_seed(4))
    whole = projector.forward(volume)
    for view in range(3):
        torch.testing.assert_close(projector.subset(view, 3).forward(volume), whole[view : view + 1])
    brighter = projector.with_gains((2.0, 1.0, 4.0)).forward(volume)
    torch.testing.assert_close(brighter, 2 * whole)


@given(least=st.integers(1, 3000), even=st.booleans())
def test_quick_sizes_have_small_factors(least: int, even: bool) -> None:
    size = quick_size(least, even)
    assert least <= size <= 1.3 * least + 2 and (size % 2 == 0 or not even)
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    assert size == 1
