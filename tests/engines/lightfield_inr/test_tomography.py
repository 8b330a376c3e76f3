"""lightfield_inr.fit of projections: quality, network, axis, resumption, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import napari_recon
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, CheckpointSaved, Decided, PreviewReady, Warned
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fit_engine import Fit
from napari_recon.engines.simulate.tomography_phantom import phantom
from tests.contract.examples import Example, collect
from tests.engines.tomography.phantoms import ANGLES, blobs, counts, projections, stack

SIZE = (28, 10, 32)
NETWORK: dict[str, Any] = {
    "method": "upstream",
    "iterations": 6,
    "width": 8,
    "depth": 2,
    "skips": [],
    "upstream.steps_per_frame": 3,
    "checkpoint_every": 2,
    "post_processor": "leakyrelu",  # so that a field of few steps is not zero everywhere
}


def example(frames: int = 1, **params: Any) -> Example:
    """Return a fit of projections for the contract."""
    series = counts(frames)
    views = stack(series, "TVYX") if frames > 1 else stack(series[0])
    chosen = {"modality": "opt", "angles": ANGLES, "thickness": 14, "iterations": 4, "checkpoint_every": 2, **params}
    return Example(Fit(), {"views": views}, chosen)


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(truth.max() ** 2 / np.mean((found - truth) ** 2)))


def cell(axis: str = "y") -> np.ndarray:
    shape = SIZE if axis == "y" else (SIZE[0], SIZE[2], SIZE[1])
    return phantom("cell", shape, axis, np.random.default_rng(0), lambda: None)


def fitted(views: np.ndarray, **params: Any) -> Any:
    return napari_recon.run("lightfield_inr.fit", stack(views), params={"angles": ANGLES, "thickness": SIZE[0], **params})


def light(photons: float, **geometry: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return counts and the truth in counts."""
    truth = cell(geometry.get("axis", "y"))
    sums = projections(truth, **geometry)
    scale = photons / sums.max()
    return np.random.default_rng(0).poisson(sums * scale + 3).astype(np.float32), truth * scale


@pytest.mark.parametrize("axis", ["y", "x"])
def test_a_field_is_nearer_to_the_truth_than_simultaneous_iterations(axis: str) -> None:
    views, truth = light(300, axis=axis, centre=1.3)
    result = fitted(views, modality="opt", axis=axis)
    chosen = {"angles": ANGLES, "thickness": SIZE[0], "signal": "emission", "axis": axis}
    sirt = napari_recon.run("tomography.sirt", stack(views), params=chosen)
    found, baseline = (psnr(np.asarray(each["volume"].data), truth) for each in (result, sirt))
    assert found > baseline + 1
    assert result.artifacts["report"]["verdict"] == "the model explains the data"


def test_transmitted_light_gives_absorption() -> None:
    truth = cell()
    lines = projections(truth)
    scale = 1.5 / lines.max()
    views = np.random.default_rng(0).poisson(4000 * np.exp(-lines * scale)).astype(np.float32)
    found = np.asarray(fitted(views, signal="transmission", centre=0)["volume"].data)
    assert psnr(found, truth * scale) > 24


def test_densities_keep_their_sign_and_the_wedge_is_borne() -> None:
    angles = np.arange(-60, 61, 4.0)
    truth = blobs(SIZE)
    views = projections(truth, angles=angles, noise=0.03)
    views -= views.mean(axis=(1, 2), keepdims=True)
    found = np.asarray(fitted(views, modality="cryo_et", angles=angles)["volume"].data)
    inner = (slice(6, -6), slice(None), slice(6, -6))
    assert found.min() < -0.01 * found.max()
    assert np.corrcoef(found[inner].ravel(), truth[inner].ravel())[0, 1] > 0.85


def test_a_network_is_fitted_and_queried_in_the_published_layout(tmp_path: Any) -> None:
    views = projections(blobs((9, 4, 9)))
    result = napari_recon.run(
        "lightfield_inr.fit",
        stack(views),
        params={
            "angles": ANGLES,
            "modality": "opt",
            "signal": "density",
            "centre": 0,
            "method": "upstream",
            "iterations": 3,
        },
    )
    volume = np.asarray(result["volume"].data)
    scale = views.max() / 9
    queried = napari_recon.run(
        "lightfield_inr.query",
        model=result.artifacts["checkpoint"],
        params={"preset": "opt", "render_size": [4, 9, 9]},
    )
    np.testing.assert_allclose(np.asarray(queried["volume"].data) * scale, volume, atol=1e-5 * max(volume.max(), 1))
    ours = napari_recon.run("lightfield_inr.query", model=result.artifacts["model"])
    np.testing.assert_allclose(np.asarray(ours["volume"].data), volume, atol=1e-5 * max(volume.max(), 1))
    state = torch.load(result.artifacts["checkpoint"], weights_only=True)["network_fn_state_dict"]
    assert state["pts_linear.0.weight"].shape == (128, 47) and len(state) == 14


def test_a_network_comes_to_explain_the_projections() -> None:
    truth = blobs((16, 5, 16))
    chosen = {**NETWORK, "width": 32, "iterations": 150, "signal": "density", "upstream.rate": 5e-3, "encoder": "positional"}
    result = napari_recon.run(
        "lightfield_inr.fit",
        stack(projections(truth)),
        params={"modality": "projection", "angles": ANGLES, **chosen, "octaves": 4, "post_processor": "relu", "centre": 0},
    )
    assert np.corrcoef(np.asarray(result["volume"].data).ravel(), truth.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("params", [{}, NETWORK], ids=["fast", "network"])
def test_a_cancelled_fit_goes_on_exactly(tmp_path: Any, params: dict[str, Any]) -> None:
    case = example(1, **{**params, "iterations": 6, "checkpoint_folder": str(tmp_path)})
    whole = case.result(case.plan())
    token, events = CancelToken(), []
    plan = case.plan()
    for event in case.engine.run(plan, {name: [s] for name, s in case.stacks.items()}, token):
        events.append(event)
        if isinstance(event, CheckpointSaved):
            token.cancel()
    path = [event.path for event in events if isinstance(event, CheckpointSaved)][-1]
    assert any(isinstance(event, ArtifactReady) and event.kind == "model" for event in events)
    np.testing.assert_array_equal(case.result(case.plan(resume=str(path))), whole)
    other = ImageStack.of(np.asarray(case.stacks["views"].data) + 1, "VYX", "views")
    with pytest.raises(InputError, match="same data"):
        changed = Example(case.engine, {"views": other}, case.params)
        changed.events(changed.plan(resume=str(path)))
    with pytest.raises(InputError, match="same data"):
        case.events(case.plan(resume=str(path), centre=1.0))


def test_a_first_look_comes_before_the_first_step() -> None:
    case = example(1)
    events = case.events(case.plan())
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("PreviewReady") < kinds.index("MetricLogged")
    first = next(event for event in events if isinstance(event, PreviewReady))
    last = collect(events, "volume")
    assert np.corrcoef(first.array.ravel(), last.ravel())[0, 1] > 0.8
    assert "centre" in next(event for event in events if isinstance(event, Decided)).params


def test_wrong_angles_are_noticed() -> None:
    views, _ = light(3000)
    result = fitted(views, modality="opt", angles=(0.8 * np.array(ANGLES)).tolist(), centre=0)
    assert "angles, axis or signal look wrong" in result.artifacts["report"]["verdict"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"modality": "opt"}, "needs the angle of each of the 24"),
        ({"modality": "opt", "angles": "0:90:5"}, "one angle per projection"),
        ({"modality": "opt", "angles": ANGLES, "refine_views": True}, "refine_views belongs to light fields"),
        ({"modality": "lightfield", "angles": ANGLES}, "angles belong to tomography"),
        ({}, "needs the input psf"),
        ({"modality": "opt", "angles": ANGLES, "thickness": 2}, "three planes"),
        ({"modality": "opt", "angles": ANGLES, "held_out": 24}, "held_out should be"),
    ],
)
def test_unfit_settings_get_one_sentence(params: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        napari_recon.run("lightfield_inr.fit", stack(projections(blobs((14, 6, 16)))), params=params)


def test_a_psf_is_none_of_projections() -> None:
    views = stack(projections(blobs((14, 6, 16))))
    psf = ImageStack.of(np.ones((24, 3, 3, 3), np.float32), "VZYX", "psf")
    with pytest.raises(InputError, match="takes no psf"):
        napari_recon.run("lightfield_inr.fit", views, psf, params={"modality": "opt", "angles": ANGLES})


def test_a_constant_under_densities_is_said() -> None:
    views = projections(blobs((14, 6, 16))) + 500
    case = Example(Fit(), {"views": stack(views)}, {"angles": ANGLES, "iterations": 2, "centre": 0})
    said = [event.message for event in case.events(case.plan()) if isinstance(event, Warned)]
    assert any("mean was taken off" in sentence for sentence in said)
