"""Training RL-DFN: sections, whose weights a loss moves, pieces, data that don't fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, MetricLogged
from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.train_rldfn import TrainRlDfn
from napari_recon.engines.fusion.training.rldfn_losses import kernel, roughness, seen
from napari_recon.engines.fusion.training.rldfn_sections import Cut, Kind, random_place, section
from napari_recon.engines.fusion.training.rldfn_task import ORDER, Training, losses_of
from tests.contract.examples import Example

from .rldfn import folder, psf
from .vsi import volume

CUT = Cut((18, 24), 30.8, 7.0, 0.37)
SMALL: dict[str, Any] = {"features": 4, "patch": (28, 24, 28)}


def example(count: int = 1, **params: object) -> Example:
    truth = [volume((8, 28, 32), seed).astype(np.float32) for seed in range(count)]
    views = [[ndimage.gaussian_filter(t, widths).round() for t in truth] for widths in ((2, 1, 1), (1, 1, 2))]
    stacks = {
        "view_a": [ImageStack.of(v, "ZYX", f"a{i}") for i, v in enumerate(views[0])],
        "view_b": [ImageStack.of(v, "ZYX", f"b{i}") for i, v in enumerate(views[1])],
        "psf_a": ImageStack.of(psf(0), "ZYX", "psf a"),
        "psf_b": ImageStack.of(psf(2), "ZYX", "psf b"),
    }
    quick = {"steps": 3, "validate_every": 3, "checkpoint_every": 3}
    return Example(TrainRlDfn(), stacks, {**SMALL, **quick, **params})


@pytest.mark.parametrize("kind", list(Kind))
def test_a_section_goes_where_its_direction_says(kind: Kind) -> None:
    """On a volume that is a plane, a section is a straight ramp with the direction's slope."""
    z, y, x = np.meshgrid(np.arange(30.0), np.arange(40.0), np.arange(60.0), indexing="ij")
    along = {}
    for name, ramp in (("x", x), ("y", y), ("z", z)):
        found = section(torch.from_numpy(ramp), CUT, kind, (3, 1))[0, 0].numpy()
        assert found.shape == (24, 18)
        along[name] = found
    angle = np.radians(CUT.direction(kind))
    np.testing.assert_allclose(np.diff(along["x"], axis=1), np.cos(angle), atol=1e-9)
    np.testing.assert_allclose(np.diff(along["z"], axis=1), np.sin(angle), atol=1e-9)
    np.testing.assert_allclose(along["y"], np.arange(1, 25)[:, None] + np.zeros(18), atol=1e-9)
    assert along["x"].min() == pytest.approx(1 + 0.37 + 3)


@pytest.mark.parametrize("kind", list(Kind))
def test_random_places_keep_sections_inside(kind: Kind) -> None:
    ones, rng = torch.ones(30, 40, 40), np.random.default_rng(0)
    for _ in range(20):
        found = section(ones, CUT, kind, random_place(CUT, kind, 40, rng))
        torch.testing.assert_close(found, torch.ones_like(found))


def test_a_view_is_reproduced_by_its_psf() -> None:
    point = torch.zeros(21, 21, 21)
    point[10, 10, 10] = 1
    found = seen(point, kernel(torch.from_numpy(psf(0))))
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert found[10, 10, 10] == found.max() and found[12, 10, 10] > found[10, 10, 12]


def test_roughness_counts_depth_fivefold() -> None:
    steps = torch.zeros(4, 5, 6)
    steps[2:] = 1
    assert float(roughness(steps)) == pytest.approx(3 * 5 * 30 / 3)


def test_no_network_is_moved_by_anothers_loss() -> None:
    torch.manual_seed(0)
    networks = Training(4)
    views, changes = torch.rand(2, 28, 24, 40), torch.rand(1, 2, 28, 24, 40)
    fused = networks(changes)[0, 0]
    kernels = [kernel(torch.from_numpy(psf(axis))) for axis in (0, 2)]
    cut = Cut((18, 16), 30.8, 7.0, 0.3)
    found = losses_of(networks, fused, views, kernels, cut, [(1, 0)] * len(ORDER))

    def moved(loss: torch.Tensor) -> set[str]:
        networks.zero_grad()
        loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        return {n.partition(".")[0] for n, p in networks.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}

    assert moved(found.convincing_a) == {"fusion"} and moved(found.error_b) == {"fusion"}
    assert moved(found.judge_a) == {"judge_a"} and moved(found.judge_b) == {"judge_b"}
    assert moved(found.total(50_000, 1e-7)) == {"fusion", "judge_a", "judge_b"}


def test_the_views_are_reproduced_better_and_better() -> None:
    case = example(steps=15, learning_rate=3e-2, validate_every=15)
    events = case.events(case.plan())
    losses = [e.value for e in events if isinstance(e, MetricLogged) and e.name == "loss"]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    found = next(e.payload for e in events if isinstance(e, ArtifactReady))
    assert {name.partition(".")[0] for name in found["state"]} == {"net_FA", "net_G"}
    assert found["card"]["options"] == {"features": 4}


def test_training_goes_on_from_a_folder_of_files() -> None:
    case = example(init=str(folder()), features=64)
    events = case.events(case.plan())
    assert next(e.payload for e in events if isinstance(e, ArtifactReady))["card"]["options"] == {"features": 4}


def test_what_does_not_fit_is_said() -> None:
    case = example(2)
    with pytest.raises(InputError, match="found 2 of view_a and 1 of view_b"):
        replace(case, stacks={**case.stacks, "view_b": case.inputs["view_b"][:1]}).plan()
    with pytest.raises(InputError, match="at least 28 voxels along z"):
        case.plan(patch=(16, 24, 28))
    other = ImageStack.of(np.ones((8, 28, 30)), "ZYX", "b")
    with pytest.raises(InputError, match="same size"):
        replace(case, stacks={**case.stacks, "view_b": [other, other]}).plan()
