"""The shipped sample data: small, complete, as their recipe says, and openable without napari or torch."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_recon import samples
from napari_recon.core.errors import InputError
from napari_recon.core.provenance import Recipe
from napari_recon.engines import registry
from napari_recon.io import open_stack, read_provenance

FOLDER = Path(__file__).parents[2] / "sample_data"


def test_all_of_it_is_under_five_megabytes_and_described() -> None:
    files = [file for file in FOLDER.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 5e6
    readme = (FOLDER / "README.md").read_text()
    assert samples.names() and all(name in readme for name in samples.names())


def test_layers_lie_over_each_other_in_micrometers() -> None:
    (raw, raw_look, _), (truth, truth_look, _) = samples.light_field()
    assert raw.shape == (5, 49, 45, 45) and truth.shape == (5, 101, 195, 195)
    assert raw.dtype == truth.dtype == np.uint16
    assert raw_look["units"] == truth_look["units"] == ("second", "micrometer", "micrometer", "micrometer")
    assert raw_look["axis_labels"] == ("time", "view", "y", "x") and truth_look["visible"] is False
    for axis in (-2, -1):
        low = [look["translate"][axis] - look["scale"][axis] / 2 for look in (raw_look, truth_look)]
        size = [look["scale"][axis] * data.shape[axis] for data, look in ((raw, raw_look), (truth, truth_look))]
        assert low[0] == pytest.approx(low[1]) and size[0] == pytest.approx(size[1])
    ends = ((raw_look, 48), (truth_look, 100))
    depths = [(look["translate"][1], look["translate"][1] + last * look["scale"][1]) for look, last in ends]
    np.testing.assert_allclose(*depths)  # one slider shows both: views are spread over the depth of the volume
    assert truth_look["translate"][1] + 50 * truth_look["scale"][1] == pytest.approx(0.0)
    assert Path(raw_look["metadata"]["path"]) == samples.path("lightfield")


def test_napari_accepts_the_layers() -> None:
    layers = pytest.importorskip("napari.layers")
    for data, look, kind in samples.light_field():
        layer = layers.Layer.create(data, look, kind)
        assert layer.ndim == 4 and layer.name == look["name"]


def test_opening_the_sample_imports_neither_torch_nor_napari() -> None:
    code = (
        "import sys; from napari_recon import samples; samples.light_field();"
        "print({'torch', 'napari', 'qtpy'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"choose one of .*lightfield\.ome\.tif"):
        samples.path("mitosis")
    with pytest.raises(InputError, match="no sample file"):
        samples.path("../README.md")


def test_the_files_are_what_their_recipe_makes() -> None:
    import napari_recon
    from napari_recon.optics.lightfield_geometry import load_psf_shift
    from tests.engines.simulate.imaging import simulate_views

    raw, truth = (open_stack(samples.path(name)) for name in ("lightfield", "lightfield_truth"))
    recipe = Recipe.from_dict(read_provenance(samples.path("lightfield")))
    assert recipe == Recipe.from_dict(read_provenance(samples.path("lightfield_truth")))
    (step,) = recipe.steps
    plan = registry.get(step.engine).plan([], step.params)
    assert plan.output("raw").grid == raw.grid and plan.output("truth").grid == truth.grid
    again = napari_recon.simulate("lightfield", seed=step.resolved["seed"], **{**step.params, "frames": 1})
    assert np.abs(again["truth"][0] - truth.read(t=0)).max() <= 0.51
    # raw is compared through its statistics: random numbers may differ in the last digit from machine to machine
    views = simulate_views(again["truth"][0], load_psf_shift("geometric-13").psf_shift, upsampling=13 / 3)
    bright = views > 30
    deviance = ((raw.read(t=0).astype(float) - views)[bright] ** 2 / (views[bright] + 9)).mean()
    assert deviance == pytest.approx(1.0, abs=0.05)


def test_the_script_writes_these_files(tmp_path: Path) -> None:
    script = runpy.run_path(str(FOLDER / "make_sample_data.py"))
    script["SETTINGS"].update(frames=1, height=9, width=9, planes=11)
    script["FLFM_SETTINGS"].update(depth_from_um=-2.4, depth_to_um=2.4, radius=9)
    script["SIM_SETTINGS"].update(height=32, width=40)
    written = script["make"](tmp_path)
    assert [path.name for path in written] == samples.names()
    stack = open_stack(written[3])
    assert stack.grid.axes == "TVYX" and stack.grid.unit("X") == "micrometer" and stack.dtype == np.uint16
    provenance = read_provenance(written[4])
    assert provenance is not None and "environment" not in provenance and "seconds" not in provenance
    raw, truth = (open_stack(path) for path in written[5:])
    assert raw.grid.shape == (9, 32, 40) and truth.grid.shape == (64, 80) and raw.metadata["optics"]["na"] == [1.2]


def test_the_sim_sample_lies_over_its_truth_and_knows_its_optics() -> None:
    (raw, raw_look, _), (truth, truth_look, _) = samples.sim()
    assert raw.shape == (9, 160, 160) and truth.shape == (320, 320) and raw.dtype == truth.dtype == np.uint16
    assert raw_look["metadata"]["optics"]["wavelength_um"] == [0.525] and truth_look["visible"] is False
    assert raw_look["scale"][1:] == pytest.approx((0.065, 0.065)) and truth_look["scale"] == pytest.approx((0.0325, 0.0325))
    assert raw_look["translate"][1:] == truth_look["translate"] == (0.0, 0.0)
    light = raw.mean(axis=0).astype(float) - 100
    binned = truth.reshape(160, 2, 160, 2).mean(axis=(1, 3))
    assert np.corrcoef(light.ravel(), binned.ravel())[0, 1] > 0.9
    layers = pytest.importorskip("napari.layers")
    assert [layers.Layer.create(*one).ndim for one in samples.sim()] == [3, 2]


def test_the_sim_sample_is_what_its_recipe_makes() -> None:
    import napari_recon

    raw, truth = (open_stack(samples.path(name)) for name in ("sim", "sim_truth"))
    (step,) = Recipe.from_dict(read_provenance(samples.path("sim"))).steps
    again = napari_recon.simulate("sim", seed=step.resolved["seed"], **step.params)
    assert again.outputs["raw"].grid == raw.grid and again.outputs["truth"].grid == truth.grid
    assert np.abs(again["truth"] - np.asarray(truth.data)).max() <= 0.51
    light = np.maximum(again["raw"].astype(float) - 100, 1)  # random numbers may differ from machine to machine
    difference = np.asarray(raw.data).astype(float) - again["raw"]
    assert (difference**2 / (2 * light + 8)).mean() < 1.1


def test_the_fourier_sample_is_a_series_with_its_psf_and_truth() -> None:
    (views, views_look, _), (psf, psf_look, _), (truth, truth_look, _) = samples.flfm()
    assert views.shape == (4, 7, 75, 75) and psf.shape == (7, 21, 31, 31) and truth.shape == (4, 21, 75, 75)
    assert [look["visible"] for look in (psf_look, truth_look)] == [False, False]
    assert psf_look["axis_labels"] == ("view", "z", "y", "x") and views_look["axis_labels"] == ("time", "view", "y", "x")
    assert views_look["translate"][-2:] == truth_look["translate"][-2:]
    assert psf_look["scale"][-3:] == truth_look["scale"][-3:]
    assert psf_look["translate"][-1] == pytest.approx(-15 * psf_look["scale"][-1])  # the point is the origin
    layers = pytest.importorskip("napari.layers")
    assert [layers.Layer.create(*one).ndim for one in samples.flfm()] == [4, 4, 4]
    moved = np.abs(np.diff(truth.astype(float), axis=0)).sum() / truth.sum()
    assert 0.05 < moved < 1.0


def test_the_fourier_sample_is_what_its_psf_makes_of_its_truth() -> None:
    import torch

    import napari_recon
    from napari_recon.optics.psf_convolution import PsfProjector

    views, psf, truth = (open_stack(samples.path(name)) for name in ("flfm", "flfm_psf", "flfm_truth"))
    (step,) = Recipe.from_dict(read_provenance(samples.path("flfm_psf"))).steps
    again = napari_recon.simulate("flfm-psf", **step.params)["psf"]
    response = torch.from_numpy(np.asarray(psf.data))
    np.testing.assert_allclose(again, response.numpy(), atol=1e-5 * float(response.max()))
    projector = PsfProjector.same(response / response.sum(dim=(2, 3)).mean(), views.grid.shape[-2:])
    for frame in (0, 3):
        clean = projector.forward(torch.from_numpy(truth.read(t=frame).astype(np.float32))).numpy() + 3.0
        found = views.read(t=frame).astype(float)
        assert ((found - clean) ** 2 / np.maximum(clean, 3)).mean() == pytest.approx(1.0, abs=0.1)
