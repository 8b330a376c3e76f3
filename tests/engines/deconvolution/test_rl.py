"""deconvolution.rl and fusion.multiview_rl as users run them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter, shift

import napari_recon
from napari_recon.core.errors import InputError

from .volumes import beads_and_lines, oblique_psf, psnr, stack, two_views

SMALL = (16, 24, 26)


@pytest.fixture(scope="module")
def small() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    return two_views(beads_and_lines(SMALL, beads=8, lines=3, edge=3), radius=6)


def fuse(views: Any, psf: Any, engine: str = "fusion.multiview_rl", **params: Any) -> Any:
    options = {name: params.pop(name) for name in ("roi", "time") if name in params}
    given = {"views": views} if psf is None else {"views": views, "psf": psf}
    return napari_recon.run(engine, inputs=given, params={"iterations": 5, **params}, threads=1, **options)


@pytest.mark.slow
def test_the_published_phantom_reaches_the_published_numbers() -> None:
    truth, views, psfs = two_views(beads_and_lines())
    assert psnr(views[0], truth) < 29 and psnr(views.mean(axis=0), truth) < 29
    found = {n: fuse(list(views), psfs, iterations=n)["volume"] for n in (20, 60)}
    assert psnr(found[20], truth) >= 35.9
    assert psnr(found[60], truth) >= 37.5
    additive = fuse(list(views), psfs, iterations=20, scheme="additive")["volume"]
    assert psnr(additive, truth) < psnr(found[20], truth) - 1


@pytest.mark.parametrize("case", ["rl_deconv_even", "rl_deconv_odd"])
def test_upstream_mode_is_the_published_loop(parity_dir: Any, case: str) -> None:
    folder = parity_dir / "rllsvsim" / case
    if not folder.is_dir():
        pytest.skip(f"{case} is absent")
    data = np.load(folder / "data.npz")
    psfs = [tifffile.imread(folder / f"psf_{view}.tif") for view in "AB"]
    result = fuse([data["viewA"], data["viewB"]], psfs, compat="upstream", iterations=3)["volume"]
    assert np.abs(result - data["rl3"]).max() <= 1e-4 * data["rl3"].max()


@pytest.mark.parametrize("case", ["rl_deconv_even", "rl_deconv_odd"])
def test_corrections_of_one_step_are_the_published_ones(parity_dir: Any, case: str) -> None:
    import torch

    from napari_recon.engines.deconvolution.volumes.upstream import correction, transfer_of

    folder = parity_dir / "rllsvsim" / case
    if not folder.is_dir():
        pytest.skip(f"{case} is absent")
    data = np.load(folder / "data.npz")
    estimate = torch.from_numpy(data["fusion0"])
    for view in "AB":
        measured = torch.from_numpy(data[f"view{view}"] / np.float32(data[f"view{view}"].max()))
        transfer = transfer_of(torch.from_numpy(tifffile.imread(folder / f"psf_{view}.tif")), measured.shape)
        expected = data[f"cur{view}"]
        assert np.abs(correction(measured, estimate, transfer).numpy() - expected).max() <= 1e-4 * expected.max()


def test_one_file_with_an_axis_of_views_is_the_same_as_a_list(small: Any) -> None:
    _, views, psfs = small
    together = fuse(stack(views, "VZYX"), stack(np.stack(psfs), "VZYX"))["volume"]
    apart = fuse([stack(view) for view in views], [stack(psf) for psf in psfs])["volume"]
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("scheme", ["sequential", "additive"])
def test_windows_hardly_show_and_a_box_is_the_crop(small: Any, scheme: str) -> None:
    _, views, psfs = small
    whole = fuse(list(views), psfs, scheme=scheme)["volume"]
    tiled = fuse(list(views), psfs, scheme=scheme, tile_size=8)["volume"]
    assert np.abs(tiled - whole).max() < 0.03 * whole.max()
    box = fuse(list(views), psfs, scheme=scheme, tile_size=8, roi="z=3:9,y=5:20,x=2:7")["volume"]
    np.testing.assert_allclose(box, tiled[3:9, 5:20, 2:7], atol=1e-6 * tiled.max())


def test_light_stays_where_it_is_and_is_kept(small: Any) -> None:
    truth, views, psfs = small
    result = fuse(list(views), psfs, iterations=15)["volume"]
    assert result.sum() == pytest.approx(truth.sum(), rel=0.05)
    moved = [
        np.vdot(shift(result, [d if k == axis else 0 for k in range(3)], order=1), truth)
        for axis in range(3)
        for d in (-1, 1)
    ]
    assert np.vdot(result, truth) > max(moved)


def test_views_of_other_brightness_are_balanced(small: Any) -> None:
    truth, views, psfs = small
    dim = [views[0], np.round(views[1] * 0.5)]
    balanced = fuse(dim, psfs, iterations=10)
    unbalanced = fuse(dim, psfs, iterations=10, balance=False)
    gains = balanced.artifacts["report"]["brightness"]
    assert gains[0] / gains[1] == pytest.approx(2, rel=0.05)
    assert balanced.artifacts["report"]["reduced_deviance"] < 0.5 * unbalanced.artifacts["report"]["reduced_deviance"]
    assert balanced["volume"].sum() == pytest.approx(0.75 * truth.sum(), rel=0.05)


def test_weights_choose_whom_to_trust(small: Any) -> None:
    _, views, psfs = small
    wrong = np.roll(views[1], 4, axis=2)
    good = fuse([views[0]], psfs[:1])["volume"]
    for scheme in ("sequential", "additive"):
        found = [
            fuse([views[0], wrong], psfs, scheme=scheme, weights=weights)["volume"] for weights in ((1.0, 0.02), (1.0, 1.0))
        ]
        errors = [np.abs(volume - good).mean() for volume in found]
        assert errors[0] < 0.5 * errors[1]


def test_automatic_iterations_come_near_the_best(small: Any) -> None:
    truth, views, psfs = small
    automatic = fuse(list(views), psfs, iterations="auto")
    best = max(psnr(fuse(list(views), psfs, iterations=n)["volume"], truth) for n in (10, 20, 40, 80))
    assert psnr(automatic["volume"], truth) > best - 2
    step = (
        automatic.provenance["recipe"]["steps"][0] if "recipe" in automatic.provenance else automatic.provenance["steps"][0]
    )
    decided = step["params"]
    assert decided["iterations"] == automatic.artifacts["report"]["iterations"] and decided["update"] == "accelerated"
    again = fuse(list(views), psfs, **{name: decided[name] for name in ("iterations", "damping", "update")})
    np.testing.assert_allclose(again["volume"], automatic["volume"], atol=1e-5 * automatic["volume"].max())


def test_smoothing_flattens(small: Any) -> None:
    _, views, psfs = small
    rough, smooth = (fuse(list(views), psfs, iterations=30, tv=tv)["volume"] for tv in (0.0, 0.02))
    variation = [float(np.abs(np.diff(volume, axis=2)).sum()) for volume in (rough, smooth)]
    assert variation[1] < 0.8 * variation[0]


def test_planes_are_deconvolved_like_volumes() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((40, 44), np.float32)
    truth[rng.integers(5, 35, 12), rng.integers(5, 39, 12)] = 300
    blurred = gaussian_filter(truth, 1.5)
    image = rng.poisson(blurred).astype(np.float32)
    step = {"Y": 0.1, "X": 0.1}
    from napari_recon.core.stack import ImageStack

    plane = ImageStack.of(image, "YX", "plane", scale=step, units=dict.fromkeys("YX", "micrometer"))
    result = fuse(plane, None, "deconvolution.rl", iterations=30, psf_fwhm_um=1.5 * 2.3548 * 0.1)["volume"]
    assert result.shape == truth.shape
    assert np.corrcoef(result.ravel(), truth.ravel())[0, 1] > np.corrcoef(image.ravel(), truth.ravel())[0, 1] + 0.1


def test_a_series_is_fused_frame_by_frame(small: Any) -> None:
    _, views, psfs = small
    series = [stack(np.stack([view, view[::-1]]), "TZYX") for view in views]
    result = fuse(series, [stack(psf) for psf in psfs])["volume"]
    alone = fuse([stack(view[::-1].copy()) for view in views], [stack(psf) for psf in psfs])["volume"]
    np.testing.assert_allclose(result[1], alone, atol=1e-6 * alone.max())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda v, p: ([v[0], v[1][:, :, :-1]], p), "one size"),
        (lambda v, p: ([stack(v[0]), stack(v[1], X=0.2)], p), "one voxel size"),
        (lambda v, p: ([stack(np.stack([v[0]] * 3), "TZYX"), stack(np.stack([v[1]] * 2), "TZYX")], p), "as many along T"),
        (lambda v, p: ([stack(np.stack([v[0]] * 3), "TZYX"), stack(v[1])], p), "time points"),
        (lambda v, p: (list(v), [*p, p[0]]), "one PSF for each of the 2 views"),
        (lambda v, p: (list(v), [-p[0], -p[1]]), "above zero"),
        (lambda v, p: (list(v), [np.full_like(p[0], np.nan), p[1]]), "finite"),
        (lambda v, p: ([v[0], np.zeros_like(v[1])], p), "constant|zeros"),
        (lambda v, p: (list(v), None), "PSF is needed"),
    ],
)
def test_what_does_not_fit_is_one_sentence(small: Any, spoil: Any, sentence: str) -> None:
    views, psfs = spoil(small[1], small[2])
    with pytest.raises(InputError, match=sentence) as caught:
        fuse(views, psfs)
    assert "\n" not in str(caught.value) and ";" in str(caught.value)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"weights": (1.0,)}, "one number for each"),
        ({"weights": (1.0, 0.0)}, "above 0"),
        ({"psf_fwhm_um": 0.3}, "voxel size"),
        ({"psf_model": "light-sheet"}, "voxel size"),
    ],
)
def test_parameters_that_do_not_fit_are_one_sentence(small: Any, params: Any, sentence: str) -> None:
    psfs = None if "weights" not in params else small[2]
    with pytest.raises(InputError, match=sentence):
        fuse(list(small[1]), psfs, **params)


def test_what_is_wrong_with_a_psf_is_said_and_mended(small: Any) -> None:
    _, views, psfs = small
    good = fuse([stack(view) for view in views], [stack(psf) for psf in psfs])["volume"]
    odd = psfs[0] * 1000
    odd[0, 0, 0] = -1
    spoilt = fuse([stack(view) for view in views], [stack(odd), stack(np.roll(psfs[1], 2, axis=2))])
    said = " ".join(spoilt.warnings)
    assert "negative values" in said and "sums to" in said and "off its centre" in said
    same = fuse([stack(view) for view in views], [stack(odd), stack(psfs[1])])["volume"]
    np.testing.assert_allclose(same, good, atol=2e-3 * good.max())


def test_a_psf_larger_than_the_volume_is_cut_to_what_matters(small: Any) -> None:
    _, views, psfs = small
    wide = [np.pad(psf, 40) for psf in psfs]
    result = fuse(list(views), wide)
    np.testing.assert_allclose(result["volume"], fuse(list(views), psfs)["volume"], atol=1e-4 * views.max())
    flat = fuse(list(views[:, 6:8]), [np.full((61, 3, 3), 1.0, np.float32)])
    assert any("larger than the volume" in sentence for sentence in flat.warnings)


def test_a_psf_is_resampled_to_the_voxels_of_the_data(small: Any) -> None:
    _, views, _ = small
    coarse = [stack(view, step=0.1) for view in views]
    fine = [stack(oblique_psf(angle, 2.2, 5.6, 18), step=0.05) for angle in (30.8, -30.8)]
    same = [stack(oblique_psf(angle), step=0.1) for angle in (30.8, -30.8)]
    found, expected = fuse(coarse, fine), fuse(coarse, same)
    assert any("resampled" in sentence for sentence in found.warnings)
    np.testing.assert_allclose(found["volume"], expected["volume"], atol=0.05 * expected["volume"].max())
