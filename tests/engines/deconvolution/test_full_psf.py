"""deconvolution.lightfield_rl through PSFs sampled at the views' own pixels (Fourier light fields)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, Event, Warned
from napari_recon.core.grid import Grid
from napari_recon.core.plan import Plan
from napari_recon.core.stack import ImageStack
from napari_recon.engines.deconvolution.physics import Physics
from napari_recon.engines.deconvolution.setup import setup_of
from napari_recon.engines.deconvolution.total_variation import EDGE, smoothing_factor
from napari_recon.optics.psf_checks import mended_psf
from napari_recon.optics.psf_convolution import PsfProjector
from tests.engines.deconvolution import scenes
from tests.engines.deconvolution.flfm import DEPTHS, FIELD, correlation, psf, stacks, truth

ALL = {"planes": 0, "voxel": "third"}


def run(given: dict[str, ImageStack], params: dict[str, object]) -> tuple[np.ndarray, list[Event]]:
    return scenes.run(given, {**ALL, **params})


def plan_of(given: dict[str, ImageStack]) -> Plan:
    return scenes.plan_of(given, ALL)


def test_the_volume_comes_back() -> None:
    volume, events = run(stacks(), {"iterations": 40})
    assert volume.shape == truth().shape and correlation(volume, truth()) > 0.9
    assert not any(isinstance(e, Warned) for e in events)


def test_the_volume_lies_where_the_psf_says() -> None:
    grid = plan_of(stacks()).outputs[0].grid
    assert grid.shape == (len(DEPTHS), *FIELD)
    assert grid.to_world("Z", 0) == DEPTHS[0] and grid.step("Z") == 0.75
    assert grid.step("Y") == stacks()["views"].grid.step("Y") and grid.to_world("Y", 0) == 0


def test_without_pixel_sizes_they_are_taken_as_alike() -> None:
    calibrated, _ = run(stacks(), {"iterations": 3})
    plain, _ = run(stacks(calibrated=False), {"iterations": 3})
    np.testing.assert_allclose(plain, calibrated, rtol=1e-5)


def test_the_projector_is_the_convolution() -> None:
    given = stacks()
    setup = setup_of(given["views"].grid, given["psf"].grid, "geometric-13", 0, 2.0)
    projector = Physics(setup, psf(), "cpu").projector(FIELD, setup.voxels_per_pixel("third"))
    assert isinstance(projector, PsfProjector) and projector.grid.voxels_per_pixel == 1.0
    inner = torch.zeros(projector.grid.shape)
    margin = projector.grid.margin
    inner[:, margin : margin + FIELD[0], margin : margin + FIELD[1]] = torch.from_numpy(truth())
    expected = PsfProjector.same(torch.from_numpy(psf() * 7), FIELD).forward(torch.from_numpy(truth()))
    assert torch.allclose(projector.forward(inner), expected, rtol=1e-2, atol=1e-3 * float(expected.max()))


def test_displaced_views_are_found() -> None:
    """Two views are moved by whole pixels; the offsets come back without what only moves the volume."""
    given = stacks(peak=2000)
    views = np.asarray(given["views"].data).copy()
    views[0], views[4] = np.roll(views[0], 1, axis=0), np.roll(views[4], -1, axis=1)
    moved = {**given, "views": ImageStack(views, given["views"].grid)}
    _, plain = run(moved, {"iterations": 30})
    _, events = run(moved, {"iterations": 30, "refine_views": True})
    deviance = [
        next(e.payload for e in log if isinstance(e, ArtifactReady) and e.name == "report") for log in (plain, events)
    ]
    assert deviance[1]["reduced_deviance"] < 0.7 * deviance[0]["reduced_deviance"]  # type: ignore[index,call-overload]
    rows = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.kind == "table")
    found = np.array([[row["offset_y_fine"], row["offset_x_fine"]] for row in rows])  # type: ignore[index,union-attr]
    assert found[0, 0] - np.delete(found, (0, 4), axis=0)[:, 0].mean() > 0.5
    assert found[4, 1] - np.delete(found, (0, 4), axis=0)[:, 1].mean() < -0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: np.where(p == p.max(), -1, p), "negative values"),
        (lambda p: p * 5, "sum to 0.71"),
        (lambda p: np.roll(p, (2, -3), (2, 3)), r"off its centre by \(\+[12]\.\d, -[23]\.\d\) pixels"),
    ],
)
def test_a_mended_psf_is_said(change: object, message: str) -> None:
    given = stacks()
    other = ImageStack(change(psf()), given["psf"].grid)  # type: ignore[operator]
    _, events = run({**given, "psf": other}, {"iterations": 1})
    with pytest.raises(AssertionError, match=message):
        raise AssertionError([e.message for e in events if isinstance(e, Warned)])


def test_a_usual_psf_needs_no_word() -> None:
    each, all_views, all_planes = psf() * 7, psf(), psf() * 7 / len(DEPTHS)
    for usual in (each, all_views, all_planes):
        assert mended_psf(usual)[1] == ()


@pytest.mark.parametrize(
    ("shape", "step", "message"),
    [
        ((7, 9, 20, 21), 0.2, "found 20 x 21: its middle lies half a pixel below and no pixel right"),
        ((6, 9, 21, 21), 0.2, "same views, found 7 and 6"),
        ((7, 9, 21, 21), 0.5, "PSF's pixels should be as large"),
    ],
)
def test_a_psf_of_another_recording_is_one_sentence(shape: tuple[int, ...], step: float, message: str) -> None:
    um = dict.fromkeys("YX", "micrometer")
    views = Grid.of("VYX", (7, 30, 30), {"Y": 0.2, "X": 0.2}, units=um)
    other = Grid.of("VZYX", shape, {"Y": step, "X": step}, units=um)
    with pytest.raises(InputError, match=message):
        setup_of(views, other, "geometric-13", 0, 2.0)


def test_nothing_but_finite_numbers() -> None:
    with pytest.raises(InputError, match="finite"):
        mended_psf(np.where(psf() == psf().max(), np.nan, psf()))


def _deviance(params: dict[str, object], peak: float = 400) -> float:
    _, events = run(stacks(peak), params)
    report = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "report")
    return float(report["reduced_deviance"])  # type: ignore[index,call-overload]


def test_subsets_are_quicker_and_acceleration_too() -> None:
    """One pass over all views in subsets does at least what two plain iterations do."""
    plain = _deviance({"iterations": 12, "update": "plain"})
    assert _deviance({"iterations": 6, "update": "subsets"}) < plain
    assert _deviance({"iterations": 9}) < plain


@pytest.mark.parametrize("update", ["accelerated", "plain", "subsets"])
def test_total_variation_calms_noise(update: str) -> None:
    given = stacks(peak=20)
    noisy, _ = run(given, {"iterations": 40, "update": update})
    calm, _ = run(given, {"iterations": 40, "update": update, "tv": 0.02})
    assert correlation(calm, truth()) > correlation(noisy, truth()) + 0.02


def test_the_smoothing_is_the_derivative_of_the_total_variation() -> None:
    volume = torch.rand(6, 7, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, strength = float(volume.mean()), 0.03
    leaf = volume.clone().requires_grad_()
    square = torch.full_like(leaf, (EDGE * mean) ** 2)
    for axis in range(3):
        index = [slice(None)] * 3
        index[axis] = slice(0, -1)
        step = torch.zeros_like(leaf)
        step[tuple(index)] = leaf.diff(dim=axis)
        square = square + step**2
    (slope,) = torch.autograd.grad(square.sqrt().sum(), leaf)
    for place in (slice(0, 6), slice(0, 2), slice(2, 4), slice(5, 6)):
        found = smoothing_factor(volume, place, mean, strength)
        torch.testing.assert_close(found, 1 / (1 + strength * slope[place]), rtol=1e-9, atol=0)


@pytest.mark.parametrize("update", ["accelerated", "subsets"])
def test_the_automatic_stop_knows_dim_views(update: str) -> None:
    """Views without read noise are iterated until their photon noise is explained, not until 5 counts^2 more are."""
    given = stacks(peak=30)
    automatic, events = run(given, {"update": update})
    report = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "report")
    assert 0.8 < report["reduced_deviance"] < 1.15  # type: ignore[index,call-overload]
    best = max(correlation(run(given, {"update": update, "iterations": n})[0], truth()) for n in (2, 4, 6, 9, 14))
    assert correlation(automatic, truth()) > best - 0.05


def test_subsets_need_full_psfs() -> None:
    views = {"views": ImageStack.of(np.ones((49, 12, 12)), "VYX")}
    for given, params in ((views, {"update": "subsets"}), (stacks(), {"update": "subsets", "refine_views": True})):
        with pytest.raises(InputError, match="update=subsets needs a psf input"):
            scenes.plan_of(given, {**ALL, **params})


def test_a_large_field_is_one_window() -> None:
    um = dict.fromkeys("ZYX", "micrometer")
    views = Grid.of("VYX", (7, 300, 300), {"Y": 0.2, "X": 0.2}, units=um)
    other = Grid.of("VZYX", (7, 21, 51, 51), {"Z": 0.5, "Y": 0.2, "X": 0.2}, units=um)
    setup = setup_of(views, other, "geometric-13", 0, 2.0)
    box = plan_of(stacks()).box
    assert box is not None
    assert setup.resources("third", 10, False, box, 8 << 30).tile["y"] >= 300
    assert replace(setup, upsampling=2.0).resources("third", 10, False, box, 8 << 30).tile["y"] < 300
