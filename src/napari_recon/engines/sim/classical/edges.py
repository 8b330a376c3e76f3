"""What lies beyond the borders of a field, for operators that take it as periodic; parts of periodic spectra."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from napari_recon.optics.support import next_smooth_size

Edges = Literal["mirror", "periodic"]
#: Pixels over which a field is continued by its mirror images, at least.
MARGIN = 24


def padded_size(size: int, edges: Edges = "mirror") -> int:
    """Return the length of a period for `size` pixels: more than them for mirrored edges, and quick to transform."""
    return next_smooth_size(size + MARGIN) if edges == "mirror" else size


def continued(image: Tensor, size: int, dim: int) -> Tensor:
    """Return ``image`` made ``size`` long along ``dim``: its end's mirror image fades into its start's.

    Nothing is changed inside the field, and the period closes without a step.
    """
    length = image.shape[dim]
    gap = size - length
    if gap == 0:
        return image
    index = torch.arange(gap, device=image.device)
    end = image.index_select(dim, (length - 1 - index).clamp(min=0))
    start = image.index_select(dim, (gap - 1 - index).clamp(max=length - 1))
    fade = 0.5 + 0.5 * torch.cos(math.pi * (index + 0.5) / gap)
    fade = fade.reshape([-1 if d == dim % image.ndim else 1 for d in range(image.ndim)]).to(end.real.dtype)
    return torch.cat([image, end * fade + start * (1 - fade)], dim=dim)


def wrapped(spectrum: Tensor, start: int, count: int, dim: int) -> Tensor:
    """Return ``count`` samples of a periodic axis from index ``start`` on, which may be negative."""
    size = spectrum.shape[dim]
    first = start % size
    here = min(size - first, count)
    part = spectrum.narrow(dim, first, here)
    return part if here == count else torch.cat([part, spectrum.narrow(dim, 0, count - here)], dim=dim)
