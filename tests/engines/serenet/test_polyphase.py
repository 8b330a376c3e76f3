"""Convolutions on phases equal up-sampling and convolving at full sampling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_recon.engines.serenet.polyphase import (
    phase_bias,
    phase_weights,
    shuffled,
    unshuffled,
    up,
    up_convolved,
    up_weights,
)


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return F.conv3d(x, weight, bias, padding=(0, 1, 1))


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 7), w=st.integers(1, 7), inputs=st.integers(1, 3), outputs=st.integers(1, 3))
def test_up_sampling_and_convolving_in_one(h: int, w: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(h * 10 + w)
    x = torch.randn(1, inputs, 4, h, w)
    weight, bias = torch.randn(outputs, inputs, 3, 3, 3), torch.randn(outputs)
    found = shuffled(up_convolved(x, up_weights(weight), weight, bias, convolve))
    torch.testing.assert_close(found, convolve(up(x), weight, bias), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (3, 5)])
def test_convolving_phases(h: int, w: int) -> None:
    fine = torch.randn(1, 3, 5, 2 * h, 2 * w)
    weight, bias = torch.randn(2, 3, 3, 3, 3), torch.randn(2)
    found = shuffled(convolve(unshuffled(fine), phase_weights(weight), phase_bias(bias)))
    torch.testing.assert_close(found, convolve(fine, weight, bias), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shuffled(unshuffled(fine)), fine)
