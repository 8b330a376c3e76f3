"""VSI-SR: the network in strips, what planes it takes, empty planes, files that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_recon.core.errors import Cancelled, InputError
from napari_recon.core.region import Box, Selection
from napari_recon.core.stack import ImageStack
from napari_recon.engines.fusion.networks import vsi_run, vsi_sr
from napari_recon.engines.fusion.networks.vsi_checkpoint import recognise
from napari_recon.engines.fusion.networks.vsi_shapes import generator_shapes
from napari_recon.hub import check

from .vsi import vsi_example


@pytest.mark.parametrize("flops", [1e5, 1e6, 1e7])
@pytest.mark.parametrize("size", [(21, 17), (20, 30), (7, 9)])
def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch, flops: float, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = vsi_sr.Generator(2, 16).eval().requires_grad_(False)
    planes = torch.rand(7, *size)
    monkeypatch.setattr(vsi_sr, "STRIP_FLOPS", flops)
    found = vsi_sr.infer(network, planes, lambda: None)
    torch.testing.assert_close(found, network(planes[None])[0], rtol=0, atol=1e-6)


def test_a_cancelled_network_stops_within_a_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    network = vsi_sr.Generator(2, 16)
    monkeypatch.setattr(vsi_sr, "STRIP_FLOPS", 1e5)
    calls = []

    def check_() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        vsi_sr.infer(network, torch.rand(7, 40, 40), check_)
    assert len(calls) == 3


def test_other_weights_take_the_place_of_its_own() -> None:
    network, other = vsi_sr.Generator(1, 16), vsi_sr.Generator(1, 16)
    planes = torch.rand(1, 7, 12, 12)
    torch.testing.assert_close(network(planes, list(other.vars)), other(planes))
    assert network.state_dict().keys() == generator_shapes(1, 16, 7, 3).keys()


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "optim": {}, "step": 3}], ids=["plain", "latest"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_published_layout_is_recognised(tmp_path: Path, wrap: object, prefix: str) -> None:
    state = {prefix + name: tensor for name, tensor in vsi_sr.Generator(3, 16).state_dict().items()}
    torch.save(wrap(state), tmp_path / "g_latest.pth")  # type: ignore[operator]
    found = check(tmp_path / "g_latest.pth")
    assert (found.engine, found.architecture) == ("fusion.vsi_sr", "vsi_sr")
    assert found.options == {"blocks": 3, "features": 16, "slices_in": 7, "slices_out": 3}
    assert found.fits


def test_other_networks_are_left_to_others() -> None:
    shapes = generator_shapes(1, 16, 7, 3)
    assert recognise({name: torch.zeros(shape) for name, shape in shapes.items() if name != "vars.3"}) is None
    discriminator = {"vars.0": torch.zeros(32, 3, 3, 3), "conv2d1.vars.0": torch.zeros(32, 32, 3, 3)}
    assert recognise(discriminator) is None


def test_too_few_planes_say_how_many() -> None:
    example = vsi_example()
    few = ImageStack.of(np.asarray(example.main.data)[:, :8], "TZYX", "stack")
    with pytest.raises(InputError, match=r"at least 9 planes .* found 8"):
        replace(example, stacks={**example.stacks, "stack": few}).plan()
    with pytest.raises(InputError, match=r"at least 17 planes .* found 12"):
        example.plan(compat="upstream")
    assert example.plan(compat="upstream", even_brightness=False).output("sr").dtype == "uint16"


def test_without_transfer_functions_one_orientation_is_offered() -> None:
    example = vsi_example()
    alone = replace(example, stacks={"stack": example.main})
    with pytest.raises(InputError, match="or set orientations=1"):
        alone.plan()
    assert alone.plan(orientations=1).output("sr").grid.shape == (2, 6, 30, 36)


def test_empty_planes_stay_empty_and_the_scale_is_the_datas() -> None:
    """A network's own scale means nothing: its planes are fitted to the raw ones, noise is not stretched to full range."""
    example = vsi_example(orientations=1)
    data = np.asarray(example.main.data).copy()[:1]
    data[:, 7:] = 20
    stack = ImageStack(data, example.main.grid.cropped({"T": (0, 1)}), "stack")
    dark = replace(example, stacks={"stack": stack})
    found = dark.result(dark.plan())[0]
    assert np.ptp(found[-1]) < 0.1 * np.ptp(found[0])
    assert found[0].mean() == pytest.approx(data[0, 3].mean(), rel=0.1)


def test_planes_lie_where_the_raw_ones_do() -> None:
    example = vsi_example(orientations=1)
    plan = example.plan(Selection(box=Box(z=(2, 4))))
    whole, grid = example.plan().whole["sr"], example.main.grid
    assert whole.origin("Z") == pytest.approx(grid.to_world("Z", 3))
    assert plan.output("sr").grid.origin("Z") == pytest.approx(grid.to_world("Z", 5))
    assert whole.step("Y") == pytest.approx(grid.step("Y") / 1.5)


@pytest.mark.parametrize("size", [(20, 24), (21, 24), (21, 23)])
def test_sharpened_planes_of_all_directions_lie_on_each_other(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """With a network that only enlarges, the three upright planes are one picture."""

    def enlarge(network: object, planes: torch.Tensor, check: object) -> torch.Tensor:
        return torch.nn.functional.interpolate(planes[None, 2:5], scale_factor=1.5, mode="bilinear")[0]

    monkeypatch.setattr(vsi_run, "infer", enlarge)
    y, x = np.mgrid[: size[0], : size[1]]
    spot = np.exp(-((y - 9.5) ** 2 + (x - 12) ** 2) / 18).astype(np.float32)
    volume = np.stack([spot] * 9)
    places = []
    for angle in (0, 60, 120):
        view = vsi_run.Orientation(vsi_sr.Generator(1, 16), volume, angle, False, lambda: None)
        plane = view.upright(view.plane(1))
        rows, columns = np.indices(plane.shape)
        places.append([(plane * rows).sum() / plane.sum(), (plane * columns).sum() / plane.sum()])
    np.testing.assert_allclose(places, [places[0]] * 3, atol=0.03)
