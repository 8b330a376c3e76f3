"""Winograd's convolution against the direct one in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_recon.engines.sim.networks import convolution
from napari_recon.engines.sim.networks.convolution import TILE, Direct, Scratch, Winograd, strip


def layer_of(inputs: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(inputs * 100 + outputs)
    return nn.Conv2d(inputs, outputs, 3, bias=bias).requires_grad_(False)


def exact(layer: nn.Conv2d, source: torch.Tensor) -> torch.Tensor:
    bias = None if layer.bias is None else layer.bias.double()
    return nn.functional.conv2d(source.double().permute(2, 0, 1)[None], layer.weight.double(), bias)[0].permute(1, 2, 0)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 13), width=st.integers(1, 30), inputs=st.integers(1, 7), outputs=st.integers(1, 7),
    at_once=st.sampled_from([1, 2, 5, 256]), relu=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_any_size_in_any_pieces(
    rows: int, width: int, inputs: int, outputs: int, at_once: int, relu: bool, bias: bool
) -> None:
    layer = layer_of(inputs, outputs, bias)
    source = torch.randn(rows + 2, width + 2, inputs)
    wanted = exact(layer, source).clamp_min(0) if relu else exact(layer, source)
    padded = nn.functional.pad(source, (0, 0, 0, -width % TILE))
    found = torch.full((rows, width, outputs), torch.nan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "_TILES_AT_ONCE", at_once)
        Winograd(layer, Scratch())(padded, found, relu)
    torch.testing.assert_close(found.double(), wanted, atol=2e-5, rtol=1e-5)


def test_rounding_is_near_the_direct_one() -> None:
    layer, source = layer_of(96, 96), torch.randn(34, 66, 96)
    wanted = exact(layer, source)
    errors = []
    for convolve in (Winograd(layer, Scratch()), Direct(layer, torch.float32)):
        found = torch.empty(32, 64, 96)
        convolve(source, found)
        errors.append(float((found - wanted).square().mean().sqrt()))
    assert errors[0] < 3 * errors[1] < 1e-5


def test_small_layers_and_other_arithmetic_are_convolved_directly() -> None:
    assert isinstance(strip(layer_of(96, 96), torch.float32, Scratch()), Winograd)
    assert isinstance(strip(layer_of(48, 48), torch.float32, Scratch()), Direct)
    assert isinstance(strip(layer_of(96, 96), torch.bfloat16, Scratch()), Direct)
