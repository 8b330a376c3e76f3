"""The numerics of serenet.vsnet: the network on views instead of the mosaic of microlenses (torch).

A convolution of the mosaic with a dilation of one microlens is a convolution of every view by itself, so mosaic and
views are the same thing in another order, and only the macro-pixel branch joins views. Everything is kept as views;
they go through a block a few at a time and are replaced in place, so that no more than four numbers per channel, view
and pixel are ever stored, and what is joined only to be convolved is convolved in parts and added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from napari_recon.core.events import BlockReady, Event, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.checkpoint import load_network
from napari_recon.engines.serenet.compat import SCRIPTS
from napari_recon.engines.serenet.faster import channels_last, faster
from napari_recon.engines.serenet.layout import even, working_device
from napari_recon.engines.serenet.networks.vsnet import NEGATIVE_SLOPE, InterBlock, VsNet
from napari_recon.engines.serenet.pipeline import arithmetic
from napari_recon.engines.serenet.upstream import blended
from napari_recon.engines.serenet.vsnet import VsnetParams, reach
from napari_recon.optics.resize import Bounds

Check = Callable[[], None]
_PIXELS_TOGETHER = 4000
"""Pixels of the views that go through a block together on a CPU."""


def finer(
    plan: Plan, params: VsnetParams, options: dict[str, int], views: NDArray[np.float32], token: CancelToken
) -> Iterator[Event]:
    """Yield the finer views of one frame, tile by tile."""
    assert plan.model is not None  # the engine requires one
    box = plan.selection.box
    assert isinstance(box, Box)  # plans resolve it
    device = working_device(plan.compute.device)
    dtype, complaint = arithmetic(device, params.precision)
    if complaint:
        yield Warned(complaint)
    network = faster(cast(VsNet, load_network(plan.model)), device, dtype)
    brightest = float(views.max())
    brightest = brightest if brightest > 0 else 1.0
    scaled = torch.from_numpy(views / np.float32(brightest)).to(device=device, dtype=dtype)
    (y, x), factor = [bounds for _, bounds in box.items()], options["factor"]

    def block(rows: Bounds, columns: Bounds) -> NDArray[np.float32]:
        part = finer_views(network, scaled[:, slice(*rows), slice(*columns)], token.check)
        found: NDArray[np.float32] = (part.float() * brightest).cpu().numpy()
        return found

    if params.compat == "upstream":
        rules = SCRIPTS["vsnet"].with_sizes(params.tile_size, params.overlap, 1)

        def tile(corner: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float32]:
            rows, columns = ((a, a + n) for a, n in zip(corner, size, strict=True))
            return block(rows, columns)

        size_yx = (views.shape[1], views.shape[2])
        weight = rules.weight(float(factor))
        yield from blended(tile, rules, size_yx, lambda h, w: (h * factor, w * factor), token, "finer", (y, x), weight)
        return
    halo, edge = reach(options), int(plan.resources.details["tile_size"]) * factor
    tiles = [(a, b) for a in even(y, edge) for b in even(x, edge)]
    for number, bounds in enumerate(tiles):
        yield Progress(number, len(tiles), "tile")
        reads = [
            (max(0, low // factor - halo), min(n, -(-high // factor) + halo))
            for (low, high), n in zip(bounds, views.shape[1:], strict=True)
        ]
        inner = [slice(b[0] - r[0] * factor, b[1] - r[0] * factor) for b, r in zip(bounds, reads, strict=True)]
        place = [slice(b[0] - start, b[1] - start) for b, start in zip(bounds, (y[0], x[0]), strict=True)]
        array = block(*reads)[:, inner[0], inner[1]]
        yield BlockReady("finer", (slice(0, len(array)), *place), array)
    yield Progress(len(tiles), len(tiles), "tile")


@torch.inference_mode()
def finer_views(network: VsNet, views_vyx: torch.Tensor, check: Check = lambda: None) -> torch.Tensor:
    """Return ``network(views)`` of one light field (views, y, x)."""
    count, h, w = views_vyx.shape
    single = channels_last(views_vyx[:, None])
    am = views_vyx.reshape(count, h * w).t() @ network.AM_FE.weight.flatten(1).t()
    lf = F.conv2d(single, network.LF_FE.weight, padding=1)
    sa = F.conv2d(single, network.SA_FE.weight, padding=1)
    fusion = network.fusion
    sa_parts, am_parts, end_parts = map(_parts, (fusion.sa_fusion, fusion.am_fusion, fusion.final_fusion))
    sa_sum, am_sum, end_sum = torch.zeros_like(lf), torch.zeros_like(am), torch.zeros_like(lf)
    step = max(1, _PIXELS_TOGETHER // (h * w)) if views_vyx.device.type == "cpu" else count
    groups = [slice(start, start + step) for start in range(0, count, step)]
    for number, group in enumerate(network.cas_interaction.body):
        for block in cast(nn.ModuleList, group.chained_blocks):
            am = _interact(cast(InterBlock, block), am, lf, sa, groups, check)
        am_sum += am @ am_parts[number][:, :, 0, 0].t()
        for part in groups:
            check()
            sa_sum[part] += F.conv2d(sa[part], sa_parts[number], padding=1)
            end_sum[part] += F.conv2d(lf[part], end_parts[1 + number], padding=1)
    fused = _spread(_act(am_sum), cast(nn.Conv2d, fusion.am_fusion[2]), count)
    found = []
    for part in groups:
        check()
        end = F.conv2d(_as_views(fused, part, h, w), end_parts[0], padding=1)
        end += F.conv2d(_act(sa_sum[part]), end_parts[-1], padding=1)
        fine = F.conv2d(_act(end.add_(end_sum[part])), network.upsampling.PreConv.weight, padding=1)
        fine = fine.unflatten(1, (lf.shape[1], network.factor**2))  # type: ignore[no-untyped-call]
        fine = (fine * network.upsampling.FinalConv.weight.view(1, -1, 1, 1, 1)).sum(dim=1)
        coarse = F.interpolate(views_vyx[None, part].float(), scale_factor=network.factor, mode="bicubic")[0]
        found.append(F.pixel_shuffle(fine, network.factor)[:, 0] + coarse)
    return torch.cat(found)


def _interact(
    block: InterBlock, am: torch.Tensor, lf: torch.Tensor, sa: torch.Tensor, groups: list[slice], check: Check
) -> torch.Tensor:
    """Apply a block: `lf` and `sa` (views, channels, y, x) are replaced, the new `am` (pixels, channels) is returned."""
    count, c, h, w = lf.shape
    lenses = block.lf_am_conv.weight.flatten(2).permute(2, 1, 0)
    seen = torch.zeros_like(am)
    spread = _spread(am, cast(nn.Conv2d, block.am_lf_conv[0]), count)
    both = channels_last(torch.cat([block.lf_Conv.weight, block.sa_Conv.weight]))
    lf_parts, sa_parts = block.lf_Conv2.weight, block.sa_Conv2.weight
    for part in groups:
        check()
        pixels = lf[part].permute(0, 2, 3, 1).reshape(-1, h * w, c)
        seen += torch.bmm(pixels, lenses[part]).sum(dim=0)
        from_lf, from_sa = F.conv2d(lf[part], both, padding=1), F.conv2d(sa[part], both, padding=1)
        joined = torch.cat([from_lf[:, :c], _as_views(spread, part, h, w), from_sa[:, :c]], dim=1)
        lf[part] += _act(F.conv2d(channels_last(joined), lf_parts, padding=1))
        joined = torch.cat([from_sa[:, c:], from_lf[:, c:]], dim=1)
        sa[part] += _act(F.conv2d(channels_last(joined), sa_parts, padding=1))
    joined = torch.cat([am @ block.am_Conv.weight[:, :, 0, 0].t(), _act(seen)], dim=1)
    return _act(joined @ block.am_Conv2.weight[:, :, 0, 0].t()) + am


def _spread(am: torch.Tensor, conv: nn.Conv2d, count: int) -> torch.Tensor:
    """Return what a macro-pixel gives each view, (pixels, views, channels)."""
    c = am.shape[1]
    weight = conv.weight[:, :, 0, 0].view(c, count, c).transpose(0, 1).reshape(count * c, c)
    return (am @ weight.t()).view(len(am), count, c)


def _as_views(spread: torch.Tensor, part: slice, h: int, w: int) -> torch.Tensor:
    return channels_last(spread[:, part].view(h, w, -1, spread.shape[2]).permute(2, 3, 0, 1))


def _parts(layers: nn.Sequential) -> tuple[torch.Tensor, ...]:
    """Return the weights of the first convolution for each of the things that were joined before it."""
    weight = cast(nn.Conv2d, layers[0]).weight
    return torch.chunk(weight, weight.shape[1] // weight.shape[0], dim=1)


def _act(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu_(x, NEGATIVE_SLOPE)
