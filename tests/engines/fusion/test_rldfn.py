"""RL-DFN: exact tiles, slabs, centring, views and patches that don't fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.stack import ImageStack
from napari_recon.engines.deconvolution.volumes.upstream import corrections, placed, transfer_of
from napari_recon.engines.fusion.networks import rldfn
from napari_recon.engines.fusion.networks.rldfn_checkpoint import HALO, load_rldfn
from napari_recon.hub import check, import_model, load_state, resolve

from .rldfn import example, folder, model, psf


@given(st.integers(3, 24), st.integers(1, 9))
def test_a_psf_is_centred_at_every_size(size: int, half: int) -> None:
    """The published placing is off by a voxel at some sizes; ours never is."""
    line = torch.zeros(2 * half + 1)
    line[half] = 1
    assert placed(line, (size,), published=False).argmax() == size // 2


def test_the_published_centre_depends_on_the_size() -> None:
    line = torch.zeros(15)
    line[7] = 1
    found = [int(placed(line, (n,), published=True).argmax()) - n // 2 for n in (32, 33, 34, 36)]
    assert found == [-1, 0, 0, -1]


def test_views_that_the_estimate_explains_are_left_as_they_are() -> None:
    size = (12, 16, 20)
    blur = torch.stack([transfer_of(torch.from_numpy(psf(axis)), size, published=False) for axis in (0, 1)])
    flat = torch.full((2, *size), 0.5)
    torch.testing.assert_close(corrections(flat, blur), torch.ones(2, *size), rtol=0, atol=1e-4)


def test_slabs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    networks, seen = load_rldfn(model()), torch.rand(1, 2, 12, 16, 8)
    whole = networks(seen)
    monkeypatch.setattr(rldfn, "SLAB_FLOPS", 1e5)
    calls: list[int] = []
    torch.testing.assert_close(networks(seen, lambda: calls.append(1)), whole, rtol=0, atol=1e-6)
    assert len(calls) > 50


def test_a_result_depends_on_its_halo_and_no_more() -> None:
    networks, seen = load_rldfn(model()), torch.rand(1, 2, 8, 8, 72)
    whole = networks(seen)
    keep = 72 - 8 - HALO
    torch.testing.assert_close(networks(seen[..., 8:])[..., HALO:], whole[..., 8 + HALO :], rtol=0, atol=1e-6)
    torch.testing.assert_close(networks(seen[..., :64])[..., :keep], whole[..., :keep], rtol=0, atol=1e-6)
    assert (networks(seen[..., 20:])[..., 4:] - whole[..., 24:]).abs().max() > 1e-5


def test_a_folder_of_five_files_is_a_model() -> None:
    found = check(folder())
    assert (found.engine, found.architecture, found.options) == ("fusion.rldfn", "rldfn", {"features": 4})
    assert found.fits
    card = import_model(folder(), "drawn-rldfn")
    assert resolve(card.id).architecture == "rldfn"
    torch.testing.assert_close(load_state(card.path), load_state(folder()))


def test_views_must_have_one_grid() -> None:
    case = example()
    smaller = ImageStack.of(np.ones((2, 10, 22, 24)), "TZYX", "b")
    with pytest.raises(InputError, match=r"same size, found \(10, 22, 26\) and \(10, 22, 24\)"):
        replace(case, stacks={**case.stacks, "view_b": smaller}).plan()
    coarser = ImageStack.of(np.ones((2, 10, 22, 26)), "TZYX", "b", scale={"Z": 0.3, "Y": 0.1, "X": 0.1})
    with pytest.raises(InputError, match="same voxel size"):
        replace(case, stacks={**case.stacks, "view_b": coarser}).plan()
    untold = ImageStack.of(np.ones((2, 10, 22, 26)), "TZYX", "b")
    told = ImageStack.of(
        np.ones((2, 10, 22, 26)), "TZYX", "a", scale=dict.fromkeys("ZYX", 0.1), units=dict.fromkeys("ZYX", "micrometer")
    )
    plan = replace(case, stacks={**case.stacks, "view_a": told, "view_b": untold}).plan()
    assert plan.output("fused").grid.scale[-3:] == (0.1, 0.1, 0.1)
    once = ImageStack.of(np.ones((3, 10, 22, 26)), "TZYX", "b")
    with pytest.raises(InputError, match="as many along T"):
        replace(case, stacks={**case.stacks, "view_b": once}).plan()


def test_published_patches_must_fit_the_views() -> None:
    case = example(compat="upstream", patch_y=8, patch_x=8, patch_z=12)
    assert case.plan().output("fused").grid.shape == (2, 12, 16, 24)
    with pytest.raises(InputError, match="at least one patch of 256 x 256"):
        example(compat="upstream").plan()


def test_the_result_is_in_the_views_counts() -> None:
    case = example()
    bright = {**case.stacks}
    for name in ("view_a", "view_b"):
        stack = case.inputs[name][0]
        bright[name] = ImageStack(np.asarray(stack.data, np.float32) * 10, stack.grid, name)
    dim = case.result(case.plan())
    other = replace(case, stacks=bright)
    np.testing.assert_allclose(other.result(other.plan()), 10 * dim, rtol=2e-3, atol=2e-3 * np.abs(dim).max())


def test_a_model_of_another_engine_is_refused() -> None:
    from .vsi import model as vsi_model

    with pytest.raises(CheckpointError, match="needs an RL-DFN model"):
        replace(example(), model=vsi_model).plan()
