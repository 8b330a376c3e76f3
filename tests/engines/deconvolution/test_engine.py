"""deconvolution.lightfield_rl as users meet it: events, regions, world, recipes, cancel, other inputs."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from napari_recon.core.errors import InputError
from napari_recon.core.events import (
    ArtifactReady,
    BlockReady,
    Decided,
    Finished,
    MetricLogged,
    PreviewReady,
    Progress,
    Warned,
)
from napari_recon.core.provenance import Recipe
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.deconvolution import setup
from napari_recon.engines.deconvolution.engine import LightFieldRL
from napari_recon.engines.deconvolution.physics import Physics
from napari_recon.engines.deconvolution.view_positions import remove_gauge
from napari_recon.optics.psf_projector import normalised_psf
from tests.engines.deconvolution.scenes import S, assemble, beads, plan_of, psf_shift, run, views_of

FIELD = (24, 27)


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    return beads(FIELD)


@pytest.fixture(scope="module")
def views(truth: torch.Tensor) -> np.ndarray:
    return views_of(truth, FIELD)


def _corr(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _report(events: list[object]) -> dict[str, object]:
    (found,) = [e for e in events if isinstance(e, ArtifactReady) and e.kind == "report"]
    return dict(found.payload)


def test_the_refocused_region_is_seen_before_any_projector_is_made(
    views: np.ndarray, truth: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    real = Physics.projector
    monkeypatch.setattr(Physics, "projector", lambda *args: made.append(args) or real(*args))
    box = Box(z=(0, 21), y=(20, 90), x=(10, 100))
    stack = ImageStack.of(views, "VYX", "views")
    plan = plan_of({"views": stack}, selection=Selection(box=box))
    events = LightFieldRL().run(plan, {"views": [stack]})
    look = next(e for e in events if isinstance(e, PreviewReady))
    events.close()
    assert not made and look.array.shape == box.shape() == plan.outputs[0].grid.shape
    seen = truth.numpy()[box.slices("ZYX")]
    assert _corr(look.array, seen) > 0.2
    assert look.array.sum() == pytest.approx(float(seen.sum()), rel=0.3)


def test_a_run_with_nothing_set_finds_the_volume(views: np.ndarray, truth: torch.Tensor) -> None:
    volume, events = run(views)
    assert volume.dtype == np.float32 and volume.shape == truth.shape and volume.min() >= 0
    assert _corr(volume, truth.numpy()) > 0.9
    assert volume.sum() == pytest.approx(float(truth.sum()), rel=0.06)
    report, (decided,) = _report(events), [e for e in events if isinstance(e, Decided)]
    assert decided.params == {"iterations": report["iterations"], "damping": report["damping"]}
    assert 0.8 < report["reduced_deviance"] <= 1.1 and report["background"] == pytest.approx(1.2, abs=0.6)  # type: ignore[operator]
    assert not [e for e in events if isinstance(e, Warned)]


def test_an_estimate_streams_every_other_iteration(views: np.ndarray) -> None:
    _, events = run(views, {"iterations": 5})
    assert [e.step for e in events if isinstance(e, PreviewReady)] == [0, 1, 3, 5]
    assert [e.step for e in events if isinstance(e, MetricLogged)] == [1, 2, 3, 4, 5]
    assert sum(isinstance(e, BlockReady) for e in events) == 1
    progress = [(e.done, e.total) for e in events if isinstance(e, Progress)]
    assert progress == sorted(progress) and progress[-1] == (5, 5)


def test_the_recipe_repeats_the_run_with_the_iterations_found(views: np.ndarray) -> None:
    volume, events = run(views)
    finished = events[-1]
    assert isinstance(finished, Finished)
    step = Recipe.from_dict(finished.provenance).steps[0]
    assert step.params["iterations"] == _report(events)["iterations"]
    assert step.params["damping"] == _report(events)["damping"] > 0  # type: ignore[operator]
    np.testing.assert_array_equal(run(views, step.params)[0], volume)


def test_damping_is_off_with_fixed_iterations_and_can_be_set(views: np.ndarray, truth: torch.Tensor) -> None:
    plain, events = run(views, {"iterations": 12})
    assert _report(events)["damping"] == 0
    calm, events = run(views, {"iterations": 12, "damping": 0.4})
    assert _report(events)["damping"] == 0.4
    assert calm.sum() == pytest.approx(plain.sum(), rel=0.05) and _corr(calm, truth.numpy()) > 0.9
    assert not np.array_equal(calm, plain)
    undamped, events = run(views, {"damping": 0.0})
    automatic, others = run(views)
    assert _report(events)["iterations"] < _report(others)["iterations"]  # type: ignore[operator]
    assert _corr(automatic, truth.numpy()) > _corr(undamped, truth.numpy()) - 0.01


@pytest.mark.parametrize("iterations", [6, "auto"])
@pytest.mark.parametrize("refine", [False, True])
def test_a_region_is_the_crop_of_the_whole(views: np.ndarray, iterations: int | str, refine: bool) -> None:
    params = {"iterations": iterations, "refine_views": refine}
    box = Box(z=(3, 11), y=(17, 70), x=(40, 41))
    whole, part = run(views, params)[0], run(views, params, Selection(box=box))[0]
    np.testing.assert_array_equal(part, whole[box.slices("ZYX")])


def test_large_fields_are_cut_on_a_lattice_without_visible_seams(
    views: np.ndarray, truth: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"iterations": 8, "planes": 9}
    field = (45, 48)
    large = views_of(beads(field, planes=9, count=30), field, psf_shift(9))
    whole, _ = run(large, params)
    monkeypatch.setattr(setup, "CORES", (15,))
    cut, events = run(large, params)
    blocks = [e for e in events if isinstance(e, BlockReady)]
    assert len(blocks) > 4 and np.isfinite(cut).all()
    assert np.linalg.norm(cut - whole) / np.linalg.norm(whole) < 0.1
    box = Box(z=(2, 5), y=(60, 75), x=(60, 140))
    for damping in (0.0, 0.3):
        both = {**params, "damping": damping}
        part, _ = run(large, both, Selection(box=box))
        np.testing.assert_array_equal(part, run(large, both)[0][box.slices("ZYX")])
    corner = run(large, {"planes": 9}, Selection(box=Box(y=(0, 10), x=(0, 10))))[1]
    previews = [e for e in corner if isinstance(e, MetricLogged | PreviewReady)]
    assert isinstance(previews[0], PreviewReady) and previews[0].step == 0  # something to see before the rest decides
    decided = run(large, {"planes": 9})[1], run(large, {"planes": 9}, Selection(box=Box(y=(0, 10), x=(0, 10))))[1]
    assert _report(decided[0])["iterations"] == _report(decided[1])["iterations"]


def test_the_full_stack_and_the_selected_views_give_the_same(views: np.ndarray) -> None:
    pages = LightFieldRL()._setup({"views": [_ref(views)], "psf": [], "start": []}, LightFieldRL.Params(planes=21)).pages
    full = np.zeros((169, *FIELD), np.float32)
    order = plan_order()
    full[list(order)] = views
    assert pages == tuple(range(49))
    np.testing.assert_array_equal(run(full, {"iterations": 2})[0], run(views, {"iterations": 2})[0])


def plan_order() -> tuple[int, ...]:
    from napari_recon.optics.lightfield_geometry import VIEW_ORDERS

    return VIEW_ORDERS[13]


def _ref(array: np.ndarray) -> object:
    from napari_recon.core.plan import InputRef

    return InputRef(name="views", grid=ImageStack.of(array, "VYX").grid)


def test_refined_views_come_as_a_table_and_repair_the_result(truth: torch.Tensor) -> None:
    rng = np.random.default_rng(5)
    slope = torch.from_numpy(psf_shift()[:, -1] - psf_shift()[:, 0]).double()
    offset = remove_gauge(torch.from_numpy(rng.normal(0, 3, (49, 2))), slope).numpy()
    spoiled = views_of(truth, FIELD, offset_fine=offset)
    plain, _ = run(spoiled, {"iterations": 16})
    mended, events = run(spoiled, {"iterations": 16, "refine_views": True})
    (table,) = [e.payload for e in events if isinstance(e, ArtifactReady) and e.kind == "table"]
    assert len(table) == 49 and set(table[0]) == {"frame", "view", "offset_y_fine", "offset_x_fine"}
    found = np.array([[row["offset_y_fine"], row["offset_x_fine"]] for row in table])
    assert np.sqrt(np.mean((found - offset) ** 2)) < 0.1
    assert _corr(mended, truth.numpy()) > max(0.95, _corr(plain, truth.numpy()) + 0.1)


def test_a_wrong_model_is_reported(truth: torch.Tensor) -> None:
    offset = np.random.default_rng(6).normal(0, 8, (49, 2))
    _, events = run(views_of(truth, FIELD, offset_fine=offset), {"iterations": 30})
    (warned,) = [e for e in events if isinstance(e, Warned)]
    assert "PSF or the view positions" in warned.message and "refine_views" in warned.message
    assert _report(events)["verdict"] in warned.message


def test_every_voxel_grid_gives_the_fine_grid(views: np.ndarray, truth: torch.Tensor) -> None:
    for voxel in ("half", "third", "fine"):
        volume, _ = run(views, {"voxel": voxel, "iterations": 10})
        assert volume.shape == truth.shape and _corr(volume, truth.numpy()) > 0.85


def test_data_in_another_unit_give_the_same_volume(views: np.ndarray) -> None:
    counts, _ = run(views)
    unit, events = run(views / np.float32(2000))
    assert _corr(counts, unit) > 0.99 and unit.max() * 2000 == pytest.approx(counts.max(), rel=0.25)
    assert any(isinstance(e, Warned) and "counts" in e.message for e in events)


def test_an_offset_of_the_camera_changes_nothing(views: np.ndarray) -> None:
    plain, _ = run(views, {"iterations": 8})
    lifted, _ = run(views + 100, {"iterations": 8})
    given, _ = run(views + 100, {"iterations": 8, "background": 101.2})
    assert _corr(plain, lifted) > 0.995 and _corr(plain, given) > 0.995
    for offset in (1000, -200):
        other, _ = run(views + np.float32(offset), {"iterations": 8})
        np.testing.assert_allclose(other, lifted, atol=1e-3 * lifted.max())


def test_a_background_below_the_noise_does_not_run_away(views: np.ndarray) -> None:
    plain, _ = run(views, {"iterations": 12})
    bold, events = run(views, {"iterations": 12, "background": 0})
    assert _corr(plain, bold) > 0.98 and _report(events)["background"] == 0


def test_a_run_that_stops_early_says_so(views: np.ndarray) -> None:
    _, events = run(views, {"iterations": 2})
    assert str(_report(events)["verdict"]).startswith("stopped early")
    assert not any(isinstance(e, Warned) for e in events)


def test_a_psf_without_light_is_refused(views: np.ndarray) -> None:
    psf = -np.random.default_rng(0).random((49, 3, 9, 9), np.float32)
    stacks = {"views": ImageStack.of(views, "VYX"), "psf": ImageStack.of(psf, "VZYX")}
    with pytest.raises(InputError, match="values above zero"):
        run(stacks, {"iterations": 1, "planes": 3})


def test_a_psf_stack_replaces_the_shifts(truth: torch.Tensor, views: np.ndarray) -> None:
    shift = torch.from_numpy(psf_shift()).double()
    place = torch.arange(71, dtype=torch.float64) - 35
    lines = [torch.exp(-((place - s) ** 2) / 8) for s in shift.reshape(-1, 2).T[:, :, None]]
    psf = normalised_psf((lines[0][:, :, None] * lines[1][:, None, :]).reshape(49, 21, 71, 71)).float().numpy() * 7.5
    stacks = {"views": ImageStack.of(views, "VYX"), "psf": ImageStack.of(psf, "VZYX")}
    volume, _ = run(stacks, {"iterations": 12})
    reference, _ = run(views, {"iterations": 12})
    assert np.linalg.norm(volume - reference) / np.linalg.norm(reference) < 0.05
    mended, events = run(stacks, {"iterations": 4, "refine_views": True})
    assert np.isfinite(mended).all() and any(isinstance(e, ArtifactReady) and e.kind == "table" for e in events)


def test_a_volume_can_be_refined(views: np.ndarray, truth: torch.Tensor) -> None:
    rough = truth.numpy() * 0.01
    stacks = {"views": ImageStack.of(views, "VYX"), "start": ImageStack.of(rough, "ZYX")}
    refined, _ = run(stacks, {"iterations": 2, "start": "file"})
    assert _corr(refined, truth.numpy()) > 0.95
    np.testing.assert_array_equal(refined, run(stacks, {"iterations": 2})[0])  # the input alone says it


def test_refocus_is_a_start(views: np.ndarray) -> None:
    _, flat = run(views, {"iterations": 3})
    _, refocus = run(views, {"iterations": 3, "start": "refocus"})
    assert _report(refocus)["reduced_deviance"] < _report(flat)["reduced_deviance"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("params", "start_shape", "message"),
    [
        ({"start": "file"}, None, "needs the input start"),
        ({"start": "refocus"}, (21, 104, 117), "leave one out"),
        ({}, (21, 104, 116), r"shape \(21, 104, 117\)"),
        ({"iterations": 0}, None, "iterations"),
        ({"iterations": "many"}, None, "iterations"),
        ({"voxel": "quarter"}, None, "voxel"),
        ({"background": -3}, None, "background"),
        ({"psf_shift": "no-such-file.pt"}, None, "no-such-file"),
    ],
)
def test_wrong_settings_are_one_sentence(
    views: np.ndarray, params: dict[str, object], start_shape: tuple[int, ...] | None, message: str
) -> None:
    stacks = {"views": ImageStack.of(views, "VYX")}
    if start_shape:
        stacks["start"] = ImageStack.of(np.zeros(start_shape, np.float32), "ZYX")
    with pytest.raises(InputError, match=message) as caught:
        plan_of(stacks, params)
    assert "\n" not in str(caught.value)


def test_cancel_acts_within_an_iteration(views: np.ndarray) -> None:
    """The longest time between two looks at the token is far below one iteration of a large field."""
    token, looks = CancelToken(), []
    check = token.check

    def timed() -> None:
        looks.append(time.perf_counter())
        check()

    token.check = timed  # type: ignore[method-assign]
    stack = ImageStack.of(views, "VYX")
    plan = plan_of({"views": stack}, {"iterations": 4})
    seen: list[object] = []
    for event in LightFieldRL().run(plan, {"views": [stack]}, token):
        seen.append(event)
        if isinstance(event, MetricLogged) and event.step == 2:
            token.cancel()
    assert len(looks) > 10 * 2  # ten looks in each of the two iterations, and some before
    finished = seen[-1]
    assert isinstance(finished, Finished) and finished.partial
    assert max(e.step for e in seen if isinstance(e, MetricLogged)) == 2
    assert np.isfinite(assemble(seen)).all()  # the last preview is kept


def test_a_time_lapse_decides_once_and_a_frame_alone_is_the_same(views: np.ndarray, truth: torch.Tensor) -> None:
    movie = np.stack([views, views_of(truth.flip(1), FIELD, seed=1), views_of(truth.flip(2) * 0.3, FIELD, seed=2)])
    stacks = {"views": ImageStack.of(movie, "TVYX")}
    whole, events = run(stacks)
    assert whole.shape == (3, *truth.shape) and len([e for e in events if isinstance(e, Decided)]) == 1
    alone, again = run(stacks, None, Selection(time=TimeRange(start=2, stop=3)))
    np.testing.assert_array_equal(alone[0], whole[2])
    assert [e.params for e in again if isinstance(e, Decided)] == [e.params for e in events if isinstance(e, Decided)]


def test_channels_are_looped(views: np.ndarray) -> None:
    both, _ = run({"views": ImageStack.of(np.stack([views, views[:, ::-1]]), "CVYX")}, {"iterations": 2})
    np.testing.assert_array_equal(both[0], run(views, {"iterations": 2})[0])


def test_fields_of_any_size_fill_the_world_extent() -> None:
    odd = views_of(beads((20, 23)), (20, 23))
    stack = ImageStack.of(odd, "VYX", scale={"Y": 0.5, "X": 0.5}, translate={"Y": 1.0})
    plan = plan_of({"views": stack}, {"iterations": 1})
    grid = plan.outputs[0].grid
    assert grid.shape == (21, round(20 * S), round(23 * S))
    assert grid.to_world("Y", -0.5) == pytest.approx(0.75) and grid.to_world("X", grid.size("X") - 0.5) == pytest.approx(
        11.25
    )
    assert run({"views": stack}, {"iterations": 1})[0].shape == grid.shape
