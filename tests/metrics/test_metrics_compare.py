"""Figures of merit against hand-computed values, invariants and the published table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from napari_recon.core.errors import InputError
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack
from napari_recon.metrics import compare, correlation, nrmse, parse_crop, psnr, scale_alignment, ssim

RNG = np.random.default_rng(0)
TRUTH = RNG.gamma(2.0, 50.0, (12, 30, 28))
NOISY = TRUTH + RNG.normal(0, 10, TRUTH.shape)


def test_figures_agree_with_scikit_image():
    peak = TRUTH.max()
    assert psnr(NOISY, TRUTH) == pytest.approx(peak_signal_noise_ratio(TRUTH, NOISY, data_range=peak))
    assert ssim(NOISY, TRUTH) == pytest.approx(structural_similarity(TRUTH, NOISY, data_range=peak))
    assert correlation(NOISY, TRUTH) == pytest.approx(np.corrcoef(NOISY.ravel(), TRUTH.ravel())[0, 1])
    assert nrmse(NOISY, TRUTH) == pytest.approx(np.linalg.norm(NOISY - TRUTH) / np.linalg.norm(TRUTH))


def test_equal_images_are_perfect():
    found = compare(TRUTH, TRUTH.copy())
    assert found["psnr"] == found["mip"]["psnr"] == math.inf
    assert (found["ssim"], found["nrmse"], found["alpha"]) == (pytest.approx(1), 0, 1)
    assert found["corr"] == pytest.approx(1)
    assert set(found) == {"psnr", "ssim", "nrmse", "corr", "alpha", "mip"}


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_alignment_undoes_what_it_fits(factor, offset):
    scaled = compare(NOISY, TRUTH, "scale")
    assert compare(NOISY * factor, TRUTH, "scale")["psnr"] == pytest.approx(scaled["psnr"], abs=1e-6)
    affine = compare(NOISY, TRUTH, "affine")
    moved = compare(NOISY * factor + offset, TRUTH, "affine")
    assert moved["psnr"] == pytest.approx(affine["psnr"], abs=1e-4)
    assert moved["mip"]["psnr"] == pytest.approx(affine["mip"]["psnr"], abs=1e-4)
    assert affine["nrmse"] <= scaled["nrmse"] + 1e-12 <= compare(NOISY, TRUTH)["nrmse"] + 2e-12


def test_alpha_is_the_least_squares_factor():
    assert scale_alignment(TRUTH / 3, TRUTH)[0] == pytest.approx(3)
    assert scale_alignment((TRUTH - 7) / 3, TRUTH, offset=True) == (pytest.approx(3), pytest.approx(7))
    assert scale_alignment(np.zeros_like(TRUTH), TRUTH) == (0.0, 0.0)
    assert compare(np.zeros_like(TRUTH), TRUTH, "scale")["corr"] == 0


def test_projections_are_fitted_on_their_own():
    result = NOISY.copy()
    result[:, :, ::2] *= 0.5
    a, g = result[2:-2, 5:-5, 5:-5].max(0), TRUTH[2:-2, 5:-5, 5:-5].max(0)
    alpha = (a * g).sum() / (a * a).sum()
    expected = 10 * np.log10(g.max() ** 2 / np.mean((alpha * a - g) ** 2))
    found = compare(result, TRUTH, "scale", "z=2:-2,y=5:-5,x=5:-5")
    assert found["mip"]["psnr"] == pytest.approx(expected)
    assert found["mip"]["corr"] == pytest.approx(np.corrcoef(a.ravel(), g.ravel())[0, 1])


def test_peaks():
    shifted, noisy = TRUTH + 100, NOISY + 100
    span = TRUTH.max() - TRUTH.min()
    assert compare(noisy, shifted, peak="range")["psnr"] == pytest.approx(psnr(NOISY, TRUTH, span))
    assert compare(noisy, shifted, peak="1000")["psnr"] == pytest.approx(psnr(NOISY, TRUTH, 1000.0))
    for wrong in ("most", -1, 0):
        with pytest.raises(InputError, match="peak"):
            compare(noisy, shifted, peak=wrong)


def test_images_and_stacks_in_any_order():
    assert "mip" not in compare(NOISY[0], TRUTH[0])
    flipped = ImageStack.of(NOISY.transpose(2, 0, 1), "XZY")
    direct = compare(NOISY, TRUTH)
    assert compare(flipped, ImageStack.of(TRUTH, "ZYX"))["psnr"] == pytest.approx(direct["psnr"])
    single = ImageStack.of(NOISY[None], "TZYX")
    assert compare(single, TRUTH)["psnr"] == pytest.approx(direct["psnr"])


def test_series_average_ssim_over_frames():
    truth, noisy = np.stack([TRUTH, TRUTH * 2]), np.stack([NOISY, TRUTH * 2])
    found = compare(noisy, truth)
    assert found["ssim"] == pytest.approx((ssim(NOISY, TRUTH, truth.max()) + 1) / 2)


def test_thin_volumes_use_a_smaller_window():
    assert 0 < ssim(NOISY[:4], TRUTH[:4]) < 1
    with pytest.raises(InputError, match="at least 3"):
        ssim(NOISY[:2], TRUTH[:2])


@pytest.mark.parametrize(
    ("result", "reference", "options", "match"),
    [
        (NOISY[1:], TRUTH, {}, "same shape"),
        (NOISY[0], TRUTH, {}, "same shape"),
        (np.full_like(TRUTH, np.nan), TRUTH, {}, "the result.*finite"),
        (NOISY, np.where(TRUTH > 100, np.inf, TRUTH), {}, "the reference.*finite"),
        (NOISY, np.ones_like(TRUTH), {}, "constant"),
        (NOISY, TRUTH, {"align": "sideways"}, "none, scale or affine"),
        (NOISY, TRUTH, {"crop": "z=20:-20"}, "leaves nothing"),
        (NOISY, TRUTH, {"crop": "t=0:1"}, "should look like"),
        (NOISY, TRUTH, {"crop": "z=1-2"}, "should look like"),
        (NOISY[0], TRUTH[0], {"crop": "z=0:1"}, "axes YX"),
        (NOISY.astype(complex), TRUTH, {}, "complex"),
    ],
)
def test_what_can_not_be_compared_is_one_sentence(result, reference, options, match):
    with pytest.raises(InputError, match=match) as caught:
        compare(result, reference, **options)
    assert "\n" not in str(caught.value)


def test_crops_are_python_slices():
    assert parse_crop("z=20:-20, Y=:5,x=-3:", "TZYX", (1, 50, 9, 9)) == (
        slice(None),
        slice(20, -20),
        slice(None, 5),
        slice(-3, None),
    )


def test_shapes_may_be_given_lazily(tmp_path):
    np.save(tmp_path / "a.npy", NOISY)
    stack = open_stack(tmp_path / "a.npy", default_axes="ZYX")
    assert compare(stack, TRUTH)["psnr"] == pytest.approx(psnr(NOISY, TRUTH))


@pytest.mark.parametrize(
    ("group", "psnr_db", "ssim_", "corr", "mip_psnr", "mip_corr", "alpha"),
    [("001", 32.14, 0.8515, 0.190, 17.29, 0.570, 0.021), ("007", 33.88, 0.9147, 0.353, 24.19, 0.786, 0.035)],
)
def test_the_published_table_is_reproduced(parity_dir, group, psnr_db, ssim_, corr, mip_psnr, mip_corr, alpha):
    volume = mean_refocus(parity_dir / "serenet", group)
    truth = open_stack(parity_dir / "serenet" / f"quality_group{group}" / "gt.tif", default_axes="ZYX")
    found = compare(volume, truth, align="scale", crop="z=20:-20,y=50:-50,x=50:-50", peak="max")
    assert found["psnr"] == pytest.approx(psnr_db, abs=0.006)
    assert found["ssim"] == pytest.approx(ssim_, abs=6e-5)
    assert found["corr"] == pytest.approx(corr, abs=6e-4)
    assert found["mip"]["psnr"] == pytest.approx(mip_psnr, abs=0.006)
    assert found["mip"]["corr"] == pytest.approx(mip_corr, abs=6e-4)
    assert found["alpha"] == pytest.approx(alpha, abs=6e-4)


SPIRAL = [
    84, 85, 98, 97, 96, 83, 70, 71, 72, 73, 86, 99, 112, 111, 110, 109, 108, 95, 82, 69, 56, 57, 58, 59, 60, 61,
    74, 87, 100, 113, 125, 124, 123, 122, 121, 107, 94, 81, 68, 55, 43, 44, 45, 46, 47, 88, 136, 80, 32,
]  # fmt: skip


def mean_refocus(folder, group):
    """The mean of the shifted views, the table's simplest row, in a few independent lines."""
    import torch
    from torch.nn.functional import grid_sample, interpolate

    shift = torch.load(next((folder / "upstream_weights" / "psf").glob("*49views.pt")), weights_only=True) / (13 / 3)
    views = open_stack(folder / f"quality_group{group}" / "lf_views169.tif", default_axes="VYX").read()[SPIRAL]
    views = torch.from_numpy(views.astype(np.float32))
    views -= torch.quantile(views, 0.01)
    count, height, width = views.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mean = torch.zeros(shift.shape[1], height, width)
    for view, offsets in zip(views, shift, strict=True):
        at_y = (y + 0.5 + offsets[:, 0, None, None]) * 2 / height - 1
        at_x = (x + 0.5 + offsets[:, 1, None, None]) * 2 / width - 1
        planes = view.expand(len(offsets), 1, height, width)
        mean += grid_sample(planes, torch.stack([at_x, at_y], -1), align_corners=False)[:, 0] / count
    size = [round(n * 13 / 3) for n in (height, width)]
    return interpolate(mean[None], size=size, mode="bilinear", align_corners=False)[0].numpy()
