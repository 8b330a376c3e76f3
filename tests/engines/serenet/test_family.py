"""The networks beside SeReNet through the engine: views, planes, precision, parameters, chains, bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_recon.core.compute import Compute
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import BlockReady, Decided
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.stack import ImageStack
from napari_recon.engines.serenet.engine import Reconstruct
from napari_recon.engines.serenet.intensity import RULES, brightest, of_each_view, percentiles
from napari_recon.engines.serenet.models import RECONSTRUCTING
from napari_recon.engines.serenet.twnet import Twnet
from napari_recon.engines.serenet.vsnet import Vsnet
from napari_recon.optics.lightfield_geometry import geometry_of, load_psf_shift
from tests.contract.examples import collect

from .examples import drawn_model, views

ALL = ["rlnet", "vcdnet", "hylfmnet"]


def frame(count: int, h: int = 12, w: int = 14) -> ImageStack:
    stack = views(1, h, w, count)
    return ImageStack(stack.data[0], stack.grid.only("VYX"), "frame")


def plan_of(stack: ImageStack, model: ModelRef, **params: Any) -> Plan:
    ref = InputRef(name="views", uri="memory", grid=stack.grid, dtype=str(stack.dtype))
    return Reconstruct().plan([ref], params, model=model, compute=Compute(device="cpu", threads=1))


def result_of(stack: ImageStack, plan: Plan) -> np.ndarray:
    return collect(list(Reconstruct().run(plan, {"views": [stack]})), "volume")


def test_every_network_has_a_rule_for_intensities() -> None:
    assert set(RULES) == set(RECONSTRUCTING)


def test_networks_of_relative_units_do_not_know_gain_and_offset() -> None:
    light = np.random.default_rng(0).gamma(1.0, 100.0, (3, 20, 20)).astype(np.float32)
    for rule, offset in ((brightest, 0), (percentiles, 50)):
        reference, other = rule(light, "auto"), rule(7 * light + np.float32(offset), "auto")
        np.testing.assert_allclose(reference.views_vyx, other.views_vyx, atol=1e-4)
        assert reference.views_vyx.min() >= 0 and reference.views_vyx.max() == 1
        assert reference.message() == "" and reference.restored(light) is light
    np.testing.assert_allclose(of_each_view(light), of_each_view(3 * light + 9), atol=1e-4)


def test_a_dark_frame_stays_finite() -> None:
    dark = np.zeros((2, 4, 4), np.float32)
    for found in (brightest(dark).views_vyx, percentiles(dark).views_vyx, of_each_view(dark)):
        assert np.isfinite(found).all()


@pytest.mark.parametrize("architecture", ALL)
def test_fast_arithmetic_is_close(architecture: str) -> None:
    stack = frame(49 if architecture == "rlnet" else 169)
    model = drawn_model(architecture)
    exact, fast = (result_of(stack, plan_of(stack, model, planes=5, precision=p)) for p in ("float32", "fast"))
    assert np.linalg.norm(fast - exact) < 0.1 * np.linalg.norm(exact)


@pytest.mark.parametrize("architecture", ["vcdnet", "hylfmnet"])
def test_few_planes_are_the_central_ones(architecture: str) -> None:
    stack, model = frame(169), drawn_model(architecture)
    whole, few = (result_of(stack, plan_of(stack, model, planes=n)) for n in (0, 3))
    assert whole.shape[0] == 9
    np.testing.assert_allclose(few, whole[3:6], atol=1e-5 * whole.max())


def test_a_model_brings_its_own_microscope() -> None:
    """Any number of views and planes, as the card of a trained model tells."""
    shift = load_psf_shift("geometric-13").psf_shift
    own = replace(load_psf_shift("geometric-13"), psf_shift=shift[:5, ::10], pages=(12, 13, 17, 7, 11), nnum=5, name="own")
    assert geometry_of(own.contract()).view_order == own.view_order
    np.testing.assert_allclose(geometry_of(own.contract()).psf_shift, own.psf_shift, atol=6e-4)
    model = drawn_model("rlnet")
    card = {"contract": {"views": 5, "microscope": own.contract()}}
    model = model.model_copy(update={"card": card})
    plan = plan_of(frame(25), model)
    assert plan.outputs[0].grid.size("Z") == 11
    assert plan.outputs[0].grid.size("Y") == round(12 * 5 / 3)
    events = list(Reconstruct().run(plan, {"views": [frame(25)]}))
    assert any(isinstance(e, Decided) and e.params["psf_shift"] == model.id for e in events)
    with pytest.raises(InputError, match="should be complete"):
        geometry_of({"nnum": 5})


def test_batch_statistics_are_for_published_tiles_only() -> None:
    stack, model = frame(169), drawn_model("vcdnet")
    with pytest.raises(InputError, match="needs compat=upstream"):
        plan_of(stack, model, batch_norm="batch")
    stored, batch = (
        result_of(stack, plan_of(stack, model, compat="upstream", batch_norm=mode)) for mode in ("stored", "auto")
    )
    assert np.abs(stored - batch).max() > 1e-3
    assert batch.min() < 0, "an untiled frame of the script keeps its negatives"
    again = result_of(stack, plan_of(stack, model, compat="upstream"))
    np.testing.assert_array_equal(batch, again)


@pytest.mark.parametrize(
    ("count", "architecture", "sentence"),
    [
        (225, "rlnet", r"169 views.*or the 49 in use.*found 225; 225 views are what SeReNet of 81 views"),
        (49, "vcdnet", r"169 views \(all of Nnum 13\) for .*found 49; 49 views are what SeReNet, F-SeReNet and RL-Net"),
        (196, "hylfmnet", r"found 196; 14 x 14 views have none in the centre"),
        (170, "rlnet", r"found 170; no network takes that many"),
    ],
)
def test_pages_that_do_not_fit_say_which_network_they_fit(count: int, architecture: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        plan_of(frame(count, 3, 3), drawn_model(architecture))


def test_a_psf_shift_of_another_nnum_is_refused() -> None:
    for architecture in ALL:
        with pytest.raises(InputError, match="geometric-15 describes"):
            plan_of(frame(169, 3, 3), drawn_model(architecture), psf_shift="geometric-15")
    with pytest.raises(InputError, match="existing file"):
        plan_of(frame(169, 3, 3), drawn_model("rlnet"), psf_shift="lost_psfshift.pt")


def test_pre_steps_refuse_what_they_can_not_take() -> None:
    def plan(engine: Any, stack: ImageStack, model: ModelRef, **params: Any) -> Plan:
        ref = InputRef(name="views", uri="memory", grid=stack.grid, dtype=str(stack.dtype))
        return engine.plan([ref], params, model=model, compute=Compute(device="cpu", threads=1))

    with pytest.raises(InputError, match="multiple of 3 pixels along Y, found 13"):
        plan(Twnet(), frame(3, 13, 12), drawn_model("twnet"))
    with pytest.raises(InputError, match="name each of the 9 cells"):
        plan(Twnet(), frame(3), drawn_model("twnet"), scan_order=(0, 1, 2))
    with pytest.raises(InputError, match=r"all 25 views of Nnum 5.*found 49"):
        plan(Vsnet(), frame(49), drawn_model("vsnet"))
    with pytest.raises(CheckpointError, match="needs a model of VsNet, found drawn-twnet"):
        plan(Vsnet(), frame(25), drawn_model("twnet"))
    with pytest.raises(InputError, match="found 36"):
        from napari_recon.engines.serenet.predao import Predao

        ref = InputRef(name="views", uri="memory", grid=frame(36).grid, dtype="uint16")
        Predao().plan([ref], {})


def test_steps_chain_into_a_reconstruction() -> None:
    """Corrected views go on as they are: their grid is that of the scanned views."""
    stack, model = frame(49, 12, 15), drawn_model("twnet")
    ref = InputRef(name="views", uri="memory", grid=stack.grid, dtype=str(stack.dtype))
    plan = Twnet().plan([ref], {}, model=model, compute=Compute(device="cpu", threads=1))
    steady = collect(list(Twnet().run(plan, {"views": [stack]})), "corrected")
    second = ImageStack(steady.astype(np.float32), plan.outputs[0].grid, "steady")
    volume = result_of(second, plan_of(second, drawn_model("serenet"), planes=5))
    assert volume.shape == (5, 52, 65) and np.isfinite(volume).all()


def test_cancel_between_layers_of_wide_networks() -> None:
    from napari_recon.core.token import CancelToken

    stack, model = frame(169, 30, 30), drawn_model("vcdnet")
    plan, token = plan_of(stack, model, tile_size=10), CancelToken()
    blocks = 0
    for event in Reconstruct().run(plan, {"views": [stack]}, token):
        if isinstance(event, BlockReady):
            blocks += 1
            token.cancel()
    assert blocks == 1


def test_quicker_copies_leave_the_network_alone() -> None:
    from napari_recon.engines.serenet.checkpoint import load_network
    from napari_recon.engines.serenet.faster import faster

    network = load_network(drawn_model("rlnet"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.rand(1, 1, 7, 9, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(faster(network)(x), network(x), atol=1e-5, rtol=1e-4)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name])
