"""Recordings that are still being made: frames are reconstructed as they land, the newest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from napari_recon.core.engine import Inputs
from napari_recon.core.errors import Cancelled, DiskFull, InputError, ReconError
from napari_recon.core.plan import Plan
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.io.open import series_files
from napari_recon.jobs.batch.item_run import ItemRun, sweep
from napari_recon.jobs.batch.items import Item, find_items, result_paths
from napari_recon.jobs.batch.parts import frames_of
from napari_recon.jobs.batch.records import Outcome
from napari_recon.jobs.batch.report import write_report
from napari_recon.jobs.batch.run import BatchEvent, BatchFinished, ItemChanged, Prepared, failure, kept, made, reported

POLL_S = 0.5
#: Recordings that are complete are looked at this often, in case that something is added after all.
AGAIN_S = 20.0
Stamp = tuple[float, int]


@dataclass(frozen=True)
class Patience:
    """How long a watch waits, in seconds.

    Attributes
    ----------
    settle : float
        A file that was not written to for this long is whole; its frames are made.
    complete : float
        A recording to which nothing was added for this long gets its name; what is added later is taken up again.
    idle : float
        The watch ends when nothing was added anywhere for this long; 0: only when it is cancelled.
    """

    settle: float = 2.0
    complete: float = 60.0
    idle: float = 0.0


@dataclass(frozen=True)
class Clock:
    """The time as a watch sees it, in seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class _Growing:
    """A recording that is followed: what of it is made, and when something was added last."""

    def __init__(self, run: ItemRun, clock: Clock) -> None:
        self.run, self._clock = run, clock
        self.changed = clock.now()
        self.opened = False
        self.problem = ""
        self.refused: dict[int, str] = {}
        self._stamp: Stamp | None = None
        self._seen: dict[Path, tuple[Stamp, float]] = {}
        self._file = 0

    @property
    def quiet(self) -> float:
        """For how long nothing was added."""
        return self._clock.now() - self.changed

    def look(self) -> bool:
        """Take note of what was added; returns whether something was."""
        files = files_of(self.run.item)
        now = self._clock.now()
        seen = {file: stamp_of(file) for file in files}
        self._seen = {
            f: self._seen[f] if f in self._seen and self._seen[f][0] == at else (at, now) for f, at in seen.items()
        }
        stamp = (max((s[0] for s in seen.values()), default=0.0), sum(s[1] for s in seen.values()))
        if stamp == self._stamp:
            return False
        same_file = len(files) != 1 or self._is_same(files[0], stamp)
        self._stamp, self.changed, self.refused = stamp, now, {}
        try:
            self.run.open(growing=same_file)
            stale = [n for n, at in self.run.step.sources.items() if at and n in self.run.frames and at != self.source(n)]
            for number in stale:
                self.run.step.forget(number)
            if stale:
                self.run.open(growing=True)
            self.problem, self.opened = "", True
        except (ReconError, OSError) as error:  # half a file, as a rule; later it is whole
            self.problem = str(error)
        return True

    def grew(self) -> bool:
        """Whether something was added to a recording after it was complete."""
        self.look()
        return self.opened and self.run.single and self.run.apart and bool(self.run.missing)

    def source(self, number: int) -> list[Any]:
        """Return name, time and size of the file that a frame is in, where every frame has one of its own."""
        files = list(self._seen)
        if len(files) < 2 or len(files) != self.run.plan.frames:
            return []
        return [files[number].name, *self._seen[files[number]][0]]

    def settled(self, number: int, patience: Patience) -> bool:
        """Whether a frame is no more in the making."""
        files = list(self._seen)
        if len(files) == self.run.plan.frames > 1:
            return self._clock.now() - self._seen[files[number]][1] > patience.settle
        if self.quiet > patience.complete:
            return True
        written = chunks_there(self.run.step.stage.inputs, self.run.plan, number)
        return written and (self.quiet > patience.settle or number < self.run.plan.frames - 1)

    def _is_same(self, file: Path, stamp: Stamp) -> bool:
        """Whether a single file only grew, since it was seen first."""
        before, self._file = self._file, file.stat().st_ino if file.exists() else 0
        shrunk = self._stamp is not None and stamp[1] < self._stamp[1]
        return not shrunk and before in (0, self._file)


def watch_batch(
    prepared: Prepared,
    token: CancelToken | None = None,
    patience: Patience = Patience(),
    clock: Clock = Clock(),
) -> Iterator[BatchEvent]:
    """Reconstruct what lands in a folder until cancelled.

    Parameters
    ----------
    prepared : Prepared
        Its source may be empty at first; recordings that appear later are taken up.
    token : CancelToken, optional
        Ends the watch; what is not complete goes on with ``resume``.
    patience : Patience
    clock : Clock

    Raises
    ------
    InputError
        The folder of results is in use or can't be written.
    DiskFull
    """
    token, folder, settings = token or CancelToken(), prepared.folder, prepared.settings
    growing: dict[Item, _Growing] = {}
    ended: dict[Item, Stamp] = {}
    outcomes: dict[Item, Outcome] = {}
    with folder.locked():
        if not prepared.resumed:
            for target in prepared.targets.values():
                kept(Outcome(), target, prepared.existing)  # refuses before anything is begun
            folder.begin(settings)
        sweep(prepared.targets.values())
        latest = looked = clock.now()
        with reported(prepared, outcomes), suppress(Cancelled):
            while not patience.idle or clock.now() - latest < patience.idle:
                token.check()
                again, looked = clock.now() - looked > AGAIN_S, clock.now() if clock.now() - looked > AGAIN_S else looked
                for item, target in _found(prepared).items():
                    if item in growing or (item in ended and not (again and whole_stamp(item) != ended[item])):
                        continue
                    at = _Growing(ItemRun(item, prepared.recipe, target, folder, settings.device), clock)
                    state = kept(folder.log(item).outcome(), target, prepared.existing)
                    if state is None or (state.state == "done" and at.grew()):
                        growing[item], latest = at, clock.now()
                        ended.pop(item, None)
                    else:
                        outcomes[item], ended[item] = state, whole_stamp(item)
                for item, at in sorted(growing.items(), key=lambda pair: -pair[1].changed):
                    for event in _followed(at, token, patience):
                        latest = clock.now()
                        if event.state != "running":
                            ended[item], outcomes[item] = whole_stamp(item), folder.log(item).outcome()
                            del growing[item]
                            with suppress(ReconError, OSError):  # a table that is open in Excel stops no watch
                                write_report(folder.out, settings, outcomes)
                        yield event
                clock.sleep(POLL_S)
        if not growing:
            folder.tidy()
        yield BatchFinished(outcomes, *write_report(folder.out, settings, outcomes, last=True), cancelled=bool(growing))


def _found(prepared: Prepared) -> dict[Item, Path]:
    """Return the recordings that are there now and where their results go; none in a folder that is still empty."""
    try:
        items = find_items(prepared.settings.source, prepared.settings.each)
    except (InputError, OSError):
        return {}
    items = tuple(i for i in items if not Path(i.source).is_relative_to(prepared.folder.out))
    paths = result_paths(items, prepared.folder.out, prepared.settings.name)
    return {item: paths[item.id] for item in items}


def _followed(at: _Growing, token: CancelToken, patience: Patience) -> Iterator[ItemChanged]:
    """Make what can be made of a recording now; "done" or "failed" when nothing was added to it for long."""
    run = at.run
    if not files_of(run.item) and not (at.opened and run.single and run.apart and not run.missing):
        return  # moved away: it may come back
    at.look()
    if at.opened and not (run.single and run.apart):  # made as a whole, when it is whole
        wait = patience.settle if run.plan.frames == 1 else patience.complete
        if at.quiet > wait and not at.problem:
            yield from made(run, token)
        return
    for number in reversed(run.missing) if at.opened else ():
        if number in at.refused or not at.settled(number, patience):
            continue
        token.check()
        source = at.source(number)
        try:
            for record in frames_of(run.part(number, number + 1), token):
                run.took(record, source)
                yield ItemChanged(run.item, "running", len(run.frames), run.plan.frames, f"frame {number + 1}")
        except DiskFull:
            raise
        except (ReconError, OSError) as error:  # a frame that is not written yet, as a rule
            run.folder.check()
            at.refused[number] = str(error)
        if at.look():
            return  # newer frames go first
    if at.quiet <= patience.complete:
        return
    if problem := at.problem or next(iter(at.refused.values()), ""):
        yield failure(run, InputError(problem))
    elif not run.missing:
        run.finish()
        yield ItemChanged(run.item, "done", 1.0, 1.0)


def chunks_there(inputs: Inputs, plan: Plan, number: int) -> bool:
    """Whether a store that was made for more frames than are in it has the chunks of a frame; true for other files."""
    stack = next((things[0] for things in inputs.values() if things), None)
    array = getattr(stack, "data", None)
    root = getattr(getattr(array, "store", None), "root", None)
    if not isinstance(stack, ImageStack) or array is None or root is None:
        return True
    index, sizes = plan.place(number), array.shards or array.chunks
    counts = [
        [index[a] // size] if a in index else range(-(-n // size))
        for a, n, size in zip(stack.grid.axes, array.shape, sizes, strict=True)
    ]
    return all(Path(root, array.path, array.metadata.encode_chunk_key(at)).exists() for at in product(*counts))


def files_of(item: Item) -> list[Path]:
    """Return the files (or the one file or store) of a recording that are there now, those of a series in its order."""
    path = Path(item.source.partition("::")[0])
    try:
        files = series_files(path, item.source) if path.is_dir() else None
    except (InputError, OSError):
        return []
    return files if files is not None else [path] if path.exists() else []


def stamp_of(file: Path) -> Stamp:
    """Return what changes when something is written to a file, or to one in a store: the newest time, and the size."""
    try:
        inside = [p.stat() for p in (file.rglob("*") if file.is_dir() else [file])]
    except OSError:  # gone while we looked
        return 0.0, 0
    return max((s.st_mtime for s in inside), default=0.0), sum(s.st_size for s in inside)


def whole_stamp(item: Item) -> Stamp:
    """Return the stamp of all files of a recording."""
    stamps = [stamp_of(file) for file in files_of(item)]
    return max((s[0] for s in stamps), default=0.0), sum(s[1] for s in stamps)
