from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_recon.io import open_stack, read_provenance

from .conftest import Cli


def test_engines_and_params_as_text_and_json(cli: Cli) -> None:
    names = [engine["name"] for engine in cli("engines", "--json").json]
    assert "toy.smooth" in names and "deconvolution.lightfield_rl" in names
    assert all(name in cli("engines").out for name in names)
    rows = {row["name"]: row for row in cli("params", "toy.smooth", "--json").json}
    assert rows["radius"]["default"] == 1 and rows["radius"]["unit"] == "pixel" and rows["radius"]["range"]
    assert "Half width" in cli("params", "toy.smooth").out


@pytest.mark.parametrize(("shape", "axes"), [((4, 5), "YX"), ((3, 4, 5), "ZYX"), ((2, 3, 4, 5), "TZYX")])
def test_unnamed_axes_are_guessed_aloud(shape: tuple[int, ...], axes: str, cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).random(shape, np.float32))
    answer = cli("convert", tmp_path / "plain.npy", tmp_path / "named.ome.tif")
    assert answer.code == 0 and f"taken as {axes};" in answer.sentence
    assert open_stack(tmp_path / "named.ome.tif").grid.axes == axes
    same = cli("metrics", tmp_path / "plain.npy", tmp_path / "named.ome.tif", "--json")
    assert same.code == 0 and same.json["corr"] == pytest.approx(1)


def test_convert_keeps_geometry_and_recipe(cli: Cli, image_file: Path, tmp_path: Path) -> None:
    cli("run", "toy.smooth", image_file, "-o", tmp_path / "a.ome.tif")
    answer = cli("convert", tmp_path / "a.ome.tif", tmp_path / "a.ome.zarr")
    assert answer.code == 0 and answer.out.strip() == str(tmp_path / "a.ome.zarr")
    assert open_stack(tmp_path / "a.ome.zarr").grid == open_stack(tmp_path / "a.ome.tif").grid
    assert read_provenance(tmp_path / "a.ome.zarr") == read_provenance(tmp_path / "a.ome.tif")


def test_metrics_of_equal_and_scaled_images(cli: Cli, tmp_path: Path) -> None:
    zyx = np.random.default_rng(0).random((5, 16, 16)).astype(np.float32)
    np.save(tmp_path / "a.npy", zyx)
    np.save(tmp_path / "b.npy", 2 * zyx)
    same = cli("metrics", tmp_path / "a.npy", tmp_path / "a.npy", "--json").json
    assert set(same) >= {"psnr", "ssim", "nrmse", "corr", "alpha", "mip"} and same["psnr"] > 100
    assert cli("metrics", tmp_path / "b.npy", tmp_path / "a.npy", "--json").json["psnr"] < 10
    scaled = cli("metrics", tmp_path / "b.npy", tmp_path / "a.npy", "--align", "scale", "--crop", "z=1:-1", "--json").json
    assert scaled["alpha"] == pytest.approx(0.5) and scaled["psnr"] > 100
    assert "psnr" in cli("metrics", tmp_path / "b.npy", tmp_path / "a.npy", "--peak", "2.0").out


def test_simulate_writes_data_truth_and_parameters(cli: Cli, tmp_path: Path) -> None:
    words = ["--seed", 3, "--set", "frames=2", "--set", "height=15", "--set", "width=15", "--set", "planes=5", "--json"]
    answer = cli("simulate", "lightfield", "-o", tmp_path / "sim", *words)
    assert answer.code == 0, answer.err
    assert {p.name for p in (tmp_path / "sim").iterdir()} == {
        "raw.ome.tif",
        "truth.ome.tif",
        "psf_shift.pt",
        "parameters.json",
    }
    raw, truth = open_stack(tmp_path / "sim" / "raw.ome.tif"), open_stack(tmp_path / "sim" / "truth.ome.tif")
    assert raw.grid.axes == "TVYX" and raw.grid.size("T") == 2 and truth.grid.size("Z") == 5
    again = cli("rerun", tmp_path / "sim" / "raw.ome.tif", "-o", f"{tmp_path}/again/", "--json")
    assert again.code == 0, again.err
    np.testing.assert_array_equal(open_stack(tmp_path / "again" / "raw.ome.tif").read(), raw.read())


def test_models_list_is_json_without_any_model_of_ones_own(cli: Cli) -> None:
    cards = cli("models", "list", "--json").json
    assert isinstance(cards, list) and all({"id", "engine", "origin", "available"} <= set(card) for card in cards)


def test_a_model_is_checked_imported_shown_and_removed(cli: Cli, parity_dir: Path) -> None:
    file = next(iter(sorted((parity_dir / "serenet" / "upstream_weights").rglob("*.p*t*"))), None)
    if file is None:
        pytest.skip("no published weights among the parity fixtures")
    report = cli("models", "check", file, "--json").json
    assert set(report) == {"fits", "engine", "architecture", "options", "inferred", "problems"} and report["fits"]
    card = cli("models", "import", file, "--id", "mine", "--json").json
    assert cli("models", "show", "mine", "--json").json["sha256"] == card["sha256"]
    assert cli("models", "remove", "mine", "--json").json == {"removed": "mine"}
    assert cli("models", "show", "mine").code == 2


def test_a_check_that_fails_still_answers_in_json(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"\x80\x04nonsense")
    answer = cli("models", "check", tmp_path / "a.pth", "--json")
    assert answer.code == 2 and answer.json["fits"] is False and answer.json["problems"] and answer.sentence


def test_the_demo_without_a_viewer(cli: Cli, tmp_path: Path) -> None:
    answer = cli("demo", "--no-gui", "--out", tmp_path / "demo", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["metrics"]["psnr"] > 34 and answer.json["metrics"]["corr"] > 0.5
    assert (tmp_path / "demo" / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert open_stack(tmp_path / "demo" / "volume.ome.tif").grid.axes.endswith("ZYX")


@pytest.mark.gl
def test_the_demo_in_a_viewer_shows_the_sample_and_starts_the_dock(
    make_napari_viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    napari = pytest.importorskip("napari")
    from napari_recon.cli import demo
    from napari_recon.widgets.light_field import LightFieldWidget

    viewer, started = make_napari_viewer(), []
    monkeypatch.setattr(napari, "Viewer", lambda **options: viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    monkeypatch.setattr(LightFieldWidget, "start_run", lambda self: started.append(self))
    dock = demo.open_viewer()
    assert [layer.name for layer in viewer.layers][:1] == ["light field"] and dock.data.layer is viewer.layers[0]
    assert dock.request() is not None
    dock.let_go()


def test_the_picture_shows_three_columns_of_equal_size() -> None:
    from napari_recon.cli.picture import GAP, SIDE, side_by_side

    rng = np.random.default_rng(0)
    picture = side_by_side(rng.random((5, 9, 9)), rng.random((7, 27, 27)), rng.random((7, 27, 27)), 1.5)
    assert picture.dtype == np.uint8 and picture.shape[1] == 3 * SIDE + 4 * GAP
    for n in range(3):
        left = GAP + n * (SIDE + GAP)
        assert picture[GAP : GAP + SIDE, left : left + SIDE].std() > 10
