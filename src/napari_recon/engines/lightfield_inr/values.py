"""A neural field of any kind, opened: the values on a lattice of places at any time. Queries and layers share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.lightfield_inr.checkpoint import load_states
from napari_recon.engines.lightfield_inr.dense import DenseField
from napari_recon.engines.lightfield_inr.encoding import axis_coordinates
from napari_recon.engines.lightfield_inr.engine import lattice_zyx
from napari_recon.engines.lightfield_inr.field import options_of
from napari_recon.engines.lightfield_inr.lattice import Field, LatticeField
from napari_recon.engines.lightfield_inr.params import QueryParams
from napari_recon.engines.lightfield_inr.voxels import GridField, VoxelField

TABLES = ("nerf_ex", "voxels", "grid")
"""Architectures whose places are positions, not coordinates of a network."""


class OpenField:
    """The field of a model on a device; the time point that was asked for last stays ready.

    Parameters
    ----------
    model : ModelRef
    params : QueryParams
        Resolved.
    device : str
    """

    def __init__(self, model: ModelRef, params: QueryParams, device: str = "cpu") -> None:
        self._model, self._params, self._device = model, params, device
        self._states: Sequence[Mapping[str, Tensor]] = load_states(model)
        self._intensity = np.float32(model.options.get("intensity", 1.0))
        self._lattice = lattice_zyx(params, model)
        self._ready: tuple[float, Field] | None = None
        found = 1 if model.architecture == "grid" else max(1, int(model.options.get("frames", 0)))
        if len(self._states) != found:
            raise CheckpointError(f"model {model.id} holds another number of time points than planned; plan anew")

    def values(
        self, time: float, x: ArrayLike, y: ArrayLike, z: ArrayLike, check: Callable[[], None] = lambda: None
    ) -> NDArray[np.float32]:
        """Return the values (z, y, x) at places along each axis in voxels of the lattice.

        Parameters
        ----------
        time : float
            Counted in time points; between two of them only a field of splines (``grid``) has values.
        x, y, z : array
        check : callable
            Called every few milliseconds of work; may raise to stop.
        """
        at = {axis: self._places(axis, np.asarray(places)) for axis, places in zip("xyz", (x, y, z), strict=True)}
        found: NDArray[np.float32] = self._at(time).values(at["x"], at["y"], at["z"], check).cpu().numpy() * self._intensity
        return found

    def _places(self, axis: str, places: NDArray[np.float64]) -> Tensor:
        if self._model.architecture in TABLES:
            return torch.from_numpy(places.astype(np.float32))
        return axis_coordinates(axis, places, self._lattice)

    def _at(self, time: float) -> Field:
        if self._ready is None or self._ready[0] != time:
            self._ready = None  # not two at once
            self._ready = time, self._made(time)
        return self._ready[1]

    def _made(self, time: float) -> Field:
        if self._model.architecture == "grid":
            shape = max(1, int(self._model.options["frames"])), *self._lattice
            return GridField(self._states[0]["coefficients"], shape, time, self._device)
        state = self._states[round(time)]
        if self._model.architecture == "nerf_ex":
            return DenseField(state, self._device)
        if self._model.architecture == "voxels":
            return VoxelField(state["voxels"], self._device)
        return LatticeField(state, options_of(self._model.options), self._params.encoding, self._params.post, self._device)
