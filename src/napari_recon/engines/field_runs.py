"""What fits and queries of all fields share: steady previews, digests of data, plans of samples in time. No torch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.events import PreviewReady
from napari_recon.core.plan import Plan
from napari_recon.core.region import Selection, TimeRange, parse_time

SECONDS, SHARE = 0.5, 0.1
"""Seconds between previews, and the part of the time that may be spent on them."""


class SteadyPreviews:
    """Previews at a steady pace, further apart where they are costly."""

    def __init__(self) -> None:
        self._last, self._cost = 0.0, 0.0

    def due(self, made: Callable[[], PreviewReady]) -> Iterator[PreviewReady]:
        """Yield a preview when it is time for one."""
        started = time.monotonic()
        if started - self._last > max(SECONDS, self._cost / SHARE):
            yield made()
            self._last = time.monotonic()
            self._cost = self._last - started


def digest(arrays: Iterable[NDArray[Any]]) -> str:
    """Return what identifies data."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]


def of_times(plan: Plan, time: TimeRange | None, warnings: tuple[str, ...] | None = None) -> Plan:
    """Return the plan of a query whose frames are samples in time, as one of the time points that were asked for.

    A recipe says those; `first_sample` finds the samples again.
    """
    resources = plan.resources.model_copy(
        update={
            "details": {**plan.resources.details, "first_sample": plan.starts["T"]},
            **({} if warnings is None else {"warnings": warnings}),
        }
    )
    return plan.model_copy(update={"selection": plan.selection.model_copy(update={"time": time}), "resources": resources})


def of_frames(selection: Selection, frames: str) -> Selection:
    """Return a selection whose time are frames of the result, ``a:b``; between time points these are the only ones to name.

    Raises
    ------
    InputError
        No range, or a time range as well.
    """
    if selection.time is not None:
        raise InputError(f"a time range ({selection.time}) and frames {frames} were given; give one of them")
    return selection.model_copy(update={"time": parse_time(frames)})


def first_sample(plan: Plan) -> int:
    """Return the number of the first frame of a query."""
    return int(plan.resources.details.get("first_sample", plan.starts.get("T", 0)))
