"""The movie of cells: made when opened, in place, and its truth holds what was withheld."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_recon import samples
from napari_recon.core.stack import ImageStack
from napari_recon.samples.moving_cells import COUNTS, SHAPE_TZYX


def test_the_recording_is_every_second_frame_and_plane_of_the_truth_with_noise() -> None:
    (movie, look, _), (truth, truth_look, _) = samples.moving_cells()
    assert movie.dtype == truth.dtype == np.uint16 and movie.nbytes < 6e5
    assert truth.shape == SHAPE_TZYX and truth_look["visible"] is False
    assert look["scale"] == (60.0, 1.0, 0.5, 0.5) and truth_look["scale"] == (30.0, 0.5, 0.5, 0.5)
    assert look["units"] == truth_look["units"] == ("second", "micrometer", "micrometer", "micrometer")
    assert look["translate"] == truth_look["translate"] == (0.0,) * 4
    difference = movie.astype(float) - truth[::2, ::2]
    level = np.sqrt((truth[::2, ::2] / COUNTS / 400 + 0.01**2).mean()) * COUNTS
    assert difference.std() == pytest.approx(level, rel=0.1)


def test_frames_between_are_not_the_mean_of_their_neighbours() -> None:
    truth = samples.moving_cells()[1][0] / COUNTS
    overlaid = (truth[:-2:2] + truth[2::2]) / 2
    loss = 10 * np.log10(1 / np.mean((overlaid - truth[1::2]) ** 2))
    assert 25 < loss < 34  # otherwise there would be nothing to invent, or nobody could


def test_it_is_the_same_every_time_without_torch_or_napari() -> None:
    code = (
        "import sys; from napari_recon import samples; movie = samples.moving_cells()[0][0];"
        "print(int(movie.sum()), {'torch', 'napari', 'qtpy'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"{int(samples.moving_cells()[0][0].sum())} set()"


def test_napari_accepts_the_layers_and_the_engine_the_recording() -> None:
    layers = pytest.importorskip("napari.layers")
    from napari_recon.core.plan import InputRef
    from napari_recon.engines import registry

    for data, look, kind in samples.moving_cells():
        assert layers.Layer.create(data, look, kind).ndim == 4
    data, look, _ = samples.moving_cells()[0]
    scale, units = (dict(zip("TZYX", look[name], strict=True)) for name in ("scale", "units"))
    stack = ImageStack.of(data, "TZYX", "cells", scale=scale, units=units)
    ref = InputRef(name="movie", uri="", grid=stack.grid, dtype=str(stack.dtype), label="cells")
    plan = registry.get("inr4d.fit").plan([ref], {})
    assert not plan.resources.warnings
