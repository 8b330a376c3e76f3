"""`sim.network`: every network on whole frames, exact strips, the authors' way, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import InputError
from napari_recon.core.events import BlockReady, Decided, Warned
from napari_recon.core.plan import ModelRef
from napari_recon.core.region import Box, Selection
from napari_recon.core.stack import ImageStack
from napari_recon.engines.sim.network import FRONT_NAMES, norm_of
from napari_recon.engines.sim.networks.bands import Banded
from napari_recon.engines.sim.networks.checkpoint import build, load_network
from napari_recon.engines.sim.networks.front import FRONTS
from napari_recon.engines.sim.networks.inference import Residual
from napari_recon.engines.sim.networks.normalise import normalised, preview, stretched
from napari_recon.hub import resolve
from tests.contract.examples import Example, collect

from .network_examples import SMALL, drawn_model, drawn_state, example, raw

RESIDUAL = ["rcan", "rcan 2x", "rcan 3x", "rcan heads", "rcan wide", "edsr"]


def network_of(name: str) -> torch.nn.Module:
    network = build(name.partition(" ")[0], SMALL[name])
    network.load_state_dict(drawn_state(name.partition(" ")[0], SMALL[name]))
    return network.eval().requires_grad_(False)


def image_of(runner: Any, frames: torch.Tensor, rows: tuple[int, int]) -> torch.Tensor:
    return torch.cat([part[1] for part in runner(frames, rows) if not isinstance(part, float)], 1)


def one_frame(**changes: Any) -> Example:
    case = example("rcan")
    first = replace(raw(), data=raw().data[:1], grid=raw().grid.cropped({"T": (0, 1)}))
    return replace(case, stacks={"raw": first}, **changes)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(RESIDUAL),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    rows=st.integers(1, 24),
    data=st.data(),
)
def test_strips_of_rows_give_what_the_network_gives(
    name: str, height: int, width: int, rows: int, data: st.DataObject
) -> None:
    network, scale = network_of(name), SMALL[name]["scale"]
    frames = torch.rand(SMALL[name]["nch_in"], height, width, generator=torch.Generator().manual_seed(0))
    start = data.draw(st.integers(0, height - 1))
    stop = data.draw(st.integers(start + 1, height))
    with torch.inference_mode():
        whole = network(frames[None])[0]
    found = image_of(Residual(network, rows, torch.float32, lambda: None), frames, (start, stop))  # type: ignore[arg-type]
    assert found.shape == (SMALL[name]["nch_out"], scale * (stop - start), scale * width)
    assert (found - whole[:, scale * start : scale * stop]).abs().max() <= 3e-6 * whole.abs().max()


@pytest.mark.parametrize("name", ["unet", "unet_n2n"])
def test_bands_of_a_unet_do_not_show(name: str) -> None:
    network, frames = network_of(name), torch.rand(9, 544 if name == "unet_n2n" else 549, 32)
    with torch.inference_mode():
        whole = network(frames[None])[0]
    for rows in ((0, frames.shape[1]), (237, 291)):
        found = image_of(Banded(network, 64, torch.float32, lambda: None), frames, rows)
        assert (found - whole[:, slice(*rows)]).abs().max() <= 3e-6 * whole.abs().max()


@pytest.mark.parametrize("name", list(SMALL))
def test_every_network_runs_as_an_engine(name: str) -> None:
    case = replace(one_frame(), model=lambda: drawn_model(name))
    plan = case.plan()
    found = case.result(plan)
    options = SMALL[name]
    shape = (1, *([options["nch_out"]] if options["nch_out"] > 1 else []), 21 * options["scale"], 26 * options["scale"])
    assert found.shape == plan.outputs[0].grid.shape == shape
    assert np.isfinite(found).all() and found.std() > 0


def test_the_image_is_the_network_of_frames_scaled_one_by_one() -> None:
    case = one_frame()
    frames = np.stack([stretched(frame) for frame in np.asarray(raw().data[0], np.float32)])
    with torch.inference_mode():
        expected = load_network(drawn_model("rcan"))(torch.from_numpy(frames)[None])[0, 0].numpy()
    events = case.events(case.plan())
    np.testing.assert_allclose(collect(events, "sr")[0], expected, atol=3e-6)
    assert {"norm": "minmax"} in [dict(e.params) for e in events if isinstance(e, Decided)]


def test_a_model_says_how_its_frames_are_scaled() -> None:
    told = replace(one_frame(), model=lambda: drawn_model("rcan", norm="minmax0.5"))
    asked = one_frame()
    np.testing.assert_array_equal(told.result(told.plan()), asked.result(asked.plan(norm="minmax0.5")))
    assert np.abs(asked.result(asked.plan(norm="none")) - asked.result(asked.plan())).max() > 0.01


def test_the_log_of_a_training_says_how_frames_were_scaled(tmp_path: Path) -> None:
    path = tmp_path / "final.pth"
    torch.save(drawn_state("rcan", SMALL["rcan"]), path)
    model = resolve(path)
    assert norm_of(model) == "minmax"
    (tmp_path / "log.txt").write_text("Namespace(model='rcan', nch_in=9, norm='adapthist', nch_out=1)")
    assert norm_of(model) == "adapthist"
    case = replace(one_frame(), model=lambda: model)
    assert {"norm": "adapthist"} in [dict(e.params) for e in case.events(case.plan()) if isinstance(e, Decided)]
    (tmp_path / "log.txt").write_text("Namespace(norm='somehow')")
    assert norm_of(model) == "none"


def test_frames_that_the_network_does_not_take_are_said() -> None:
    stack = ImageStack.of(np.random.default_rng(0).poisson(90, (15, 12, 14)), "NYX", "raw")
    case = replace(one_frame(), stacks={"raw": stack})
    said = [e.message for e in case.events(case.plan(phases=5)) if isinstance(e, Warned)]
    assert len(said) == 1 and "takes 9 raw frames, found 15" in said[0]
    fewer = replace(one_frame(), model=lambda: drawn_model("rcan wide"))
    assert not [e for e in fewer.events(fewer.plan()) if isinstance(e, Warned)]


@pytest.mark.parametrize("compat", ["none", "upstream"])
def test_a_constant_frame_is_said_and_gives_numbers(compat: str) -> None:
    frames = np.array(raw().data[0])
    frames[4] = 7
    case = replace(one_frame(), stacks={"raw": ImageStack.of(frames, "NYX", "raw")})
    events = case.events(case.plan(compat=compat))
    assert np.isfinite(collect(events, "sr")).all()
    assert any("frame 5 of 9 is constant" in e.message for e in events if isinstance(e, Warned))


@pytest.mark.parametrize("norm", ["minmax", "minmax0.5", "adapthist", "none", "convert", "convert0.3"])
def test_every_norm_gives_finite_numbers_of_order_one(norm: str) -> None:
    frames = np.asarray(raw(h=48, w=40).data[0], np.float32)
    channels, widefield, constant = normalised(frames, norm)
    assert channels.dtype == widefield.dtype == np.float32 and constant == ()
    assert channels.shape == ((9, 40, 48) if norm.startswith("convert") else (9, 48, 40))
    assert widefield.shape == (48, 40)
    assert channels.min() >= 0 and channels.max() <= 1
    assert (widefield.min(), widefield.max()) == (0, 1)


def test_turned_frames_come_back_as_they_were() -> None:
    case = one_frame()
    whole = case.result(case.plan(norm="convert"))
    assert whole.shape == (1, 21, 26)
    box = Box(y=(3, 9), x=(5, 20))
    np.testing.assert_array_equal(case.result(case.plan(Selection(box=box), norm="convert")), whole[:, 3:9, 5:20])


def test_upstream_takes_the_first_pages_and_the_upper_left_corner() -> None:
    counts = np.random.default_rng(0).poisson(90, (11, 12, 530)).astype(np.uint16)
    case = replace(one_frame(), stacks={"raw": ImageStack.of(counts, "NYX", "raw")})
    plan = case.plan(compat="upstream")
    events = case.events(plan)
    assert [spec.name for spec in plan.outputs] == ["sr", "widefield", "preview"]
    assert collect(events, "sr").shape == (12, 512)
    again = replace(case, stacks={"raw": ImageStack.of(counts[:9, :, :512], "NYX", "raw")})
    np.testing.assert_array_equal(collect(again.events(again.plan()), "sr"), collect(events, "sr"))
    np.testing.assert_array_equal(collect(events, "preview"), preview(collect(events, "sr").astype(np.float32)))
    part = case.plan(Selection(box=Box(y=(2, 8), x=(100, 400))), compat="upstream")
    for name in ("sr", "widefield", "preview"):
        np.testing.assert_array_equal(collect(case.events(part), name), collect(events, name)[2:8, 100:400])


def test_the_whole_field_is_the_default_and_more_pages_are_a_series() -> None:
    counts = np.random.default_rng(0).poisson(90, (18, 12, 530)).astype(np.uint16)
    case = replace(one_frame(), stacks={"raw": ImageStack.of(counts, "NYX", "raw")})
    assert case.plan().outputs[0].grid.shape == (2, 12, 530)


@pytest.mark.parametrize(("name", "translate", "step"), [("rcan", 3.0, 0.065), ("rcan 2x", 3.0 - 0.065 / 4, 0.0325)])
def test_pixels_lie_where_the_frames_saw_them(name: str, translate: float, step: float) -> None:
    grid = example(name).plan().whole["sr"]
    assert grid.origin("Y") == pytest.approx(translate) and grid.step("Y") == pytest.approx(step)
    assert grid.unit("Y") == "micrometer"


def test_a_network_of_ours_has_its_samples_on_the_raw_pixels() -> None:
    case = replace(one_frame(), model=lambda: drawn_model("rcan 2x", grid="samples"))
    grid = case.plan().whole["sr"]
    assert grid.origin("Y") == 3.0 and grid.step("Y") == 0.0325


def test_widefield_on_request() -> None:
    case = one_frame()
    events = case.events(case.plan(Selection(box=Box(y=(3, 9), x=(5, 20))), widefield=True))
    np.testing.assert_allclose(collect(events, "widefield")[0], raw().data[0].mean(0)[3:9, 5:20], rtol=1e-6)


def test_fast_is_near_the_exact_result_or_says_that_it_is_not_faster() -> None:
    case = one_frame()
    exact, events = case.result(case.plan()), case.events(case.plan(precision="fast"))
    off = np.abs(collect(events, "sr") - exact).max() / np.ptp(exact)
    if any("no effect" in e.message for e in events if isinstance(e, Warned)):
        assert off == 0
    else:
        assert 0 < off < 0.02


def test_blocks_arrive_from_top_to_bottom_while_the_last_layer_runs() -> None:
    case = one_frame()
    blocks = [e for e in case.events(case.plan(tile_size=5)) if isinstance(e, BlockReady)]
    assert [b.slices[-2].start for b in blocks] == [0, 5, 10, 15, 20]


@pytest.mark.parametrize(
    ("change", "params", "said"),
    [
        ({"model": lambda: ModelRef(id="s", path="s.pth", architecture="serenet")}, {}, "architecture rcan"),
        ({"model": lambda: drawn_model("rcan", front="magic")}, {}, "front should be frames or wiener"),
        ({}, {"norm": "maxmin"}, "norm should be auto, minmax"),
        ({}, {"phases": 4}, "multiple of 3 angles x 4 phases"),
        ({}, {"angles": 1, "phases": 3}, "needs 9 raw frames per image, found 3"),
        ({}, {"calibration": "nowhere.json", "na": 1.2}, ""),
    ],
)
def test_what_does_not_fit_is_one_sentence(change: Any, params: Any, said: str) -> None:
    case = replace(one_frame(), **change)
    if not said:
        case.plan(**params)  # a network that sees raw frames needs no calibration
        return
    with pytest.raises(InputError, match=said) as caught:
        case.plan(**params)
    assert "\n" not in str(caught.value)


def test_frames_without_light_are_refused() -> None:
    dark = ImageStack.of(-np.random.default_rng(0).random((9, 12, 12)).astype(np.float32), "NYX", "raw")
    case = replace(one_frame(), stacks={"raw": dark})
    with pytest.raises(InputError, match="positive values"):
        case.events(case.plan(norm="none"))


def test_memory_beyond_what_is_free_is_said_before_the_run() -> None:
    big = ImageStack.of(np.zeros((9, 1, 1), np.uint16), "NYX", "raw")
    grid = big.grid.model_copy(update={"shape": (9, 200_000, 200_000)})
    case = one_frame()
    ref = case.plan().inputs[0].model_copy(update={"grid": grid})
    plan = case.engine.plan([ref], {}, model=drawn_model("rcan"))
    assert plan.resources.memory_bytes > 1e12 and "crop the data" in plan.resources.warnings[0]


def test_every_front_that_a_model_may_name_is_there() -> None:
    assert set(FRONTS) == set(FRONT_NAMES)
