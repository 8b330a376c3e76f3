"""Recordings that are still being made: frames are reconstructed as they land, the newest first."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from napari_recon.core.errors import Cancelled, DiskFull, InputError, ReconError
from napari_recon.core.token import CancelToken
from napari_recon.io.open import series_files
from napari_recon.jobs.batch.item_run import ItemRun, sweep
from napari_recon.jobs.batch.items import Item, find_items, result_paths
from napari_recon.jobs.batch.parts import frames_of
from napari_recon.jobs.batch.records import Outcome
from napari_recon.jobs.batch.report import write_report
from napari_recon.jobs.batch.run import BatchEvent, BatchFinished, ItemChanged, Prepared, failure, kept, made, reported

POLL_S = 0.5


@dataclass(frozen=True)
class Patience:
    """How long a watch waits, in seconds.

    Attributes
    ----------
    settle : float
        A file that was not written to for this long is whole; its frames are made.
    complete : float
        A recording to which nothing was added for this long gets its name.
    idle : float
        The watch ends when nothing was added anywhere for this long; 0: only when it is cancelled.
    """

    settle: float = 2.0
    complete: float = 60.0
    idle: float = 0.0


@dataclass
class _Growing:
    run: ItemRun
    changed: float = field(default_factory=time.monotonic)
    stamp: tuple[float, int] = (0.0, 0)
    problem: str = ""
    opened: bool = False
    refused: dict[int, str] = field(default_factory=dict)


def watch_batch(
    prepared: Prepared, token: CancelToken | None = None, patience: Patience = Patience()
) -> Iterator[BatchEvent]:
    """Reconstruct what lands in a folder until cancelled.

    Parameters
    ----------
    prepared : Prepared
        Its source may be empty at first; recordings that appear later are taken up.
    token : CancelToken, optional
        Ends the watch; what is not complete goes on with ``resume``.
    patience : Patience

    Raises
    ------
    InputError
        The folder of results is in use or can't be written.
    DiskFull
    """
    token, folder, settings = token or CancelToken(), prepared.folder, prepared.settings
    growing: dict[Item, _Growing] = {}
    outcomes: dict[Item, Outcome] = {}
    with folder.locked():
        if not prepared.resumed:
            for target in prepared.targets.values():
                kept(Outcome(), target, prepared.existing)  # refuses before anything is begun
            folder.begin(settings)
        sweep(prepared.targets.values())
        latest = time.monotonic()
        with reported(prepared, outcomes), suppress(Cancelled):
            while not patience.idle or time.monotonic() - latest < patience.idle:
                token.check()
                for item, target in _found(prepared).items():
                    if item in growing or item in outcomes:
                        continue
                    latest, state = time.monotonic(), kept(folder.log(item).outcome(), target, prepared.existing)
                    if state is not None:
                        outcomes[item] = state
                    else:
                        growing[item] = _Growing(ItemRun(item, prepared.recipe, target, folder, settings.device))
                for item, at in sorted(growing.items(), key=lambda pair: -pair[1].changed):
                    for event in _followed(at, token, patience):
                        latest = time.monotonic()
                        if event.state != "running":
                            del growing[item]
                            outcomes[item] = folder.log(item).outcome()
                            write_report(folder.out, settings, outcomes)
                        yield event
                time.sleep(POLL_S)
        if not growing:
            folder.tidy()
        yield BatchFinished(outcomes, *write_report(folder.out, settings, outcomes), cancelled=bool(growing))


def _found(prepared: Prepared) -> dict[Item, Path]:
    """Return the recordings that are there now and where their results go; none in a folder that is still empty."""
    try:
        items = find_items(prepared.settings.source, prepared.settings.each)
    except InputError:
        return {}
    items = tuple(i for i in items if not Path(i.source).is_relative_to(prepared.folder.out))
    paths = result_paths(items, prepared.folder.out, prepared.settings.name)
    return {item: paths[item.id] for item in items}


def _followed(at: _Growing, token: CancelToken, patience: Patience) -> Iterator[ItemChanged]:
    """Make what can be made of a recording now; "done" or "failed" when nothing was added to it for long."""
    run, stamp = at.run, _stamp(at.run.item)
    if stamp != at.stamp:
        at.stamp, at.changed, at.refused = stamp, time.monotonic(), {}
        try:
            run.open(growing=True)
            at.problem, at.opened = "", True
        except (ReconError, OSError) as error:  # half a file, as a rule; later it is whole
            at.problem = str(error)
    quiet = time.monotonic() - at.changed
    if at.opened and not (run.single and run.apart):  # made as a whole, when it is whole
        wait = patience.settle if run.plan.frames == 1 else patience.complete
        if quiet > wait and not at.problem:
            yield from made(run, token)
        return
    if at.opened:
        settled = run.plan.frames - (0 if quiet > patience.settle else _unsettled(run, patience.settle))
        for number in [n for n in reversed(run.missing) if n < settled and n not in at.refused]:
            token.check()
            try:
                for record in frames_of(run.part(number, number + 1), token):
                    run.took(record)
                    yield ItemChanged(run.item, "running", len(run.frames), run.plan.frames, f"frame {number + 1}")
            except DiskFull:
                raise
            except (ReconError, OSError) as error:  # a frame that is not written yet, as a rule
                at.refused[number] = str(error)
            if _stamp(run.item) != at.stamp:
                return  # newer frames go first
    if quiet <= patience.complete:
        return
    if problem := at.problem or next(iter(at.refused.values()), ""):
        yield failure(run, InputError(problem))
    else:
        run.finish()
        yield ItemChanged(run.item, "done", 1.0, 1.0)


def _files(item: Item) -> list[Path]:
    path = Path(item.source.partition("::")[0])
    files = series_files(path, item.source) if path.is_dir() else None
    return [path] if files is None else files


def _stamp(item: Item) -> tuple[float, int]:
    """Return what changes when something is added to a recording: the newest time, and the size of all."""
    try:
        files = _files(item)
        inside = [p.stat() for f in files for p in (f.rglob("*") if f.is_dir() else [f])]
        return max((s.st_mtime for s in inside), default=0.0), sum(s.st_size for s in inside)
    except (OSError, InputError):
        return 0.0, 0


def _unsettled(run: ItemRun, settle: float) -> int:
    """Return how many of the last frames may still be in the making."""
    files = _files(run.item)
    if len(files) != run.plan.frames:
        return 1
    now = time.time()
    return sum(now - file.stat().st_mtime < settle for file in files)
