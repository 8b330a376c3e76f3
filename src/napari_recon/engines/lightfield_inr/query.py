"""Running a query: one field per time point, evaluated slab by slab."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.events import BlockReady, Event, Progress
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.field_runs import first_sample
from napari_recon.engines.lightfield_inr.engine import slabs
from napari_recon.engines.lightfield_inr.params import QueryParams
from napari_recon.engines.lightfield_inr.values import OpenField

U16 = 65535


class FieldRun:
    """What the frames of one run share: the networks and the lattice.

    Parameters
    ----------
    plan : Plan
    params : QueryParams
        Resolved.
    """

    def __init__(self, plan: Plan, params: QueryParams) -> None:
        assert plan.model is not None
        self._plan, self._params = plan, params
        self._field = OpenField(plan.model, params, plan.compute.device)
        self._first = first_sample(plan)

    def frame(self, index: int, token: CancelToken) -> Iterator[Event]:
        """Yield the blocks of the frame `index` of the run."""
        box, tile = self._plan.box, self._plan.resources.tile
        assert isinstance(box, Box)
        time = (self._first + index) / self._params.time_scale
        pieces = slabs(box, self._plan.whole["volume"], tile["z"], tile["y"])
        stretched = self._params.scaling == "upstream"
        whole = np.empty(box.shape(), np.float32) if stretched else None
        for number, piece in enumerate(pieces):
            token.check()
            x, y, z = self._axes(piece.core)
            values = self._field.values(time, x, y, z, token.check)
            place = piece.core.within(box)
            if whole is None:
                yield BlockReady("volume", place, values)
            else:
                whole[place] = values
            yield Progress(number + 1, len(pieces), "slab")
        if whole is not None:
            yield BlockReady("volume", tuple(slice(0, n) for n in whole.shape), sixteen_bits(whole))

    def _axes(self, box: Box) -> list[NDArray[np.float64]]:
        """Return the places of a box along x, y and z, in voxels of the lattice."""
        scales = dict(zip("zyx", self._params.scale_zyx, strict=True))
        return [np.arange(*getattr(box, axis)) / scales[axis] for axis in "xyz"]


def sixteen_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return values above zero stretched from their least to their largest and cut to 16 bits, as was published."""
    positive = np.maximum(values, np.float32(0))
    low, high = positive.min(), positive.max()
    stretched = (positive - low) / (high - low + np.float32(1e-7))
    cut: NDArray[np.uint16] = (stretched * np.float32(U16)).astype(np.uint16)
    return cut
