"""fusion.split_views: what it takes and gives, and its plan. No torch is imported before a run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.params import ANGLE_DEG, StackParams
from napari_recon.engines.fusion.registration.split_transform import SplitTransform

if TYPE_CHECKING:
    from napari_recon.engines.fusion.registration.split_run import Splitter

#: What the published script uses where nothing else is said.
PUBLISHED_MARGIN, PUBLISHED_PLANES = 100, 101
LEAST_PLANES, LEAST_SIDE = 8, 16


def _numbers(value: Any) -> Any:
    """Return the numbers of ``"a:b"`` or ``"a,b,c"``; anything else as it is."""
    if not isinstance(value, str) or value == "auto":
        return value
    parts = value.replace(",", " ").replace(":", " ").split()
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        return value


class SplitViewsParams(StackParams):
    """Parameters of `fusion.split_views`."""

    angle_deg: float = param(
        ANGLE_DEG,
        "Turn about y that lays the mirror flat: the angle between stage and picture; negative for a stack skewed backward.",
        unit="deg",
        ge=-89,
        le=89,
    )
    transform: str = param(
        "auto",
        "The transform of an earlier split (its file), so that a series is split like one; auto: find the mirror.",
        file=(".json", ".yaml", ".yml"),
    )
    margin: Annotated[int, Field(ge=0)] | Literal["auto"] = param(
        "auto", "Left out on every side while searching; auto takes a tenth, and 100 with compat=upstream.", unit="pixel"
    )
    z_range: Annotated[tuple[int, int], BeforeValidator(_numbers)] | Literal["auto"] = param(
        "auto",
        "Twice the mirror's place around the middle, in planes: first and last to search; auto tries the middle half.",
    )
    angle_range: Annotated[tuple[float, ...], BeforeValidator(_numbers)] = param(
        (-0.9, 0.9),
        "Tilts about x to search: from, to (in steps of angle_step), or more than two numbers: each.",
        unit="deg",
    )
    angle_step: float = param(0.1, "Step of that search.", unit="deg", gt=0, le=5, advanced=True)
    refine: bool = param(True, "Refine turn, place and lateral shift to a small part of a voxel.")
    planes: Annotated[int, Field(ge=2)] | Literal["auto"] = param(
        "auto", "Planes kept of each view, from the mirror on; auto takes half of the volume's, at most 101.", unit="plane"
    )
    orientation: Literal["kept", "published"] = param(
        "kept", "published: views with x turned around, as the published PSFs and networks expect them.", advanced=True
    )

    @property
    def angles(self) -> tuple[float, ...]:
        """Every tilt about x that is tried."""
        if len(self.angle_range) != 2:
            return self.angle_range
        low, high = sorted(self.angle_range)
        return tuple(round(low + n * self.angle_step, 9) for n in range(int((high - low) / self.angle_step + 1e-6) + 1))


class SplitViews(FrameEngine[SplitViewsParams]):
    """Cuts a volume that holds a sample and its mirror image into two views on one grid."""

    Params = SplitViewsParams
    info = EngineInfo(
        name="fusion.split_views",
        kind="preprocess",
        title="Split dual views (light sheet)",
        summary="Two registered views of the sample from a volume that sees it directly and in a mirror",
        inputs=(InputSpec(name="volume", axes="ZYX", description="the straight volume, on either side of the mirror"),),
        outputs=(
            OutputInfo(name="view_a", axes="ZYX", description="the view below the mirror; its last plane is next to it"),
            OutputInfo(name="view_b", axes="ZYX", description="the mirrored view, turned onto the same grid"),
            OutputInfo(name="transform", kind="transform", description="where the mirror lies, for the parameter transform"),
            OutputInfo(name="report", kind="report", description="correlation of the views before and after, per frame"),
        ),
        halo="one voxel around what a box takes from the volume; the mirror is found on the whole first frame",
        roi_tolerance=1e-6,
    )
    _splitter: Splitter | None = None

    def outputs_of(self, refs: Refs, params: SplitViewsParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        raw = refs["volume"][0].grid
        assert raw is not None  # checked with the axes
        _check(raw, params)
        given = SplitTransform.given(params.transform)
        if given is not None:
            _check_transform(given, raw, params)
        grid = view_grid(raw, params, given)
        optics = refs["volume"][0].optics
        return tuple(OutputSpec(name=name, grid=grid, optics=optics) for name in ("view_a", "view_b"))

    def resources(
        self,
        refs: Refs,
        params: SplitViewsParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        raw = refs["volume"][0].grid
        assert raw is not None
        voxels = raw.size("Z") * raw.size("Y") * raw.size("X")
        made = 1
        for n in box.resolved(outputs[0].grid).shape():
            made *= n
        search = 0 if params.transform != "auto" else voxels
        return Resources(
            memory_bytes=int(4 * (3 * voxels + 2 * made) + 2**22 * 40 + 8 * search // 4),
            work=20.0 * made + 60.0 * search,
        )

    def prepared(self, plan: Plan) -> SplitViews:
        """Return a copy that keeps the transform for all frames."""
        if self._splitter is not None:
            return self
        from napari_recon.engines.fusion.registration.split_run import Splitter

        worker, params = copy.copy(self), self.params_of(plan)
        raw = plan.input("volume")
        assert raw is not None and raw.grid is not None
        worker._splitter = Splitter(plan, params, raw.grid)
        return worker

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Find the mirror in the recording's first frame, also when it is not among the selected ones."""
        worker = self.prepared(plan)
        assert worker._splitter is not None  # prepared sets it
        first = self._read(self.info.inputs[0], [inputs["volume"][0]], {"T": 0, "C": 0})
        yield from worker._splitter.register(first, token)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        splitter = self.prepared(plan)._splitter
        assert splitter is not None  # prepared sets it
        yield from splitter.frame(frame["volume"], index, token)


def voxel_of(grid: Grid, axis: str) -> tuple[float, float, float]:
    """Return the voxel size (z, across, along the skew axis); in voxels of the skew axis where the file tells none."""
    along = axis.upper()
    across = "Y" if along == "X" else "X"
    return abs(grid.step("Z")), abs(grid.step(across)), abs(grid.step(along))


def planes_of(raw: Grid, params: SplitViewsParams) -> int:
    """Return how many planes each view has."""
    most = raw.size("Z") // 2 if params.compat == "none" else (raw.size("Z") + 1) // 2 - 1
    asked = PUBLISHED_PLANES if params.planes == "auto" else params.planes
    return max(1, min(asked, most))


def view_grid(raw: Grid, params: SplitViewsParams, given: SplitTransform | None) -> Grid:
    """Return where the views lie: turned about the middle of the volume, z across the mirror with the pitch of x.

    The mirror is not known before the run; unless a transform is given, the last plane is put where a mirror in the middle
    of the volume would have it.
    """
    step = voxel_of(raw, params.skew_axis)[2]
    planes = planes_of(raw, params)
    mirror = given.mirror_um if given is not None else 0.0
    middle = raw.to_world("Z", (raw.size("Z") - 1) / 2)
    scale = {a: raw.step(a) for a in "YX"} | {"Z": step}
    translate = {a: raw.origin(a) for a in "YX"} | {"Z": middle + mirror - (planes - 0.5) * step}
    units = {a: raw.unit(a) for a in "YX"} | {"Z": raw.unit(params.skew_axis.upper())}
    return Grid.of("ZYX", (planes, raw.size("Y"), raw.size("X")), scale, translate, units)


def margins_of(raw: Grid, params: SplitViewsParams) -> tuple[int, int]:
    """Return the margins across and along the skew axis."""
    if params.margin != "auto":
        return params.margin, params.margin
    if params.compat == "upstream":
        return PUBLISHED_MARGIN, PUBLISHED_MARGIN
    return raw.size(params.across) // 10, raw.size(params.skew_axis.upper()) // 10


def _check(raw: Grid, params: SplitViewsParams) -> None:
    along = params.skew_axis.upper()
    if raw.size("Z") < LEAST_PLANES or min(raw.size("Y"), raw.size("X")) < LEAST_SIDE:
        raise InputError(
            f"volume should have at least {LEAST_PLANES} planes of {LEAST_SIDE} x {LEAST_SIDE} pixels, found "
            f"{raw.size('Z')} of {raw.size('Y')} x {raw.size('X')}; choose the whole volume, or name its axes (--axes ZYX)"
        )
    if "micrometer" not in (raw.unit("Z"), raw.unit(along)) and raw.step("Z") == raw.step(along) == 1:
        raise InputError(
            "volume should tell its voxel size, since turning mixes z with x, found none; "
            "give it, for example --voxel-size z=0.0926,y=0.0617,x=0.0617"
        )
    if not params.angles or max(abs(a) for a in params.angles) > 45:
        raise InputError(
            f"angle_range should hold tilts between -45 and 45 deg, found {params.angle_range}; give for example -0.9:0.9"
        )
    if params.transform == "auto":
        times = 4 if params.compat == "upstream" else 2
        margins, sizes = margins_of(raw, params), (raw.size(params.across), raw.size(along))
        for axis, margin, size in zip((params.across, along), margins, sizes, strict=True):
            if size <= times * margin:
                raise InputError(
                    f"margin {margin} needs more than {times * margin} pixels along {axis.lower()}, found {size}; "
                    f"give margin={max(0, (size - 1) // (times + 1))} or less, or a larger volume"
                )


def _check_transform(given: SplitTransform, raw: Grid, params: SplitViewsParams) -> None:
    voxel, shape = (
        voxel_of(raw, params.skew_axis),
        (raw.size("Z"), raw.size(params.across), raw.size(params.skew_axis.upper())),
    )
    same = all(abs(a - b) <= 1e-3 * b for a, b in zip(given.voxel_um, voxel, strict=True))
    if given.axis != params.skew_axis or given.shape_zyx != shape or not same:
        raise InputError(
            f"the transform is of a volume of {given.shape_zyx} voxels of {given.voxel_um} um (skewed along {given.axis}), "
            f"found {shape} of {tuple(round(v, 5) for v in voxel)} (along {params.skew_axis}); "
            "use transform=auto, or one of the same recording"
        )
