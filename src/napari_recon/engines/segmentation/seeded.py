"""segmentation.seeded: cells of a membrane channel from their traced nuclei. No torch at all."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.segmentation.kept import MEMBRANES

_UNIT = "micrometer"
#: Planes of a stack are so much further apart than pixels, at most, for isotropic voxels of the pixel size.
_FINEST_Z = 2.5


class SeededParams(EngineParams):
    """Parameters of `segmentation.seeded`."""

    method: Literal["watershed", "micro_sam"] = param(
        "watershed",
        "What draws cells: a watershed from the nuclei, or micro-sam (where it is installed) around what that found.",
        advanced=True,
    )
    iso_shape: tuple[int, int, int] | None = param(
        None,
        "Voxels (z, y, x) of the isotropic grid that is worked on; none follows from the voxel size: pixels, or 2/5 of the "
        "distance of planes where that is more.",
        unit="voxel",
    )
    grid: Literal["stack", "isotropic"] = param("stack", "Voxels of the labels: those of the stack, or the isotropic ones.")
    time_point: int | Literal["auto"] = param(
        "auto",
        "Time of the first frame in the table of seeds; auto takes the only one, and for a series the first one.",
    )
    divisions: Literal["auto", "never"] = param(
        "auto", "auto joins sisters between which there is hardly any membrane and names them after their mother."
    )
    together: tuple[str, ...] = param(
        (),
        "Mothers whose two nuclei are one cell whatever lies between (C, or C:3 for time 3 of the table alone).",
        advanced=True,
    )
    apart: tuple[str, ...] = param(
        (),
        "Mothers whose two nuclei are two cells whatever lies between (C, or C:3 for time 3 of the table alone).",
        advanced=True,
    )
    one_cell: float = param(
        0.25,
        "Membrane between sisters below which they are one cell: 1 is what lies between all cells, 0 what lies in them.",
        ge=-1.0,
        le=2.0,
    )
    pull: float = param(
        0.1,
        "How much a voxel of distance to the nearest nucleus counts, against membranes; more keeps weak cells together, "
        "much more makes all of them balls.",
        ge=0.0,
        le=1.0,
    )
    nucleus_radius: float = param(
        2.0, "Radius of the balls that cells grow from, in isotropic voxels.", unit="voxel", gt=0.0, le=50.0, advanced=True
    )
    blur_z: float = param(
        2.5, "Width (sigma) of the blur along z, in isotropic voxels.", unit="voxel", ge=0.0, le=20.0, advanced=True
    )
    blur_xy: float = param(
        0.8, "Width (sigma) of the blur in the plane, in isotropic voxels.", unit="voxel", gt=0.0, le=20.0, advanced=True
    )
    sharpen_steps: Annotated[int, Field(ge=0, le=200)] = param(
        30, "Richardson-Lucy steps that undo the blur; 0 leaves it.", advanced=True
    )

    @field_validator("together", "apart", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        """Take a single name too."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("together", "apart")
    @classmethod
    def _frames_are_numbers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            mother, colon, frame = name.rpartition(":")
            if colon and not (mother and frame.isdecimal()):
                raise InputError(f"a mother should be given as C, or as C:3 for time 3 alone, found {name!r}; mend it")
        return value


class Seeded(FrameEngine[SeededParams]):
    """Regions that grow from nuclei until they meet membranes: a watershed on how membrane-like voxels look."""

    Params = SeededParams
    uses_torch = False
    info = EngineInfo(
        name="segmentation.seeded",
        kind="segment",
        title="Cells from nuclei",
        summary="Cells of a membrane stack or series from traced nuclei, with names, volumes, surfaces and contacts",
        inputs=(
            InputSpec(name="stack", axes="ZYX", loops="T", description="the membrane channel"),
            InputSpec(
                name="seeds",
                accepts=("points", "table"),
                description="one row per nucleus: cell, time, z, y, x in voxels of the stack, 0 at the centre of the first",
            ),
        ),
        outputs=(
            OutputInfo(name="labels", kind="labels", axes="ZYX", description="the cells; a name has one number throughout"),
            OutputInfo(name="cells", kind="table", description="per cell and time: volume, surface, contacts"),
            OutputInfo(name="report", kind="report", description="sisters that were looked at, and what was decided"),
        ),
        halo="the whole stack: cells meet everywhere, and a part is cut out of the result",
        references=("10.1007/BFb0056195",),
    )

    #: Nuclei by time and the number of every name; set on the copy that runs.
    nuclei: dict[int, list[Any]]
    numbers: dict[str, int]
    first: int

    def outputs_of(self, refs: Refs, params: SeededParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        grid = refs["stack"][0].grid
        assert grid is not None  # checked by the base class
        field = grid.only("ZYX")
        if min(field.shape) < 3:
            raise InputError(f"the stack should have three voxels along every axis at least, found {field.shape}; give more")
        found = isotropic_grid(field, params)
        if params.method == "micro_sam":
            check_micro_sam(params)
        return (
            OutputSpec(name="labels", kind="labels", dtype="int32", grid=found if params.grid == "isotropic" else field),
        )

    def resources(
        self,
        refs: Refs,
        params: SeededParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        grid = refs["stack"][0].grid
        assert grid is not None
        raw, iso = (float(np.prod(g.shape)) for g in (grid.only("ZYX"), isotropic_grid(grid.only("ZYX"), params)))
        # sheets hold 16 planes of 3 x 3 numbers; the watershed its queue; membranes are remembered while nuclei are edited
        kept = MEMBRANES.room(4 * iso, grid.size("T"))
        return Resources(
            memory_bytes=int(2**27 + 12 * raw + 60 * iso) + kept, work=iso * (60 + 2 * params.sharpen_steps) + raw
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Read the table once; names get their numbers over the whole series."""
        from napari_recon.engines.segmentation.seeds import nuclei_by_time

        worker = copy.copy(self)
        worker.nuclei = nuclei_by_time(inputs["seeds"][0] if inputs.get("seeds") else None)
        frames = plan.inputs[0].grid.size("T") if plan.inputs[0].grid is not None else 1
        check_mothers(worker.nuclei, self.params_of(plan))
        worker.first = first = first_time(worker.nuclei, self.params_of(plan), frames)
        worker.nuclei = {time - first: cells for time, cells in worker.nuclei.items() if 0 <= time - first < frames}
        worker.numbers = numbered(worker.nuclei)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.segmentation.run import segment
        from napari_recon.engines.segmentation.seeds import When

        number = plan.place(index).get("T", 0)
        cells, when = self.nuclei.get(number, []), When(number, number + self.first)
        yield from segment(plan, self.params_of(plan), frame["stack"], cells, self.numbers, when, token)


def isotropic_grid(field: Grid, params: SeededParams) -> Grid:
    """Return the grid that is worked on.

    Raises
    ------
    InputError
        Neither sizes nor voxel sizes are known; one that is much larger than the stack.
    """
    if params.iso_shape is not None:
        if min(params.iso_shape) < 3:
            raise InputError(f"iso_shape should have three voxels along every axis at least, found {params.iso_shape}")
        return field.resampled(dict(zip("ZYX", params.iso_shape, strict=True)))
    if any(field.unit(axis) != _UNIT for axis in "ZYX"):
        raise InputError(
            "how far planes lie apart, relative to pixels, should be known, found no voxel size; give it "
            '(--voxel-size "z=0.42,y=0.09,x=0.09"), or iso_shape'
        )
    steps = {axis: abs(field.step(axis)) for axis in "ZYX"}
    pitch = max(steps["Y"], steps["X"], steps["Z"] / _FINEST_Z)
    return field.resampled({axis: max(3, round(field.size(axis) * steps[axis] / pitch)) for axis in "ZYX"})


def first_time(nuclei: dict[int, list[Any]], params: SeededParams, frames: int) -> int:
    """Return the table's time of the first frame.

    Raises
    ------
    InputError
        A time without rows; several times for a single stack.
    """
    times = sorted(nuclei)
    listed = ", ".join(map(str, times[:6])) + (" ..." if len(times) > 6 else "")
    if params.time_point != "auto":
        if not any(params.time_point <= time < params.time_point + frames for time in times):
            raise InputError(
                f"the seeds should have rows for time {params.time_point}, found times {listed}; set time_point"
            )
        return params.time_point
    if frames == 1 and len(times) > 1:
        raise InputError(f"which time of the seeds the stack shows should be said, found times {listed}; set time_point")
    return times[0]


def check_mothers(nuclei: dict[int, list[Any]], params: SeededParams) -> None:
    """Raise when a decision names a mother that no two nuclei have (InputError)."""
    if not (params.together or params.apart):
        return
    known = mothers_of(nuclei)
    for name in (*params.together, *params.apart):
        if name not in known:
            mothers = [mother for mother in known if ":" not in mother]
            at = [known_at for known_at in known if known_at.startswith(f"{name.partition(':')[0]}:")]
            listed = ", ".join((at or mothers)[:12]) + (" ..." if len(at or mothers) > 12 else "")
            raise InputError(
                f"together and apart should name mothers of two nuclei of the table ({listed or 'it has none'}), found "
                f"{name!r}; correct the name or leave it out"
            )


def mothers_of(nuclei: Mapping[int, Sequence[Any]]) -> list[str]:
    """Return the mothers that pairs of nuclei by time could have: C, and C:3 for time 3."""
    from napari_recon.engines.segmentation.seeds import mothers_in

    found = {time: mothers_in(cells) for time, cells in sorted(nuclei.items())}
    at_times = [f"{mother}:{time}" for time, mothers in found.items() for mother in mothers]
    return [*dict.fromkeys(mother for mothers in found.values() for mother in mothers), *at_times]


def numbered(nuclei: dict[int, list[Any]]) -> dict[str, int]:
    """Return a label for every name of the series, and for every mother that two of them could be."""
    from napari_recon.engines.segmentation.seeds import mothers_in

    names = dict.fromkeys(cell.name for time in sorted(nuclei) for cell in nuclei[time])
    for cells in nuclei.values():
        names.update(dict.fromkeys(mothers_in(cells)))
    return {name: number for number, name in enumerate(names, 1)}


def has_micro_sam() -> bool:
    """Return whether micro-sam can be imported, without importing it."""
    try:
        return find_spec("micro_sam") is not None
    except ValueError:  # a module without a specification
        return True


def check_micro_sam(params: SeededParams) -> None:
    """Raise when micro-sam is not there, or is asked for what it can't do (InputError)."""
    if not has_micro_sam():
        raise InputError(
            "the method micro_sam needs the package micro_sam, found none; install it (conda install -c conda-forge "
            "micro_sam) and start again, or set method=watershed"
        )
    if params.grid != "stack":
        raise InputError(f"micro_sam draws on the voxels of the stack, found grid={params.grid}; set grid=stack")
