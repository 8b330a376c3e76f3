"""simulate.sim as a run: plan, repeatability, order of pages, truth, objects, refusals, the authors' mode."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_recon
from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.region import Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.calibrate import calibrate
from napari_recon.engines.sim.classical.forward import predict
from napari_recon.engines.sim.layout import Layout
from napari_recon.engines.sim.params import Optics

SMALL = {"height": 48, "width": 40, "margin": 8}


def make(seed: int = 0, **params: Any) -> Any:
    return napari_recon.simulate("sim", seed=seed, **{**SMALL, **params})


def plan_of(params: Mapping[str, Any], refs: Any = (), **options: Any) -> Plan:
    return registry.get("simulate.sim").plan(refs, params, compute=Compute(device="cpu", threads=1), **options)


def test_neither_plan_nor_run_needs_torch() -> None:
    code = (
        "import sys; from napari_recon.engines import registry; engine = registry.get('simulate.sim');"
        "plan = engine.plan([], {'height': 32, 'width': 32}); list(engine.run(plan, {}));"
        "assert 'torch' not in sys.modules; print(plan.model_dump_json())"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    plan = Plan.model_validate_json(text)
    assert plan.output("raw").grid.shape == (9, 32, 32) and plan.output("raw").dtype == "uint16"
    assert plan.output("truth").grid.shape == (64, 64) and plan.resources.memory_bytes > 0


@pytest.mark.parametrize(("height", "width"), [(16, 16), (33, 47), (64, 20)])
def test_any_size_works_with_the_defaults(height: int, width: int) -> None:
    made = napari_recon.simulate("sim", height=height, width=width)
    assert made["raw"].shape == (9, height, width) and made["truth"].shape == (2 * height, 2 * width)
    assert made["raw"].std() > 3 and np.isfinite(made["truth"]).all()
    assert made["psf"].sum() == pytest.approx(1, abs=1e-4) and made["psf"].argmax() == 65 * 32 + 32


def test_the_same_seed_repeats_and_more_time_points_leave_the_first_as_they_were() -> None:
    one, again, other, two = make(5), make(5), make(6), make(5, frames=2)
    for name in ("raw", "truth", "object"):
        np.testing.assert_array_equal(one[name], again[name])
        np.testing.assert_array_equal(one[name], two[name][0])
        assert not np.array_equal(one[name], other[name])
        assert not np.array_equal(two[name][0], two[name][1])


def test_pages_come_in_the_asked_order() -> None:
    slow, fast = make(1, angles=2, phases=5), make(1, angles=2, phases=5, frame_order="pa")
    for a in range(2):
        for p in range(5):
            np.testing.assert_array_equal(slow["raw"][a * 5 + p], fast["raw"][p * 2 + a])


def test_raw_knows_its_optics_and_lies_over_truth_and_object(tmp_path: Path) -> None:
    made = napari_recon.simulate("sim", out=tmp_path, frames=2, **SMALL)
    from napari_recon.io import open_stack

    raw, truth = open_stack(made.paths["raw"]), open_stack(made.paths["truth"])
    assert raw.metadata["optics"]["na"] == [1.2] and raw.metadata["optics"]["wavelength_um"] == [0.525]
    assert raw.grid.axes == "TNYX" and truth.grid.axes == "TYX" and raw.grid.unit("T") == "second"
    assert truth.grid.step("X") == pytest.approx(0.0325) and truth.grid.origin("X") == raw.grid.origin("X") == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"raw.ome.tif", "truth.ome.tif", "psf.ome.tif", "parameters.json", "calibration.json"} <= names
    report = json.loads((tmp_path / "parameters.json").read_text())
    assert report["cutoff_per_um"] == pytest.approx(2 * 1.2 / 0.525) and report["seed"] == 0
    true = Calibration.load(tmp_path / "calibration.json")
    assert true.groups[0].carriers[0].k_magnitude_per_um == pytest.approx(0.85 * report["cutoff_per_um"])


def test_the_truth_is_the_band_limited_object_and_predicts_the_raw_frames() -> None:
    clean = {"photon_noise": False, "read_noise": 0.0, "background": 0.0, "photons": 20000.0}
    made = napari_recon.simulate("sim", seed=2, height=80, width=64, intensity_jitter=0.05, phase_error_deg=9, **clean)
    true = Calibration.model_validate(made.artifacts["calibration"])
    expected = predict(torch.from_numpy(made["object"]), true).numpy()
    inner = (..., slice(20, -20), slice(20, -20))
    assert np.abs(expected - made["raw"])[inner].max() < 0.01 * made["raw"].max()
    spectrum = np.abs(np.fft.fft2(made["truth"] * np.outer(np.hanning(160), np.hanning(128))))
    frequency = np.hypot(np.fft.fftfreq(160, 0.0325)[:, None], np.fft.fftfreq(128, 0.0325)[None])
    assert spectrum[frequency > true.result_cutoff_per_um + 0.6].max() < 1e-4 * spectrum.max()
    assert made["truth"].mean() == pytest.approx(made["object"].mean(), rel=0.03)


@pytest.mark.parametrize(
    ("params", "layout"),
    [
        ({}, Layout(3, 3)),
        ({"angles": 2, "phases": 5, "start_deg": 70.0}, Layout(2, 5)),
        ({"pattern": "hexagonal"}, Layout(1, 7, "hexagonal")),
        ({"period_um": 0.4}, Layout(3, 3)),
        ({"astigmatism": 0.03, "spherical": 0.03, "phase_error_deg": 5.0}, Layout(3, 3)),
    ],
)
def test_the_true_pattern_is_what_a_blind_calibration_finds(params: dict[str, Any], layout: Layout) -> None:
    made = napari_recon.simulate("sim", seed=3, height=128, width=128, photons=2000.0, **params)
    true = Calibration.model_validate(made.artifacts["calibration"])
    frames = torch.from_numpy(made["raw"].astype(np.float32))
    found = calibrate(frames, Optics(1.2, 0.525, (0.065, 0.065)), layout)
    for group, other in zip(true.groups, found.groups, strict=True):
        for carrier in group.carriers:
            ks = np.array([c.k_per_um for c in other.carriers])
            error = np.hypot(*(np.abs(ks) - np.abs(carrier.k_per_um)).T).min()
            assert error < 0.004


def test_without_a_pattern_frames_differ_by_noise_alone() -> None:
    made = make(pattern="none", photon_noise=False, read_noise=0.0)
    assert np.ptp(made["raw"].astype(float), axis=0).max() <= 1
    assert "calibration" not in made.artifacts


def test_an_image_may_be_the_object() -> None:
    picture = np.zeros((60, 90), np.float32)
    picture[20:40, 30:60] = 7
    made = napari_recon.run("simulate.sim", picture, params={**SMALL, "background": 0.0, "frames": 2})
    assert made["raw"].shape == (2, 9, 48, 40)
    np.testing.assert_array_equal(made["object"][0], made["object"][1])
    shape = made["object"][0]
    assert shape[48, 40] > 0.8 * shape.max() and shape[3, 3] < 0.05 * shape.max()
    assert any("stays where it is" in warning for warning in plan_of({"frames": 2}, [_ref(picture)]).resources.warnings)
    channels = ImageStack.of(np.stack([picture, picture]), "CYX", "two channels")
    same = napari_recon.run("simulate.sim", channels, params={**SMALL, "background": 0.0})
    np.testing.assert_array_equal(same["raw"], made["raw"][0])


def _ref(array: np.ndarray, axes: str = "YX") -> InputRef:
    return InputRef(name="object", grid=ImageStack.of(array, axes).grid, dtype=str(array.dtype))


def test_a_picture_file_may_be_the_object(tmp_path: Path) -> None:
    from skimage.io import imsave

    picture = np.zeros((48, 40, 3), np.uint8)
    picture[10:20, 8:30] = (200, 100, 0)
    imsave(tmp_path / "object.png", picture, check_contrast=False)
    made = napari_recon.run("simulate.sim", tmp_path / "object.png", params={**SMALL, "background": 0.0})
    assert made["object"][30, 40] > 10 * np.median(made["object"])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken.png can't be read; choose another"):
        napari_recon.run("simulate.sim", tmp_path / "broken.png", params=SMALL)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"wavelength_um": 525}, "looks like nanometers; set wavelength_um=0.525"),
        ({"na": 1.6}, "should not exceed the refractive index"),
        ({"pixel_um": 0.2}, "pixels should be at most 0.1094 um to sample the OTF"),
        ({"profile": "three-beam"}, "three beams make two orders and need at least 5 phases, found 3; set phases=5"),
        ({"height": 3}, "height should be int .*found 3"),
        ({"compat": "upstream", "pattern": "hexagonal"}, "compat=upstream makes one stack of stripes"),
        ({"compat": "upstream", "frames": 2}, "compat=upstream makes one stack of stripes"),
        ({"scene": "stars"}, "scene should be mixed"),
    ],
)
def test_bad_parameters_are_one_sentence(params: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        plan_of(params)


def test_bad_objects_regions_and_models_are_one_sentence() -> None:
    with pytest.raises(InputError, match="set a larger period_um"):
        make(period_um=0.03)
    with pytest.raises(InputError, match="should be one image"):
        plan_of({}, [_ref(np.zeros((3, 8, 8)), "TYX")])
    with pytest.raises(InputError, match="found an image without any value above 0"):
        napari_recon.run("simulate.sim", -np.ones((20, 20), np.float32) * np.eye(20, dtype=np.float32), params=SMALL)
    with pytest.raises(InputError, match="makes whole recordings"):
        plan_of({}, selection=Selection(time=TimeRange(start=0, stop=1)))
    with pytest.raises(InputError, match="uses no model"):
        plan_of({}, model=ModelRef(id="x", path="x"))
    assert "saturated" in plan_of({"photons": 90000.0}).resources.warnings[0]


@pytest.mark.parametrize("name", ["s1_noisefree", "s4_usepsf_noisefree", "s5_params20230703_scale2_seed11"])
def test_compat_upstream_repeats_the_published_stacks(parity_dir: Path, name: str) -> None:
    folder = parity_dir / "sim" / "mlsim_simulator"
    values = json.loads((folder / f"{name}.json").read_text())
    height, width = values["in_dim"]
    drawn = "seed_before_GetParams_20230703" in values
    fixed = {
        "k2": values["k2"],
        "psf_scale": values["PSFOTFscale"],
        "mean": values["meanInten"][0],
        "amplitude": values["ampInten"][0],
        "alpha": values["alpha"],
        "angle_error": values["angleError"],
        "noise_level": values["NoiseLevel"],
        "use_psf": bool(values["UsePSF"]),
        "shuffle": values["shuffleOrientations"],
        "draws": "fixed",
    }
    given = {"draws": "20230703", "scale": 2, **values["cli_overrides"]} if drawn else fixed
    made = napari_recon.run(
        "simulate.sim",
        folder / "source_rgb.png",
        seed=values["seed_before_GetParams_20230703"] if drawn else 0,
        params={
            "compat": "upstream",
            "height": height,
            "width": width,
            **{f"upstream.{name}": value for name, value in given.items()},
        },
    )
    expected = np.load(folder / f"{name}.npz")["stack"].astype(int)
    assert np.abs(made["stack"] - expected).max() <= 1
    np.testing.assert_array_equal(made["raw"], made["stack"][:9])
    assert made["truth"].shape == tuple(values["gt_dim"]) and made["raw"].dtype == np.uint8
