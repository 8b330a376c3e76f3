"""The run of RL-DFN: corrections on the whole volume and networks tile by tile, or patches as published (torch)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.events import BlockReady, Event, PreviewReady, Progress, Warned
from napari_recon.core.frames import Frame
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.deconvolution.volumes.upstream import corrections, transfer_of
from napari_recon.engines.fusion.networks.rldfn import RlDfn
from napari_recon.engines.fusion.networks.rldfn_checkpoint import HALO, MULTIPLE, load_rldfn
from napari_recon.engines.fusion.rldfn import MARGIN, RlDfnParams
from napari_recon.optics.psf_checks import positive
from napari_recon.tiling.partition import tiles

Array = NDArray[np.float32]
Bounds = list[tuple[int, int]]


@torch.inference_mode()
def fuse(plan: Plan, params: RlDfnParams, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
    """Yield the fused volume tile by tile, the middle first; before that what one Richardson-Lucy step gives.

    Both views are scaled by their maxima, once for the whole volume, and the result by the mean of both.
    """
    networks, psfs, said = _loaded(plan, frame)
    yield from (Warned(sentence) for sentence in said if index == 0)
    maxima: list[float] = [max(float(frame[name].max()), 1e-30) for name in ("view_a", "view_b")]
    unit = sum(maxima) / 2
    views = np.stack([frame[name] / most for name, most in zip(("view_a", "view_b"), maxima, strict=True)])
    size = views.shape[1:]
    padded = tuple(-(-(n + 2 * MARGIN) // MULTIPLE) * MULTIPLE for n in size)
    canvas = torch.zeros((2, *padded))
    canvas[(slice(None), *(slice(MARGIN, MARGIN + n) for n in size))] = torch.from_numpy(views)
    token.check()
    canvas = canvas.to(plan.compute.device)
    transfers = torch.stack([transfer_of(psf.to(canvas.device), padded, published=False) for psf in psfs])
    changes = corrections(canvas, transfers)
    box = plan.box
    assert isinstance(box, Box)
    step = canvas.mean(0) * changes.prod(0).clamp_min(0).sqrt() * unit
    whole = plan.whole["fused"]
    asked = [slice(*box.bounds(a, n)) for a, n in zip("ZYX", size, strict=True)]
    inner = tuple(slice(s.start + MARGIN, s.stop + MARGIN) for s in asked)
    yield PreviewReady("fused", tuple(slice(0, s.stop - s.start) for s in asked), step[inner].cpu().numpy(), 0)
    side = plan.resources.tile
    pieces = tiles(box, whole, {a: side[a.lower()] for a in "ZYX"}, multiple=dict.fromkeys("ZYX", MULTIPLE))
    for done, tile in enumerate(pieces, 1):
        token.check()
        core = [tile.core.bounds(a, n) for a, n in zip("ZYX", size, strict=True)]
        read = [_needed(b, n) for b, n in zip(core, padded, strict=True)]
        part = changes[(slice(None), *(slice(*b) for b in read))]
        fused = networks(part[None], token.check)[0, 0]
        cut = tuple(slice(b[0] + MARGIN - r[0], b[1] + MARGIN - r[0]) for b, r in zip(core, read, strict=True))
        yield BlockReady("fused", tile.core.within(box), (fused[cut] * unit).cpu().numpy())
        yield Progress(done, len(pieces), "tile")


@torch.inference_mode()
def fuse_patches(plan: Plan, params: RlDfnParams, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
    """Yield the volume as the published program makes it, patch by patch."""
    networks, psfs, said = _loaded(plan, frame)
    yield from (Warned(sentence) for sentence in said if index == 0)
    padded = np.stack([_as_published(frame[name], params.patch_z) for name in ("view_a", "view_b")])
    whole = plan.whole["fused"]
    read = (params.patch_z, params.patch_y + 2 * MARGIN, params.patch_x + 2 * MARGIN)
    device = torch.device(plan.compute.device)
    transfers = torch.stack([transfer_of(psf.to(device), read, published=True) for psf in psfs])
    volume = np.empty(whole.shape, np.float32)
    places = list(product(range(0, whole.size("Y"), params.patch_y), range(0, whole.size("X"), params.patch_x)))
    for done, (y, x) in enumerate(places, 1):
        token.check()
        part = padded[:, :, y : y + read[1], x : x + read[2]]
        with np.errstate(invalid="ignore"):  # an empty patch is divided by zero, and what comes of it is set to 0
            part = part / part.max((1, 2, 3), keepdims=True)
        changes = corrections(torch.from_numpy(part).to(device), transfers)
        fused = networks(changes[None], token.check)[0, 0, :, MARGIN:-MARGIN, MARGIN:-MARGIN].cpu().numpy()
        volume[:, y : y + params.patch_y, x : x + params.patch_x] = np.nan_to_num(fused)
        yield Progress(done, len(places), "patch")
    box = plan.box
    assert isinstance(box, Box)
    kept = np.ascontiguousarray(volume[box.resolved(whole).slices("ZYX")])
    yield BlockReady("fused", tuple(slice(0, n) for n in kept.shape), kept)


def _loaded(plan: Plan, frame: Frame) -> tuple[RlDfn, list[Tensor], list[str]]:
    """Return the networks on the device, both PSFs and what had to be said about them."""
    assert plan.model is not None  # the engine requires one
    psfs, said = [], []
    for name in ("psf_a", "psf_b"):
        psf, sentences = positive(frame[name], name)
        psfs.append(torch.from_numpy(psf))
        said += sentences
    return load_rldfn(plan.model).to(plan.compute.device), psfs, said


def _needed(bounds: tuple[int, int], padded: int) -> tuple[int, int]:
    """Return what of a padded axis a tile depends on: its halo, on the lattice of the networks' halvings."""
    low, high = bounds[0] + MARGIN - HALO, bounds[1] + MARGIN + HALO
    return max(0, low // MULTIPLE * MULTIPLE), min(padded, math.ceil(high / MULTIPLE) * MULTIPLE)


def _as_published(view: Array, planes: int) -> Array:
    """Return a view with margins of zeros along y and x, its planes padded at the end or cut to a number."""
    kept = view[:planes]
    return np.pad(kept, ((0, planes - len(kept)), (MARGIN, MARGIN), (MARGIN, MARGIN)))
