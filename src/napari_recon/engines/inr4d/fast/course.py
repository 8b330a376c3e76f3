"""How far a fast fit is: percent of the seconds that its phases are expected to take, one measure from start to end."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from napari_recon.core.events import Progress
from napari_recon.engines.inr4d.fast.motion import QUICK, MotionSettings, voxel_steps
from napari_recon.engines.inr4d.fast.shares import Found, within

#: Seconds per voxel, voxel and step, or step; measured on one thread. Their proportions count.
NOISE, MOVED, LEARNT, FILLED, JOINED, EVALUATED, WRITTEN = 7e-6, 5e-7, 4e-2, 3e-6, 2.5e-6, 1e-6, 1e-8


def expected(
    method: str, shape_tzyx: tuple[int, ...], factor: int, steps: int, denoise: bool, judge: bool, moving: MotionSettings
) -> dict[str, float]:
    """Return the seconds that each phase of a fit is expected to take, in their order.

    Parameters
    ----------
    method : {"fast", "flow", "cubic", "linear"}
    shape_tzyx : tuple of int
        Of what is fitted.
    factor : int
        How many times finer planes become.
    steps : int
        Of the network between planes.
    denoise, judge : bool
    moving : MotionSettings
        How the motion of the field is estimated.
    """
    frames, planes, rows, columns = shape_tzyx
    voxels = frames * planes * rows * columns
    fine = factor * voxels
    gaps = frames - 1
    found = {"recording": WRITTEN * voxels}
    if method in ("fast", "flow"):
        found = {"motion": MOVED * voxel_steps(gaps, fine // frames, moving), **found}
    if method == "fast":
        quick = MOVED * voxel_steps(gaps, voxels // frames, QUICK)
        learnt = (
            {"first field": quick + FILLED * fine, "planes": LEARNT * steps, "planes between": FILLED * fine}
            if factor > 1
            else {}
        )
        score = {"score": quick + 2 * EVALUATED * voxels} if judge and frames > 2 else {}
        noise = {"noise": NOISE * voxels} if denoise else {}
        joined = {"neighbours": JOINED * fine} if factor > 1 else {}
        found = {**noise, **learnt, **score, "motion": found["motion"], **joined, "recording": found["recording"]}
    return found


class Course:
    """The progress of one fit.

    Parameters
    ----------
    seconds : mapping
        Phase -> seconds, in order.
    """

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._seconds, self._latest = dict(seconds), 0.0

    def expect(self, seconds: Mapping[str, float]) -> None:
        """Take other expectations, as more is known; the measure never goes back."""
        self._seconds = dict(seconds)

    def at(self, phase: str, share: float, said: str = "") -> Progress:
        """Return the progress once a share of a phase is done; what it has to say goes behind the phase's name."""
        names = list(self._seconds)
        before = sum(self._seconds[name] for name in names[: names.index(phase)])
        percent = 100 * (before + share * self._seconds[phase]) / sum(self._seconds.values())
        self._latest = max(self._latest, round(min(percent, 100.0), 2))
        return Progress(self._latest, 100.0, "%", f"{phase}, {said}" if said else phase)

    def through(
        self, phase: str, work: Generator[float, None, Found], low: float = 0.0, high: float = 1.0
    ) -> Generator[Any, None, Found]:
        """Yield the progress of a phase (or of its part from low to high) that yields its shares; return what it returns."""
        yield self.at(phase, low)
        parts = within(work, low, high - low)
        while True:
            try:
                yield self.at(phase, next(parts))
            except StopIteration as end:
                found: Found = end.value
                return found
