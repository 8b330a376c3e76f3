"""serenet.realign: raw pictures behind a microlens array become ordered views. What it takes and plans; no torch at all."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from napari_recon.core.arrange import Arrangement
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
from napari_recon.engines.serenet.realigning.find import LEAST_LENSLETS
from napari_recon.engines.serenet.realigning.scan import cells_of
from napari_recon.optics.lightfield_geometry import MICROMETERS

if TYPE_CHECKING:
    from napari_recon.engines.serenet.realigning.run import Realigner


class RealignParams(EngineParams):
    """Parameters of `serenet.realign`."""

    nnum: int = param(
        13,
        "Samples per lenslet and axis, odd; near the pitch in pixels nothing is lost or made up.",
        unit="pixel",
        ge=3,
        le=63,
    )
    pitch_um: float = param(
        0.0,
        "Pitch of the microlenses; with the magnification it makes the voxel size of the views. 0: unknown.",
        unit="micrometer",
        ge=0,
    )
    magnification: float = param(0.0, "Magnification up to the microlenses; 0: unknown.", ge=0, le=1000)
    camera_pixel_um: float = param(
        0.0,
        "Camera pixel, on the scale of the microlenses; with their pitch it says how many pixels a lenslet has. 0: unknown.",
        unit="micrometer",
        ge=0,
    )
    scanning: Literal[1, 3, 5] = param(
        1, "Scan positions per axis: 1 for a plain light field, 3 or 5 for series of 9 or 25 frames per time point."
    )
    scan_order: str = param(
        "auto",
        "How the scan goes: raster, snake or spiral, with -columns, -up, -left appended where it goes so, or the cells "
        "(counted along rows) one by one; auto takes the order in which the views are smoothest.",
    )
    pitch_px: Annotated[float, Field(ge=3, le=200)] | Literal["auto"] = param(
        "auto", "Pitch of the lenslets on the camera; auto finds it.", unit="pixel"
    )
    rotation_deg: Annotated[float, Field(ge=-45, le=45)] | Literal["auto"] = param(
        "auto", "Turn of the rows of lenslets, clockwise as shown; auto finds it.", unit="degrees"
    )
    centre: tuple[float, float] | Literal["auto"] = param(
        "auto", "Middle (y, x) of one lenslet, in pixels from the middle of the first; auto finds it.", unit="pixel"
    )
    flat_field: Literal["field", "views", "none"] = param(
        "field",
        "What the white picture corrects: brightness across the field, also between views (for data without a PSF that "
        "says how bright each view is), or nothing but the search for lenslets.",
    )
    lenslets: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | Literal["auto"] = param(
        "auto", "Lenslets (y, x) of the result, those nearest to the middle; auto takes as many as fit.", advanced=True
    )
    stretch: Annotated[float, Field(ge=0.8, le=1.25)] | Literal["auto"] = param(
        "auto",
        "Pitch along rows over pitch across rows; auto takes it from a white picture, 1 without one.",
        advanced=True,
    )
    tile_size: int = param(0, "Rows of lenslets at a time; 0 chooses.", unit="lenslet", ge=0, advanced=True)

    @property
    def expected_pitch(self) -> float:
        """Pixels per lenslet as far as parameters tell."""
        if self.pitch_px != "auto":
            return self.pitch_px
        return self.pitch_um / self.camera_pixel_um if self.pitch_um and self.camera_pixel_um else float(self.nnum)

    @property
    def lenslet_um(self) -> float:
        """A lenslet in the sample, 0 when unknown."""
        return self.pitch_um / self.magnification if self.pitch_um and self.magnification else 0.0


class Realign(FrameEngine[RealignParams]):
    """Finds the grid of lenslets, and resamples what is behind them to one page per direction."""

    Params = RealignParams
    uses_torch = False
    info = EngineInfo(
        name="serenet.realign",
        kind="preprocess",
        title="Realign (light field)",
        summary="Ordered views from raw microlens pictures, plain or scanned; lenslets are found by themselves",
        inputs=(
            InputSpec(
                name="raw",
                axes="NYX",
                loops="TC",
                also=("YX",),
                description="the picture behind the microlenses, or a series of them",
            ),
            InputSpec(
                name="white",
                axes="YX",
                loops="",
                required=False,
                description="a picture of something even: shows all lenslets, and corrects the brightness",
            ),
            InputSpec(
                name="dark", axes="YX", loops="", required=False, description="a picture without light, taken off the others"
            ),
        ),
        outputs=(
            OutputInfo(name="views", axes="VYX", description="one page per view: page u nnum + v is row u, column v"),
            OutputInfo(name="lenslets", kind="points", description="middles of all lenslets, in pixels of the raw picture"),
            OutputInfo(name="report", kind="report", description="grid, its errors, scan order, corrections"),
        ),
        halo="the whole picture: the grid is that of all lenslets, whatever part is asked for",
        roi_tolerance=1e-6,
        references=("10.1145/1141911.1141976", "10.1109/TASSP.1981.1163711", "10.1038/s41592-025-02698-z"),
    )
    _run: Realigner | None = None

    def arranged(self, spec: InputSpec, grid: Grid, params: RealignParams) -> Arrangement | None:
        """See `FrameEngine.arranged`: pages become scan positions (N), and sets of them time points."""
        return positions_of(grid, params.scanning) if spec.name == "raw" else None

    def outputs_of(self, refs: Refs, params: RealignParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        raw = refs["raw"][0].grid
        assert raw is not None  # checked with the axes
        if params.nnum % 2 == 0:
            raise InputError(
                f"nnum should be odd, so that one view looks straight ahead, found {params.nnum}; set nnum={params.nnum + 1}"
            )
        if params.scanning > 1 and params.scan_order != "auto":
            cells_of(params.scan_order, params.scanning)
        for name in ("white", "dark"):
            for ref in refs[name]:
                if ref.grid is not None and ref.grid.only("YX").shape != raw.only("YX").shape:
                    raise InputError(
                        f"the {name} picture should have the {raw.size('Y')} x {raw.size('X')} pixels of the raw one, found "
                        f"{ref.grid.size('Y')} x {ref.grid.size('X')}; take it with the same part of the camera"
                    )
        return (OutputSpec(name="views", grid=views_grid(raw, params), optics=refs["raw"][0].optics),)

    def resources(
        self,
        refs: Refs,
        params: RealignParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`. Tiles are rows of lenslets."""
        raw, grid = refs["raw"][0].grid, outputs[0].grid
        assert raw is not None
        pixels, samples = raw.size("Y") * raw.size("X"), math.prod(grid.shape)
        (top, bottom), (left, right) = box.bounds("Y", grid.size("Y")), box.bounds("X", grid.size("X"))
        asked = params.nnum**2 * (bottom - top) * (right - left)
        rows = params.tile_size or max(1, (bottom - top) // params.scanning)
        warnings = []
        if params.scanning == 1 and params.scan_order != "auto":
            warnings.append(
                f"scan_order {params.scan_order} says nothing about a plain light field (scanning=1) and is not used; set "
                "scanning=3 or 5 for a scan, or leave scan_order out"
            )
        if params.lenslet_um and raw.unit("Y") in MICROMETERS:
            own = abs(raw.step("Y")) * params.expected_pitch
            if not 0.8 < own / params.lenslet_um < 1.25 and not 0.8 < own / params.pitch_um < 1.25:
                warnings.append(
                    f"a lenslet is {own:.4g} um by the picture's own pixel size, {params.lenslet_um:.4g} um by pitch_um and "
                    "magnification, which are used; check both"
                )
        return Resources(
            tile={"y": rows},
            tiles=-(-(bottom - top) // (params.scanning * rows)),
            memory_bytes=4 * (60 * pixels + 3 * samples) + 2**26,
            work=60.0 * asked + 300.0 * pixels,
            warnings=tuple(warnings),
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Find lenslets and scan order in the recording's first frame, also when it is not among the selected ones."""
        from napari_recon.engines.serenet.realigning.run import Realigner

        token.check()
        worker, arranged = copy.copy(self), self._arranged_inputs(plan, inputs)
        first = {spec.name: self._read(spec, arranged.get(spec.name, ()), {"T": 0, "C": 0}) for spec in self.info.inputs}
        worker._run = Realigner(plan, self.params_of(plan), first)
        yield from worker._run.decide(token)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        assert self._run is not None  # set by process
        yield from self._run.frame(frame["raw"], token)


def positions_of(grid: Grid, scanning: int) -> Arrangement:
    """Return how a file's pages become (T, C) N Y X with N scan positions.

    Takes Y X, or pages along N, T or Z (whichever holds a multiple of the positions); sets of positions are time points.

    Raises
    ------
    InputError
        A number of frames that is no multiple of the positions.
    """
    cells = scanning**2
    outer, shape = grid.axes.removesuffix("YX"), grid.shape[:-2]
    series = next((a for a in "NTZ" if grid.size(a) > 1), "")
    frames = grid.size(series) if series else 1
    if frames % cells:
        fits = [n for n in (3, 5) if frames % n**2 == 0]
        remedy = f"set scanning={fits[0]}" if fits else "set scanning=1, or give whole scans"
        raise InputError(
            f"a scan of {scanning} x {scanning} positions should have a multiple of {cells} frames, found {frames} with "
            f"axes {grid.axes}; {remedy}"
        )
    # axes of one page are left out; those of the series split into sets and positions, the positions last
    left = [(a, n) for a, n in zip(outer, shape, strict=True) if n > 1 and a != series]
    pages = np.arange(math.prod(shape)).reshape(shape)
    if series:
        pages = np.moveaxis(pages, outer.index(series), 0)
    pages = pages.reshape(frames // cells, cells, *(n for _, n in left))
    pages = np.moveaxis(pages, 1, -1)
    axes = "".join(a for a, _ in left)
    if frames == cells:
        pages = pages[0]
    else:
        axes = ("T" if "T" not in axes else series) + axes
    known = {a: a if a in grid.axes else "" for a in axes} | ({"T": series} if series else {})
    scale = {a: grid.step(b) * (cells if a == "T" else 1) for a, b in known.items() if b}
    translate = {a: grid.origin(b) for a, b in known.items() if b}
    found = Grid.of(axes + "N", pages.shape, scale, translate, {a: grid.unit(b) for a, b in known.items() if b})
    return Arrangement(found.joined(grid.only("YX")), pages)


def views_grid(raw: Grid, params: RealignParams) -> Grid:
    """Return where the views of one frame lie: their middle in the middle of the raw picture.

    Raises
    ------
    InputError
        Fewer lenslets than can be told from anything else.
    """
    pitch = params.expected_pitch
    counts = [math.floor(raw.size(a) / pitch + 0.02) for a in "YX"] if params.lenslets == "auto" else list(params.lenslets)
    if min(counts) < 1 or (params.lenslets == "auto" and min(counts) < LEAST_LENSLETS):
        raise InputError(
            f"the raw picture should show at least {LEAST_LENSLETS} x {LEAST_LENSLETS} lenslets of {pitch:.4g} pixels, "
            f"found {raw.size('Y')} x {raw.size('X')} pixels; give the whole picture, or correct nnum"
        )
    known = params.lenslet_um
    scale, translate, units = {}, {}, {}
    for axis, count in zip("YX", counts, strict=True):
        own = abs(raw.step(axis)) * pitch
        scale[axis] = (known or own) / params.scanning
        calibrated = raw.unit(axis) in MICROMETERS and 0.8 < own / (known or own) < 1.25
        middle = raw.to_world(axis, (raw.size(axis) - 1) / 2) * (1.0 if calibrated or not known else known / own)
        translate[axis] = middle - (count * params.scanning - 1) / 2 * scale[axis]
        units[axis] = "micrometer" if known else raw.unit(axis)
    shape = (params.nnum**2, *(count * params.scanning for count in counts))
    return Grid.of("VYX", shape, scale, translate, units)
