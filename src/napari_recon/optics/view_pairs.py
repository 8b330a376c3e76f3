"""Views on opposite sides of the pupil: what one of them does, the other does mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ViewPairs:
    """Views on opposite sides of the pupil, whose responses are complex conjugates of each other.

    Only one of a pair needs a matrix, which halves memory and time: the product is bound by reading the matrices.

    Attributes
    ----------
    first : Tensor
        (pairs,) view that has the matrix.
    second : Tensor
        (pairs,) its mirror image, or the number of views where there is none.
    """

    first: Tensor
    second: Tensor
    views: int

    @classmethod
    def none(cls, views: int) -> ViewPairs:
        """Return every view on its own."""
        return cls(torch.arange(views), torch.full((views,), views), views)

    @classmethod
    def of(cls, shift_vz2: Tensor, tolerance: float = 0.01) -> ViewPairs:
        """Pair views (views, planes, 2) whose shifts are opposite to within ``tolerance`` in the unit of the shifts."""
        views = shift_vz2.shape[0]
        left, first, second = list(range(views)), [], []
        while left:
            view = left.pop(0)
            distance = [float((shift_vz2[view] + shift_vz2[other]).abs().max()) for other in left]
            best = min(range(len(left)), key=distance.__getitem__, default=None)
            mirrored = best is not None and distance[best] <= tolerance
            first.append(view)
            second.append(left.pop(best) if mirrored and best is not None else views)
        return cls(torch.tensor(first), torch.tensor(second), views)

    @property
    def count(self) -> int:
        """Number of matrices."""
        return len(self.first)

    @property
    def slots(self) -> Tensor:
        """Where each view is found among all first views followed by all second ones."""
        places = torch.cat([self.first, self.second])
        return torch.argsort(places, stable=True)[: self.views]

    def shift(self, shift_vz2: Tensor) -> Tensor:
        """Return the shifts (pairs, planes, 2) of the first views, made exactly opposite to the second ones'."""
        padded = torch.cat([shift_vz2, torch.zeros_like(shift_vz2[:1])])
        one, other = padded[self.first], padded[self.second]
        return torch.where((self.second < self.views)[:, None, None], (one - other) / 2, one)
