"""fusion.deskew: what it takes and gives, and its plan. No torch is imported before a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Decided, Event, Warned
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import param
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.params import SkewParams, skewed_lengths
from napari_recon.engines.fusion.preparing.skew import Skew
from napari_recon.tiling.partition import tiles

LEAST_PLANES, LEAST_COLUMNS, LEAST_ANGLE = 2, 4, 1.0
#: Largest piece of work, in voxels of the result: pieces this small keep a run responsive.
PIECE = 2**24


class DeskewParams(SkewParams):
    """Parameters of `fusion.deskew`."""

    coverslip: bool = param(
        False, "Turn the volume so that its planes lie parallel to the coverslip, with cubic voxels as large as the pixels."
    )
    interpolation: Literal["cubic", "spline", "linear"] = param(
        "cubic",
        "Rule along the skew axis: cubic convolution (as published), a cubic spline (published in Python), linear.",
    )
    camera_offset: Annotated[float, Field(ge=0)] | Literal["auto"] = param(
        "auto",
        "Taken off, then what is below 0 set to 0; auto takes nothing off, but 100 of the result with compat=upstream.",
        unit="counts",
    )
    tile_size: int = param(
        0, "Planes of a piece (rows with coverslip); 0 takes what fits into memory.", unit="voxel", ge=0, advanced=True
    )


class Deskew(FrameEngine[DeskewParams]):
    """Straightens stacks of a tilted light sheet, plane by plane, or turns them onto the coverslip."""

    Params = DeskewParams
    info = EngineInfo(
        name="fusion.deskew",
        kind="preprocess",
        title="Deskew (light sheet)",
        summary="Straight volume from a stage-scanned, skewed light-sheet stack; also in coordinates of the coverslip",
        inputs=(InputSpec(name="raw", axes="ZYX", lazy=True, description="the raw skewed stack; z is the stage"),),
        outputs=(
            OutputInfo(name="volume", axes="ZYX", description="the straight volume"),
            OutputInfo(name="report", kind="report", description="geometry and direction that were used"),
        ),
        halo="two samples along the skew axis; with coverslip also two planes (a spline: all samples along the skew axis)",
        roi_tolerance=1e-6,
        references=("10.1109/TASSP.1981.1163711", "10.1126/science.1257998"),
    )
    _direction: int = 0

    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """See `Engine.plan`; a box drawn on the raw stack becomes the box its content is in afterwards."""
        if isinstance(selection.box, Box) and selection.space == "input" and refs and refs[0].grid is not None:
            values, by_name = self.checked(refs, params, model)
            grid = self.checked_grid(self.info.inputs[0], by_name["raw"][0])
            selection = Selection(box=_drawn(selection.box.resolved(grid), grid, values), time=selection.time)
        return super().plan(refs, params, selection, model, compute)

    def outputs_of(self, refs: Refs, params: DeskewParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        raw = refs["raw"][0].grid
        assert raw is not None  # checked with the axes
        straight = straight_grid(raw, skew_of(raw, params), params)
        return (OutputSpec(name="volume", grid=straight, optics=refs["raw"][0].optics),)

    def resources(
        self,
        refs: Refs,
        params: DeskewParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`. Tiles are planes, with coverslip rows."""
        raw, grid = refs["raw"][0].grid, outputs[0].grid
        assert raw is not None
        axis = params.across if params.coverslip else "Z"
        whole = dict(box.resolved(grid).items())
        sizes = {a: hi - lo for a, (lo, hi) in whole.items()}
        columns = raw.size(params.skew_axis.upper())
        # a plane (row) of the raw stack as read, as extended, and of the result; a coverslip row is gathered and weighed
        read = columns * (raw.size("Z") if params.coverslip else raw.size(params.across))
        made = sizes["Z"] * sizes["Y"] * sizes["X"] // sizes[axis]
        fixed = made * 120 if params.coverslip else 0
        each = 4 * (3 * read + (3 if params.coverslip else 2) * made)
        room = max(1, min((compute.memory_bytes // 2 - fixed) // each, PIECE // max(1, read, made)))
        size = min(params.tile_size or room, sizes[axis])
        pieces = tiles(box, grid, {axis: size})
        return Resources(
            tile={axis.lower(): size},
            tiles=len(pieces),
            memory_bytes=int(fixed + size * each + 8 * min(PIECE, raw.size("Z") * raw.size("Y") * raw.size("X"))),
            work=float(made * sizes[axis]) * (16 if params.coverslip else 4),
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Look for the direction in the recording's first frame, also when it is not among the selected ones."""
        params, worker = self.params_of(plan), copy.copy(self)
        raw = inputs["raw"][0]
        first = self._read(self.info.inputs[0], [raw], {})
        worker._direction, said = found_direction(params, first, skew_of(raw.grid, params), token)
        yield from (Warned(sentence) for sentence in said)
        if params.direction == "auto":
            yield Decided({"direction": worker._direction, "angle_deg": abs(params.angle_deg)})
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.fusion.preparing.deskew_run import straightened

        params, grid = self.params_of(plan), frame["raw"].stack.grid
        yield from straightened(plan, params, skew_of(grid, params, self._direction), frame["raw"], index, token)


def skew_of(grid: Grid, params: SkewParams, direction: int = 0) -> Skew:
    """Return the geometry; direction 0 means what the parameters say, forward when they say nothing.

    Raises
    ------
    InputError
        Too few planes or columns, or missing lengths.
    """
    if abs(params.angle_deg) < LEAST_ANGLE:
        raise InputError(
            f"angle_deg should be at least {LEAST_ANGLE:g} deg off zero, found {params.angle_deg:g}; "
            "give the angle between the stage's way and the picture"
        )
    columns = grid.size(params.skew_axis.upper())
    if grid.size("Z") < LEAST_PLANES or columns < LEAST_COLUMNS:
        raise InputError(
            f"a skewed stack should have at least {LEAST_PLANES} planes and {LEAST_COLUMNS} samples along "
            f"{params.skew_axis}, found {grid.size('Z')} and {columns}; choose the whole stack, or name its axes (--axes)"
        )
    step_um, pixel_um = skewed_lengths(grid, params.skew_axis, params.step_um)
    if not direction:
        direction = stated_direction(params)
    return Skew(abs(params.angle_deg), direction, step_um, pixel_um, grid.size("Z"), columns)


def stated_direction(params: SkewParams) -> int:
    """Return the direction that parameters state: forward unless they, or the sign of the angle, say otherwise."""
    return (1 if params.direction == "auto" else params.direction) * (1 if params.angle_deg > 0 else -1)


def straight_grid(raw: Grid, skew: Skew, params: DeskewParams) -> Grid:
    """Return where the straight volume lies: its middle in the middle of the raw stack."""
    axis = params.skew_axis.upper()
    size_z, size_x = skew.coverslip_shape if params.coverslip else (skew.planes, skew.straight_columns)
    step_z = skew.pixel_um if params.coverslip else skew.pitch_um
    made = {"Z": (size_z, step_z), axis: (size_x, skew.pixel_um)}
    shape, scale, translate = {}, {}, {}
    for a in "ZYX":
        shape[a], scale[a] = made.get(a, (raw.size(a), raw.step(a)))
        translate[a] = raw.to_world(a, (raw.size(a) - 1) / 2) - (shape[a] - 1) / 2 * scale[a]
    units = {a: "micrometer" if a in made else raw.unit(a) for a in "ZYX"}
    return Grid.of("ZYX", list(shape.values()), scale, translate, units)


def found_direction(params: SkewParams, frame: Any, skew: Skew, token: CancelToken) -> tuple[int, list[str]]:
    """Return the direction to use and what is to be said about it."""
    from napari_recon.engines.fusion.preparing.direction import direction_of

    stated = stated_direction(params)
    if params.compat == "upstream" and params.direction == "auto":
        return stated, []

    def plane(number: int) -> Any:
        array = frame.read(slice(number, number + 1))[0]
        return array if params.skew_axis == "x" else array.T

    seen = direction_of(plane, skew.planes, abs(skew.shift), token.check)
    ways = {1: "towards larger", -1: "towards smaller"}
    if params.direction == "auto":
        if not seen:
            return stated, [
                f"the content does not tell which way structures move from plane to plane; {ways[stated]} "
                f"{params.skew_axis} was taken: choose direction 1 or -1 if the result is smeared"
            ]
        if params.angle_deg < 0 and seen > 0:
            return seen, ["angle_deg is negative, but the content moves forward; the angle was taken as positive"]
        return seen, []
    if seen and seen != stated:
        return stated, [
            f"structures move {ways[seen]} {params.skew_axis} from plane to plane, but direction {params.direction} with "
            f"angle {params.angle_deg:g} means {ways[stated]}; choose direction=auto or the other sign"
        ]
    return stated, []


def _drawn(box: Box, grid: Grid, params: DeskewParams) -> Box:
    skew = skew_of(grid, params)
    bounds = dict(box.items())
    undecided = params.direction == "auto" and params.compat == "none"
    found = dict(skew.box_of(bounds["Z"], bounds[params.skew_axis.upper()], params.coverslip, undecided).items())
    return Box.of({"Z": found["Z"], params.across: bounds[params.across], params.skew_axis.upper(): found["X"]})
