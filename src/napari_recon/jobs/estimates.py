"""What a run will take, in time and memory: a small tile is timed, and every finished run teaches the next estimate."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_recon.core.engine import Inputs
from napari_recon.core.events import Event, Progress
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines import registry
from napari_recon.hub import cache_folder
from napari_recon.jobs.measure import peak_memory_bytes, resident_bytes

KEPT = 5
#: Planned sizes below this say nothing about memory.
LEARNT_FROM_BYTES = 100_000_000
#: A measured run may take this many times its plan, or as small a part of it; more is a measurement gone wrong.
WIDEST = 4.0
_warm: set[str] = set()


def probe(plan: Plan, inputs: Inputs, token: CancelToken | None = None) -> float | None:
    """Return the expected seconds of the whole plan, from timing a small part of it; None when no part runs alone.

    What the part is, the engine says (`Engine.sample`): as a rule one small central box of the first frame.

    The first call per engine, device and model runs the box twice, since the first run pays for imports, weights and
    caches.

    Raises
    ------
    Cancelled, ReconError
        As the run itself would.
    """
    small = registry.get(plan.engine).sample(plan)
    if small is None:
        return None
    key = _key(plan)[0]
    for _ in range(1 if key in _warm else 2):
        seconds = _timed(small, inputs, token or CancelToken())
    _warm.add(key)
    return seconds * plan.work / max(small.work, 1e-9)


def _timed(plan: Plan, inputs: Inputs, token: CancelToken) -> float:
    started = time.perf_counter()
    for _ in registry.get(plan.engine).run(plan, inputs, token):
        token.check()
    return time.perf_counter() - started


def estimate(plan: Plan) -> float | None:
    """Return the expected seconds from remembered runs of the same engine, device and network; None without any.

    Runs on frames of similar size count before others, since overheads make small frames slower per unit of work.
    """
    table, (kind, size) = _load(_store()), _key(plan)
    near = {
        abs(int(name.rpartition("|")[2]) - size): seen for name, seen in table.items() if name.rpartition("|")[0] == kind
    }
    return plan.work / statistics.median(near[min(near)]) if near else None


def remember(plan: Plan, seconds: float) -> None:
    """Store the speed (work per second) of a finished run; the median of the last few counts."""
    if seconds <= 0 or plan.work <= 0:
        return
    _learn(_store(), "{}|{}".format(*_key(plan)), plan.work / seconds)


def expected_memory(plan: Plan) -> int:
    """Return the bytes a run will take: what the engine plans, times what runs of its kind took of their plans."""
    seen = _load(_memory_store()).get("{}|{}".format(*_key(plan)))
    return round(plan.resources.memory_bytes * statistics.median(seen)) if seen else plan.resources.memory_bytes


class Gauge:
    """Measures what memory a run takes, where that can be told: when it sets a new record of this process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ready = "torch" in sys.modules  # else importing it would count too
        self._before, self._peak = resident_bytes(plan.compute.device), peak_memory_bytes(plan.compute.device)

    def learn(self) -> None:
        """Store how much of the planned memory the run took; small runs drown in what the process does anyway."""
        planned, peak = self._plan.resources.memory_bytes, peak_memory_bytes(self._plan.compute.device)
        if self._ready and planned >= LEARNT_FROM_BYTES and peak > self._peak:
            share = min(max((peak - self._before) / planned, 1 / WIDEST), WIDEST)
            _learn(_memory_store(), "{}|{}".format(*_key(self._plan)), share)


def _learn(target: Path, name: str, value: float) -> None:
    """Add one value to a table of the last few; the median of them counts."""
    table = _load(target)
    table[name] = [*table.get(name, []), value][-KEPT:]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(table, indent=1))
        temporary.replace(target)
    except OSError:
        return  # an estimate is a comfort: a read-only home must not fail a run


class Pace:
    """Measures how long a run's work takes, without what comes once: imports, weights, caches."""

    def __init__(self) -> None:
        self._busy = 0.0
        self._first: tuple[float, float] | None = None

    def saw(self, event: Event, seconds: float) -> None:
        """Count the `seconds` an event took; the first progress marks the end of the preparations."""
        self._busy += seconds
        if self._first is None and isinstance(event, Progress) and 0 < event.done < event.total:
            self._first = self._busy, event.done / event.total

    def seconds(self) -> float:
        """Return the seconds the whole work takes at the pace seen after the first progress."""
        if self._first is None:
            return self._busy
        ready, done = self._first
        return (self._busy - ready) / (1 - done)


def _key(plan: Plan) -> tuple[str, int]:
    """Return engine, device, network and way in words, and the decade of one frame's work."""
    network = plan.model.architecture if plan.model else ""
    way = plan.params.get("method", "")  # an interpolation takes a moment, a fit by the same engine minutes
    return f"{plan.engine}|{plan.compute.device}|{network or way}", len(str(int(max(plan.resources.work, 1)))) - 1


def _store() -> Path:
    return cache_folder() / "throughput.json"


def _memory_store() -> Path:
    return cache_folder() / "memory.json"


def _load(source: Path) -> dict[str, list[float]]:
    try:
        values: Any = json.loads(source.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(values, Mapping):
        return {}
    rows = {str(k): row for k, row in values.items() if isinstance(row, list) and str(k).rpartition("|")[2].isdigit()}
    kept = {k: [float(v) for v in row if isinstance(v, int | float) and v > 0] for k, row in rows.items()}
    return {k: row for k, row in kept.items() if row}


def describe_seconds(seconds: float) -> str:
    """Return ``"3 min 20 s"``."""
    whole = round(seconds)
    if whole < 1:
        return "less than 1 s"
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return " ".join(f"{n} {unit}" for n, unit in ((whole // 60, "min"), (whole % 60, "s")) if n)
