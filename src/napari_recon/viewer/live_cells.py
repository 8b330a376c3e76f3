"""Labels that follow their nuclei: changes computed in a worker, the newest edit wins, voxels and features in place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_recon.core.errors import Cancelled
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.viewer.label_table import label_features
from napari_recon.viewer.worker import call_in_background

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_recon.engines.segmentation.editing import Change, Editing

Row = Mapping[str, Any]


class LiveCells(QObject):
    """The labels of one run, kept in step with a table of nuclei.

    Notes
    -----
    Signals: ``shown(milliseconds)`` after a change was written, from the request to the refreshed layer;
    ``failed(sentence)`` when nuclei do not fit, the labels then stay as they are.
    """

    shown = Signal(float)
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.layer: Labels | None = None
        self.rows: dict[int, list[Row]] = {}
        self.sisters: dict[int, list[Row]] = {}
        self.near = False
        self.params: Mapping[str, Any] = {}
        self._editing: Editing | None = None
        self._call: Any = None
        self._token = CancelToken()
        self._wanted: tuple[Sequence[Row], Mapping[str, Any], float] | None = None

    @property
    def active(self) -> bool:
        """Whether there are labels to change."""
        return self._editing is not None

    @property
    def busy(self) -> bool:
        """Whether a change is being computed."""
        return self._call is not None

    def open(self, plan: Plan, stack: ImageStack, seeds: Sequence[Row], layer: Labels, rows: Sequence[Row]) -> None:
        """Take over a run that ended: its plan and main input, the nuclei it had, its labels and its table."""
        from napari_recon.engines.segmentation.editing import Editing
        from napari_recon.engines.segmentation.seeded import numbered
        from napari_recon.engines.segmentation.seeds import nuclei_by_time

        self.close()
        nuclei = nuclei_by_time(seeds) if seeds else {}
        self.layer, self._plan, self.params = layer, plan, plan.params
        self.rows = {}
        for row in rows:
            self.rows.setdefault(int(row["frame"]), []).append(row)
        self._editing = Editing(plan, stack, nuclei, numbered(nuclei))

    def update(self, seeds: Sequence[Row], params: Mapping[str, Any]) -> None:
        """Ask for the labels of other nuclei or parameters; what was asked before and has not begun is forgotten."""
        if self._editing is None:
            return
        self._wanted = seeds, params, time.monotonic()
        if self._call is not None:
            self._token.cancel()
        self._next()

    def close(self) -> None:
        """Let go; the labels stay as they are."""
        self._wanted = None
        self._token.cancel()
        if self._call is not None:
            self._call.drop()
            self._call = None
        self._editing, self.layer = None, None
        self.rows, self.sisters = {}, {}

    def show_time(self, frame: int) -> None:
        """Let the features of the labels end with those of a frame, so that they are the ones under the mouse."""
        if self.layer is not None and len(self.rows) > 1:
            self.layer.features = label_features([row for rows in self.rows.values() for row in rows], frame)

    def _next(self) -> None:
        if self._editing is None or self._call is not None or self._wanted is None:
            return
        (seeds, params, asked), self._wanted = self._wanted, None
        self._token = CancelToken()
        self._call = call_in_background(
            _changes,
            self._editing,
            seeds,
            params,
            self._token,
            done=lambda c: self._done(c, asked),
            failed=self._fail,
            parent=self,
        )

    def _done(self, changes: Sequence[Change], asked: float) -> None:
        self._call = None
        layer = self.layer
        if layer is None:
            return
        for change in changes:
            self.rows[change.time], self.sisters[change.time] = list(change.rows), list(change.sisters)
            self.near = change.near
            _write(layer, self._plan, change)
        if changes:
            if any(self.rows.values()):
                layer.features = label_features([row for rows in self.rows.values() for row in rows], changes[-1].time)
            layer.refresh()
            self.shown.emit(1000 * (time.monotonic() - asked))
        self._next()

    def _fail(self, error: Exception) -> None:
        self._call = None
        self.failed.emit(str(error))
        self._next()


def _changes(editing: Editing, seeds: Sequence[Row], params: Mapping[str, Any], token: CancelToken) -> list[Change]:
    """Return what changes (called in a worker); what was done when a newer edit came counts."""
    from napari_recon.engines.segmentation.seeded import SeededParams
    from napari_recon.engines.segmentation.seeds import nuclei_by_time

    found: list[Change] = []
    try:
        for change in editing.changes(
            nuclei_by_time(seeds) if seeds else {}, SeededParams.model_validate(params), token.check
        ):
            found.append(change)
    except Cancelled:
        pass
    return found


def _write(layer: Labels, plan: Plan, change: Change) -> None:
    """Write a change into the part of the labels that the run was asked for."""
    box = plan.box
    whole = plan.whole["labels"]
    asked = (box if isinstance(box, Box) else Box()).resolved(whole).slices("ZYX")
    start = plan.selection.time.start if plan.selection.time is not None else 0
    frames = plan.selection.time.stop - start if plan.selection.time is not None else 1
    if not 0 <= change.time - start < frames:
        return
    source, target = [], []
    for new, own in zip(change.place, asked, strict=True):
        low, high = max(new.start, own.start), min(new.stop, own.stop)
        if low >= high:
            return
        source.append(slice(low - new.start, high - new.start))
        target.append(slice(low - own.start, high - own.start))
    front = (change.time - start,) * (layer.ndim - 3)
    layer.data[(*front, *target)] = np.asarray(change.labels)[tuple(source)]
