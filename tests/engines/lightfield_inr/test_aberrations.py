"""Aberrations of single views: a pupil's PSF and its changes, what a fit finds, keeps and resumes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_recon.core.events import ArtifactReady, CheckpointSaved, MetricLogged, Warned
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fast.pupil import MORE, Pupil, aberration_rows
from napari_recon.engines.lightfield_inr.fit_engine import Fit
from napari_recon.optics.psf_convolution import PsfProjector
from tests.contract.examples import Example, collect

RADIUS, CURVATURE, PLANES, REACH, VIEWS = 0.17, 0.4, 8, 9, 4
WAVES = np.array([[0.0, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.0], [0.3, 0.0, 0.0]])


@cache
def psf(aberrated: bool = False) -> torch.Tensor:
    """Scalar diffraction at round parts of a pupil, written down anew: views (4, z, y, x) move by a pixel per plane."""
    size, result = 72, torch.empty(VIEWS, PLANES, 2 * REACH + 1, 2 * REACH + 1)
    y, x = np.meshgrid(*2 * [np.fft.fftfreq(size) / RADIUS], indexing="ij")
    for view, (at_y, at_x) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        defocus, straight, oblique = WAVES[view] * aberrated
        still = 2 * np.pi * (defocus * (y**2 + x**2) + straight * (y**2 - x**2) + oblique * 2 * x * y)
        for plane in range(PLANES):
            z = plane - (PLANES - 1) / 2
            tilt = 2 * np.pi * RADIUS * 0.7 * z * (at_y * y + at_x * x)
            wave = (np.hypot(y, x) < 1) * np.exp(1j * (CURVATURE * z * (y**2 + x**2) + still - tilt))
            image = np.fft.fftshift(np.abs(np.fft.ifft2(wave)) ** 2)
            middle = slice(size // 2 - REACH, size // 2 + REACH + 1)
            result[view, plane] = torch.from_numpy(image[middle, middle] / image[middle, middle].sum())
    return result


@cache
def fitted() -> Pupil:
    return Pupil(psf())


def test_the_pupil_is_found_and_its_aberrations_are_those_of_scalar_diffraction() -> None:
    pupil = fitted()
    assert pupil.radius == pytest.approx(RADIUS, rel=0.05) and pupil.miss < 0.01
    assert pupil.curvature == pytest.approx(CURVATURE, rel=0.1) and pupil.focus == pytest.approx(0, abs=0.3)
    changed = pupil.aberrated(torch.from_numpy(WAVES))
    inner, true, given = changed[..., MORE:-MORE, MORE:-MORE], psf(aberrated=True), psf()
    assert float((inner - true).square().sum()) < 0.1 * float((given - true).square().sum())
    torch.testing.assert_close(changed.sum(dim=(-2, -1)), given.sum(dim=(-2, -1)))
    assert float(changed.min()) >= 0


def test_slopes_are_the_changes_per_wave() -> None:
    pupil, waves, step = fitted(), torch.from_numpy(WAVES), 1e-3
    for kind, slope in enumerate(pupil.slopes(waves)):
        more = torch.zeros_like(waves)
        more[:, kind] = step
        change = (pupil.aberrated(waves + more) - pupil.aberrated(waves - more)) / (2 * step)
        assert float((change - slope).square().sum()) < 0.05 * float(slope.square().sum())


def test_rows_say_how_much_and_in_which_direction() -> None:
    rows = aberration_rows(torch.tensor([[0.1, -0.3, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.2]]))
    assert [row["direction_deg"] for row in rows] == [0, 90, 45]
    assert rows[0] == {"view": 0, "defocus": 0.1, "astigmatism": 0.3, "direction_deg": 0}


def example(aberrated: bool, **params: Any) -> Example:
    volume = torch.zeros(PLANES, 40, 40)
    make = np.random.default_rng(5)
    for z, y, x in make.integers((1, 5, 5), (PLANES - 1, 33, 33), (14, 3)):
        volume[z : z + 2, y : y + 3, x : x + 2] += 1
    light = PsfProjector.same(psf(aberrated), (40, 40)).forward(volume).clamp_min(0).numpy()
    views = make.poisson(light / light.max() * 600 + 12).astype(np.float32)
    stacks = {"views": ImageStack.of(views, "VYX", "views"), "psf": ImageStack.of(psf().numpy(), "VZYX", "psf")}
    return Example(Fit(), stacks, {"iterations": 6, "psf_width": 1.0, "checkpoint_every": 2, **params})


def table(events: list[Any]) -> list[dict[str, float]] | None:
    return next((e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "aberrations"), None)


def test_aberrated_views_are_found_and_a_right_psf_is_left_alone() -> None:
    one = example(aberrated=True)
    events = one.events(one.plan())
    rows = table(events)
    assert rows is not None
    assert rows[1]["astigmatism"] == pytest.approx(0.3, abs=0.12) and rows[1]["direction_deg"] == pytest.approx(90, abs=15)
    assert rows[3]["defocus"] == pytest.approx(0.3, abs=0.12)
    assert max(abs(rows[view]["defocus"]) + rows[view]["astigmatism"] for view in (0, 2)) < 0.12
    assert any("view" in e.message and "aberrated" in e.message for e in events if isinstance(e, Warned))
    report = next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "report")
    assert report["trial_steps"] > 0 and report["trial_iterations"] > 0
    left, same = example(aberrated=True, psf_aberrations="never"), example(aberrated=False)
    plain = left.events(left.plan())
    other = next(e.payload for e in plain if isinstance(e, ArtifactReady) and e.name == "report")
    assert table(plain) is None and other["reduced_deviance"] > report["reduced_deviance"]
    assert table(same.events(same.plan())) is None


def test_a_fit_with_aberrations_is_resumed_exactly(tmp_path: Path) -> None:
    first = example(True, checkpoint_folder=str(tmp_path / "whole"))
    whole = first.events(first.plan())
    one, token, seen = example(True, checkpoint_folder=str(tmp_path / "cut")), CancelToken(), []
    for event in one.engine.run(one.plan(), {n: [s] for n, s in one.stacks.items()}, token):
        seen.append(event)
        if isinstance(event, MetricLogged) and event.name == "loss" and event.step == 3:
            token.cancel()
    saved = [e.path for e in seen if isinstance(e, CheckpointSaved)][-1]
    again = one.events(one.plan(resume=saved))
    np.testing.assert_array_equal(collect(again, "volume"), collect(whole, "volume"))
    assert table(again) == table(whole) is not None
