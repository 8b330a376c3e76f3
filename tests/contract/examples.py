"""A small example of every engine, on which the whole contract is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from napari_recon.core.compute import Compute
from napari_recon.core.engine import Engine
from napari_recon.core.events import BlockReady, Event, OutputOpened, PreviewReady
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.region import Selection
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken


class Watched:
    """An array that knows the number of elements of the largest part that was read of it."""

    def __init__(self, data: Any) -> None:
        self.shape, self.dtype, self.ndim, self.largest, self._data = data.shape, data.dtype, data.ndim, 0, data

    def __getitem__(self, key: Any) -> np.ndarray:
        part = np.asarray(self._data[key])
        self.largest = max(self.largest, part.size)
        return part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype)


@dataclass(frozen=True)
class Example:
    """An engine with inputs small enough to run many times.

    `stacks` hold a list where an input takes many, `others` what is no image (tables); `tilings` are parameter changes
    that must not change the result.
    In a `chained` series a time point starts from the one before. Along `reshaped` axes the result covers another extent
    than the input, around the same middle.
    """

    engine: Engine[Any]
    stacks: Mapping[str, ImageStack | Sequence[ImageStack]]
    params: Mapping[str, Any] = field(default_factory=dict)
    tilings: Sequence[Mapping[str, Any]] = ()
    model: Callable[[], ModelRef | None] = lambda: None
    tile_tolerance: float = 1e-5
    others: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    reshaped: str = ""
    chained: bool = False
    untouched: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "untouched", self.fingerprints())  # before anything runs

    def fingerprints(self) -> tuple[str, ...]:
        """Digests of every image as it is now."""
        return tuple(stack.fingerprint() for stacks in self.images.values() for stack in stacks)

    @property
    def images(self) -> dict[str, list[ImageStack]]:
        """The stacks of every input."""
        return {n: [s] if isinstance(s, ImageStack) else list(s) for n, s in self.stacks.items()}

    @property
    def inputs(self) -> dict[str, list[Any]]:
        """What a run takes."""
        return {**self.images, **{name: list(things) for name, things in self.others.items()}}

    @property
    def main(self) -> ImageStack:
        """The first stack of the first input."""
        return next(iter(self.images.values()))[0]

    def with_main(self, stack: ImageStack) -> dict[str, list[Any]]:
        """Return what a run takes, with another main stack."""
        inputs = self.inputs
        next(iter(inputs.values()))[0] = stack
        return inputs

    def plan(self, selection: Selection = Selection(), **params: Any) -> Plan:
        refs = [
            InputRef(name=name, uri=f"memory:{name}", grid=stack.grid, dtype=str(stack.dtype))
            for name, stacks in self.images.items()
            for stack in stacks
        ]
        refs += [InputRef(name=name, uri=f"memory:{name}") for name in self.others]
        compute = Compute(device="cpu", threads=1)
        return self.engine.plan(refs, {**self.params, **params}, selection, self.model(), compute)

    def events(self, plan: Plan, token: CancelToken | None = None) -> list[Event]:
        return list(self.engine.run(plan, self.inputs, token))

    def result(self, plan: Plan) -> np.ndarray:
        """Return the first output after all its events."""
        return collect(self.events(plan), plan.outputs[0].name)

    @cached_property
    def reference_events(self) -> tuple[Event, ...]:
        """The events of the plan without changes, run once for every test that compares with them."""
        return tuple(self.engine.run(self.plan(), {**self.inputs, **self.watched}))

    @cached_property
    def watched(self) -> dict[str, list[ImageStack]]:
        """The stacks of every input as that run reads them: their data know how much was read at once."""
        return {name: [replace(stack, data=Watched(stack.data)) for stack in stacks] for name, stacks in self.images.items()}

    @property
    def reference(self) -> np.ndarray:
        """The first output of that run, an array of the caller's own."""
        return collect(self.reference_events, self.plan().outputs[0].name)


def collect(events: Sequence[Event], output: str) -> np.ndarray:
    array = None
    for event in events:
        if isinstance(event, OutputOpened) and event.output == output:
            array = np.full(event.spec.grid.shape, np.nan)  # what is never written stays NaN
        elif isinstance(event, BlockReady | PreviewReady) and event.output == output:
            assert array is not None, "a block arrived before its output was opened"
            array[event.slices] = event.array
    assert array is not None
    return array
