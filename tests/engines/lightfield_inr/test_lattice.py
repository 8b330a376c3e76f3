"""The fast path gives the numbers of the network itself, for every encoder and shape of lattice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.core.errors import Cancelled
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates, encode, lattice_coordinates, separated
from napari_recon.engines.lightfield_inr.field import Encoding, Layers, possible
from napari_recon.engines.lightfield_inr.lattice import LatticeField
from napari_recon.engines.lightfield_inr.network import FieldNetwork, post_processed

from .fields import drawn

ENCODINGS = st.one_of(
    st.builds(lambda n: Encoding(encoder="positional", octaves=n), st.integers(1, 9)),
    st.builds(lambda n, m: Encoding(encoder="anisotropic", octaves=n, octaves_z=m), st.integers(1, 8), st.integers(1, 8)),
    st.builds(lambda n, m: Encoding(encoder="radial", octaves=n, octaves_z=m), st.integers(1, 6), st.integers(1, 6)),
    st.just(Encoding(encoder="none")),
)


@given(ENCODINGS)
@settings(max_examples=30, deadline=None)
def test_an_encoding_is_as_long_as_it_says_and_separates(encoding: Encoding) -> None:
    points = torch.randn(5, 3)
    encoded = encode(points, encoding)
    assert encoded.shape == (5, encoding.length)
    assert encoding in possible(encoding.length)
    groups = separated(encoding)
    assert sorted(torch.cat([columns for _, columns in groups]).tolist()) == list(range(encoding.length))
    for axes, columns in groups:
        others = points.clone()
        for i, axis in enumerate("xyz"):
            if axis not in axes:
                others[:, i] += 1.0
        torch.testing.assert_close(encode(others, encoding)[:, columns], encoded[:, columns], rtol=0, atol=0)


@given(ENCODINGS, st.tuples(*[st.integers(1, 9)] * 3), st.sampled_from([(), (0,), (1,), (0, 1)]), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_fast_equals_point_by_point(
    encoding: Encoding, shape: tuple[int, int, int], skips: tuple[int, ...], chunk: int
) -> None:
    layers = Layers(depth=3, width=8, skips=skips, encoded=encoding.length)
    state = drawn(layers.shapes())
    z, y, x = (axis_coordinates(a, np.arange(n) * 0.7, shape) for a, n in zip("zyx", shape, strict=True))
    network = FieldNetwork(layers, encoding)
    network.load_state_dict(state)
    with torch.no_grad():
        expected = post_processed(network(lattice_coordinates(x, y, z)), "leakyrelu")
    found = LatticeField(state, layers, encoding, "leakyrelu", chunk=chunk).values(x, y, z)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_first_encoder_of_a_vector_is_the_published_order() -> None:
    points = torch.tensor([[0.1, -0.2, 0.3]])
    x, y, z = points[0].tolist()
    iso = encode(points, Encoding(encoder="positional", octaves=2))[0].tolist()
    expected = [
        x,
        y,
        z,
        *np.sin([x, y, z]),
        *np.cos([x, y, z]),
        *np.sin([2 * x, 2 * y, 2 * z]),
        *np.cos([2 * x, 2 * y, 2 * z]),
    ]
    assert iso == pytest.approx(expected, abs=1e-6)
    apart = encode(points, Encoding(encoder="anisotropic", octaves=1, octaves_z=1))[0].tolist()
    assert apart == pytest.approx([x, y, *np.sin([x, y]), *np.cos([x, y]), z, np.sin(z), np.cos(z)], abs=1e-6)


def test_it_can_be_stopped_in_the_middle() -> None:
    layers, encoding = Layers(depth=2, width=8, encoded=9), Encoding(encoder="positional", octaves=1)
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 5:
            raise Cancelled

    axis = torch.linspace(-1, 1, 20)
    with pytest.raises(Cancelled):
        LatticeField(drawn(layers.shapes()), layers, encoding, "relu", chunk=40).values(axis, axis, axis, check)
    assert len(calls) == 5
