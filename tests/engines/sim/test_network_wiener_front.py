"""`sim.network` with models that see Wiener images: pattern, base image, series, calibration file."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady
from napari_recon.core.plan import ModelRef
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.network import SimNetwork
from napari_recon.engines.sim.networks.checkpoint import build
from napari_recon.engines.sim.networks.wiener_front import CHANNELS, wiener_input
from tests.contract.examples import Example, collect

from .sim_data import simulate

OPTIONS = {"nch_in": CHANNELS, "nch_out": 1, "n_feats": 8, "n_resgroups": 1, "n_resblocks": 2, "reduction": 4, "scale": 2}
OPTICS = {"na": 1.2, "wavelength_um": 0.525}


@cache
def model(answers: bool) -> ModelRef:
    """Return a network that sees Wiener images and adds to them: nothing, or something drawn."""
    torch.manual_seed(3)
    network = build("rcan", OPTIONS)
    if not answers:
        torch.nn.init.zeros_(network.tail[-1].weight)  # type: ignore[index, union-attr, arg-type]
        torch.nn.init.zeros_(network.tail[-1].bias)  # type: ignore[index, union-attr, arg-type]
    path = Path(mkdtemp()) / "model.pth"
    torch.save(network.state_dict(), path)
    return ModelRef(id="drawn", path=str(path), architecture="rcan", options={**OPTIONS, "front": "wiener"})


@cache
def movie() -> ImageStack:
    sets = [simulate(seed, n=64, kind="texture", photons=2000).frames for seed in (0, 0)]
    scale, units = {"Y": 0.065, "X": 0.065}, {"Y": "micrometer", "X": "micrometer"}
    return ImageStack.of(np.stack(sets).astype(np.uint16), "TNYX", "raw", scale=scale, translate={"Y": 3.0}, units=units)


def case(answers: bool = True, **params: Any) -> Example:
    return Example(SimNetwork(), {"raw": movie()}, {**OPTICS, **params}, model=lambda: model(answers))


def test_a_network_that_adds_nothing_gives_the_wiener_image() -> None:
    example = case(answers=False)
    events = example.events(example.plan())
    found = [e for e in events if isinstance(e, ArtifactReady)]
    assert [(e.name, e.kind) for e in found] == [("calibration", "transform")]
    calibration = Calibration.model_validate(found[0].payload)
    expected = wiener_input(torch.from_numpy(np.asarray(movie().data[0], np.float32)), calibration).base.numpy()
    np.testing.assert_allclose(collect(events, "sr")[0], expected, atol=1e-4 * np.ptp(expected))


def test_the_image_has_twice_the_samples_on_the_raw_pixels() -> None:
    grid = case().plan().whole["sr"]
    assert grid.shape == (128, 128)
    assert (grid.origin("Y"), grid.step("Y"), grid.unit("Y")) == (3.0, 0.0325, "micrometer")


def test_a_region_a_time_point_and_strips_are_parts_of_the_whole() -> None:
    example = case()
    whole = example.result(example.plan())
    assert np.abs(whole - case(answers=False).result(case(answers=False).plan())).max() > 1
    box = Selection(box=Box(y=(31, 90), x=(15, 60)), time=TimeRange(start=1, stop=2))
    part = example.result(example.plan(box, tile_size=5))
    np.testing.assert_allclose(part[0], whole[1, 31:90, 15:60], atol=1e-4 * np.ptp(whole))


def test_a_calibration_file_stands_for_the_optics(tmp_path: Path) -> None:
    example = case()
    events = example.events(example.plan())
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(next(e.payload for e in events if isinstance(e, ArtifactReady))))
    given = replace(example, params={"calibration": str(path)})
    np.testing.assert_allclose(given.result(given.plan()), collect(events, "sr"), rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "na is needed"),
        ({"na": 1.2}, "wavelength_um is needed"),
        ({"na": 1.2, "wavelength_um": 525.0}, "nanometers"),
        ({"na": 1.7, "wavelength_um": 0.525}, "refractive index"),
        ({"calibration": "nowhere.json"}, "calibration should be a JSON file"),
    ],
)
def test_what_the_physics_needs_is_asked_for(params: dict[str, Any], said: str) -> None:
    example = replace(case(), params=params)
    with pytest.raises(InputError, match=said):
        example.plan()


def test_frames_without_a_pattern_are_refused() -> None:
    wide = simulate(1, n=64, modulation=0.0, photons=2000).frames
    stack = ImageStack.of(
        wide.astype(np.uint16), "NYX", "raw", scale={"Y": 0.065, "X": 0.065}, units=dict.fromkeys("YX", "micrometer")
    )
    example = replace(case(), stacks={"raw": stack})
    with pytest.raises(InputError, match="pattern not found"):
        example.events(example.plan())
