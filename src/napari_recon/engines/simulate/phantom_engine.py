"""simulate.phantom: volumes with structure, at rest or moving with known velocity. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.phantom import COUNTED, room_of
from napari_recon.engines.simulate.phantom_kinds import Phantom, mixture, phantom, structures_table
from napari_recon.engines.simulate.scene import Canvas, Vector

Count = Annotated[int, Field(ge=0, le=100000)] | Literal["auto"]


class PhantomParams(EngineParams):
    """What there is to see, on which voxels, and how it moves."""

    kind: Literal["bubtub", "lines", "tissue"] = param(
        "bubtub",
        "Bubtub: beads, bubbles and tubes, what light-field networks are trained on; lines: thin lines, every second one "
        "with a close neighbour; tissue: packed cells with membranes and nuclei.",
    )
    entry: int = param(
        0,
        "Bubtub: which of the fifteen published kinds of volume (1 to 6 tubes, 7 to 9 bubbles, 10 to 14 beads, 15 big "
        "beads); 0 is something of everything. Numbers follow from the size.",
        ge=0,
        le=15,
    )
    frames: int = param(1, "Time points.", ge=1, le=10000)
    planes: int = param(101, "Depth of the volume.", unit="plane", ge=1, le=2001)
    height: int = param(195, "Height of the volume.", unit="pixel", ge=4, le=8192)
    width: int = param(195, "Width of the volume.", unit="pixel", ge=4, le=8192)
    density: float = param(1.0, "Factor on the numbers that follow from the size.", gt=0, le=100)
    speed: float = param(
        0.0, "Fastest motion of a structure on its own, from frame to frame.", unit="fine pixel", ge=0, le=100
    )
    velocity_um_s: tuple[float, float, float] = param(
        (0.0, 0.0, 0.0), "Motion of everything together (z, y, x).", unit="micrometer / second"
    )
    interval: float = param(0.1, "Time between frames.", unit="second", gt=0)
    pixel_um: float = param(
        0.1221, "Side of a voxel across.", title="Pixel size", unit="micrometer", gt=0, le=100, advanced=True
    )
    plane_um: float = param(
        0.2, "Distance of planes.", title="Plane distance", unit="micrometer", gt=0, le=100, advanced=True
    )
    lines: Count = param("auto", "Bubtub: number of tubes; auto follows from entry and size.", advanced=True)
    bubbles: Count = param("auto", "Bubtub: number of large balls, every third hollow.", advanced=True)
    triples: Count = param("auto", "Bubtub: number of threes of hollow balls close together.", advanced=True)
    beads: Count = param("auto", "Bubtub: number of small balls.", advanced=True)
    big_beads: Count = param("auto", "Bubtub: number of wide flat balls.", advanced=True)
    line_radius: Annotated[float, Field(gt=0, le=50)] | Literal["auto"] = param(
        "auto", "Bubtub: radius of the tubes.", unit="pixel", advanced=True
    )
    bubble_diameter: Annotated[float, Field(gt=5, le=500)] | Literal["auto"] = param(
        "auto", "Bubtub: size of the bubbles; they differ by some pixels.", unit="pixel", advanced=True
    )
    blur: Annotated[float, Field(ge=0, le=20)] | Literal["auto"] = param(
        "auto", "Bubtub: Gaussian blur across (half as many published planes along z).", unit="pixel", advanced=True
    )


class SimulatePhantom(WholeEngine[PhantomParams]):
    """Draws phantoms; the seed is the run's seed."""

    Params = PhantomParams
    makes = "makes whole phantoms"
    instead = "set planes, height, width, frames"
    uses_torch = False
    info = EngineInfo(
        name="simulate.phantom",
        kind="simulate",
        title="Phantom",
        summary="Volumes of beads, bubbles and tubes, thin lines or dense tissue, at rest or moving",
        outputs=(
            OutputInfo(name="truth", axes="TZYX", description="the phantom in camera counts per voxel"),
            OutputInfo(name="structures", kind="table", description="kind, place, velocity and size of every structure"),
            OutputInfo(name="parameters", kind="report", description="settings as numbers"),
        ),
        references=("10.1038/s41592-025-02698-z",),
    )

    def made(self, refs: Refs, params: PhantomParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        if params.kind == "bubtub":
            mixture(_room(params), params.entry, _own(params))
        size, step = (params.planes, params.height, params.width), (params.plane_um, params.pixel_um, params.pixel_um)
        microns = dict.fromkeys("ZYX", "micrometer")
        first = {"Z": -(params.planes // 2) * params.plane_um}
        field = Grid.of("ZYX", size, dict(zip("ZYX", step, strict=True)), first, microns)
        time = Grid.of("T", (params.frames,), {"T": params.interval}, units={"T": "second"})
        voxels = math.prod(size)
        return (OutputSpec(name="truth", grid=time.joined(field)),), Resources(
            tiles=params.frames, memory_bytes=16 * voxels + 2**26, work=200.0 * voxels * params.frames
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        params, seed = self.params_of(plan), plan.compute.seed
        made = phantom_of(params, seed)
        canvas = Canvas((params.planes, params.height, params.width), params.plane_um / params.pixel_um)
        rows = structures_table(made, params.pixel_um, params.interval)
        yield ArtifactReady("structures", "table", rows)
        yield ArtifactReady(
            "parameters", "report", {**params.model_dump(mode="json"), "seed": seed, "structures": len(rows)}
        )
        for time in range(params.frames):
            volume = made.draw(canvas, float(time), token.check)
            yield BlockReady("truth", (slice(time, time + 1), *(slice(0, n) for n in volume.shape)), volume[None])
            yield Progress(time + 1, params.frames, "frame")


def phantom_of(params: PhantomParams, seed: int) -> Phantom:
    """Return the phantom that `params` describe."""
    z, y, x = (velocity * params.interval / params.pixel_um for velocity in params.velocity_um_s)
    return phantom(
        params.kind,
        _room(params),
        seed,
        entry=params.entry,
        own=_own(params),
        density=params.density,
        speed=params.speed,
        drift=(z, y, x),
        frames=params.frames,
    )


def _own(params: PhantomParams) -> dict[str, float]:
    names = (*COUNTED, "line_radius", "bubble_diameter", "blur")
    return {name: value for name in names if (value := getattr(params, name)) != "auto"}


def _room(params: PhantomParams) -> Vector:
    return room_of((params.planes, params.height, params.width), params.plane_um / params.pixel_um)
