"""simulate.lightfield as a run: plan, determinism, alignment, cancel and refusals."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Finished, OutputOpened, Progress, apply_block
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.region import Selection, TimeRange
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS, load_psf_shift
from tests.engines.simulate.imaging import simulate_views

SMALL = {"frames": 2, "height": 18, "width": 21, "planes": 31, "tubes": 2, "beads": 5, "bubbles": 1}
NOISE_FREE = {"photon_noise": False, "read_noise": 0.0}


def plan_of(params: Mapping[str, Any], seed: int = 0) -> Plan:
    return registry.get("simulate.lightfield").plan([], params, compute=Compute(device="cpu", threads=1, seed=seed))


def run(params: Mapping[str, Any], seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays, artifacts = {}, {}
    for event in registry.get("simulate.lightfield").run(plan_of(params, seed), {}):
        if isinstance(event, OutputOpened):
            arrays[event.output] = np.zeros(event.spec.grid.shape, event.spec.dtype)
        elif isinstance(event, BlockReady):
            assert event.array.dtype == arrays[event.output].dtype
            apply_block(arrays[event.output], event)
        elif isinstance(event, ArtifactReady):
            artifacts[event.name] = event.payload
    return arrays, artifacts


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()


def test_the_plan_needs_no_torch_and_says_everything() -> None:
    code = (
        "import sys; from napari_recon.engines import registry;"
        "plan = registry.get('simulate.lightfield').plan([], {});"
        "assert 'torch' not in sys.modules; print(plan.model_dump_json())"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    plan = Plan.model_validate_json(text)
    assert plan.output("raw").grid.shape == (5, 49, 45, 45) and plan.output("raw").dtype == "uint16"
    assert plan.output("truth").grid.shape == (5, 101, 195, 195)
    assert plan.resources.memory_bytes > 0 and pickle.loads(pickle.dumps(plan)) == plan


def test_raw_and_truth_cover_the_same_field_and_focus_is_zero() -> None:
    plan = plan_of(SMALL)
    raw, truth = plan.output("raw").grid, plan.output("truth").grid
    assert raw.unit("Y") == truth.unit("Z") == "micrometer" and raw.unit("T") == "second"
    assert truth.step("Y") == pytest.approx(0.1221, abs=1e-4)
    assert raw.step("Y") == pytest.approx(13 / 3 * truth.step("Y"))
    for axis in "YX":
        edges = [(g.to_world(axis, -0.5), g.to_world(axis, g.size(axis) - 0.5)) for g in (raw, truth)]
        assert edges[0] == pytest.approx(edges[1])
    assert truth.to_world("Z", truth.size("Z") // 2) == pytest.approx(0.0)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    first, again, other = (run(SMALL, seed)[0] for seed in (7, 7, 8))
    assert digest(first) == digest(again)
    assert not np.array_equal(first["truth"], other["truth"])


def test_frames_and_views_do_not_depend_on_how_many_are_made() -> None:
    few, _ = run({**SMALL, "frames": 1})
    many, _ = run({**SMALL, "frames": 3})
    everything, _ = run({**SMALL, "frames": 1, "views": "all"})
    assert np.array_equal(many["raw"][:1], few["raw"]) and np.array_equal(many["truth"][:1], few["truth"])
    assert not np.array_equal(many["truth"][0], many["truth"][2])
    assert everything["raw"].shape[1] == 169
    centre = everything["raw"][0, 84].astype(float) - few["raw"][0, 0]
    assert np.abs(centre).mean() < 0.1
    assert everything["raw"][0, 0].mean() < 3 < everything["raw"][0, 84].mean()


def test_all_pages_follow_the_same_geometry_as_the_selected_ones() -> None:
    params = {**SMALL, **NOISE_FREE, "frames": 1, "peak": 5000}
    selected, everything = run(params)[0]["raw"][0], run({**params, "views": "all"})[0]["raw"][0]
    pages = everything[list(VIEW_ORDERS[13])].astype(float)
    assert np.abs(pages - selected).max() <= 0.002 * selected.max() + 1


def test_the_recording_is_the_projection_of_the_truth() -> None:
    params = {**SMALL, **NOISE_FREE, "frames": 1, "peak": 20000, "gain": 2.0, "background": 100, "height": 27, "width": 27}
    arrays, _ = run(params)
    shift = load_psf_shift("geometric-13").with_planes(31).psf_shift
    views = simulate_views(arrays["truth"][0], shift, upsampling=13 / 3)
    raw = arrays["raw"][0].astype(float) - 100
    assert raw[0].max() == pytest.approx(2 * 20000, rel=0.01)
    inner = (slice(None), slice(6, -6), slice(6, -6))
    assert np.abs(np.maximum(views, 0)[inner] - raw[inner]).max() < 1e-3 * raw.max()


def test_a_bead_lies_at_one_place_in_the_world_in_raw_and_truth() -> None:
    params = {**SMALL, **NOISE_FREE, "frames": 1, "tubes": 0, "bubbles": 0, "beads": 1, "peak": 50000}
    params |= {"height": 45, "width": 45, "beyond": 0.0}
    arrays, _ = run(params, seed=4)
    plan = plan_of(params, seed=4)
    places = []
    for name, image in (("raw", arrays["raw"][0, 0]), ("truth", arrays["truth"][0].sum(axis=0))):
        grid, index = plan.output(name).grid, np.indices(image.shape)
        centre = [(index[i] * image).sum() / image.sum() for i in (0, 1)]
        places.append([grid.to_world(axis, c) for axis, c in zip("YX", centre, strict=True)])
    assert np.abs(np.subtract(*places)).max() < 0.05 * plan.output("raw").grid.step("Y")


def test_artifacts_are_the_shift_table_as_a_plain_tensor_and_a_report() -> None:
    _, artifacts = run({**SMALL, "frames": 1}, seed=5)
    shift = torch.load(artifacts["psf_shift"], weights_only=True)
    assert shift.shape == (49, 31, 2) and shift.dtype == torch.float32
    assert np.array_equal(load_psf_shift(artifacts["psf_shift"]).psf_shift, shift.numpy())
    report = artifacts["parameters"]
    assert report["seed"] == 5 and report["upsampling"] == pytest.approx(13 / 3) and report["beads"] == 5
    assert report["view_pages"] == list(VIEW_ORDERS[13])


def test_a_run_with_its_own_table_repeats_the_named_one() -> None:
    arrays, artifacts = run({**SMALL, "frames": 1})
    again, _ = run({**SMALL, "frames": 1, "psf_shift": artifacts["psf_shift"]})
    assert digest(arrays) == digest(again)


@pytest.mark.parametrize("stop_after", [0, 3, 20, 60])
def test_cancel_keeps_what_was_finished(stop_after: int) -> None:
    token, events = CancelToken(), []
    whole, _ = run(SMALL)
    for number, event in enumerate(registry.get("simulate.lightfield").run(plan_of(SMALL), {}, token)):
        events.append(event)
        if number == stop_after:
            token.cancel()
    assert isinstance(events[-1], Finished) and events[-1].partial
    assert len(events) <= stop_after + 4
    for event in events:
        pickle.loads(pickle.dumps(event))
        if isinstance(event, BlockReady):
            assert np.array_equal(whole[event.output][event.slices], event.array)


def test_progress_reaches_its_total() -> None:
    plan = plan_of(SMALL)
    steps = [e for e in registry.get("simulate.lightfield").run(plan, {}) if isinstance(e, Progress)]
    assert [s.done for s in steps] == sorted(s.done for s in steps) and steps[-1].done == steps[-1].total == 98


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"height": 20}, "height should be a multiple of scanning"),
        ({"planes": 30}, "odd"),
        ({"planes": 103}, "odd number up to 101"),
        ({"frames": 0}, "frames"),
        ({"peak": -1}, "peak"),
        ({"tubes": 0, "beads": 0, "bubbles": 0}, "structures"),
        ({"psf_shift": "no-such-file.pt"}, "psf_shift"),
        ({"views": "some"}, "views"),
        ({"colour": "red"}, "colour is not a parameter"),
    ],
)
def test_wrong_parameters_are_refused_in_one_sentence(wrong: Mapping[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        plan_of({**SMALL, **wrong})
    assert "\n" not in str(caught.value)


def test_selections_models_and_inputs_are_refused() -> None:
    engine = registry.get("simulate.lightfield")
    with pytest.raises(InputError, match="whole recordings"):
        engine.plan([], SMALL, Selection(time=TimeRange(start=0, stop=1)))
    with pytest.raises(InputError, match="uses no model"):
        engine.plan([], SMALL, model=ModelRef(id="m", path="m.pth"))
    with pytest.raises(InputError, match="has no input"):
        engine.plan([InputRef(name="raw")], SMALL)


def test_a_damaged_shift_file_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "psf_shift.npy"
    np.save(path, np.zeros((48, 31, 2), np.float32))
    with pytest.raises(InputError, match=r"shape \(views, planes, 2\)"):
        plan_of({**SMALL, "psf_shift": str(path)})


def test_other_microscopes_and_plain_light_fields_work() -> None:
    arrays, _ = run({**SMALL, "frames": 1, "psf_shift": "geometric-15"})
    assert arrays["raw"].shape == (1, 81, 18, 21) and arrays["truth"].shape == (1, 31, 90, 105)
    arrays, _ = run({**SMALL, "frames": 1, "scanning": 1, "height": 7, "width": 8})
    assert arrays["raw"].shape == (1, 49, 7, 8) and arrays["truth"].shape == (1, 31, 91, 104)
