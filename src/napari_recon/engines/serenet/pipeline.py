"""From one light-field frame to the events of its volume (torch; imported only while running)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_recon.core.events import BlockReady, Decided, Event, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.checkpoint import load_network
from napari_recon.engines.serenet.compat import SCRIPTS
from napari_recon.engines.serenet.faster import faster
from napari_recon.engines.serenet.fine_grid import FineReconstructor
from napari_recon.engines.serenet.images import ImageReconstructor
from napari_recon.engines.serenet.inference import Reconstructor, Slab
from napari_recon.engines.serenet.intensity import Prepared, prepare, rule_of
from napari_recon.engines.serenet.layout import NetworkField, bounds_of, first_look, tiles_of, working_device
from napari_recon.engines.serenet.networks.hylfmnet import HyLFMNet
from napari_recon.engines.serenet.networks.rlnet import RLNet
from napari_recon.engines.serenet.networks.serenet import FSeReNet, SeReNet
from napari_recon.engines.serenet.networks.vcdnet import VCDNet
from napari_recon.engines.serenet.params import RefocusParams, SerenetParams
from napari_recon.engines.serenet.upstream import blended, feature_tiles, fine_tiles, image_tiles
from napari_recon.optics.lightfield_geometry import LightFieldGeometry
from napari_recon.optics.refocus import Refocuser, combined
from napari_recon.optics.resize import Bounds

Network = TypeVar("Network", bound=nn.Module)
_PLANES_PER_BLOCK = 17
_WORTH_A_FIRST_LOOK = 4.0


def reconstruct(
    plan: Plan,
    params: SerenetParams,
    geometry: LightFieldGeometry,
    field: NetworkField,
    views: NDArray[np.float32],
    index: int,
    token: CancelToken,
) -> Iterator[Event]:
    """Yield the blocks of one frame, central ones first.

    Parameters
    ----------
    views : numpy.ndarray
        The whole frame, float32, (pages, h, w).
    index : int
        Number of the frame in the run; what is said aloud is said with the first.
    """
    assert plan.model is not None  # the engine requires one
    box = plan.selection.box
    assert isinstance(box, Box)  # plans resolve it
    upstream = params.compat == "upstream"
    prepared = rule_of(plan.model)(geometry.select(views), "counts" if upstream else params.intensity)
    plain = load_network(plan.model)
    dtype, complaint = arithmetic(field.device, params.precision)
    if index == 0:
        yield from (Warned(text) for text in (prepared.message(), complaint) if text)
        if params.psf_shift == "auto":  # a model's own microscope has no other name that finds it again
            own = plan.model.card.get("contract", {}).get("microscope")
            yield Decided({"psf_shift": plan.model.id if own else geometry.name})
    if upstream:
        blocks = _as_published(plain, prepared, geometry, field, params, box, token)
    else:
        edge = int(plan.resources.details["tile_size"])
        blocks = _exact(
            _reconstructor(plain, prepared, geometry, field, dtype, token), field, box, edge, geometry.upsampling
        )
    signed = upstream and SCRIPTS[field.architecture].clipped
    for event in blocks:
        if isinstance(event, BlockReady):
            array = event.array if signed else np.maximum(event.array, 0)
            event = replace(event, array=prepared.restored(array))
        yield event


def _reconstructor(
    plain: nn.Module,
    prepared: Prepared,
    geometry: LightFieldGeometry,
    field: NetworkField,
    dtype: torch.dtype,
    token: CancelToken,
) -> Reconstructor | FineReconstructor | ImageReconstructor:
    """Return what computes any block with the network of the field."""
    if isinstance(plain, SeReNet | FSeReNet):
        placed = plain if (dtype, field.device) == (torch.float32, "cpu") else _placed(plain, field.device, dtype)
        return Reconstructor(placed, _refocuser(prepared, geometry, field.device), field, token.check)
    network = _quick(plain, field.device, dtype)
    if isinstance(network, RLNet):
        return FineReconstructor(network, _refocuser(prepared, geometry, field.device), field, token.check)
    assert isinstance(network, VCDNet | HyLFMNet)
    views = torch.from_numpy(prepared.views_vyx).to(field.device)
    return ImageReconstructor(network, views, field, _planes_of(network), token.check)


def _as_published(
    plain: nn.Module,
    prepared: Prepared,
    geometry: LightFieldGeometry,
    field: NetworkField,
    params: SerenetParams,
    box: Box,
    token: CancelToken,
) -> Iterator[BlockReady | Progress]:
    z, y, x = bounds_of(box)
    rules = SCRIPTS[field.architecture].with_sizes(params.tile_size, params.overlap, geometry.scanning)
    cut_yx, scale = field.field_yx, geometry.volume_yx
    if isinstance(plain, SeReNet | FSeReNet):
        network = _placed(plain, field.device, torch.float32)
        tile = feature_tiles(network, _refocuser(prepared, geometry, field.device), field, geometry, z, token)
    elif isinstance(plain, RLNet):
        quick = cast(RLNet, _quick(plain, field.device, torch.float32))
        tile = fine_tiles(quick, _refocuser(prepared, geometry, field.device), field, z, token)
        cut_yx, scale = field.volume_yx, lambda h, w: (h, w)
    else:
        first = (_planes_of(plain) - field.planes) // 2
        planes = (z[0] + first, z[1] + first)
        views = torch.from_numpy(prepared.views_vyx).to(field.device)
        tile = image_tiles(plain, views, geometry, planes, params.batch_norm != "stored")
    yield from blended(tile, rules, cut_yx, scale, token, "volume", (y, x), rules.weight(geometry.upsampling))


def _planes_of(network: nn.Module) -> int:
    if isinstance(network, VCDNet):
        return int(network.up0.conv[0].out_channels)  # type: ignore[index,union-attr]
    assert isinstance(network, HyLFMNet)
    return network.planes


def _exact(
    reconstructor: Reconstructor | FineReconstructor | ImageReconstructor,
    field: NetworkField,
    box: Box,
    edge: int,
    upsampling: float,
) -> Iterator[BlockReady | Progress]:
    tiles = tiles_of(box, edge, upsampling)
    look = first_look(box, upsampling)
    if field.work(tiles[0]) > _WORTH_A_FIRST_LOOK * field.work(look):
        yield Progress(0, len(tiles), "tile", "first look at the middle")
        z, y, x = bounds_of(look)
        bounds, block = _joined(list(reconstructor.slabs(z, y, x)))
        yield BlockReady("volume", _slices(box, bounds, y, x), block)
    for number, tile in enumerate(tiles):
        z, y, x = bounds_of(tile)
        yield Progress(number, len(tiles), "tile")
        held: list[Slab] = []
        for slab in reconstructor.slabs(z, y, x):
            held.append(slab)
            reached = slab[0][1]
            if reached == z[1] or reached - held[0][0][0] >= _PLANES_PER_BLOCK:
                bounds, block = _joined(held)
                yield BlockReady("volume", _slices(box, bounds, y, x), block)
                held = []
            yield Progress(number + (reached - z[0]) / (z[1] - z[0]), len(tiles), "tile")


def refocus(
    plan: Plan, params: RefocusParams, geometry: LightFieldGeometry, views: NDArray[np.float32], token: CancelToken
) -> Iterator[Event]:
    """Yield the blocks of one frame's refocused volume, a few planes at a time, from the middle outwards."""
    box = plan.selection.box
    assert isinstance(box, Box)  # plans resolve it
    z, y, x = bounds_of(box)
    prepared = prepare(geometry.select(views), "counts")
    refocuser = _refocuser(prepared, geometry, working_device(plan.compute.device))
    size_yx = geometry.volume_yx(*views.shape[-2:])
    step = int(plan.resources.details["planes_at_once"])
    middle = (z[0] + z[1]) / 2
    parts = sorted(((a, min(a + step, z[1])) for a in range(*z, step)), key=lambda part: abs(sum(part) / 2 - middle))
    for number, part in enumerate(parts):
        token.check()
        slab = combined(refocuser, part, y, x, size_yx, params.method)
        yield BlockReady("volume", _slices(box, part, y, x), slab.cpu().numpy())
        yield Progress(number + 1, len(parts), "block")


def _refocuser(prepared: Prepared, geometry: LightFieldGeometry, device: str) -> Refocuser:
    views = torch.from_numpy(prepared.views_vyx).to(device)
    return Refocuser(views, torch.from_numpy(geometry.psf_shift), geometry.upsampling)


def arithmetic(device: str, precision: str) -> tuple[torch.dtype, str]:
    """Return the numbers to compute with, and what to tell the user about them."""
    if precision == "float32":
        return torch.float32, ""
    has = torch.cpu._is_avx512_bf16_supported() if device == "cpu" else device.startswith("cuda")
    complaint = "" if has else f"precision=fast has no effect on this {device} (no bfloat16 arithmetic)"
    return torch.bfloat16 if has else torch.float32, complaint


@lru_cache(maxsize=2)
def _quick(network: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """Return `faster`'s copy of a loaded network, the same for every frame."""
    return faster(network, device, dtype)


def _placed(network: Network, device: str, dtype: torch.dtype) -> Network:
    return copy.deepcopy(network).to(device=device, dtype=dtype)


def _joined(slabs: list[Slab]) -> Slab:
    """Return consecutive slabs as one."""
    return (slabs[0][0][0], slabs[-1][0][1]), np.concatenate([array for _, array in slabs])


def _slices(box: Box, z: Bounds, y: Bounds, x: Bounds) -> tuple[slice, ...]:
    return tuple(slice(lo - start, hi - start) for (lo, hi), (start, _) in zip((z, y, x), bounds_of(box), strict=True))
