"""VCD-Net and HyLFM-Net on any block of the volume, each equal to the same part of the whole (torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from napari_recon.engines.serenet.faster import channels_last
from napari_recon.engines.serenet.inference import Slab
from napari_recon.engines.serenet.layout import NetworkField
from napari_recon.engines.serenet.networks.hylfmnet import HyLFMNet
from napari_recon.engines.serenet.networks.vcdnet import VCDNet
from napari_recon.optics.refocus import resized
from napari_recon.optics.resize import Bounds, Taps, resize_taps

Check = Callable[[], None]
_BAND = 16
"""Rows at full sampling that are in work together."""
_GATHERED = 1_000_000
"""Numbers gathered for one matrix product; they should stay in the cache."""


class ImageReconstructor:
    """Computes any block of the volume from all views of one frame.

    Parameters
    ----------
    network : VCDNet or HyLFMNet
        From `faster`, on the device and in the dtype to compute with.
    views_vyx : torch.Tensor
        All views, scaled, float32, on the same device.
    field : NetworkField
        Its planes are the central ones of the network's.
    planes : int
        Of the network.
    check : callable
        Called between layers; may raise to stop.
    """

    def __init__(
        self, network: VCDNet | HyLFMNet, views_vyx: torch.Tensor, field: NetworkField, planes: int, check: Check
    ) -> None:
        self._network, self._views, self._field, self._check = network, views_vyx, field, check
        self._planes = planes
        self._dtype = next(network.parameters()).dtype

    @torch.inference_mode()
    def slabs(self, z: Bounds, y: Bounds, x: Bounds) -> Iterator[Slab]:
        """Yield the block: ((z0, z1), array of shape (z1 - z0, height, width))."""
        field = self._field
        read_y, read_x = field.read(0, y), field.read(1, x)
        views = channels_last(self._views[None, :, slice(*read_y), slice(*read_x)].to(self._dtype))
        first = (self._planes - field.planes) // 2
        planes = (z[0] + first, z[1] + first)
        rows, columns = _from(field.taps(0, y), read_y[0] * field.factor), _from(field.taps(1, x), read_x[0] * field.factor)
        if isinstance(self._network, VCDNet):
            corner_size = [(read[0], read[1], n) for read, n in zip((read_y, read_x), field.field_yx, strict=True)]
            volume = vcd(self._network, views, planes, (rows, columns), corner_size, self._check)
        else:
            volume = hylfm(self._network, views, planes, (rows, columns), self._check)
        yield z, volume.float().cpu().numpy()


def hylfm(
    network: HyLFMNet, views: torch.Tensor, planes: Bounds, taps: tuple[Taps, Taps], check: Check = lambda: None
) -> torch.Tensor:
    """Return `planes` of the volume where `taps` sample the network's output."""
    x = views
    for layer in network.res2d:
        check()
        x = layer(x)
    x = x.reshape(1, network.features, network.planes, *x.shape[-2:])
    first, last = max(0, planes[0] - 7), min(network.planes, planes[1] + 7)
    x = channels_last(x[:, :, first:last])
    for layer in network.res3d:
        check()
        x = layer(x)
    volume = x[0, 0, planes[0] - first : planes[1] - first]
    for dim, tap in ((1, taps[0]), (2, taps[1])):
        volume = resized(volume.float(), dim, tap)
    return volume


def vcd(
    network: VCDNet,
    views: torch.Tensor,
    planes: Bounds,
    taps: tuple[Taps, Taps],
    parts: list[tuple[int, int, int]],
    check: Check = lambda: None,
) -> torch.Tensor:
    """Return `planes` of the volume where `taps` sample the network's output.

    Full sampling, where most of memory and work would go, is never stored: the first level is computed in bands, twice,
    and the last convolution only at the samples that the resize looks at (three in ten for 13/3).

    Parameters
    ----------
    parts : list of (int, int, int)
        For y and x: first and last light-field pixel of `views`, and how many the whole field has.
    """
    blocks = {name: cast(nn.Sequential, network.get_submodule(f"{name}.conv")) for name in _LEVELS}
    mid = network.interp(network.f1(views))
    check()
    skips = [_first_level(network, blocks["down0"], mid, check)]
    for level in (1, 2, 3, 4):
        check()
        skips.append(_pooled(blocks[f"down{level}"], skips[-1]))
    x = _resized(skips.pop(), parts)
    for level in (4, 3, 2, 1):
        check()
        if level < 4:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = blocks[f"up{level}"](torch.cat([x, skips.pop()], dim=1))
    return _last_level(network, blocks["up0"], mid, x, planes, taps, check)


_LEVELS = [f"{way}{level}" for way in ("down", "up") for level in range(5)]


def _from(taps: Taps, origin: int) -> Taps:
    return Taps(taps.low - origin, taps.high - origin, taps.weight)


def _conv(layers: nn.Sequential) -> nn.Conv2d:
    return cast(nn.Conv2d, layers[0])


def _rows(x: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Return rows of (n, c, y, x), zeros outside."""
    inside = x[:, :, max(first, 0) : min(last, x.shape[2])]
    return F.pad(inside, (0, 0, max(0, -first), max(0, last - x.shape[2])))


def _convolved(conv: nn.Conv2d, x: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Return rows of a convolved image, activated."""
    return F.conv2d(_rows(x, first - 1, last + 1), conv.weight, conv.bias, padding=(0, 1)).relu_()


def _added(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    y[:, : x.shape[1]] += x
    return y


def _pooled(block: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(_added(block(x), x), 3, stride=2, padding=1)


def _first_level(network: VCDNet, block: nn.Sequential, mid: torch.Tensor, check: Check) -> torch.Tensor:
    """Return ``down0(f2(mid))`` without storing what is at full sampling."""
    height, conv, pooled = mid.shape[2], _conv(block), []
    for start in range(0, height, 2 * _BAND):
        check()
        first, last = max(start - 1, 0), min(start + 2 * _BAND, height)
        top, bottom = max(first - 1, 0), min(last + 1, height)
        full = _convolved(_conv(network.f2), mid, top, bottom)
        padded = F.pad(full, (0, 0, top - first + 1, last + 1 - bottom))
        y = F.conv2d(padded, conv.weight, conv.bias, padding=(0, 1)).relu_()
        y = _added(y, full[:, :, first - top : last - top])
        pooled.append(F.max_pool2d(y, 3, stride=2, padding=(int(start == 0), 1)))
    return channels_last(torch.cat(pooled, dim=2))


def _resized(deepest: torch.Tensor, parts: list[tuple[int, int, int]]) -> torch.Tensor:
    """Return the deepest level at the size of the one above, as in the whole field: for an odd one not by two."""
    x = deepest
    for dim, (first, last, size) in zip((2, 3), parts, strict=True):
        taps = resize_taps((first, last), size, -(-size // 2))
        low, high = (np.clip(index - first // 2, 0, x.shape[dim] - 1) for index in (taps.low, taps.high))
        weight = torch.from_numpy(taps.weight).to(x).view([-1 if d == dim else 1 for d in range(4)])
        a, b = (x.index_select(dim, torch.from_numpy(index).to(x.device)) for index in (low, high))
        x = torch.lerp(a, b, weight)
    return channels_last(x)


def _last_level(
    network: VCDNet,
    block: nn.Sequential,
    mid: torch.Tensor,
    deeper: torch.Tensor,
    planes: Bounds,
    taps: tuple[Taps, Taps],
    check: Check,
) -> torch.Tensor:
    """Return ``resize(tanh(up0(deeper, f2(mid))))`` at the taps."""
    conv, norm = _conv(block), cast(nn.BatchNorm2d, block[2])
    picked = slice(*planes)
    weight = conv.weight[picked].permute(2, 3, 1, 0).reshape(-1, planes[1] - planes[0])
    bias = cast(torch.Tensor, conv.bias)[picked]
    assert norm.running_mean is not None and norm.running_var is not None
    gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps))[picked]
    shift = norm.bias[picked] - norm.running_mean[picked] * gain
    rows, columns = (np.union1d(tap.low, tap.high) for tap in taps)
    at = torch.from_numpy(columns).to(mid.device)
    samples = torch.empty((len(rows), len(columns), len(bias)), dtype=mid.dtype, device=mid.device)
    start = 0
    while start < len(rows):
        check()
        stop = int(np.searchsorted(rows, rows[start] + _BAND))
        first, last = int(rows[start]) - 1, int(rows[stop - 1]) + 2
        both = _joined(network, mid, deeper, first, last)
        step = max(1, _GATHERED // (len(columns) * len(weight)))
        for low in range(start, stop, step):
            high = min(low + step, stop)
            here = torch.from_numpy(rows[low:high] - int(rows[start])).to(mid.device)
            strips = [both.index_select(0, here + dy) for dy in (0, 1, 2)]
            taken = torch.cat([strip.index_select(1, at + dx) for strip in strips for dx in (0, 1, 2)], dim=2)
            y = torch.addmm(bias, taken.flatten(0, 1), weight).relu_()
            samples[low:high] = y.mul_(gain).add_(shift).tanh_().view(high - low, len(columns), -1)
        start = stop
    volume = samples.permute(2, 0, 1).float()
    for dim, tap, kept in zip((1, 2), taps, (rows, columns), strict=True):
        low_at, high_at = (np.searchsorted(kept, index) for index in (tap.low, tap.high))
        volume = resized(volume, dim, Taps(low_at, high_at, tap.weight))
    return volume.contiguous()


def _joined(network: VCDNet, mid: torch.Tensor, deeper: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Return rows of what up0 convolves, (rows, width + 2, channels), zeros around the image."""
    height = mid.shape[2]
    top, bottom = max(first, 0), min(last, height)
    low, high = max(top // 2 - 1, 0), min(-(-bottom // 2) + 1, deeper.shape[2])
    finer = F.interpolate(deeper[:, :, low:high], scale_factor=2, mode="bilinear", align_corners=False)
    skip = _convolved(_conv(network.f2), mid, top, bottom)
    both = torch.cat([finer[:, :, top - 2 * low : bottom - 2 * low], skip], dim=1)
    return F.pad(both, (1, 1, top - first, last - bottom))[0].permute(1, 2, 0).contiguous()
