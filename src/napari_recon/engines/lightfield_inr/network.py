"""The published field: an encoder and a few linear layers with ReLU between them, as a torch module."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_recon.engines.lightfield_inr.encoding import encode
from napari_recon.engines.lightfield_inr.field import Encoding, Layers, PostProcessor

SLOPE = 0.01
POST_PROCESSORS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "leakyrelu": lambda values: nn.functional.leaky_relu(values, SLOPE),
    "linear": lambda values: values,
}


class FieldNetwork(nn.Module):
    """Maps points to intensities; its parameters have the names of the published checkpoints.

    Parameters
    ----------
    layers : Layers
    encoding : Encoding
        Its vector is as long as `layers.encoded`.
    """

    def __init__(self, layers: Layers, encoding: Encoding) -> None:
        super().__init__()
        self.layers, self.encoding = layers, encoding
        inputs = [
            layers.encoded if i == 0 else layers.width + (layers.encoded if i - 1 in layers.skips else 0)
            for i in range(layers.depth)
        ]
        self.pts_linear = nn.ModuleList(nn.Linear(count, layers.width) for count in inputs)
        self.output_linear = nn.Linear(layers.width, 1)

    def forward(self, points: Tensor) -> Tensor:
        """Return the values (...) of points (..., 3), before any post-processing."""
        encoded = encode(points, self.encoding)
        hidden = encoded
        for i, linear in enumerate(self.pts_linear):
            hidden = torch.relu(linear(hidden))
            if i in self.layers.skips:
                hidden = torch.cat([encoded, hidden], dim=-1)
        values: Tensor = self.output_linear(hidden)
        return values[..., 0]


def post_processed(values: Tensor, post_processor: PostProcessor) -> Tensor:
    """Return the intensities that a network's values stand for."""
    return POST_PROCESSORS[post_processor](values)
