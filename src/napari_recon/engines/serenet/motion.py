"""The numerics of serenet.twnet: frames of a scan at their places, weighted by time where something moved (torch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_recon.core.events import BlockReady, Event, Progress
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.checkpoint import load_network
from napari_recon.engines.serenet.faster import channels_last, faster
from napari_recon.engines.serenet.intensity import of_each_view
from napari_recon.engines.serenet.layout import working_device
from napari_recon.engines.serenet.networks.twnet import TWNet
from napari_recon.engines.serenet.twnet import TwnetParams


def corrected(plan: Plan, params: TwnetParams, views: NDArray[np.float32], token: CancelToken) -> Iterator[Event]:
    """Yield the views of one frame, one after the other."""
    assert plan.model is not None  # the engine requires one
    box = plan.selection.box
    assert isinstance(box, Box)  # plans resolve it
    device = working_device(plan.compute.device)
    network = faster(cast(TWNet, load_network(plan.model)), device)
    cut = box.slices("YX")
    for number, view in enumerate(views):
        token.check()
        image = torch.from_numpy(np.ascontiguousarray(view)).to(device)
        scaled = torch.from_numpy(of_each_view(view[None])).to(device)
        result, mask = steadied(network, image, scaled[0], params.scan_order)
        for spec in plan.outputs:
            array = (result if spec.name == "corrected" else mask)[cut].cpu().numpy()
            yield BlockReady(spec.name, (slice(number, number + 1), *(slice(0, n) for n in array.shape)), array[None])
        yield Progress(number + 1, len(views), "view")


@torch.inference_mode()
def steadied(
    network: TWNet, image: torch.Tensor, scaled: torch.Tensor, order: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a view (y, x) without motion artefacts, and the mask of what stood still.

    Parameters
    ----------
    network : TWNet
    image : torch.Tensor
        The scanned view.
    scaled : torch.Tensor
        The same as the network looks at it.
    order : sequence of int
        Cells in the order they were taken.
    """
    steps = round(len(order) ** 0.5)
    mask = network(channels_last(F.pixel_unshuffle(scaled[None, None], steps)))
    frames = placed(image[None], order, "reflection")
    return weighted(image[None, None], frames, mask)[0, 0].clamp_(min=0), mask[0, 0]


def placed(images: torch.Tensor, order: Sequence[int], padding: str) -> torch.Tensor:
    """Return every frame of a scan at full sampling and at its own place, in order of time.

    Parameters
    ----------
    images : torch.Tensor
        Scanned pictures (n, y, x).
    padding : str
        How a frame goes on outside, as `torch.nn.functional.grid_sample` names it.

    Returns
    -------
    torch.Tensor
        (n, frames, y, x).
    """
    steps = round(len(order) ** 0.5)
    height, width = images.shape[-2:]
    y, x = ((torch.arange(n, device=images.device) * 2 + 1) / n - 1 for n in (height, width))
    found = []
    for cell in order:
        row, column = divmod(cell, steps)
        frame = images[:, None, row::steps, column::steps]
        down, right = (2 * (at - steps // 2) / n for at, n in ((row, height), (column, width)))
        grid = torch.stack(torch.meshgrid(y - down, x - right, indexing="ij")[::-1], dim=-1)
        places = grid.expand(len(images), -1, -1, -1)
        found.append(F.grid_sample(frame, places, mode="bicubic", padding_mode=padding, align_corners=False))
    return torch.cat(found, dim=1)


def over_time(frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean of frames (n, frames, y, x), which count ``mask ** distance`` in time from the middle one."""
    count = frames.shape[1]
    away = (torch.arange(count, device=frames.device) - count // 2).abs().view(1, -1, 1, 1)
    weight = mask**away
    return (weight * frames).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True)


def weighted(images: torch.Tensor, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return (n, 1, y, x): the scanned images where the mask (n, 1, y, x) is 1, the mean over time where it is 0."""
    return mask * images + (1 - mask) * over_time(frames, mask)
