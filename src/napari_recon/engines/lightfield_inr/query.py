"""Running a query: one field per time point, evaluated slab by slab."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.errors import CheckpointError
from napari_recon.core.events import BlockReady, Event, Progress
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.checkpoint import load_states
from napari_recon.engines.lightfield_inr.dense import DenseField
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates
from napari_recon.engines.lightfield_inr.engine import lattice_zyx, slabs
from napari_recon.engines.lightfield_inr.field import options_of
from napari_recon.engines.lightfield_inr.lattice import Field, LatticeField
from napari_recon.engines.lightfield_inr.params import QueryParams
from napari_recon.engines.lightfield_inr.voxels import GridField, VoxelField

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
        self._plan, self._params, self._model = plan, params, plan.model
        self._states = load_states(plan.model)
        self._intensity = np.float32(plan.model.options.get("intensity", 1.0))
        self._first = int(plan.resources.details.get("first_sample", plan.starts.get("T", 0)))
        found = 1 if plan.model.architecture == "grid" else max(1, int(plan.model.options.get("frames", 0)))
        if len(self._states) != found:
            raise CheckpointError(f"model {plan.model.id} holds another number of time points than planned; plan anew")

    def frame(self, index: int, token: CancelToken) -> Iterator[Event]:
        """Yield the blocks of the frame `index` of the run."""
        box, tile = self._plan.box, self._plan.resources.tile
        assert isinstance(box, Box)
        field = self._field(self._first + index)
        pieces = slabs(box, self._plan.whole["volume"], tile["z"], tile["y"])
        stretched = self._params.scaling == "upstream"
        whole = np.empty(box.shape(), np.float32) if stretched else None
        for number, piece in enumerate(pieces):
            token.check()
            x, y, z = self._axes(piece.core)
            values = field.values(x, y, z, token.check).cpu().numpy() * self._intensity
            place = piece.core.within(box)
            if whole is None:
                yield BlockReady("volume", place, values)
            else:
                whole[place] = values
            yield Progress(number + 1, len(pieces), "slab")
        if whole is not None:
            yield BlockReady("volume", tuple(slice(0, n) for n in whole.shape), sixteen_bits(whole))

    def _field(self, time: int) -> Field:
        device = self._plan.compute.device
        if self._model.architecture == "grid":
            shape = max(1, int(self._model.options["frames"])), *lattice_zyx(self._params, self._model)
            return GridField(self._states[0]["coefficients"], shape, time / self._params.time_scale, device)
        state = self._states[time]
        if self._model.architecture == "nerf_ex":
            return DenseField(state, device)
        if self._model.architecture == "voxels":
            return VoxelField(state["voxels"], device)
        return LatticeField(state, options_of(self._model.options), self._params.encoding, self._params.post, device)

    def _axes(self, box: Box) -> list[Tensor]:
        """Return the coordinates of a box along x, y and z (for fields that are tables: positions)."""
        shape = lattice_zyx(self._params, self._model)
        found = []
        for axis, scale in zip("xyz", self._params.scale_zyx[::-1], strict=True):
            low, high = getattr(box, axis)
            positions = np.arange(low, high) / scale
            table = self._model.architecture in ("nerf_ex", "voxels", "grid")
            found.append(
                torch.from_numpy(positions.astype(np.float32)) if table else axis_coordinates(axis, positions, shape)
            )
        return found


def sixteen_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return values above zero stretched from their least to their largest and cut to 16 bits, as was published."""
    positive = np.maximum(values, np.float32(0))
    low, high = positive.min(), positive.max()
    stretched = (positive - low) / (high - low + np.float32(1e-7))
    cut: NDArray[np.uint16] = (stretched * np.float32(U16)).astype(np.uint16)
    return cut
