"""Splitting a volume that sees a sample twice: against the published split, and against scenes whose mirror is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import Warned
from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.registration.refine import Refiner, blurred, displacement
from napari_recon.engines.fusion.registration.split_transform import SplitTransform
from napari_recon.engines.fusion.registration.turning import centred, sampled

from .mirrored import UM, VOXEL, error, stack, truth, volume

LARGE = (64, 96, 128)


@pytest.fixture(scope="module")
def published(parity_dir: Path) -> tuple[dict[str, np.ndarray], ImageStack, dict[str, object]]:
    folder = parity_dir / "rllsvsim" / "step3_a"
    told = json.loads((folder / "params.json").read_text())
    with np.load(folder / "data.npz") as archive:
        data = dict(archive)
    voxel = {"Z": told["dz"], "Y": told["dxy"], "X": told["dxy"]}
    raw = ImageStack.of(data["vol"].transpose(2, 1, 0), "ZYX", "vol", scale=voxel, units=UM)  # rows lie along x
    params = {
        "compat": "upstream",
        "angle_deg": told["rot_angle_y"],
        "margin": told["edge_margin"],
        "z_range": told["range_z"],
        "angle_range": told["rot_x"],
        "planes": int(told["cutZ"]),
    }
    return data, raw, params


def test_the_published_split(published: tuple[dict[str, np.ndarray], ImageStack, dict[str, object]]) -> None:
    data, raw, params = published
    result = napari_recon.run("fusion.split_views", raw, params=params)
    for name, key in (("view_a", "viewA"), ("view_b", "viewB")):
        expected = data[key].transpose(2, 0, 1).astype(np.float64)
        assert result[name].shape == expected.shape
        assert (np.abs(result[name] - expected) <= 3).mean() >= 0.99
    report = result.artifacts["report"]
    assert (report["offset_planes"], report["angle_x_deg"]) == (2, 0.0)
    again = napari_recon.run("fusion.split_views", raw, params=params, roi="z=2:9,y=4:40,x=10:31")["view_b"]
    np.testing.assert_array_equal(again, result["view_b"][2:9, 4:40, 10:31])


def test_the_published_place_of_the_mirror_is_kept_in_the_transform(
    published: tuple[dict[str, np.ndarray], ImageStack, dict[str, object]], tmp_path: Path
) -> None:
    _, raw, params = published
    first = napari_recon.run("fusion.split_views", raw, params=params)
    (tmp_path / "t.json").write_text(json.dumps(first.artifacts["transform"]))
    exact = {"transform": str(tmp_path / "t.json"), "orientation": "published", "planes": 18}
    again = napari_recon.run("fusion.split_views", raw, params={**exact, "angle_deg": 31.5})["view_a"]
    found, expected = again[:17].ravel(), first["view_a"].ravel()
    assert np.corrcoef(found, expected)[0, 1] > 0.9999


@pytest.mark.parametrize(
    "scene",
    [
        {"angle_x": 0.43, "mirror": 2.3},
        {"angle_y": 31.3, "angle_x": -0.6, "mirror": -3.6, "shift": (0.4, -0.8)},
    ],
)
def test_the_mirror_is_found_to_a_tenth_of_a_voxel(scene: dict[str, object]) -> None:
    true = truth(shape=LARGE, **scene)  # type: ignore[arg-type]
    result = napari_recon.run("fusion.split_views", stack(volume(true, count=150, depth=30)))
    found = SplitTransform.model_validate(result.artifacts["transform"])
    assert found.method == "refined"
    assert error(found, true) < 0.1
    assert found.correlation > found.correlation_nominal
    rough = napari_recon.run("fusion.split_views", stack(volume(true, count=150, depth=30)), params={"refine": False})
    assert error(SplitTransform.model_validate(rough.artifacts["transform"]), true) > 2 * error(found, true)


def test_both_views_show_the_same_sample() -> None:
    true = truth(shape=LARGE, angle_x=0.3, mirror=1.0)
    array = volume(true, count=150, depth=30, blur=(1.6, 1.6), noise=False)
    result = napari_recon.run("fusion.split_views", stack(array))
    a, b = result["view_a"], result["view_b"]
    inside = (a > 0) & (b > 0)
    assert np.corrcoef(a[inside], b[inside])[0, 1] > 0.995
    grids = [spec.grid for spec in napari_recon.plan("fusion.split_views", stack(array)).outputs]
    assert grids[0] == grids[1]
    assert grids[0].scale == pytest.approx((VOXEL[2],) * 3)


def test_a_series_is_split_with_the_transform_of_its_first_frame(tmp_path: Path) -> None:
    true = truth(mirror=1.0)
    frames = np.stack([volume(true, seed=s) for s in (0, 1)])
    whole = napari_recon.run("fusion.split_views", stack(frames))
    assert whole["view_a"].shape[0] == 2
    later = napari_recon.run("fusion.split_views", stack(frames), time="1:2")
    np.testing.assert_array_equal(later["view_b"][0], whole["view_b"][1])
    for name, write in (("t.json", json.dumps), ("t.yaml", yaml.safe_dump)):
        (tmp_path / name).write_text(write(whole.artifacts["transform"]))
        again = napari_recon.run("fusion.split_views", stack(frames[1]), params={"transform": str(tmp_path / name)})
        np.testing.assert_array_equal(again["view_b"], whole["view_b"][1])


def test_a_frame_without_one_view_is_said() -> None:
    true = truth(mirror=1.0)
    frames = np.stack([volume(true), volume(true, seed=1, views=(True, False), noise=False)])
    seen: list[object] = []
    napari_recon.run("fusion.split_views", stack(frames), on_event=seen.append, params={"refine": False})
    (warned,) = [e for e in seen if isinstance(e, Warned)]
    assert "frame 2 holds hardly any light in view_b" in warned.message


def test_an_angle_of_the_wrong_sign_is_said() -> None:
    seen: list[object] = []
    array = volume(truth(shape=LARGE), count=150, depth=30)
    params = {"angle_deg": -30.8, "refine": False}
    try:
        napari_recon.run("fusion.split_views", stack(array), on_event=seen.append, params=params)
    except InputError as caught:
        assert "nothing that matches" in str(caught)
    assert any(isinstance(e, Warned) and "wrong sign" in e.message for e in seen)


def test_bad_volumes_are_one_sentence(tmp_path: Path) -> None:
    array = volume(truth())
    (tmp_path / "other.json").write_text('{"a": 1}')
    good = napari_recon.run("fusion.split_views", stack(array), params={"refine": False}).artifacts["transform"]
    (tmp_path / "good.json").write_text(json.dumps(good))
    noise = np.random.default_rng(0).normal(100, 3, array.shape).astype(np.float32)
    crop = str(tmp_path / "good.json")
    for data, params, words in (
        (array, {"margin": 40}, "margin 40 needs more than 80 pixels along y, found 64; give margin=21 or less"),
        (array, {"compat": "upstream"}, "margin 100 needs more than 400 pixels along y, found 64"),
        (array[:4], {}, "at least 8 planes"),
        (noise, {}, "two mirrored views should be in the volume"),
        (array, {"transform": "nowhere.json"}, "found nothing at"),
        (array, {"transform": str(tmp_path / "other.json")}, "other content"),
        (array[:40], {"transform": crop}, "the transform is of a volume of"),
    ):
        with pytest.raises(InputError, match=words):
            napari_recon.run("fusion.split_views", stack(data), params=params)
    with pytest.raises(InputError, match="voxel size"):
        napari_recon.run("fusion.split_views", ImageStack.of(array, "ZYX", "volume"))


def test_a_frame_without_its_mirrored_view_is_said() -> None:
    true, seen = truth(mirror=1.0), []
    frames = np.stack([volume(true, seed=0), volume(true, seed=1, views=(True, False)), volume(true, seed=2)])
    napari_recon.run("fusion.split_views", stack(frames), on_event=seen.append)
    (warned,) = [e.message for e in seen if isinstance(e, Warned)]
    assert warned.startswith("frame 2 ") and "one view of it is missing" in warned


def test_a_displacement_is_measured_between_voxels() -> None:
    place = [torch.arange(n, dtype=torch.float32) for n in (24, 26, 28)]

    def blob(z: float, y: float, x: float) -> torch.Tensor:
        parts = [torch.exp(-((p - c) ** 2) / (2 * 2.0**2)) for p, c in zip(place, (z, y, x), strict=True)]
        return parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None]

    found = displacement(blob(12, 13, 14), blob(12.3, 12.6, 15.2))
    assert found is not None and found[1] > 0.5
    assert found[0] == pytest.approx((0.3, -0.4, 1.2), abs=0.12)
    assert displacement(blob(12, 13, 14), torch.randn(24, 26, 28, generator=torch.manual_seed(0))) is None


def test_blocks_that_see_outskirts_alone_hardly_count() -> None:
    true = truth(shape=LARGE, angle_x=0.3, mirror=1.0)
    array = torch.from_numpy(volume(true, count=150, depth=20).astype(np.float32)) - 20
    found = Refiner(array, VOXEL, 48, lambda: None).refined(true)  # the sample fills less than half of these planes
    assert error(found, true) < 0.05


def test_blur_along_the_optical_axis_is_measured_and_made() -> None:
    true = truth(shape=LARGE)
    array = torch.from_numpy(volume(true, count=150, depth=30).astype(np.float32)) - 20
    refiner = Refiner(array, VOXEL, 32, lambda: None)
    refiner.refined(true)
    assert refiner.blur_um / VOXEL[2] == pytest.approx(np.sqrt(2.8**2 - 1.2**2), abs=0.6)
    spike = torch.zeros(33, 33, 33)
    spike[16, 16, 16] = 1
    line = blurred(spike, (0.1, 0.1, 0.1), np.array([0.0, 0.0, 1.0]), 0.2)
    place = torch.arange(33) - 16.0
    assert float((line.sum((1, 2)) * place**2).sum()) == pytest.approx(4.0, rel=0.01)
    assert float((line.sum((0, 1)) * place**2).sum()) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.slow
def test_a_simulated_acquisition_is_split_where_its_mirror_is() -> None:
    made = napari_recon.simulate("llsm", seed=3, height=64, width=160, planes=120)
    straight = napari_recon.run("fusion.deskew", made.outputs["raw"], params={"camera_offset": 100.0}).outputs["volume"]
    found = SplitTransform.model_validate(napari_recon.run("fusion.split_views", straight).artifacts["transform"])
    true = truth(shape=found.shape_zyx, voxel=found.voxel_um)
    inner = true.model_copy(update={"shape_zyx": (120, 64, 160)})  # where there is a sample
    assert error(found, inner) < 0.1


def test_a_shift_by_a_part_of_a_voxel_leaves_no_empty_row() -> None:
    """Fusing would take an empty row for darkness; beyond half a voxel there are no data."""
    volume = torch.ones(4, 5, 6)
    matrix, places = np.eye(3), (centred(4, 1.0), centred(5, 1.0), centred(6, 1.0))
    moved = np.array([0.0, 0.3, 0.0])
    assert (sampled(volume, (1.0, 1.0, 1.0), matrix, moved, places)[:, -1] == 0).all()
    whole = sampled(volume, (1.0, 1.0, 1.0), matrix, moved, places, edge=0.5)
    torch.testing.assert_close(whole, volume)
    assert (sampled(volume, (1.0, 1.0, 1.0), matrix, 2 * moved, places, edge=0.5)[:, -1] == 0).all()
