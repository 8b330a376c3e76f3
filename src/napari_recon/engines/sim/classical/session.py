"""Live reconstruction: whole sets or single raw frames as they come, sliders on bands that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import Inputs
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event, Progress
from napari_recon.core.grid import Grid
from napari_recon.core.live import FrameSession
from napari_recon.core.plan import Plan
from napari_recon.core.stack import check_content
from napari_recon.engines.sim.layout import arranged
from napari_recon.engines.sim.wiener import SimWiener


class WienerSession(FrameSession):
    """A session that besides raw sets takes raw frames one by one, in the order they are recorded.

    The first complete set is calibrated on and reconstructed; from then on every further frame takes the place of the one
    with its angle and phase, and a new image comes with each. A whole set starts the count anew.

    Parameters
    ----------
    engine : SimWiener
        As prepared for the plan: what it keeps is this session's.
    plan : Plan
    inputs : mapping
        Static inputs (psf, otf).
    """

    def __init__(self, engine: SimWiener, plan: Plan, inputs: Inputs) -> None:
        super().__init__(engine, plan, inputs)
        layout = engine.params_of(plan).layout
        grid = plan.inputs[0].grid
        assert grid is not None  # checked while planning
        self._field = (grid.size("Y"), grid.size("X"))
        pages = arranged(Grid.of("NYX", (layout.frames, *self._field)), layout, engine.params_of(plan).frame_order).pages
        #: Place in the angle-major set of each frame in the order of recording.
        self._places = np.argsort(pages.ravel())
        self._arrived = 0
        self._set: NDArray[np.float32] = np.zeros((layout.frames, *self._field), np.float32)

    def feed(self, frame: Any) -> Iterator[Event]:
        """Yield the events of a raw set, or of a single raw frame (Y, X).

        Raises
        ------
        InputError
            Another shape than the plan was made for, or unfit content.
        """
        array = np.asarray(frame)
        if array.ndim != 2:
            yield from super().feed(array)
            self._set, self._arrived = self._latest, len(self._places)
            return
        if array.shape != self._field:
            raise InputError(
                f"a live raw frame should have shape {self._field}, found {array.shape}; stop the session and start anew"
            )
        count = len(self._places)
        place = int(self._places[self._arrived % count])
        self._set = self._set.copy()  # earlier ones may still be looked at
        self._set[place] = check_content(array, f"raw frame {self._arrived}")
        self._arrived += 1
        if self._arrived < count:
            yield Progress(self._arrived, count, "raw frame", "waiting for a whole set")
            return
        run = self._worker.kept if isinstance(self._worker, SimWiener) else None
        if self._arrived > count and run is not None and run.calibrated:
            run.replaced(self._set, place)
        self._latest = self._set
        self._count += 1
        yield from self._process()
