"""What the runs of all ways to fit a field share: frames one by one, places of volumes, steady previews, cards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.events import PreviewReady
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.engines.field_runs import SteadyPreviews, digest
from napari_recon.engines.lightfield_inr.checkpoint import ENGINE
from napari_recon.engines.lightfield_inr.fit_params import FitParams
from napari_recon.engines.lightfield_inr.place import placed
from napari_recon.hub import checkpoint_folder
from napari_recon.optics.psf_checks import mended_psf

Volume = NDArray[np.float32]


class FitRun:
    """A fit of one scene or of the time points of a sequence.

    Parameters
    ----------
    plan : Plan
    params : FitParams
        Resolved.
    frames : sequence of ndarray
        Views (v, y, x) of every time point, read when they are asked for.
    psf : ndarray or None
        (v, z, y, x); None where views are no images through one.
    """

    def __init__(self, plan: Plan, params: FitParams, frames: Sequence[Volume], psf: Volume | None) -> None:
        self._plan, self._params, self._frames = plan, params, frames
        nothing: tuple[Volume, tuple[str, ...]] = np.zeros(0, np.float32), ()
        self._psf_vzyx, self._said = nothing if psf is None else mended_psf(psf)
        self._folder = Path(params.checkpoint_folder or checkpoint_folder(plan)).expanduser()
        self._frame = 0
        self._previews = SteadyPreviews()

    @property
    def _note(self) -> str:
        """What tells the curves of time points apart."""
        several = len(self._frames) > 1
        return f"time point {self._frame + 1}/{len(self._frames)}" if several else ""

    @property
    def _box(self) -> Box:
        box = self._plan.box
        assert isinstance(box, Box)
        return box

    def _placed(self, volume_zyx: Volume) -> tuple[tuple[slice, ...], Volume]:
        """Return where the selected box of the time point goes in the output, and the box with the output's axes."""
        inner = tuple(slice(0, n) for n in self._box.shape())
        if not self._plan.looped:
            return inner, volume_zyx
        return (slice(self._frame, self._frame + 1), *inner), volume_zyx[None]

    def _cropped(self, field_zyx: Volume) -> Volume:
        """Return the selected box of the whole field."""
        return np.ascontiguousarray(field_zyx[self._box.slices("ZYX")])

    def _preview(self, selected: Callable[[], Volume], step: int) -> Iterator[PreviewReady]:
        """Yield the selected box when an estimate is due."""
        yield from self._previews.due(lambda: PreviewReady("volume", *self._placed(selected()), step))

    def _digest(self, *frames: int) -> str:
        """Return what identifies the PSF and the data of time points."""
        return digest([self._psf_vzyx, *(self._frames[frame] for frame in frames)])

    def _card(self, architecture: str, frames: int, training: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Return the card of a field of so many time points (any number for a single scene)."""
        grid = self._plan.whole["volume"]
        known: dict[str, Any] = {
            "frames": frames if self._plan.looped else 0,
            "render_size": [grid.size(axis) for axis in "YXZ"],
            **placed(self._plan),
        }
        return {"engine": ENGINE, "architecture": architecture, "options": {**known, **options}, "training": training}
