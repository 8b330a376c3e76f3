"""Export of a neural layer: what is seen, or a part at chosen factors, as a query of the field; never through its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_recon.core.compute import Compute
from napari_recon.core.region import Box, Selection
from napari_recon.engines.live_fields import FieldSource
from napari_recon.fields.live_lattice import Levels

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_recon.core.engine import Inputs
    from napari_recon.core.plan import Plan


@dataclass(frozen=True)
class Export:
    """A query.

    Attributes
    ----------
    factors : dict
        Samples per data point by axis (t, z, y, x).
    box : Box or None
        In voxels of the result.
    frames : tuple of int or None
        First frame of the result and the one after the last.
    """

    factors: Mapping[str, float]
    box: Box | None = None
    frames: tuple[int, int] | None = None

    def plan(self, source: FieldSource, compute: Compute) -> tuple[Plan, Inputs]:
        """Return the plan and its (no) inputs; reads headers only.

        Raises
        ------
        InputError
            A factor or a part that the field has not.
        """
        from napari_recon.jobs import make_plan

        params = {**source.params, "frames": "{}:{}".format(*self.frames) if self.frames else ""}
        if source.engine == "inr4d.query":
            params["scale"] = ",".join(f"{axis}={k:.9g}" for axis, k in self.factors.items())
        else:
            params["scale"] = [self.factors.get(axis, 1.0) for axis in "zyx"]
            params["time_scale"] = self.factors.get("t", 1.0) if source.between else 1.0
        selection = Selection(box=self.box)
        return make_plan(source.engine, {}, params, selection, source.model, compute)


def seen(viewer: ViewerModel, layer: Image, levels: Levels) -> Export:
    """Return the query of what is seen: the plane or region at this zoom and time, in 3-D the volume.

    Samples lie at multiples of one over the factors, so that data points are among them.
    """
    data, level = levels.data, int(layer.data_level)
    density = levels.density(level)
    factors = {a.lower(): float(density[a]) for a in data.axes}
    offset = viewer.dims.ndim - layer.ndim
    shown = [d - offset for d in viewer.dims.displayed if d >= offset]
    corners = _corners(viewer, layer, shown)
    point = np.asarray(layer.world_to_data(viewer.dims.point[offset:]), float)
    bounds: dict[str, tuple[int, int]] = {}
    for axis, letter in enumerate(data.axes):
        span, k = levels.span(0, axis), density[letter]
        last = math.floor((data.size(letter) - 1) * k + 1e-6)
        if axis in shown:
            low, high = (span.first + span.step * corner for corner in corners[axis])
            first, stop = math.ceil(low * k - 1e-6), math.floor(high * k + 1e-6) + 1
            first = min(max(first, 0), last)
            bounds[letter] = (first, min(max(stop, first + 1), last + 1))
        else:
            at = min(max(round((span.first + span.step * point[axis]) * k), 0), last)
            bounds[letter] = (at, at + 1)
    frames = bounds.pop("T", None)
    return Export(factors, Box.of(bounds), frames)


def part(source: FieldSource, factors: Mapping[str, float], box: Box | None, frames: Sequence[int] | None) -> Export:
    """Return the query of a box of the data (in its voxels) and a range of its frames at chosen factors."""
    bounds = {}
    for letter, (start, stop) in box.items() if box is not None else ():
        k, size = factors.get(letter.lower(), 1.0), source.data.size(letter)
        last = math.floor((size - 1) * k + 1e-6)
        bounds[letter] = (math.ceil(start * k - 1e-6), min(math.floor((stop - 1) * k + 1e-6), last) + 1)
    found = None
    if frames is not None and "T" in source.data.axes:
        k = factors.get("t", 1.0) if source.between else 1.0
        found = math.ceil(frames[0] * k - 1e-6), math.floor((frames[1] - 1) * k + 1e-6) + 1
    return Export(factors, Box.of(bounds) if bounds else None, found)


def _corners(viewer: ViewerModel, layer: Image, shown: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Return what is seen of the displayed axes, in samples of the finest level."""
    whole = {axis: (0.0, layer.data.shape[axis] - 1.0) for axis in shown}
    if viewer.dims.ndisplay == 3:
        return whole
    factors = layer.downsample_factors[layer.data_level]
    found = {axis: tuple(float(at) for at in layer.corner_pixels[:, axis] * factors[axis]) for axis in shown}
    with suppress(Exception):  # without a window the layer's own corners, which are those of whole tiles, have to do
        canvas = viewer.window._qt_viewer.canvas
        rows = np.atleast_2d(canvas._viewbox_corners_in_world)[:, -layer.ndim :]
        inside = np.array([layer.world_to_data(row) for row in rows])
        found = {a: (max(lo, inside[:, a].min()), min(hi, inside[:, a].max())) for a, (lo, hi) in found.items()}
    return {a: (lo, hi) if hi > lo else whole[a] for a, (lo, hi) in found.items()}
