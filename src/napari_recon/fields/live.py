"""A field that is looked at: what is asked for is answered at once with the best there is, and computed behind it.

One thread evaluates, newest request first, in steps of a fraction of a second: a coarse picture of what is seen, the data's
own resolution, then what was asked for from the middle outwards. What lands is said, so that a viewer asks again.
"""

from __future__ import annotations

import atexit
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from napari_recon.core.errors import Cancelled
from napari_recon.fields.live_array import FieldArray
from napari_recon.fields.live_lattice import Levels, Span, Spans, by_axis
from napari_recon.fields.live_store import Box, Store, Values, batch, hull, tiles_of

Check = Callable[[], None]
Evaluate = Callable[[Mapping[str, Span], Check], Values]
"""Gives the values, one axis per axis of the data, at places by axis; calls what it is given often, which may raise."""

STEP_S = 0.15
"""What is computed at once, so that a newer request waits no longer."""
PATIENCE_S = 0.35
"""When the data's own resolution takes longer, something coarser comes first."""
LONG_S = 0.3
"""A step that takes longer (a wrong estimate) is left when something newer is asked for."""
REST_S = 0.2
"""After this long without requests what may be asked for next is looked up."""
AHEAD_S = 20.0
"""Time spent on that, at most."""
FIRST, OVERVIEW = 1 << 13, 1 << 16
"""Samples of a whole volume, at most: the first one, and one per time point."""
MEMORY = 1 << 29
"""Bytes kept of what was computed."""
SIDE, ALONE_S = 8, 5.0
"""Requests beside the view that wait at most; time after which a field that nobody started starts by itself."""


@dataclass(frozen=True)
class Landed:
    """What became known.

    Attributes
    ----------
    kind : {"view", "side", "overview"}
        What is seen, something else that was asked for, or a coarse volume.
    exact : bool
        All that was asked for is there.
    whole : bool
        It covers what was asked for, though perhaps coarsely; otherwise it is some tiles of it.
    seconds : float
        Since it was asked for.
    density : float
        Samples per data point along x of what landed.
    spans : Spans
        Where it lies.
    """

    kind: Literal["view", "side", "overview"]
    exact: bool
    whole: bool
    seconds: float
    density: float
    spans: Spans = field(repr=False, default=())


@dataclass(eq=False)
class Request:
    """Something that is asked for: a box of a level, or any lattice (then `tiles` is empty)."""

    spans: Spans
    level: int = 0
    box: Box = ()
    tiles: Sequence[Box] = ()
    asked: float = field(default_factory=time.perf_counter)
    before: list[Request] | None = None
    """Coarser pictures that come first; None as long as that is not decided."""
    quick: bool = False
    """Nothing comes before it."""
    done: bool = False

    @property
    def count(self) -> int:
        """Number of samples."""
        return math.prod(span.count for span in self.spans)


class LiveField:
    """A field on the levels that a viewer looks at.

    Parameters
    ----------
    opener : Callable
        Loads the field and returns what evaluates it; called in the thread.
    levels : Levels
    immediate : bool
        The main thread is answered at once. Other threads, and all without this, wait for exact values.
    about : object
        Whatever its maker wants to find again.
    memory : int
        Bytes kept of what was computed.

    Attributes
    ----------
    landed, failed : callable
        Called in the thread with `Landed`, and with an exception (the request is then given up).
    asked : callable
        Called by who asks for something that is not known.
    overview : array or None
        The first coarse volume.
    """

    def __init__(
        self,
        opener: Callable[[], Evaluate],
        levels: Levels,
        immediate: bool = True,
        about: object = None,
        memory: int = MEMORY,
    ) -> None:
        self.levels, self.immediate, self.about = levels, immediate, about
        self._opener = opener
        self.landed: Callable[[Landed], None] = lambda landed: None
        self.failed: Callable[[Exception], None] = lambda error: None
        self.asked: Callable[[], None] = lambda: None
        self.overview: Values | None = None
        self._evaluate: Evaluate | None = None
        self._evaluating = threading.RLock()
        self._time = levels.data.axes.index("T") if "T" in levels.data.axes else None
        self._memory = memory
        self.store = Store(memory, self._time)
        self._changed = threading.Condition()
        self._view: Request | None = None
        self._side: list[Request] = []
        self._asked = time.perf_counter()
        self._rate, self._rated, self._ahead = 2e5, False, 0.0
        self._overviews: set[float] = set()
        self._closed = False
        self._thread: threading.Thread | None = None
        self.arrays = tuple(FieldArray(self, level) for level in range(len(levels.shapes)))
        self._made = time.perf_counter()

    @property
    def exact(self) -> bool:
        """Whether what is seen is what was asked for."""
        return self._view is None or self._view.done

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def answers_at_once(self) -> bool:
        """Whether the calling thread gets the best there is, not what it asks for."""
        return self.immediate and threading.current_thread() is threading.main_thread()

    def values(self, level: int, part: tuple[range | int, ...], seen: bool) -> Values:
        """Return the values of a part of a level, with axes of length one where `part` has a number.

        Parameters
        ----------
        level : int
        part : tuple of (range or int)
            Steps above zero.
        seen : bool
            It is what a viewer shows; another view is of no interest any more.
        """
        ranges = [range(each, each + 1) if isinstance(each, int) else each for each in part]
        spans = tuple(_span(self.levels, level, axis, each) for axis, each in enumerate(ranges))
        known = self.store.block(spans)
        if not self.answers_at_once:
            return known if known is not None else self._exact(spans)
        if self._closed:
            return self._guessed(spans)
        request = Request(spans, level, done=known is not None)
        if all(each.step == 1 for each in ranges):
            request.box = tuple((each.start, each.stop) for each in ranges)
            request.tiles = tiles_of(request.box, self.levels.shapes[level])
        if known is None:
            known = self._guessed(spans)
            if request.tiles and not self.store.paint(level, request.box, request.tiles, known):
                self.store.put(spans, known)
                request.done = True
        self._ask(request, seen)
        return known

    def relevelled(self, levels: Levels) -> None:
        """Go over to other levels of the same data (another time resolution); what is known stays of use."""
        with self._changed:
            self.levels, self._view, self._side = levels, None, []
            self.store.forget_tiles()
            self.arrays = tuple(FieldArray(self, level) for level in range(len(levels.shapes)))

    def close(self) -> None:
        """Stop the thread and let go of the field and all that is kept; returns at once."""
        with self._changed:
            self._closed = True
            self._view, self._side, self._evaluate = None, [], None
            self._changed.notify_all()
        self.store.clear()

    def reopen(self) -> None:
        """Go on after `close`."""
        if self._closed and self.join(5.0):
            self._closed, self._overviews, self.overview = False, set(), None
            self._start()

    def join(self, seconds: float) -> bool:
        """Wait until the thread has ended and return whether it has."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def start(self) -> None:
        """Start the thread: better when the layer is there, since loading the field slows everything down for a moment."""
        if self._thread is None and not self._closed:
            self._start()

    def _start(self) -> None:
        _RUNNING.add(self)
        self._thread = threading.Thread(target=self._work, name="napari-recon field", daemon=True)
        self._thread.start()

    def _ask(self, request: Request, seen: bool) -> None:
        with self._changed:
            old = self._view
            if seen:
                if old is None or old.spans != request.spans or request.done:
                    self._view = request
                    self._asked = request.asked
            elif not request.done and all(each.spans != request.spans for each in [*self._side, *([old] if old else [])]):
                self._side = [*self._side[1 - SIDE :], request]
            self._changed.notify_all()
        if not request.done:
            self.asked()
            if self._thread is None and request.asked - self._made > ALONE_S:
                self.start()  # nobody did

    def _guessed(self, spans: Spans) -> Values:
        shape = tuple(span.count for span in spans)
        guess = self.store.guess(spans)
        return np.zeros(shape, np.float32) if guess is None else np.ascontiguousarray(guess, np.float32).reshape(shape)

    def _exact(self, spans: Spans) -> Values:
        """Return exact values, computed in the calling thread."""
        with self._evaluating:
            if self._evaluate is None:
                self._evaluate = self._opener()
            found = self._evaluate(by_axis(self.levels.data, spans), lambda: None)
        if found.nbytes <= self._memory // 16:
            self.store.put(spans, found)
        return found

    def _work(self) -> None:
        try:
            with self._evaluating:
                if self._evaluate is None:
                    self._evaluate = self._opener()
        except Exception as error:  # the field can't be opened
            self.failed(error)
            return
        todo: Request | float | None = -1.0
        while todo is not None:
            try:
                if isinstance(todo, Request):
                    self._advance(todo)
                elif todo < 0:
                    self._overview(FIRST)
                else:
                    self._overview(max(FIRST, min(OVERVIEW, int(self._rate * STEP_S))), todo)
            except Cancelled:
                pass  # something newer is wanted, or nothing
            except Exception as error:
                if isinstance(todo, Request):
                    todo.done = True
                else:
                    self._ahead = AHEAD_S
                self.failed(error)
            todo = self._next()
        self._evaluate = None

    def _next(self) -> Request | float | None:
        """Wait for what is to be done: a request, a time point to look ahead to, or None at the end."""
        with self._changed:
            while not self._closed:
                if self._view is not None and not self._view.done:
                    return self._view
                rest = self._asked + REST_S - time.perf_counter()
                self._side = [each for each in self._side if not each.done]
                if self._side and rest <= 0:
                    return self._side[-1]
                ahead = self._time_ahead()
                if ahead is not None and rest <= 0:
                    return ahead
                self._changed.wait(max(rest, 0.01) if self._side or ahead is not None else None)
        return None

    def _time_ahead(self) -> float | None:
        """Return the time point nearest to what is seen of which nothing is known, None when enough was looked up."""
        if self._time is None or self._view is None or self._ahead >= AHEAD_S:
            return None
        if len(self._overviews) * OVERVIEW * 4 > self._memory // 8:
            return None
        now = self._view.spans[self._time].first
        left = set(map(float, range(self.levels.data.shape[self._time]))) - self._overviews
        return min(left, key=lambda at: abs(at - now), default=None)

    def _overview(self, samples: int, at: float | None = None) -> None:
        """Look at a whole volume coarsely."""
        last = len(self.levels.shapes) - 1
        spans = list(self.levels.spans(last, [(0, n) for n in self.levels.shapes[last]]))
        inner = [i for i in range(len(spans)) if i != self._time]
        edge = 1
        while math.prod(min(spans[i].count, edge + 1) for i in inner) <= samples and edge < 1024:
            edge += 1
        for i in inner:
            spans[i] = spans[i].thinned(edge)
        if self._time is not None:
            at = (self.levels.data.shape[self._time] - 1) // 2 if at is None else at
            spans[self._time] = Span(float(at), 1.0, 1)
        started = time.perf_counter()
        values = self._evaluated(tuple(spans), None)
        if samples > FIRST and self._time is not None:
            self._overviews.add(float(at or 0))
            self._ahead += time.perf_counter() - started
        if self.overview is None:
            self.overview = values
        self.landed(Landed("overview", False, True, time.perf_counter() - started, 1 / spans[-1].step, tuple(spans)))

    def _advance(self, request: Request) -> None:
        """Do a step of a request, or of a coarser one that comes before it."""
        kind: Literal["view", "side"] = "side" if request in self._side else "view"
        if request.before is None:
            request.before = self._coarser(request) if kind == "view" else []
            request.quick = not request.before
        part = request.before[0] if request.before else request
        self._compute(part, request)
        if part.done and part is not request:
            request.before = request.before[1:]
        seconds = time.perf_counter() - request.asked
        if part.done or part is request:
            self.landed(Landed(kind, request.done, part.done, seconds, 1 / part.spans[-1].step, part.spans))

    def _compute(self, part: Request, request: Request) -> None:
        """Do a step of a request and see whether it is done."""
        # of what is seen, the first picture; what makes it finer gives way at once
        urgent = request is self._view and (part is not request or request.quick)
        if not part.tiles:
            self._evaluated(part.spans, request, urgent)
            part.done = True
            return
        missing = self.store.missing(part.level, part.tiles)
        if missing:
            group = batch(missing, max(1, int(self._rate * (PATIENCE_S if urgent else STEP_S))))
            box = hull(group)
            values = self._evaluated(self.levels.spans(part.level, box), request, urgent, keep=False)
            self.store.put_tiles(part.level, box, values, group)
            if len(missing) > len(group):
                return
        found = np.zeros(tuple(span.count for span in part.spans), np.float32)
        if not self.store.paint(part.level, part.box, part.tiles, found):
            self.store.put(part.spans, found)
        part.done = True

    def _coarser(self, request: Request) -> list[Request]:
        """Return the pictures that come before a request because it takes long."""
        if request.count <= self._rate * STEP_S:
            return []
        levels, found = self.levels, []
        if request.tiles:
            own = levels.span(request.level, -1).step
            for level in range(len(levels.shapes) - 1, request.level, -1):
                box = tuple(
                    bounds if bounds[1] - bounds[0] == 1 else _onto(bounds, levels.shapes[request.level][i], n)
                    for i, (bounds, n) in enumerate(zip(request.box, levels.shapes[level], strict=True))
                )
                spans = levels.spans(level, box)
                same = all(a == b for a, b in zip(spans, request.spans, strict=True) if a.count == b.count == 1)
                if same and own < spans[-1].step <= 1.001 and math.prod(span.count for span in spans) < request.count / 2:
                    found.append(Request(spans, level, box, tiles_of(box, levels.shapes[level])))
        first = found[0] if found else request
        if first.count > self._rate * PATIENCE_S:
            edge = max(2, int((self._rate * STEP_S) ** (1 / max(1, sum(span.count > 1 for span in request.spans)))))
            thin = tuple(span.thinned(edge) if span.count > edge else span for span in request.spans)
            if self.store.block(thin) is None:
                found.insert(0, Request(thin))
        return found

    def _evaluated(self, spans: Spans, request: Request | None, urgent: bool = False, keep: bool = True) -> Values:
        """Evaluate at places and learn how fast that goes; gives way to a newer view, at once if it is not urgent."""
        started = time.perf_counter()

        def check() -> None:
            if self._closed:
                raise Cancelled
            newer = self._view is not None and not self._view.done and self._view is not request
            if newer and self._rated and (not urgent or time.perf_counter() - started > LONG_S):
                raise Cancelled

        check()
        with self._evaluating:
            evaluate = self._evaluate
            if evaluate is None:
                raise Cancelled
            values = evaluate(by_axis(self.levels.data, spans), check)
        seconds = time.perf_counter() - started
        if values.size >= 1 << 11:
            measured = values.size / max(seconds, 1e-4)
            self._rate, self._rated = self._rate + 0.4 * (measured - self._rate) if self._rated else measured, True
        if keep and not self._closed:
            self.store.put(spans, values)
        return values


_RUNNING: weakref.WeakSet[LiveField] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End the threads before the interpreter does: it must not go while they compute."""
    running = list(_RUNNING)
    for each in running:
        each.close()
    for each in running:
        each.join(3.0)


def _span(levels: Levels, level: int, axis: int, part: range) -> Span:
    whole = levels.span(level, axis, part.start, part.start + 1)
    return Span(whole.first, whole.step * part.step, len(part))


def _onto(bounds: tuple[int, int], own: int, other: int) -> tuple[int, int]:
    """Return the samples of another level that cover bounds of one, in tiles' edges free of gaps."""
    low, high = math.floor(bounds[0] * other / own), math.ceil(bounds[1] * other / own)
    return max(0, low), min(other, max(high, low + 1))
