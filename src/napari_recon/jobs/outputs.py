"""Events -> files: outputs block by block, artifacts and curves beside them, recipes where a format cannot carry one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from napari_recon.core.errors import DiskFull, InputError, OutOfMemory, ReconError, describe
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Finished, MetricLogged, OutputOpened, PreviewReady
from napari_recon.core.plan import Plan
from napari_recon.core.provenance import Recipe, Record
from napari_recon.io.output import partial_path
from napari_recon.jobs.artifacts import artifact_suffix, write_artifact, write_table
from napari_recon.jobs.names import Names, check_file

Place = tuple[slice, ...]


class OutputWriter:
    """Writes what a run says; `paths` tells where, `main` which of them is the one that was asked for.

    Parameters
    ----------
    out : str or Path
        A file (first output; others are named after it) or a folder (existing, or ending in ``/``).
    plan : Plan
        Its outputs decide names, and the disk space asked for.
    recipe_out : str or Path, optional
        Also write the recipe here.
    only_model : bool
        Write models, reports and curves, no voxels (``train``); `out` is the model's file.
    whole : bool
        What is not finished leaves no file, whatever the reason.

    Raises
    ------
    InputError, DiskFull
        Before anything runs, when the place is unfit.
    """

    def __init__(
        self,
        out: str | Path,
        plan: Plan,
        recipe_out: str | Path | None = None,
        only_model: bool = False,
        whole: bool = False,
    ) -> None:
        self.paths: dict[str, str] = {}
        self.main: str | None = None
        self._plan, self._recipe_out, self._only_model, self._only_whole = plan, recipe_out, only_model, whole
        self._names = Names(out, plan, only_model)
        self._names.check()
        if recipe_out is not None:
            check_file(Path(recipe_out))
        self._files: dict[str, Any] = {}
        self._pending: dict[str, dict[tuple[Any, ...], PreviewReady]] = {}
        self._parts: dict[str, list[Any]] = {}
        self._curves: list[dict[str, Any]] = []
        self._models: dict[str, Any] = {}
        self._wrote = False

    def through(self, events: Iterator[Event]) -> Iterator[Event]:
        """Yield `events` after writing each; files get their names when `Finished` arrives.

        When memory or disk space runs out, finished blocks are kept; any other error leaves no file behind. A partial
        result never takes the place of an older one: it becomes ``STEM.partial.ext`` beside it.
        """
        record = Record(self._plan)
        try:
            for event in events:
                self._take(event)
                yield event
        except (ReconError, OSError) as error:
            described = describe(error)
            if not self._only_whole and (isinstance(described, OutOfMemory | DiskFull) or self._wrote or self._models):
                raise self._kept(described, record.finish(partial=True)) from error
            if described is error:
                raise
            raise described from error
        finally:
            self._discard()
            if isinstance(events, Generator):
                events.close()

    def _take(self, event: Event) -> None:
        if isinstance(event, OutputOpened) and not self._only_model:
            self._open(event)
        elif isinstance(event, BlockReady) and not self._only_model:
            self._flush(event.output, event.slices)
            self._files[event.output].write(event.slices, event.array)
            self._wrote = True
        elif isinstance(event, PreviewReady) and not self._only_model:
            self._pending.setdefault(event.output, {})[_key(event.slices)] = event
        elif isinstance(event, ArtifactReady):
            self._artifact(event)
        elif isinstance(event, MetricLogged):
            self._curves.append({"name": event.name, "series": event.series, "step": event.step, "value": event.value})
        elif isinstance(event, Finished):
            self._finish(dict(event.provenance), event.partial)

    def _open(self, event: OutputOpened) -> None:
        from napari_recon.io import create_output

        self._files[event.output] = create_output(self._names.output(event.output), event.spec)

    def _flush(self, output: str, slices: Place | None) -> None:
        """Write estimates before the blocks that replace parts of them; one at the very place of a block is dropped."""
        waiting = self._pending.get(output, {})
        if slices is not None:
            waiting.pop(_key(slices), None)
        for key, preview in list(waiting.items()):
            if slices is None or _overlap(preview.slices, slices):
                self._files[output].write(preview.slices, preview.array)
                self._wrote = True
                del waiting[key]

    def _artifact(self, event: ArtifactReady) -> None:
        payload = event.payload
        if event.kind == "model":  # whether it is a whole one only the end tells
            self._models[event.name] = payload
            return
        if event.kind in ("table", "points") and isinstance(payload, list):
            self._parts.setdefault(event.name, []).extend(payload)
            payload = self._parts[event.name]
        elif event.kind == "report":
            reports = self._parts.setdefault(event.name, [])
            reports.append(payload)
            payload = payload if len(reports) == 1 else list(reports)
        target = self._names.artifact(event.name, artifact_suffix(event.kind, payload))
        write_artifact(target, event.kind, payload)
        self.paths[event.name] = str(target)

    def _finish(self, provenance: dict[str, Any], partial: bool, beside: bool = False) -> None:
        """Close the files; a partial result that is put `beside`, or would replace another, is ``STEM.partial.EXT``."""
        for output in self._pending:
            self._flush(output, None)
        for name, payload in self._models.items():
            target = self._names.artifact(name, artifact_suffix("model", payload))
            target = partial_path(target) if partial and (beside or target.exists()) else target
            write_artifact(target, "model", payload)
            self.paths[name] = str(target)
            if self._only_model:
                self.main = self.main or name
        if partial and not self._wrote and self._files:
            self._discard()
            return
        for output, file in list(self._files.items()):
            if partial and (beside or file.path.exists()):
                file.path = partial_path(file.path)
            file.finish(provenance)
            del self._files[output]
            self.paths[output] = str(file.path)
            self.main = self.main or output
        if self._curves:
            target = self._names.artifact("metrics", ".csv")
            write_table(target, self._curves)
            self.paths["metrics"] = str(target)
        if self._recipe_out is not None and provenance:
            recipe = Recipe.from_dict(provenance)
            Path(self._recipe_out).parent.mkdir(parents=True, exist_ok=True)
            Path(self._recipe_out).write_text(recipe.to_yaml())

    def _kept(self, error: ReconError, provenance: dict[str, Any]) -> ReconError:
        """Keep what was finished and return the error, which then says where it is."""
        try:
            self._finish(provenance, partial=True, beside=isinstance(error, InputError))
        except (OSError, ReconError):
            self._discard()
        place = self.paths.get(self.main or "")
        return type(error)(f"{error}; what was finished is in {place}") if place else error

    def _discard(self) -> None:
        for file in self._files.values():
            file.discard()
        self._files = {}


def write_events(
    events: Iterator[Event], out: str | Path, plan: Plan, recipe_out: str | Path | None = None
) -> Iterator[Event]:
    """Write `events` of `plan` to files and yield them on; see `OutputWriter`."""
    return OutputWriter(out, plan, recipe_out).through(events)


def _key(slices: Place) -> tuple[Any, ...]:
    return tuple((s.start, s.stop) for s in slices)


def _overlap(a: Place, b: Place) -> bool:
    return all(
        (p.start or 0) < (q.stop if q.stop is not None else 1 << 62)
        and (q.start or 0) < (p.stop if p.stop is not None else 1 << 62)
        for p, q in zip(a, b, strict=True)
    )
