"""Running a query: one field for all times, evaluated slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.events import BlockReady, Event, Progress
from napari_recon.core.pieces import FramePieces
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.field_runs import digest, first_sample
from napari_recon.engines.inr4d.checkpoint import PUBLISHED
from napari_recon.engines.inr4d.lattice import AXES, Sampling
from napari_recon.engines.inr4d.params import QueryParams
from napari_recon.engines.inr4d.place import check_recording, data_grid, fitted_region
from napari_recon.engines.inr4d.query_engine import along
from napari_recon.engines.inr4d.upstream.coordinates import DOWNSAMPLE
from napari_recon.engines.inr4d.upstream.field import Places
from napari_recon.engines.inr4d.values import OpenField
from napari_recon.tiling.partition import tiles

Volume = NDArray[np.float32]
Bounds = tuple[int, int]


class FieldRun:
    """What the frames of one run share: the field and the lattice.

    Parameters
    ----------
    plan : Plan
    params : QueryParams
    recording : FramePieces or None
        TZYX
    token : CancelToken
    """

    def __init__(self, plan: Plan, params: QueryParams, recording: FramePieces | None, token: CancelToken) -> None:
        assert plan.model is not None
        self._plan, self._params, self._model = plan, params, plan.model
        data = data_grid(params, plan.model, None if recording is None else recording.stack.grid.only(AXES))
        self._along = along(params, data)
        self._first = first_sample(plan)
        self._offset, self._gain = self._intensity(recording, token)
        self._field = OpenField(plan.model, data, params, plan.compute.device)

    def frame(self, index: int, token: CancelToken) -> Iterator[Event]:
        """Yield the blocks of the frame `index` of the run."""
        box, tile = self._plan.box, self._plan.resources.tile
        assert isinstance(box, Box)
        pieces = tiles(box, self._plan.whole["movie"], {"Z": tile["z"], "Y": tile["y"]})
        time = self._first + index
        for number, piece in enumerate(pieces):
            token.check()
            bounds = {"T": (time, time + 1), **dict(piece.core.items())}
            along = {axis: self._places(axis, bounds[axis]) for axis in AXES}
            values = self._field.values(along, token.check)[0].cpu().numpy() * self._gain + self._offset
            yield BlockReady("movie", piece.core.within(box), values)
            yield Progress(number + 1, len(pieces), "slab")

    def published_look(self, token: CancelToken) -> Iterator[Event]:
        """Yield the whole result as the published program shows it."""
        shape = self._plan.outputs[0].grid.shape
        movie = np.empty(shape, np.float32)
        for index in range(shape[0]):
            for event in self.frame(index, token):
                if isinstance(event, BlockReady):
                    movie[index][event.slices] = event.array
                elif isinstance(event, Progress):
                    yield Progress(index * event.total + event.done, shape[0] * event.total, event.unit)
        yield BlockReady("movie", tuple(slice(0, n) for n in shape), published_look(movie, token.check))

    def _intensity(self, recording: FramePieces | None, token: CancelToken) -> tuple[np.float32, np.float32]:
        """Return offset and gain that make intensities of the field's values."""
        known = self._model.options.get("intensity")
        offset, gain = known or (0.0, 1.0)
        if recording is not None:
            region = fitted_region(self._model, recording.stack.grid.only(AXES))
            low, high, found = extremes(recording, region, token)
            check_recording(self._model, low, high, found)
            if known is None:
                offset, gain = low, high - low
        return np.float32(offset), np.float32(gain)

    def _places(self, axis: str, bounds: Bounds) -> Places:
        sampling: Sampling = self._along[axis]
        index = torch.arange(*bounds)
        if sampling.kind == "upstream" and self._model.architecture == PUBLISHED:
            # latents are looked up as if samples lay apart by 1 / scale
            looked_up = index.double() / (sampling.scale * DOWNSAMPLE) * DOWNSAMPLE
            return Places(index, sampling.size, self._params.radius, looked_up)
        places = torch.from_numpy(sampling.places(*bounds))
        return Places(places, sampling.count, self._params.radius * sampling.step, places)


def extremes(recording: FramePieces, region: tuple[slice, ...], token: CancelToken) -> tuple[float, float, str]:
    """Return the least and the largest value of a part of a recording (TZYX), read frame by frame, and its digest."""
    low, high = float(np.inf), -float(np.inf)

    def frames() -> Iterator[NDArray[Any]]:
        nonlocal low, high
        for time in range(region[0].start, region[0].stop):
            token.check()
            part = recording.read(slice(time, time + 1), *region[1:])
            low, high = min(low, float(part.min())), max(high, float(part.max()))
            yield part

    found = digest(frames())
    return low, high, found


def published_look(movie: Volume, check: Callable[[], None] = lambda: None) -> NDArray[np.uint8]:
    """Return a movie (t, z, y, x) with its 0.1 to 99.9 percent stretched to 8 bits, then blurred along x, y, z and t."""
    from scipy.ndimage import gaussian_filter1d

    low, high = np.percentile(movie, (0.1, 99.9))
    stretched = (movie - low) / max(high - low, 1e-12) * 255
    found: Any = np.clip(stretched, 0, 255).astype(np.uint8)
    for axis in (3, 2, 1, 0):  # every pass is cut to whole numbers, so the order shows
        check()
        found = gaussian_filter1d(found, 1.0, axis)
    return np.asarray(found, np.uint8)
