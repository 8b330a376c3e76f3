"""Progress on stderr: a bar on a terminal, now and then a line in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from napari_recon.core.events import CheckpointSaved, Event, OutputOpened, Progress, Warned

LOG_INTERVAL_S = 10.0


def shown(events: Iterator[Event], title: str, quiet: bool = False) -> Iterator[Event]:
    """Yield `events`, showing progress meanwhile."""
    if quiet:
        yield from events
    elif sys.stderr.isatty():
        yield from _bar(events, title)
    else:
        yield from _lines(events, title)


def _bar(events: Iterator[Event], title: str) -> Iterator[Event]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, note="")
        for event in events:
            if isinstance(event, Progress):
                bar.update(task, completed=event.done, total=event.total or None, note=_note(event))
            elif isinstance(event, Warned):
                console.print(f"warning: {event.message}", highlight=False, markup=False)
            elif isinstance(event, CheckpointSaved):
                console.print(f"checkpoint {event.path} at step {event.step}", highlight=False, markup=False)
            yield event


def _lines(events: Iterator[Event], title: str) -> Iterator[Event]:
    started = said = time.monotonic()
    for event in events:
        now = time.monotonic()
        if isinstance(event, OutputOpened):
            started = said = now
        elif isinstance(event, Progress) and event.total and now - said >= LOG_INTERVAL_S:
            said, fraction = now, event.done / event.total
            left = f", {(now - started) * (1 / fraction - 1):.0f} s left" if fraction > 0 else ""
            print(f"{title}: {100 * fraction:.0f} % ({_note(event)}{left})", file=sys.stderr, flush=True)
        elif isinstance(event, CheckpointSaved):
            print(f"{title}: checkpoint {event.path} at step {event.step}", file=sys.stderr, flush=True)
        yield event


def _note(event: Progress) -> str:
    note = f"{event.unit} {event.done:g}/{event.total:g}"
    return f"{note}, {event.message}" if event.message else note


def say(*parts: Any) -> None:
    """Print a line for people on stderr."""
    print(*parts, file=sys.stderr)
