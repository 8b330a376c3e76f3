"""Richardson-Lucy that looks at some of the views at a time: several updates for the price of one iteration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from napari_recon.engines.deconvolution.richardson_lucy import Part, Projector, sensitivity_weight

#: Views of one update; fewer are quicker at first and noisier in the end.
VIEWS_PER_UPDATE = 2


class Divisible(Projector, Protocol):
    """A projector of several views that can be taken apart."""

    def subset(self, first: int, step: int, /) -> Projector:
        """Return the projector of every `step`-th view from `first`."""


def subset_count(views: int) -> int:
    """Return into how many subsets views are divided."""
    return max(1, views // VIEWS_PER_UPDATE)


def parts_of(projector: Divisible, data: Tensor, count: int, check: Callable[[], None]) -> list[Part]:
    """Return the views in `count` parts, every `count`-th view each; a voxel that a part does not see is left to the others.

    Parameters
    ----------
    projector : Divisible
    data : Tensor
        Views (V, ...).

    References
    ----------
    H. M. Hudson and R. S. Larkin, 1994, doi 10.1109/42.363108.
    """
    parts = []
    for first in range(count):
        some, views = projector.subset(first, count), data[first::count]
        weight, seen = sensitivity_weight(some, views, check)
        parts.append(Part(some, views, weight, (~seen).to(weight.dtype)))
    return parts
