"""RL-Net: one Richardson-Lucy step with learned projections, from the mean of the refocused views (torch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

FLOOR = 1e-3
"""Added to what is divided by."""


class _Quotient(torch.autograd.Function):
    """``a / b`` (0 where that is not finite), with the gradients the published network was trained with."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(b)
        return torch.nan_to_num(a / (b + FLOOR), nan=0.0, posinf=0.0, neginf=0.0)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (b,) = ctx.saved_tensors
        return grad, -(b**2) * grad


class _Product(torch.autograd.Function):
    """``a * b``, with the gradients the published network was trained with."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a)
        return a * b

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (a,) = ctx.saved_tensors
        return grad, a * grad


_quotient = cast(Callable[[torch.Tensor, torch.Tensor], torch.Tensor], _Quotient.apply)
_product = cast(Callable[[torch.Tensor, torch.Tensor], torch.Tensor], _Product.apply)


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=1, keepdim=True)


def _conv(inputs: int, outputs: int, norm: bool = True, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv3d(inputs, outputs, 3, padding=1)]
    layers += [nn.BatchNorm3d(outputs)] if norm else []
    return nn.Sequential(*layers, *([nn.Softplus()] if act else []))


class RLNet(nn.Module):
    """The published RL-Net (16 060 parameters)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = _conv(1, 4), _conv(4, 4), _conv(8, 4)
        self.t1 = nn.Sequential(nn.BatchNorm3d(1))
        self.conv4, self.conv5, self.conv6 = _conv(1, 8), _conv(8, 8), _conv(16, 8)
        self.conv7 = nn.Sequential(nn.ConvTranspose3d(8, 4, 2, stride=2), nn.BatchNorm3d(4), nn.Softplus())
        self.conv8 = _conv(4, 4)
        self.t2 = nn.Sequential(nn.BatchNorm3d(1), nn.Softplus())
        self.conv9, self.conv10 = _conv(1, 4), _conv(4, 4)
        self.t3 = nn.Sequential(nn.BatchNorm3d(1))
        self.conv11, self.conv12 = _conv(1, 8), _conv(8, 8, act=False)
        self.t4 = nn.Sequential(nn.BatchNorm3d(1), nn.Softplus())
        self.conv13, self.conv14 = _conv(1, 8, norm=False), _conv(10, 8, norm=False)
        self.conv15 = _conv(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Estimate a volume.

        Parameters
        ----------
        x : torch.Tensor
            Mean of the refocused views at the volume's sampling, 0 to 1, shape (n, 1, z, y, x).

        Returns
        -------
        torch.Tensor
            (n, 2, z, y, x): the intermediate estimate E0, and the volume.
        """
        shape = x.shape[-3:]
        pads = [(n % 2 // 2, n % 2 - n % 2 // 2) for n in shape]
        x = F.pad(x, [edge for pair in reversed(pads) for edge in pair])
        first = _product(x, _mean(self._ratio(x)))
        p1 = self.t2(first)
        s = self.conv10(self.conv9(x)) + F.softplus(x)
        o = self.conv11(self.t3(_quotient(x, _mean(s))))
        k = _mean(F.softplus(self.conv12(o)) + 1)
        e1 = F.softplus(self.t4(_product(p1, k)))
        y1 = self.conv13(e1)
        y2 = self.conv14(torch.cat([y1, e1, p1], dim=1))
        y3 = self.conv15(torch.cat([y1, y2], dim=1))
        out = torch.cat([first, _mean(y3)], dim=1)
        z, y, w = (slice(front, front + n) for (front, _), n in zip(pads, shape, strict=True))
        return out[..., z, y, w]

    def _ratio(self, x: torch.Tensor) -> torch.Tensor:
        """Return the correction found at half the sampling, at full sampling."""
        d = F.avg_pool3d(x.float(), 2).to(x.dtype)  # no pooling in bfloat16 on a CPU
        a = self.conv1(d)
        b = self.conv2(a)
        c = self.conv3(torch.cat([a, b], dim=1)) + F.softplus(d)
        e = self.conv4(self.t1(_quotient(d, _mean(c))))
        f = self.conv5(e)
        g = self.conv6(torch.cat([f, e], dim=1))
        v: torch.Tensor = self.conv8(self.conv7(g))
        return v
