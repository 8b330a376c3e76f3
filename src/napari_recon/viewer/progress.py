"""Elapsed and remaining time of a run. No Qt or napari here."""

from __future__ import annotations

import time
from collections.abc import Callable

from napari_recon.core.events import Progress

FORGOTTEN = 0.1
"""Part of what was counted before that every further unit makes forgotten: one long unit among many does not alarm."""
UNITS_BEFORE_ESTIMATE = 3


class Stopwatch:
    """Time spent running, pauses left out.

    Parameters
    ----------
    now : callable
        Clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._spent = 0.0
        self._since: float | None = now()

    def pause(self) -> None:
        """Stop counting."""
        if self._since is not None:
            self._spent += self._now() - self._since
            self._since = None

    def resume(self) -> None:
        """Count again."""
        if self._since is None:
            self._since = self._now()

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        return self._spent + (0.0 if self._since is None else self._now() - self._since)


class Estimator:
    """Remaining time from the time of the latest units, about ten; the first (warm-up) is ignored.

    Parameters
    ----------
    watch : Stopwatch
    """

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch
        self.latest: Progress | None = None
        self._units = 0
        self._at = 0.0
        self._seconds = self._done = 0.0

    def update(self, event: Progress) -> None:
        """Take in how far the run is."""
        before, self.latest = self.latest, event
        if before is not None and (event.total, event.unit) == (before.total, before.unit) and event.done == before.done:
            return
        now = self.watch.seconds
        if before is None or (event.total, event.unit) != (before.total, before.unit) or event.done < before.done:
            self._units, self._seconds, self._done = int(event.done > 0), 0.0, 0.0
        else:
            self._units += 1
            if self._units > 1:
                self._seconds += now - self._at - FORGOTTEN * self._seconds
                self._done += event.done - before.done - FORGOTTEN * self._done
        self._at = now

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go; None while it can't be told."""
        if self.latest is None or not self._done or self._units < UNITS_BEFORE_ESTIMATE:
            return None
        left = (self.latest.total - self.latest.done) * self._seconds / self._done
        return max(0.0, left - (self.watch.seconds - self._at))
