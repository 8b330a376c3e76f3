"""The volume of one frame from tiles cut and blended as the authors' scripts do (torch)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_recon.core.events import BlockReady, Progress
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.compat import Tiles, tile_starts
from napari_recon.engines.serenet.fine_grid import FineReconstructor
from napari_recon.engines.serenet.inference import Reconstructor
from napari_recon.engines.serenet.layout import NetworkField
from napari_recon.engines.serenet.networks.rlnet import RLNet
from napari_recon.engines.serenet.networks.serenet import FSeReNet, SeReNet
from napari_recon.optics.lightfield_geometry import LightFieldGeometry
from napari_recon.optics.refocus import Refocuser
from napari_recon.optics.resize import Bounds
from napari_recon.tiling.blend import Blender

Volume = NDArray[np.float32]
Tile = Callable[[tuple[int, int], tuple[int, int]], Volume]
"""(corner, size) in the tiles' unit -> the volume there, all planes asked for."""


def blended(
    tile: Tile,
    rules: Tiles,
    cut_yx: tuple[int, int],
    scale: Callable[[int, int], tuple[int, int]],
    token: CancelToken,
    output: str,
    inner: tuple[Bounds, Bounds],
    weight: NDArray[np.float32],
) -> Iterator[BlockReady | Progress]:
    """Yield the part `inner` of what tiles blend to, at the end.

    Parameters
    ----------
    tile : callable
    rules : Tiles
    cut_yx : (int, int)
        Size of what is cut.
    scale : callable
        Sizes in the tiles' unit -> sizes of the result.
    inner : ((int, int), (int, int))
        Part of the result that is asked for.
    weight : numpy.ndarray
        Of one tile.
    """
    h, w = cut_yx
    size = min(rules.tile, w)
    tiled = size != w
    rows, columns = (tile_starts(n, size, rules.overlap) if tiled else [0] for n in cut_yx)
    blender: Blender | None = None
    starts = list(product(rows, columns))
    for number, corner in enumerate(starts):
        yield Progress(number, len(starts), "tile")
        token.check()
        part_yx = (min(size, h - corner[0]), min(size, w - corner[1])) if tiled else (h, w)
        volume = tile(corner, part_yx)
        blender = blender or Blender((len(volume), *scale(h, w)))
        place = [slice(a, a + n) for a, n in zip(scale(*corner), volume.shape[-2:], strict=True)]
        if rules.clipped and tiled:
            volume = np.maximum(volume, 0)
        blender.add((place[0], place[1]), volume, weight if tiled else np.ones(volume.shape[-2:], np.float32))
    assert blender is not None  # there is always one tile
    token.check()
    result = blender.result((slice(*inner[0]), slice(*inner[1])))
    yield BlockReady(output, tuple(slice(0, n) for n in result.shape), result)
    yield Progress(len(starts), len(starts), "tile")


def feature_tiles(
    network: SeReNet | FSeReNet, refocuser: Refocuser, field: NetworkField, geometry: LightFieldGeometry, z: Bounds,
    token: CancelToken,
) -> Tile:  # fmt: skip
    """Return tiles of SeReNet: refocused in the whole frame, then cut."""

    def tile(corner: tuple[int, int], part_yx: tuple[int, int]) -> Volume:
        volume_yx = geometry.volume_yx(*part_yx)
        cut = replace(field, field_yx=part_yx, volume_yx=volume_yx)
        slabs = Reconstructor(network, refocuser, cut, token.check, corner).slabs(z, (0, volume_yx[0]), (0, volume_yx[1]))
        return np.concatenate([array for _, array in slabs])

    return tile


def fine_tiles(network: RLNet, refocuser: Refocuser, field: NetworkField, z: Bounds, token: CancelToken) -> Tile:
    """Return tiles of RL-Net: cut out of the mean refocused volume."""
    whole = FineReconstructor(network, refocuser, field, token.check)

    def tile(corner: tuple[int, int], part_yx: tuple[int, int]) -> Volume:
        y, x = ((start, start + size) for start, size in zip(corner, part_yx, strict=True))
        return whole.block(z, y, x, 0)

    return tile


def image_tiles(
    network: nn.Module, views_vyx: torch.Tensor, geometry: LightFieldGeometry, planes: Bounds, batch: bool
) -> Tile:
    """Return tiles of VCD-Net or HyLFM-Net: cut out of the views, `planes` of the network's kept.

    With `batch` normalisation uses the statistics of the tile, as in training and in the published script.
    """
    network = copy.deepcopy(network).to(views_vyx.device).train(batch)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = not batch

    @torch.inference_mode()
    def tile(corner: tuple[int, int], part_yx: tuple[int, int]) -> Volume:
        y, x = (slice(start, start + size) for start, size in zip(corner, part_yx, strict=True))
        volume = network(views_vyx[None, :, y, x], geometry.volume_yx(*part_yx))[0, 0, slice(*planes)]
        found: Volume = volume.float().cpu().numpy()
        return found

    return tile
