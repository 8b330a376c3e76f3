"""What the runs of all ways to fit a 4-D field share: the part that is fitted, places, steady previews, cards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.events import PreviewReady, Warned
from napari_recon.core.pieces import FramePieces
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.field_runs import SteadyPreviews, digest
from napari_recon.engines.inr4d.checkpoint import ENGINE
from napari_recon.engines.inr4d.fit_params import FitParams
from napari_recon.engines.inr4d.lattice import AXES
from napari_recon.engines.inr4d.place import example_axes, placed
from napari_recon.hub import checkpoint_folder

LASTING, MARGIN = 0.3, 0.2
"""Correlation of values half a recording apart from which an axis looks like time, and by how much more than along T."""
SAMPLE = 1 << 20
Movie = NDArray[np.float32]
Bounds = dict[str, tuple[int, int]]


class FitRun:
    """A fit of one recording. A way to fit is a subclass with ``events(token)``.

    Parameters
    ----------
    plan : Plan
    params : FitParams
        Resolved.
    recording : FramePieces
        TZYX

    Attributes
    ----------
    asked, fitted : dict
        Axis -> bounds, in voxels of the recording, of what is shown and of what is fitted.
    """

    def __init__(self, plan: Plan, params: FitParams, recording: FramePieces) -> None:
        self._plan, self._params, self._recording = plan, params, recording
        self.whole = plan.whole["movie"].only(AXES)
        box, times = plan.box, plan.selection.time
        assert isinstance(box, Box) and times is not None
        self.asked: Bounds = {"T": (times.start, times.stop), **dict(box.items())}
        self.fitted: Bounds = self.asked if params.region_only else {a: (0, self.whole.size(a)) for a in AXES}
        self.folder = Path("")
        if params.checkpoint_folder or params.method == "upstream":
            self.folder = Path(params.checkpoint_folder or checkpoint_folder(plan)).expanduser()
        self._previews = SteadyPreviews()
        self._low, self._high = 0.0, 1.0
        self._data = ""

    def movie(self, token: CancelToken) -> Movie:
        """Return the fitted part of the recording (t, z, y, x), read frame by frame.

        Raises
        ------
        InputError
            It holds no intensities, or one only.
        """
        inner = [slice(*self.fitted[axis]) for axis in "ZYX"]
        first, stop = self.fitted["T"]
        movie = np.empty([self.fitted[axis][1] - self.fitted[axis][0] for axis in AXES], np.float32)
        for frame in range(first, stop):
            token.check()
            movie[frame - first] = self._recording.read(slice(frame, frame + 1), *inner)[0]
        self._low, self._high = float(movie.min()), float(movie.max())
        if self._low == self._high:
            raise InputError(
                f"{self._recording.what} is constant (every value is {self._low:g}), so there is nothing to fit; check it "
                "or choose another region"
            )
        self._data = digest(movie)
        return movie

    def looked_at(self, movie: Movie) -> Iterator[Warned]:
        """Yield a warning when another axis than T looks like time: along it, what is seen stays."""
        if self._params.axes_checked:
            return
        alike = {axis: persistence(movie, number) for number, axis in enumerate(AXES)}
        odd = max("ZYX", key=lambda axis: alike[axis])
        if alike[odd] > max(LASTING, alike["T"] + MARGIN):
            yield Warned(
                f"{odd} looks like time: values half the recording apart are alike along {odd} (correlation "
                f"{alike[odd]:.2f}) and not along T ({alike['T']:.2f}); if it is, name the axes as they are (--axes, for "
                f"example {example_axes(self.whole, odd)}), else set axes_checked"
            )

    def place(self, part: Bounds) -> tuple[slice, ...]:
        """Return where a part, in voxels of the recording, goes in the output."""
        return tuple(slice(*(at - self.asked[axis][0] for at in part[axis])) for axis in AXES)

    def inside(self, part: Bounds) -> Bounds:
        """Return a part of the recording in voxels of what is fitted."""
        return {a: (part[a][0] - self.fitted[a][0], part[a][1] - self.fitted[a][0]) for a in AXES}

    def middle(self) -> Bounds:
        """Return the middle plane at the middle time of what is shown."""
        middle = {axis: (sum(self.asked[axis]) - 1) // 2 for axis in "TZ"}
        return {**self.asked, **{axis: (at, at + 1) for axis, at in middle.items()}}

    def preview(self, made: Callable[[], Movie], part: Bounds, step: int) -> Iterator[PreviewReady]:
        """Yield a part (t, z, y, x) of the estimate when one is due."""
        yield from self._previews.due(lambda: PreviewReady("movie", self.place(part), made(), step))

    def card(
        self, architecture: str, training: dict[str, Any], intensity: tuple[float, float] | None = None, **options: Any
    ) -> dict[str, Any]:
        """Return the card of a field.

        Parameters
        ----------
        architecture : {"spatime", "spline"}
            The published networks with their latents, or the coefficients of a `SplineField`.
        training : dict
        intensity : tuple of float, optional
            Offset and gain that make intensities of the field's values, where those do not go from 0 to 1.
        **options
            ``samples_tzyx``: how many samples a spline's coefficients stand for along each axis, where these are more than
            what was fitted has; the first and the last lie on the first and last data point.
        """
        known = placed(self.whole, self.fitted, self._low, self._high, intensity, self._data)
        return {"engine": ENGINE, "architecture": architecture, "options": {**known, **options}, "training": training}


def persistence(movie: Movie, axis: int) -> float:
    """Return how values half the length of an axis apart are correlated: much along time, little through a volume."""
    step = max(1, math.ceil((movie.size / SAMPLE) ** (1 / 3)))
    part = movie[tuple(slice(None) if number == axis else slice(None, None, step) for number in range(movie.ndim))]
    lag = max(1, movie.shape[axis] // 2)
    ends = slice(lag, None), slice(None, -lag)
    late, early = (part[(slice(None),) * axis + (end,)].ravel().astype(np.float64) for end in ends)
    late, early = late - late.mean(), early - early.mean()
    return float(late @ early / max(math.sqrt(float(late @ late) * float(early @ early)), 1e-20))
