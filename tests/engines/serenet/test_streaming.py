"""Networks computed plane by plane equal the plain graphs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import Cancelled
from napari_recon.engines.serenet.checkpoint import recognise
from napari_recon.engines.serenet.layout import depth_pads
from napari_recon.engines.serenet.networks.build import build
from napari_recon.engines.serenet.networks.serenet import FSeReNet, SeReNet
from napari_recon.engines.serenet.streaming import streamed

from .examples import CHANNELS, drawn_state


def network_of(architecture: str) -> SeReNet | FSeReNet:
    options = {"views": 49, "channels": CHANNELS[architecture]}
    if architecture == "fserenet":
        options["decoder"] = [options["channels"][-1], 4, 6]
    network = build(architecture, options)
    network.load_state_dict(drawn_state(architecture, options))
    return network


@settings(max_examples=20, deadline=None)
@given(
    architecture=st.sampled_from(["serenet", "fserenet"]),
    chunks=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    h=st.integers(1, 6),
    w=st.integers(1, 6),
)
def test_any_chunks_give_the_plain_result(architecture: str, chunks: list[int], h: int, w: int) -> None:
    network, depth = network_of(architecture), sum(chunks)
    features = torch.randn(1, 49, depth, h, w, generator=torch.Generator().manual_seed(depth))
    with torch.inference_mode():
        plain = network(features, (4 * h, 4 * w))
        found = torch.cat(list(streamed(network, features.split(chunks, dim=2), depth_pads(depth))), dim=2)
    assert found.shape == plain.shape
    assert (found - plain).abs().max() <= 2e-5 * max(float(plain.abs().max()), 1e-3)


def test_planes_arrive_before_all_are_read() -> None:
    network, read = network_of("serenet"), []

    def features() -> Iterator[torch.Tensor]:
        for z in range(60):
            read.append(z)
            yield torch.randn(1, 49, 1, 2, 2)

    with torch.inference_mode():
        first = next(iter(streamed(network, features())))
    assert first.shape[2] == 1
    assert len(read) == 10, "one plane depends on the nine behind it and no more"


@pytest.mark.parametrize("architecture", ["serenet", "fserenet"])
def test_the_check_between_layers_stops_both_forms(architecture: str) -> None:
    network, calls = network_of(architecture), 0
    features = torch.randn(1, 49, 8, 3, 3)

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Cancelled

    for compute in (
        lambda: network(features, (12, 12), check),
        lambda: list(streamed(network, [features], depth_pads(8), check)),
    ):
        calls = 0
        with pytest.raises(Cancelled), torch.inference_mode():
            compute()
        assert calls == 5


def test_the_streamed_network_is_recognised_as_itself() -> None:
    found = recognise(network_of("fserenet").state_dict())
    assert found is not None and found.fits and found.options["decoder"] == [5, 4, 6]
