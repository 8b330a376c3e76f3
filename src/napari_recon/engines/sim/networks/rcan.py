"""RCAN, the network of ML-SIM: residual groups of convolutions with channel attention (torch).

Names of the parameters are those of the published checkpoints. All 3x3 convolutions have a bias and zero padding; there is
no normalisation layer, no mean shift, no residual scaling and no last activation.

References
----------
.. [1] Zhang et al., ECCV 2018, 10.1007/978-3-030-01234-2_18 (RCAN).
.. [2] Christensen et al., Biomedical Optics Express 12, 2720 (2021), 10.1364/BOE.414680 (ML-SIM).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HEADS = 9
"""Frames of the variant with one head per frame (`narch` 1)."""


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def tail(features: int, outputs: int, scale: int) -> nn.Sequential:
    """Return the last layers: pixel shuffles up to `scale` (1, 3 or a power of 2), then a convolution to the outputs."""
    steps = [scale] if scale == 3 else [2] * (scale.bit_length() - 1)
    up = [layer for by in steps for layer in (conv3(features, by * by * features), nn.PixelShuffle(by))]
    last = conv3(features, outputs)
    return nn.Sequential(nn.Sequential(*up), last) if up else nn.Sequential(last)


class ChannelAttention(nn.Module):
    """A factor per channel from the mean of every channel over the whole frame."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, features // reduction)
        self.conv_du = nn.Sequential(nn.Conv2d(features, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, features, 1), nn.Sigmoid())

    def gates(self, means: Tensor) -> Tensor:
        """Return the factors, (B, F, 1, 1), from the channels' means of the same shape."""
        factors: Tensor = self.conv_du(means)
        return factors

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, F, Y, X) multiplied by its gates."""
        return x * self.gates(x.mean((2, 3), keepdim=True))


class AttentionBlock(nn.Module):
    """Convolution, ReLU, convolution, channel attention, plus the input."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        layers = (conv3(features, features), nn.ReLU(), conv3(features, features), ChannelAttention(features, reduction))
        self.body = nn.Sequential(*layers)

    def convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """Return the two 3x3 convolutions."""
        one, two = self.body[0], self.body[2]
        assert isinstance(one, nn.Conv2d) and isinstance(two, nn.Conv2d)
        return one, two

    def gates(self, means: Tensor) -> Tensor:
        """Return the factor of every channel, (F,), from their means over the whole frame."""
        attention = self.body[3]
        assert isinstance(attention, ChannelAttention)
        return attention.gates(means[None, :, None, None])[0, :, 0, 0]

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape, (B, F, Y, X)."""
        residual: Tensor = self.body(x)
        return residual + x


class Group(nn.Module):
    """Blocks and a convolution, plus the input."""

    def __init__(self, features: int, blocks: int, reduction: int) -> None:
        super().__init__()
        inner = [AttentionBlock(features, reduction) for _ in range(blocks)]
        self.body = nn.Sequential(*inner, conv3(features, features))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape, (B, F, Y, X)."""
        residual: Tensor = self.body(x)
        return residual + x


class RCAN(nn.Module):
    """Raw frames (B, nch_in, Y, X) to an image (B, nch_out, scale Y, scale X), both float32.

    Parameters
    ----------
    nch_in, nch_out : int
        Frames in, images out.
    n_feats : int
        Channels of all inner layers.
    n_resgroups, n_resblocks : int
        Groups, and blocks in each.
    reduction : int
        Channels per hidden unit of the channel attention.
    scale : int
        1, 3 or a power of 2.
    narch : int
        1 gives each of nine frames two convolutions of its own before they are combined.
    """

    def __init__(
        self,
        nch_in: int = 9,
        nch_out: int = 1,
        n_feats: int = 96,
        n_resgroups: int = 3,
        n_resblocks: int = 10,
        reduction: int = 16,
        scale: int = 1,
        narch: int = 0,
    ) -> None:
        super().__init__()
        self.scale, self.narch = scale, narch
        if narch:
            for i in range(HEADS):
                self.add_module(f"head{i}", conv3(1, n_feats))
                self.add_module(f"head{i}2", conv3(n_feats, n_feats))
            self.combineHead = conv3(HEADS * n_feats, n_feats)
        else:
            self.head = nn.Sequential(conv3(nch_in, n_feats))
        groups = [Group(n_feats, n_resblocks, reduction) for _ in range(n_resgroups)]
        self.body = nn.Sequential(*groups, conv3(n_feats, n_feats))
        self.tail = tail(n_feats, nch_out, scale)

    def groups(self) -> list[tuple[list[AttentionBlock], nn.Conv2d]]:
        """Return the blocks and the closing convolution of every group."""
        found = []
        for group in self.body:
            if isinstance(group, Group):
                closing = group.body[-1]
                assert isinstance(closing, nn.Conv2d)
                found.append(([block for block in group.body if isinstance(block, AttentionBlock)], closing))
        return found

    def first(self, x: Tensor) -> Tensor:
        """Return the features of the frames, (B, F, Y, X), before the residual groups."""
        if not self.narch:
            features: Tensor = self.head(x)
            return features
        own = [self.get_submodule(f"head{i}2")(self.get_submodule(f"head{i}")(x[:, i : i + 1])) for i in range(HEADS)]
        combined: Tensor = self.combineHead(torch.cat(own, 1))
        return combined

    def forward(self, x: Tensor) -> Tensor:
        """Return the image; linear, not clamped."""
        features = self.first(x)
        image: Tensor = self.tail(self.body(features) + features)
        return image
