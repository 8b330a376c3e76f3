"""The run of fusion.pipeline: time point after time point, step after step; what is finished is not done again."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from napari_recon.core.engine import Inputs
from napari_recon.core.errors import Cancelled, InputError
from napari_recon.core.events import (
    ArtifactReady,
    BlockReady,
    Decided,
    Event,
    Finished,
    MetricLogged,
    PreviewReady,
    Progress,
    Warned,
)
from napari_recon.core.plan import InputRef, Plan
from napari_recon.core.region import Selection
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.chain.links import VIEWS, Link, undecided, values_of
from napari_recon.engines.fusion.chain.params import PipelineParams
from napari_recon.engines.fusion.chain.work import Kept, Making, WorkFolder, digest_of, identity

Place = Mapping[str, int]


@dataclass
class Spot:
    """One time point and channel on its way through the steps.

    Attributes
    ----------
    place : mapping
        Looped axis -> index in the recording.
    things : dict
        Name -> stacks, of the inputs and of what steps made.
    kept : list of Kept
        One per step that is done.
    outer : tuple of slice, optional
        Where it goes in the outputs; None for a frame that only decides.
    missing : str
        ``"a"`` or ``"b"`` when that view holds hardly any light.
    """

    place: Place
    things: dict[str, list[ImageStack]]
    kept: list[Kept] = field(default_factory=list)
    outer: tuple[slice, ...] | None = None
    missing: str = ""

    @property
    def name(self) -> str:
        """As it is called in messages."""
        words = {"T": "time point", "C": "channel"}
        return ", ".join(f"{words[a]} {i}" for a, i in self.place.items())


class ChainRun:
    """One run: what was decided on the first frame, the folder of finished steps, and how far all of it is."""

    def __init__(self, plan: Plan, params: PipelineParams, links: list[Link], inputs: Inputs, token: CancelToken) -> None:
        self._plan, self._params, self._links, self._inputs, self._token = plan, params, links, inputs, token
        self._work = WorkFolder(params.work_folder)
        self._decided: dict[str, dict[str, Any]] = {}
        self._transform: dict[str, Any] = {}
        self._said: set[tuple[str, str]] = set()
        self._done = 0.0
        self._total = 1.0

    def events(self) -> Iterator[Event]:
        """Yield the events of all frames; the recording's first one goes ahead where it decides something."""
        first = dict.fromkeys(self._plan.looped, 0)
        sizes = [range(self._plan.outputs[0].grid.size(a)) for a in self._plan.looped]
        places = [(at, self._plan.place(n)) for n, at in enumerate(product(*sizes))]
        deciding = 0
        if all(place != first for _, place in places):
            values = {link.name: values_of(link, self._params, {}) for link in self._links}
            deciding = max((n + 1 for n, link in enumerate(self._links) if undecided(link, values[link.name])), default=0)
        shares = [link.share for link in self._links]
        self._total = sum(shares) * len(places) + sum(shares[:deciding])
        if deciding:
            yield from self._frame(Spot(first, self._things(first)), self._links[:deciding])
        for at, place in places:
            outer = tuple(slice(i, i + 1) for i in at)
            yield from self._frame(Spot(place, self._things(place), outer=outer), self._links)
        self._work.close()

    def _frame(self, spot: Spot, links: list[Link]) -> Iterator[Event]:
        """Take one frame through the steps, from the first that is not done yet."""
        self._token.check()
        digests: list[str] = []
        for link in links:
            digests.append(self._digest(link, spot, digests))
            kept = self._work.find(digests[-1])
            if kept is None:
                break
            yield from self._took(link, spot, kept)
        waiting = self._waiting(spot, links)
        for number, link in enumerate(links):
            if number in waiting:
                digests += [self._digest(link, spot, digests)] if number == len(digests) else []
                kept = yield from self._made(link, spot, digests[number])
                if number < len(spot.kept):
                    spot.kept[number] = kept
                    self._offer(link, spot, kept)
                else:
                    yield from self._took(link, spot, kept)
            else:
                yield from self._handed(link, spot, spot.kept[number])
            self._done += link.share
            yield self._progress(0.0, link, spot, "done")
        if spot.outer is not None:
            yield ArtifactReady("report", "report", self._report(spot, links))
            if self._work.own:
                for one in spot.kept[:-1]:
                    one.drop_voxels()

    def _waiting(self, spot: Spot, links: list[Link]) -> set[int]:
        """Return the steps to be run: those not done, and those whose voxels are gone and needed."""
        needed, found = self._delivered(spot), set()
        for number, link in reversed(list(enumerate(links))):
            done = number < len(spot.kept)
            if not done or (needed & set(link.makes.values()) and not spot.kept[number].whole):
                found.add(number)
                needed |= {name for names in link.takes.values() for name in names}
        return found

    def _digest(self, link: Link, spot: Spot, before: list[str]) -> str:
        """Return what a step's result on a frame is known by: all that it follows from."""
        values = values_of(link, self._params, self._decided, spot.missing)
        if "transform" in values:
            values["transform"] = self._transform or _content(values["transform"])
        given = {n for names in link.takes.values() for n in names} & {*self._inputs, "psf_a", "psf_b"} - {"raw"}
        extra = [identity(stack) for name in sorted(given) for stack in spot.things[name]]
        engine = [link.engine.info.name, self._plan.version, link.model and link.model.sha256, self._plan.compute.device]
        base = before[-1] if before else identity(spot.things["raw"][0])
        return digest_of(base, engine, values, extra, self._box(link).model_dump(mode="json"), spot.missing)

    def _box(self, link: Link) -> Selection:
        return Selection(box=self._plan.box) if link is self._links[-1] else Selection()

    def _made(self, link: Link, spot: Spot, digest: str) -> Generator[Event, None, Kept]:
        """Run a step on a frame, hand its events on and keep what it makes; return that."""
        values = values_of(link, self._params, self._decided, spot.missing)
        if link.name == "split_views" and self._transform:
            values["transform"] = str(self._work.file(digest, self._transform))
        inputs = {name: [s for n in names for s in spot.things[n]] for name, names in link.takes.items()}
        if spot.missing and link.name == "multiview_rl":
            kept_view = VIEWS.index("view_b" if spot.missing == "a" else "view_a")
            inputs = {n: s[kept_view : kept_view + 1] if len(s) == len(VIEWS) else s for n, s in inputs.items()}
        if spot.missing and link.name == "rldfn":
            raise InputError(
                f"both views are needed to fuse {spot.name or 'the volume'} by rldfn, found hardly any light in "
                f"view_{spot.missing}; leave it out (--time), or take fusion=multiview_rl, which makes do with one"
            )
        refs = {n: [_ref(s) for s in stacks] for n, stacks in inputs.items()}
        flat = replace(link, takes={n: (n,) for n in refs})
        plan = flat.plan(refs, values, self._box(link), self._plan.compute)
        specs = [spec for spec in plan.outputs if spec.name in link.makes]
        making, started = self._work.making(digest, specs), time.perf_counter()
        try:
            with closing(_generator(link.engine.run(plan, inputs, self._token))) as events:
                for event in events:
                    yield from self._relayed(event, link, spot, making)
            making.record.seconds = round(time.perf_counter() - started, 3)
            return making.done()
        finally:
            making.drop()

    def _relayed(self, event: Event, link: Link, spot: Spot, making: Making) -> Iterator[Event]:
        record = making.record
        if isinstance(event, BlockReady | PreviewReady):
            if isinstance(event, BlockReady):
                making.write(event)
            name = link.makes.get(event.output, "")
            if name in self._delivered(spot):
                yield self._placed(replace(event, output=name), spot)
        elif isinstance(event, Progress):
            yield self._progress(event.done / max(event.total, 1e-12) * link.share, link, spot, event.message)
        elif isinstance(event, Decided):
            record.decided.update(event.params)
        elif isinstance(event, Warned):
            record.warnings.append(event.message)
        elif isinstance(event, ArtifactReady) and event.kind == "transform":
            record.transform = dict(event.payload)
        elif isinstance(event, ArtifactReady) and event.kind == "report":
            record.reports.append(dict(event.payload))
        elif isinstance(event, MetricLogged):
            series = ", ".join(part for part in (link.name, spot.name, event.series) if part)
            yield replace(event, series=series)
        elif isinstance(event, Finished) and event.partial:
            raise Cancelled

    def _took(self, link: Link, spot: Spot, kept: Kept) -> Iterator[Event]:
        """Take over what a finished step said, and offer its voxels to the next."""
        record = kept.record
        spot.kept.append(kept)
        self._offer(link, spot, kept)
        where = f"{link.name}, {spot.name}" if spot.name else link.name
        for sentence in record.warnings:
            if (link.name, sentence) not in self._said:
                self._said.add((link.name, sentence))
                yield Warned(f"{where}: {sentence}")
        if record.decided:
            self._decided.setdefault(link.name, {}).update(record.decided)
            own = getattr(self._params, link.name).model_dump(mode="json")
            yield Decided({link.name: {**own, **record.decided}})
        if record.transform and not self._transform and self._params.compat == "none":
            self._transform = record.transform
            yield ArtifactReady("transform", "transform", record.transform)
        spot.missing = next((r["missing_view"] for r in record.reports if r.get("missing_view")), spot.missing)

    def _offer(self, link: Link, spot: Spot, kept: Kept) -> None:
        if kept.whole:
            suffix = f" of {spot.name}" if spot.name else ""
            optics = {"optics": spot.things["raw"][0].metadata.get("optics", {})}
            spot.things |= {name: [kept.stack(output, name + suffix, optics)] for output, name in link.makes.items()}

    def _handed(self, link: Link, spot: Spot, kept: Kept) -> Iterator[Event]:
        """Give the outputs of a step that was finished before."""
        for output, name in link.makes.items():
            if name in self._delivered(spot):
                for block in kept.blocks(output):
                    self._token.check()
                    yield self._placed(replace(block, output=name), spot)

    def _delivered(self, spot: Spot) -> set[str]:
        return {spec.name for spec in self._plan.outputs} if spot.outer is not None else set()

    def _placed(self, event: BlockReady | PreviewReady, spot: Spot) -> Event:
        assert spot.outer is not None  # only delivered frames have outputs
        return replace(event, slices=spot.outer + event.slices, array=event.array[(None,) * len(spot.outer)])

    def _progress(self, beyond: float, link: Link, spot: Spot, note: str) -> Progress:
        message = ", ".join(part for part in (spot.name, link.name.replace("_", " "), note) if part)
        return Progress(round(100 * (self._done + beyond) / self._total, 3), 100.0, "%", message)

    def _report(self, spot: Spot, links: list[Link]) -> dict[str, Any]:
        found: dict[str, Any] = {_WORDS[a]: i for a, i in spot.place.items()}
        for link, kept in zip(links, spot.kept, strict=True):
            found[link.name] = {**(kept.record.reports[-1] if kept.record.reports else {}), "seconds": kept.record.seconds}
        return found

    def _things(self, place: Place) -> dict[str, list[ImageStack]]:
        """Return the inputs at one time point and channel; a single PSF serves the mirrored view turned over."""
        found = {name: [at(stack, place) for stack in stacks] for name, stacks in self._inputs.items()}
        psfs = found.get("psf", [])
        if len(psfs) == 1 and self._params.split_views.enabled:
            psfs = [psfs[0], mirrored(psfs[0])]
            found["psf"] = psfs
        for name, psf in zip(("psf_a", "psf_b"), psfs, strict=False):
            found[name] = [psf]
        return found


_WORDS = {"T": "time_point", "C": "channel"}


class _Part:
    """An array at fixed places along some of its axes; nothing is read before it is indexed."""

    def __init__(self, data: Any, fixed: tuple[int | None, ...]) -> None:
        self._data, self._fixed = data, fixed
        self.shape = tuple(n for n, f in zip(data.shape, fixed, strict=True) if f is None)
        self.dtype = np.dtype(data.dtype)

    def __getitem__(self, key: Any) -> Any:
        given = list(key) if isinstance(key, tuple) else [key]
        given += [slice(None)] * (len(self.shape) - len(given))
        keys = iter(given)
        return np.asarray(self._data[tuple(next(keys) if f is None else f for f in self._fixed)])


def at(stack: ImageStack, place: Place) -> ImageStack:
    """Return a stack at one place along looped axes; what it has once is the same at all places."""
    axes = [a for a in stack.grid.axes if a in "TC"]
    if not axes:
        return stack
    index = {a: min(place.get(a, 0), stack.grid.size(a) - 1) for a in axes}
    grid = stack.grid.only("".join(a for a in stack.grid.axes if a not in axes))
    optics = {
        name: (values[min(index.get("C", 0), len(values) - 1)],)
        for name, values in stack.metadata.get("optics", {}).items()
        if values
    }
    where = ", ".join(f"{a.lower()}={i}" for a, i in index.items() if stack.grid.size(a) > 1)
    data = _Part(stack.data, tuple(index.get(a) for a in stack.grid.axes))
    uri = f"{stack.uri}{'' if '::' in stack.uri else '::'}@{where}" if stack.uri and where else stack.uri
    return ImageStack(data, grid, f"{stack.name} at {where}" if where else stack.name, uri, {"optics": optics})


def mirrored(psf: ImageStack) -> ImageStack:
    """Return the PSF of the view through the mirror: turned over along z, its middle voxel kept in the middle."""
    array = np.asarray(psf.read("ZYX"))[::-1]
    if len(array) % 2 == 0:
        array = np.roll(array, 1, axis=0)
    return ImageStack(np.ascontiguousarray(array), psf.grid.only("ZYX"), f"{psf.name}, turned over", "", psf.metadata)


def _generator(events: Iterator[Event]) -> Generator[Event, None, None]:
    yield from events


def _ref(stack: ImageStack) -> InputRef:
    return InputRef(name="", grid=stack.grid, dtype=str(stack.dtype), optics=stack.metadata.get("optics", {}))


def _content(transform: str) -> Any:
    """Return what tells two transforms apart: the text of the file."""
    from napari_recon.engines.fusion.registration.split_transform import SplitTransform

    given = SplitTransform.given(transform)
    return transform if given is None else given.model_dump(mode="json")
