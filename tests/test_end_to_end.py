"""From simulated camera counts to a volume beside its truth, through the public Python interface and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_recon
from napari_recon import samples
from napari_recon.core.grid import Grid
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack

METHOD = "deconvolution.lightfield_rl"
FIELD: dict[str, Any] = {"height": 24, "width": 27, "planes": 31}
SOLVER = {"planes": 31, "voxel": "half", "iterations": 15}


def _centre(stack: ImageStack, frame: int) -> dict[str, float]:
    """Return the world position of the brightest part of one frame, by its centre of mass above half the maximum."""
    zyx = stack.read("ZYX", t=frame).astype(float)
    zyx = np.maximum(zyx - zyx.max() / 2, 0)
    index = np.indices(zyx.shape)
    return {a: stack.grid.to_world(a, (index[i] * zyx).sum() / zyx.sum()) for i, a in enumerate("ZYX")}


def test_a_simulated_recording_is_reconstructed_close_to_its_truth() -> None:
    made = napari_recon.simulate("lightfield", seed=1, frames=1, tubes=2, beads=6, bubbles=0, **FIELD)
    volume = napari_recon.run(METHOD, made.outputs["raw"], params=SOLVER).outputs["volume"]
    found = napari_recon.compare(volume, made.outputs["truth"], align="scale")
    blurred = napari_recon.run(METHOD, made.outputs["raw"], params={**SOLVER, "iterations": 1}).outputs["volume"]
    before = napari_recon.compare(blurred, made.outputs["truth"], align="scale")
    assert found["psnr"] > max(33.0, before["psnr"] + 3) and found["corr"] > max(0.7, before["corr"] + 0.4)
    assert found["mip"]["corr"] > 0.9 and found["ssim"] > 0.95
    assert volume.read().sum() == pytest.approx(made["truth"].sum(), rel=0.05)


@pytest.mark.parametrize("seed", [4, 9])
def test_a_moving_bead_is_found_where_it_is_in_the_world(seed: int) -> None:
    made = napari_recon.simulate(
        "lightfield", seed=seed, frames=2, tubes=0, beads=1, bubbles=0, speed=12.0, peak=2000, **FIELD
    )
    raw, truth = made.outputs["raw"], made.outputs["truth"]
    # the recording lies somewhere else in the world: the volume has to follow it
    moved = {"Y": 3.0, "X": -7.5}
    placed = ImageStack(
        raw.data,
        Grid.of(
            raw.grid.axes,
            raw.grid.shape,
            dict(zip("TVYX", raw.grid.scale, strict=True)),
            moved,
            dict(zip("TVYX", raw.grid.units, strict=True)),
        ),
        "raw",
    )
    volume = napari_recon.run(METHOD, placed, params=SOLVER).outputs["volume"]
    for frame in (0, 1):
        expected, found = _centre(truth, frame), _centre(volume, frame)
        for axis, tolerance in (("Z", 0.2), ("Y", 0.06), ("X", 0.06)):
            assert found[axis] - moved.get(axis, 0.0) == pytest.approx(expected[axis], abs=tolerance), (frame, axis)


def test_files_on_the_way_change_nothing(tmp_path: Path) -> None:
    made = napari_recon.simulate("lightfield", out=tmp_path / "made", seed=2, frames=2, tubes=1, beads=4, bubbles=0, **FIELD)
    in_memory = napari_recon.simulate("lightfield", seed=2, frames=2, tubes=1, beads=4, bubbles=0, **FIELD)
    assert {Path(p).name for p in made.paths.values()} == {"raw.ome.tif", "truth.ome.tif", "psf_shift.pt", "parameters.json"}
    raw, truth = (open_stack(tmp_path / "made" / f"{name}.ome.tif") for name in ("raw", "truth"))
    assert raw.grid == in_memory.outputs["raw"].grid and truth.grid == in_memory.outputs["truth"].grid
    assert np.array_equal(raw.read(), in_memory["raw"])

    table = str(tmp_path / "made" / "psf_shift.pt")
    settings = {**SOLVER, "iterations": 3, "psf_shift": table}
    napari_recon.run(
        METHOD, tmp_path / "made" / "raw.ome.tif", params=settings, time=(1, 2), out=tmp_path / "volume.ome.tif"
    )
    volume = open_stack(tmp_path / "volume.ome.tif")
    direct = napari_recon.run(METHOD, in_memory.outputs["raw"], params={**SOLVER, "iterations": 3}, time=(1, 2))
    assert volume.grid == direct.outputs["volume"].grid
    assert np.abs(volume.read() - direct["volume"]).max() <= 1e-5 * direct["volume"].max()
    again = napari_recon.rerun(tmp_path / "volume.ome.tif")
    assert np.abs(again["volume"] - direct["volume"]).max() <= 1e-5 * direct["volume"].max()


def test_the_sample_needs_no_settings() -> None:
    truth = open_stack(samples.path("lightfield_truth"))
    result = napari_recon.run(METHOD, samples.path("lightfield"), time=(0, 1), params={"voxel": "half"})
    volume = result.outputs["volume"]
    assert volume.grid == truth.grid.cropped({"T": (0, 1)})
    found = napari_recon.compare(volume.read("ZYX", t=0), truth.read("ZYX", t=0), align="scale")
    assert found["psnr"] > 37 and found["corr"] > 0.55 and found["mip"]["corr"] > 0.85
