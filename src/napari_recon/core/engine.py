"""What an engine is: declared inputs and outputs, a plan made from headers, a run that yields events."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar, Generic, Literal, TypeVar

from napari_recon import __version__
from napari_recon.core.compute import Compute
from napari_recon.core.errors import Cancelled, InputError, describe
from napari_recon.core.events import Decided, Event, Finished, OutputOpened
from napari_recon.core.grid import Frozen
from napari_recon.core.params import EngineParams, make_params
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.provenance import Record
from napari_recon.core.region import Box, Selection, TimeRange
from napari_recon.core.token import CancelToken

P = TypeVar("P", bound=EngineParams)
Accepts = Literal["image", "labels", "points", "table", "psf", "file"]
Inputs = Mapping[str, Sequence[Any]]
"""Input name -> the things that feed it: `ImageStack` for image, labels and psf; else what `io` read (paths, rows)."""


class InputSpec(Frozen):
    """One declared input.

    Attributes
    ----------
    axes : str
        Those of one frame. Empty for tables and files.
    loops : str
        Axes that data may have besides; every place along those of the main input is a frame of its own.
    also : tuple of str
        Other axes of one frame that the engine arranges into `axes` itself (see `FrameEngine.arranged`).
    many : bool
        Takes any number of things, in order.
    accepts : tuple of str
        ``"labels"`` alone keeps whole numbers; every other picture arrives as float32.
    suffixes : tuple of str
        File suffixes taken besides those of images and tables.
    neighbours : int
        Frames before and after that come along when T is looped over; at the ends of the series the last one repeats.
    lazy : bool
        The engine reads a frame piece by piece (`FramePieces`), and so is not held back by its size.
    """

    name: str
    axes: str = ""
    loops: str = "TC"
    also: tuple[str, ...] = ()
    required: bool = True
    many: bool = False
    accepts: tuple[Accepts, ...] = ("image",)
    neighbours: int = 0
    lazy: bool = False
    suffixes: tuple[str, ...] = ()
    description: str = ""


class OutputInfo(Frozen):
    """One declared output."""

    name: str
    kind: Literal["image", "labels", "points", "table", "model", "report", "transform", "file"] = "image"
    axes: str = ""
    description: str = ""


class EngineInfo(Frozen):
    """What the menus, the command line and the docs know about an engine without loading it.

    Attributes
    ----------
    name : str
        ``family.method``.
    halo : str
        In words and numbers: how far a result depends on its surroundings.
    roi_tolerance : float
        Largest allowed |ROI result - crop of whole result| relative to the maximum of the whole result.
    references : tuple of str
        Papers (DOI) the method comes from.
    """

    name: str
    kind: Literal["reconstruct", "preprocess", "fit", "query", "train", "simulate", "segment"]
    title: str
    summary: str
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputInfo, ...] = ()
    needs_model: Literal["none", "optional", "required"] = "none"
    halo: str = "none"
    roi_tolerance: float = 0.0
    live: bool = False
    references: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    def input(self, name: str) -> InputSpec:
        """Return the declared input `name` (InputError when there is none)."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        known = ", ".join(spec.name for spec in self.inputs) or "none"
        raise InputError(f"{self.name} has no input {name!r}; its inputs are: {known}")


class Session(ABC):
    """Live work: frames go in as they arrive, parameters may change between them."""

    @abstractmethod
    def feed(self, frame: Any) -> Iterator[Event]:
        """Yield the events of one new frame (axes of one frame of the main input)."""

    @abstractmethod
    def update(self, params: Mapping[str, Any]) -> Iterator[Event]:
        """Change live parameters and yield the events of the latest frame again."""

    @abstractmethod
    def close(self) -> None:
        """Release what the session holds."""


class Engine(ABC, Generic[P]):
    """Base of every engine. Its module must not import torch: `process` imports its pipeline inside.

    Subclasses define `info`, `Params`, `plan` and `process`; callers use `plan` and `run`.
    """

    info: ClassVar[EngineInfo]
    Params: type[P]
    uses_torch: ClassVar[bool] = True

    @abstractmethod
    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """Return the frozen plan of a run, from headers alone.

        Raises
        ------
        InputError
            When inputs, parameters, selection or model do not fit together.
        """

    @abstractmethod
    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Do the work: yield every event except `OutputOpened` of planned outputs and `Finished`."""

    def run(self, plan: Plan, inputs: Inputs, token: CancelToken | None = None) -> Iterator[Event]:
        """Yield the events of a run; the last is `Finished`, also after a cancel.

        Raises
        ------
        ReconError
            Everything that goes wrong, described for the user.
        """
        token = token or CancelToken()
        record = Record(plan)
        try:
            for spec in plan.outputs:
                yield OutputOpened(spec.name, spec)
            with torch_settings(plan.compute) if self.uses_torch else nullcontext():
                for event in self.process(plan, inputs, token):
                    if isinstance(event, Decided):
                        record.decide(event.params)
                    yield event
        except Cancelled:
            yield Finished(record.finish(partial=True), partial=True)
            return
        except Exception as error:
            raise describe(error) from error
        yield Finished(record.finish(partial=False), partial=False)

    def prepared(self, plan: Plan) -> Engine[P]:
        """Return what runs several parts of one plan: this engine, or a copy that holds what is loaded once."""
        return self

    def frames_apart(self, plan: Plan) -> bool:
        """Return whether the frames of a plan can be made in any order and by different workers (`Plan.part`)."""
        return False

    def open(self, plan: Plan, inputs: Inputs) -> Session:
        """Return a live session (InputError for engines without one)."""
        raise InputError(f"{self.info.name} does not run live; use run instead")

    def sample(self, plan: Plan) -> Plan | None:
        """Return a short plan from whose run the time of `plan` follows by the ratio of their `work`.

        The default is one small central box of the first frame, for engines whose work follows the box. None when no
        part can be run alone (training, simulations); then only earlier runs tell how long it takes.
        """
        if not plan.whole or self.info.kind in ("fit", "train", "simulate"):
            return None
        box, time = plan.box, plan.selection.time
        whole = plan.whole[plan.outputs[0].name]
        target = box.resolved(whole) if box is not None else Box.whole(whole)
        bounds = {a: b if a == "Z" else _centre(*b, plan.resources.tile.get(a.lower(), 0)) for a, b in target.items()}
        bounds |= {a: (start, start + 1) for a, start in plan.starts.items() if a == "Z"}
        first = TimeRange(start=time.start, stop=time.start + 1) if time else None
        return self.plan(plan.inputs, plan.params, Selection(box=Box.of(bounds), time=first), plan.model, plan.compute)

    def params_of(self, plan: Plan) -> P:
        """Return the plan's parameters as the engine's own type."""
        return self.Params.model_validate(plan.params)

    def checked(
        self, refs: Sequence[InputRef], params: Mapping[str, Any], model: ModelRef | None
    ) -> tuple[P, dict[str, list[InputRef]]]:
        """Return validated parameters and the references by input name; check model and inputs by declaration."""
        values = make_params(self.Params, params, self.info.name)
        by_name: dict[str, list[InputRef]] = {spec.name: [] for spec in self.info.inputs}
        for ref in refs:
            self.info.input(ref.name)
            by_name[ref.name].append(ref)
        for spec in self.info.inputs:
            if spec.required and not by_name[spec.name]:
                raise InputError(f"{self.info.name} needs the input {spec.name} ({spec.description}); give one")
            if not spec.many and len(by_name[spec.name]) > 1:
                raise InputError(
                    f"{self.info.name} takes one {spec.name}, found {len(by_name[spec.name])}; run once for each"
                )
        if self.info.needs_model == "required" and model is None:
            raise InputError(f"{self.info.name} needs a model; choose one from the menu or give --model")
        if self.info.needs_model == "none" and model is not None:
            raise InputError(f"{self.info.name} uses no model, found {model.id}; leave the model out")
        return values, by_name

    def planned(self, **fields: Any) -> Plan:
        """Return a `Plan` with this engine's name and version filled in."""
        return Plan(engine=self.info.name, version=__version__, **fields)


def _centre(start: int, stop: int, tile: int) -> tuple[int, int]:
    size = min(stop - start, max(16, (stop - start) // 4 if not tile else min(tile, (stop - start) // 2)))
    low = start + (stop - start - size) // 2
    return low, low + size


_lock = threading.Lock()
_running: list[tuple[int, Compute]] = []
"""Runs that go on, the thread of each; there is one torch for all of them."""
_before: list[Any] = []


@contextmanager
def torch_settings(compute: Compute) -> Iterator[None]:
    """Apply threads, seed and determinism to torch (imported here) for the duration of a run.

    The number of threads belongs to the thread that sets it, and new ones begin with it; the rest belongs to the process. Of
    runs beside each other the first one seeds the common generator, and the last one puts back what was there before.
    """
    import torch

    mine = threading.get_ident(), compute
    with _lock:
        threads = torch.get_num_threads()  # torch takes the common number over when a thread asks for the first time
        alone = all(thread == mine[0] for thread, _ in _running)
        if not _running:
            _before[:] = threads, torch.are_deterministic_algorithms_enabled()
        _running.append(mine)
        torch.set_num_threads(max(1, compute.threads))
        if alone:  # else it would change what another run draws
            torch.manual_seed(compute.seed)
        if compute.deterministic:
            torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        with _lock:
            _running.remove(mine)
            torch.set_num_threads(threads if alone else _before[0])
            if compute.deterministic and not any(other.deterministic for _, other in _running):
                torch.use_deterministic_algorithms(_before[1])  # only then: the call loads torch's compiler: seconds
