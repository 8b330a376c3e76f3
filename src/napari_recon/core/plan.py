"""Plan: the frozen, complete description of one engine run, made from headers alone."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from napari_recon.core.compute import Compute
from napari_recon.core.grid import Frozen, Grid
from napari_recon.core.region import Box, Selection


class InputRef(Frozen):
    """A reference to one input: where it is and what it looks like, never its pixels.

    Attributes
    ----------
    name : str
        The engine's declared input it feeds.
    uri : str
        ``path``, ``path::key`` or ``layer:ID``.
    grid : Grid or None
        None for inputs that are not images (tables, files).
    optics : dict
        What the file says of the microscope, one number per channel (or one for all): ``na``, ``wavelength_um``,
        ``refractive_index``.
    """

    name: str
    uri: str = ""
    grid: Grid | None = None
    dtype: str = ""
    fingerprint: str = ""
    label: str = ""
    optics: dict[str, tuple[float, ...]] = Field(default_factory=dict)

    def optic(self, name: str, channel: int = 0) -> float | None:
        """Return what the file says of the microscope for one channel, None when it says nothing."""
        values = self.optics.get(name)
        return values[min(channel, len(values) - 1)] if values else None


class ModelRef(Frozen):
    """A model that was recognised: its file, what it is and what it expects."""

    id: str
    path: str
    sha256: str = ""
    engine: str = ""
    architecture: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    card: dict[str, Any] = Field(default_factory=dict)


class OutputSpec(Frozen):
    """A voxel output: where it lies and what it holds; `optics` as in `InputRef`, for what is a raw picture itself."""

    name: str
    kind: Literal["image", "labels"] = "image"
    grid: Grid
    dtype: str = "float32"
    optics: dict[str, tuple[float, ...]] = Field(default_factory=dict)


class Resources(Frozen):
    """What an engine decided for one frame.

    Attributes
    ----------
    tile : dict
        Tile size per axis, in the engine's own words (documented there).
    tiles : int
        Number of tiles per frame.
    memory_bytes : int
        Peak working set above the idle process.
    work : float
        Floating-point operations (or any unit that is proportional to time) per frame.
    warnings : tuple of str
        Sentences shown before Run.
    details : dict
        Further resolved values the run needs (JSON).
    """

    tile: dict[str, int] = Field(default_factory=dict)
    tiles: int = 1
    memory_bytes: int = 0
    work: float = 1.0
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = Field(default_factory=dict)


class Plan(Frozen):
    """Everything a run needs, with all defaults filled; provenance, dry run and cluster workers share it.

    Attributes
    ----------
    params : dict
        Complete parameters as JSON values.
    selection : Selection
        As resolved: the box in voxels of the whole output grid, the time range filled in.
    outputs : tuple of OutputSpec
        As written: cropped to the selection, looped axes outermost.
    whole : dict
        Output name -> whole-field grid of one frame, before cropping.
    looped : str
        The axes that the base class loops over, in order.
    part : tuple of int, optional
        Numbers of the frames that this run makes, half-open; their blocks lie in the outputs of the whole plan.
    """

    engine: str
    version: str
    params: dict[str, Any]
    inputs: tuple[InputRef, ...]
    model: ModelRef | None = None
    selection: Selection = Selection()
    outputs: tuple[OutputSpec, ...] = ()
    whole: dict[str, Grid] = Field(default_factory=dict)
    looped: str = ""
    part: tuple[int, int] | None = None
    compute: Compute = Compute()
    resources: Resources = Resources()

    def input(self, name: str) -> InputRef | None:
        """Return the first reference that feeds input `name`."""
        return next((ref for ref in self.inputs if ref.name == name), None)

    def output(self, name: str) -> OutputSpec:
        """Return the output called `name`."""
        return next(spec for spec in self.outputs if spec.name == name)

    @property
    def frames(self) -> int:
        """Number of looped frames (time points, channels, planes)."""
        return math.prod(self.outputs[0].grid.size(axis) for axis in self.looped) if self.outputs else 1

    @property
    def numbers(self) -> range:
        """Numbers of the frames that this run makes."""
        return range(self.frames) if self.part is None else range(*self.part)

    @property
    def starts_later(self) -> bool:
        """Whether the run leaves out the recording's first frame, on which some engines decide what holds for all."""
        return self.place(self.numbers.start).get("T", 0) > 0

    @property
    def box(self) -> Box | None:
        """The selected box of one frame: without axes that are looped over."""
        box = self.selection.box
        return Box.of({a: b for a, b in box.items() if a not in self.looped}) if isinstance(box, Box) else None

    @property
    def starts(self) -> dict[str, int]:
        """Looped axis -> index of its first selected frame."""
        time, box = self.selection.time, self.selection.box
        found = dict.fromkeys(self.looped, 0) | ({"T": time.start} if time and "T" in self.looped else {})
        return found | ({a: b[0] for a, b in box.items() if a in found} if isinstance(box, Box) else {})

    def place(self, index: int) -> dict[str, int]:
        """Return looped axis -> index in the input, of the `index`-th frame of the run; a live session counts on."""
        found = {}
        for axis in reversed(self.looped):
            index, at = divmod(index, self.outputs[0].grid.size(axis))
            found[axis] = at + self.starts[axis]
        return found

    @property
    def work(self) -> float:
        """Work of the whole plan, in the engine's unit."""
        return self.resources.work * self.frames
