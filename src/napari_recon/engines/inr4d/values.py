"""A 4-D field of any kind, opened: the values on a lattice of places in the recording. Queries and layers share it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from napari_recon.core.grid import Grid
from napari_recon.core.plan import ModelRef
from napari_recon.engines.inr4d.checkpoint import MOTION, PUBLISHED, layers_of, load_coefficients, load_field, load_motion
from napari_recon.engines.inr4d.jitter import jitter_tables
from napari_recon.engines.inr4d.lattice import AXES
from napari_recon.engines.inr4d.params import QueryParams
from napari_recon.engines.inr4d.upstream.field import Places, PublishedField
from napari_recon.fields.motion import MotionField
from napari_recon.fields.spline import SplineField

Check = Callable[[], None]


class OpenField:
    """The field of a model on a device.

    Parameters
    ----------
    model : ModelRef
    data : Grid
        Of the recording (TZYX).
    params : QueryParams
        How a published field is rendered; others have nothing to choose.
    device : str
    """

    def __init__(self, model: ModelRef, data: Grid, params: QueryParams, device: str = "cpu") -> None:
        self._motion: MotionField | None = None
        self._published: PublishedField | None = None
        self._splines: SplineField | None = None
        self._per_point = [1.0] * 4
        if model.architecture == PUBLISHED:
            state, latent = load_field(model)
            tables = jitter_tables(params.jitter, model.options, params.samples, params.tables)
            self._published = PublishedField(state, layers_of(model.options), latent, tables, params.samples, device)
        elif model.architecture == MOTION:
            frames, motion = (None if part is None else part.to(device) for part in load_motion(model))
            assert frames is not None
            self._motion = MotionField(frames, motion, data.shape, int(model.options.get("order", 3)))
        else:
            finer = tuple(model.options.get("samples_tzyx") or data.shape)
            self._splines = SplineField(load_coefficients(model).to(torch.device(device)), finer)
            self._per_point = [(m - 1) / max(n - 1, 1) for m, n in zip(finer, data.shape, strict=True)]

    def values(self, along: Mapping[str, Places], check: Check = lambda: None) -> Tensor:
        """Return the values (t, z, y, x), float32 on the device, not yet in intensities of the recording.

        Parameters
        ----------
        along : mapping
            Axis (T, Z, Y, X) -> places; of a published field those that its sampling counts, of others data points.
        check : callable
            Called every few milliseconds of work; may raise to stop.
        """
        if self._published is not None:
            one = along["T"]
            frames = []
            for time in range(len(one.places)):
                now = Places(one.places[time : time + 1], one.count, one.half, one.data[time : time + 1])
                frames.append(self._published.values([along["X"], along["Y"], along["Z"], now], check))
            return frames[0][None] if len(frames) == 1 else torch.stack(frames)
        t, z, y, x = (along[axis].places * k for axis, k in zip(AXES, self._per_point, strict=True))
        field = self._motion or self._splines
        assert field is not None  # one of the three is there
        return field.evaluate_lattice(t, z, y, x, check)
