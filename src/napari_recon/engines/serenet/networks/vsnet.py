"""VsNet (VsLFM): view super-resolution of light fields that were not scanned (torch).

The light field has three forms: views ``(n, views, h, w)``; the mosaic ``(n, c, nnum h, nnum w)`` with a block per
microlens; the montage ``(n, c, nnum h, nnum w)`` with a block per view. Pixel (nnum y + u, nnum x + v) of the mosaic is
view ``nnum u + v`` at (y, x).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

NEGATIVE_SLOPE = 0.1


def mosaic_of(views: torch.Tensor, nnum: int) -> torch.Tensor:
    """Return the mosaic (n, c, nnum h, nnum w) of views (n, views, c, h, w)."""
    n, _, c, h, w = views.shape
    blocks = views.reshape(n, nnum, nnum, c, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c, h * nnum, w * nnum)


def views_of(mosaic: torch.Tensor, nnum: int) -> torch.Tensor:
    """Return the views (n, views, c, h, w) of a mosaic (n, c, nnum h, nnum w)."""
    n, c, height, width = mosaic.shape
    blocks = mosaic.reshape(n, c, height // nnum, nnum, width // nnum, nnum).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, nnum * nnum, c, height // nnum, width // nnum)


def _conv(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=dilation if kernel > 1 else 0, dilation=dilation, bias=False)


def _act(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, NEGATIVE_SLOPE)


class InterBlock(nn.Module):
    """Interaction of the macro-pixel, mosaic and view branches; all three look at the values before it."""

    def __init__(self, nnum: int, channels: int) -> None:
        super().__init__()
        c, self.nnum = channels, nnum
        self.sa_Conv, self.sa_Conv2 = _conv(c, c), _conv(2 * c, c)
        self.am_Conv, self.am_Conv2 = _conv(c, c, 1), _conv(2 * c, c, 1)
        self.lf_Conv, self.lf_Conv2 = _conv(c, c, dilation=nnum), _conv(3 * c, c, dilation=nnum)
        self.lf_am_conv = nn.Conv2d(c, c, nnum, stride=nnum, bias=False)
        self.am_lf_conv = nn.Sequential(_conv(c, nnum**2 * c, 1), nn.PixelShuffle(nnum))

    def forward(
        self, am: torch.Tensor, lf: torch.Tensor, sa: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the three branches after the block; `sa` is (n, views, c, h, w)."""
        n, views = sa.shape[:2]
        flat = sa.flatten(0, 1)
        from_sa = mosaic_of(sa, self.nnum)
        from_lf = views_of(lf, self.nnum).flatten(0, 1)
        new_am = _act(self.am_Conv2(torch.cat([self.am_Conv(am), _act(self.lf_am_conv(lf))], dim=1))) + am
        joined = torch.cat([self.lf_Conv(lf), self.am_lf_conv(am), self.lf_Conv(from_sa)], dim=1)
        new_lf = _act(self.lf_Conv2(joined)) + lf
        new_sa = _act(self.sa_Conv2(torch.cat([self.sa_Conv(flat), self.sa_Conv(from_lf)], dim=1))) + flat
        return new_am, new_lf, new_sa.reshape(n, views, *new_sa.shape[1:])


class _Group(nn.Module):
    def __init__(self, nnum: int, blocks: int, channels: int) -> None:
        super().__init__()
        self.chained_blocks = nn.ModuleList(InterBlock(nnum, channels) for _ in range(blocks))


class _Cascade(nn.Module):
    def __init__(self, nnum: int, groups: int, blocks: int, channels: int) -> None:
        super().__init__()
        self.body = nn.ModuleList(_Group(nnum, blocks, channels) for _ in range(groups))


class _Fusion(nn.Module):
    def __init__(self, nnum: int, groups: int, channels: int) -> None:
        super().__init__()
        c, act = channels, nn.LeakyReLU(NEGATIVE_SLOPE)
        self.sa_fusion = nn.Sequential(_conv(groups * c, c), act)
        self.am_fusion = nn.Sequential(_conv(groups * c, c, 1), act, _conv(c, nnum**2 * c, 1), nn.PixelShuffle(nnum))
        self.final_fusion = nn.Sequential(_conv((groups + 2) * c, c, dilation=nnum), act)


class _Upsampling(nn.Module):
    def __init__(self, nnum: int, channels: int, factor: int) -> None:
        super().__init__()
        self.PreConv = _conv(channels, factor**2 * channels, dilation=nnum)
        self.FinalConv = _conv(channels, 1, 1)


class VsNet(nn.Module):
    """VsNet.

    Parameters
    ----------
    nnum : int
        Views per axis.
    groups, blocks : int
        Groups of interaction blocks, blocks per group.
    channels : int
    factor : int
        How much finer the views become.
    """

    def __init__(self, nnum: int = 13, groups: int = 4, blocks: int = 4, channels: int = 64, factor: int = 3) -> None:
        super().__init__()
        self.nnum, self.factor = nnum, factor
        self.AM_FE = nn.Conv2d(1, channels, nnum, stride=nnum, bias=False)
        self.LF_FE = _conv(1, channels, dilation=nnum)
        self.SA_FE = _conv(1, channels)
        self.cas_interaction = _Cascade(nnum, groups, blocks, channels)
        self.fusion = _Fusion(nnum, groups, channels)
        self.upsampling = _Upsampling(nnum, channels, factor)

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return finer views.

        Parameters
        ----------
        views : torch.Tensor
            All views in page order, the largest value 1, shape (n, views, h, w).

        Returns
        -------
        torch.Tensor
            Shape (n, views, factor * h, factor * w).
        """
        n, count, _, _ = views.shape
        single = views[:, :, None]
        mosaic = mosaic_of(single, self.nnum)
        am, lf = self.AM_FE(mosaic), self.LF_FE(mosaic)
        sa = self.SA_FE(single.flatten(0, 1)).unflatten(0, (n, count))
        kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for group in self.cas_interaction.body:
            for block in group.chained_blocks:  # type: ignore[union-attr]
                am, lf, sa = block(am, lf, sa)
            kept.append((am, lf, sa))
        ams, lfs, sas = zip(*kept, strict=True)
        sa = self.fusion.sa_fusion(torch.cat(sas, dim=2).flatten(0, 1)).unflatten(0, (n, count))
        joined = [self.fusion.am_fusion(torch.cat(ams, dim=1)), *lfs, mosaic_of(sa, self.nnum)]
        lf = self.fusion.final_fusion(torch.cat(joined, dim=1))
        fine = views_of(self.upsampling.PreConv(lf), self.nnum).flatten(0, 1)
        fine = self.upsampling.FinalConv(F.pixel_shuffle(fine, self.factor))
        coarse = F.interpolate(views, scale_factor=self.factor, mode="bicubic", align_corners=False)
        finer: torch.Tensor = fine.view_as(coarse) + coarse
        return finer
