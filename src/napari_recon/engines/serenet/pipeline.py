"""From one light-field frame to the events of its volume (torch; imported only while running)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.events import BlockReady, Decided, Event, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.checkpoint import load_network
from napari_recon.engines.serenet.compat import DEFAULT_TILE, blend_weight, tile_starts
from napari_recon.engines.serenet.inference import Reconstructor, Slab
from napari_recon.engines.serenet.intensity import Prepared, prepare
from napari_recon.engines.serenet.layout import NetworkField, bounds_of, first_look, tiles_of, working_device
from napari_recon.engines.serenet.networks.serenet import FSeReNet, SeReNet
from napari_recon.engines.serenet.params import RefocusParams, SerenetParams
from napari_recon.optics.lightfield_geometry import LightFieldGeometry, select_views
from napari_recon.optics.refocus import Refocuser, combined
from napari_recon.optics.resize import Bounds
from napari_recon.tiling.blend import Blender

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
    prepared = prepare(select_views(views, geometry.views, geometry.nnum), "counts" if upstream else params.intensity)
    if index == 0 and prepared.message():
        yield Warned(prepared.message())
    network, complaint = _placed_network(load_network(plan.model), field.device, params.precision)
    if index == 0 and complaint:
        yield Warned(complaint)
    if index == 0:
        yield Decided({"psf_shift": geometry.name if params.psf_shift == "auto" else params.psf_shift})
    refocuser = _refocuser(prepared, geometry, field.device)
    if upstream:
        blocks = _blended(network, refocuser, field, params, geometry, box, token)
    else:
        edge = int(plan.resources.details["tile_size"])
        blocks = _exact(Reconstructor(network, refocuser, field, token.check), field, box, edge, geometry.upsampling)
    for event in blocks:
        if isinstance(event, BlockReady):
            event = replace(event, array=np.maximum(event.array, 0) / np.float32(prepared.scale))
        yield event


def _exact(
    reconstructor: Reconstructor, field: NetworkField, box: Box, edge: int, upsampling: float
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


def _blended(
    network: SeReNet | FSeReNet,
    refocuser: Refocuser,
    field: NetworkField,
    params: SerenetParams,
    geometry: LightFieldGeometry,
    box: Box,
    token: CancelToken,
) -> Iterator[BlockReady | Progress]:
    z, y, x = bounds_of(box)
    h, w = field.field_yx
    size = min(params.tile_size or DEFAULT_TILE, w)
    tiled = size != w
    rows, columns = (tile_starts(n, size, params.overlap) if tiled else [0] for n in (h, w))
    weight = blend_weight(size, params.overlap, geometry.upsampling) if tiled else np.ones(field.volume_yx, np.float32)
    blender = Blender((z[1] - z[0], *field.volume_yx))
    starts = list(product(rows, columns))
    for number, (h0, w0) in enumerate(starts):
        yield Progress(number, len(starts), "tile")
        part_yx = (min(size, h - h0), min(size, w - w0)) if tiled else (h, w)
        volume_yx = geometry.volume_yx(*part_yx)
        tile = replace(field, field_yx=part_yx, volume_yx=volume_yx)
        slabs = Reconstructor(network, refocuser, tile, token.check, (h0, w0)).slabs(z, (0, volume_yx[0]), (0, volume_yx[1]))
        corner = geometry.volume_yx(h0, w0)
        place = tuple(slice(start, start + n) for start, n in zip(corner, volume_yx, strict=True))
        blender.add((place[0], place[1]), _joined(list(slabs))[1], weight)
    token.check()
    volume = blender.result((slice(*y), slice(*x)))
    yield BlockReady("volume", tuple(slice(0, n) for n in volume.shape), volume)
    yield Progress(len(starts), len(starts), "tile")


def refocus(
    plan: Plan, params: RefocusParams, geometry: LightFieldGeometry, views: NDArray[np.float32], token: CancelToken
) -> Iterator[Event]:
    """Yield the blocks of one frame's refocused volume, a few planes at a time, from the middle outwards."""
    box = plan.selection.box
    assert isinstance(box, Box)  # plans resolve it
    z, y, x = bounds_of(box)
    prepared = prepare(select_views(views, geometry.views, geometry.nnum), "counts")
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


def _placed_network(network: SeReNet | FSeReNet, device: str, precision: str) -> tuple[SeReNet | FSeReNet, str]:
    """Return the network on a device in its arithmetic, and what to tell the user about it."""
    if precision == "float32" and device == "cpu":
        return network, ""
    dtype, complaint = torch.float32, ""
    if precision == "fast":
        has = torch.cpu._is_avx512_bf16_supported() if device == "cpu" else device.startswith("cuda")
        dtype = torch.bfloat16 if has else dtype
        complaint = "" if has else f"precision=fast has no effect on this {device} (no bfloat16 arithmetic)"
    return copy.deepcopy(network).to(device=device, dtype=dtype), complaint


def _joined(slabs: list[Slab]) -> Slab:
    """Return consecutive slabs as one."""
    return (slabs[0][0][0], slabs[-1][0][1]), np.concatenate([array for _, array in slabs])


def _slices(box: Box, z: Bounds, y: Bounds, x: Bounds) -> tuple[slice, ...]:
    return tuple(slice(lo - start, hi - start) for (lo, hi), (start, _) in zip((z, y, x), bounds_of(box), strict=True))
