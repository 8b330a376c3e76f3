"""simulate.movie: cells that move, turn and divide: a recording that misses frames and planes, and the truth. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.camera import record
from napari_recon.engines.simulate.moving_cells import drawn


class MovieParams(EngineParams):
    """How large the truth is, and what of it a microscope records."""

    frames: int = param(9, "Time points of the truth.", ge=1, le=2000)
    planes: int = param(19, "Planes of the truth.", unit="plane", ge=1, le=501)
    height: int = param(56, "Height of the volume.", unit="pixel", ge=4, le=2048)
    width: int = param(56, "Width of the volume.", unit="pixel", ge=4, le=2048)
    cells: int = param(12, "Number of cells; one of them divides.", ge=1, le=500)
    every_frame: int = param(2, "The recording holds every so manieth frame of the truth.", ge=1, le=100)
    every_plane: int = param(2, "The recording holds every so manieth plane of the truth.", ge=1, le=100)
    interval: float = param(30.0, "Time between frames of the truth.", unit="second", gt=0)
    voxel_um: float = param(
        0.5, "Edge of a voxel of the truth.", title="Voxel size", unit="micrometer", gt=0, le=100, advanced=True
    )
    peak: float = param(400.0, "Light of the brightest voxel.", unit="photon", gt=0, le=60000)
    photon_noise: bool = param(True, "Draw photon numbers at random (Poisson).", advanced=True)
    read_noise: float = param(
        4.0, "Standard deviation of the camera's read noise.", unit="counts", ge=0, le=1000, advanced=True
    )
    background: float = param(0.0, "Camera offset.", unit="counts", ge=0, le=10000, advanced=True)


class SimulateMovie(WholeEngine[MovieParams]):
    """Draws moving cells and records them; the seed is the run's seed."""

    Params = MovieParams
    makes = "makes whole movies"
    instead = "set frames, planes, height, width"
    uses_torch = False
    info = EngineInfo(
        name="simulate.movie",
        kind="simulate",
        title="Movie of cells",
        summary="Cells that move, turn and divide: a noisy recording that misses frames and planes, and the truth",
        outputs=(
            OutputInfo(name="raw", axes="TZYX", description="the recording, in camera counts"),
            OutputInfo(name="truth", axes="TZYX", description="all frames and planes without noise, in photons"),
            OutputInfo(name="parameters", kind="report", description="settings as numbers"),
        ),
    )

    def made(self, refs: Refs, params: MovieParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        size = {"T": params.frames, "Z": params.planes, "Y": params.height, "X": params.width}
        every = {"T": params.every_frame, "Z": params.every_plane}
        truth, raw = (
            Grid.of(
                "TZYX",
                tuple(-(-n // steps.get(axis, 1)) for axis, n in size.items()),
                {a: steps.get(a, 1) * (params.interval if a == "T" else params.voxel_um) for a in "TZYX"},
                units={"T": "second", **dict.fromkeys("ZYX", "micrometer")},
            )
            for steps in ({}, every)
        )
        voxels = math.prod(size.values())
        outputs = (OutputSpec(name="raw", grid=raw, dtype="uint16"), OutputSpec(name="truth", grid=truth))
        return outputs, Resources(tiles=params.frames, memory_bytes=20 * voxels + 2**26, work=200.0 * voxels)

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        params = self.params_of(plan)
        random = np.random.default_rng(plan.compute.seed)
        yield ArtifactReady("parameters", "report", {**params.model_dump(mode="json"), "seed": plan.compute.seed})
        movie = drawn(random, (params.frames, params.planes, params.height, params.width), params.cells, token.check)
        movie *= params.peak
        for time, volume in enumerate(movie):
            token.check()
            place = tuple(slice(0, n) for n in volume.shape)
            yield BlockReady("truth", (slice(time, time + 1), *place), volume[None].astype(np.float32))
            number, missed = divmod(time, params.every_frame)
            if not missed:
                seen = record(
                    volume[:: params.every_plane],
                    random,
                    photon_noise=params.photon_noise,
                    background=params.background,
                    read_noise=params.read_noise,
                )
                yield BlockReady("raw", (slice(number, number + 1), slice(0, len(seen)), *place[1:]), seen[None])
            yield Progress(time + 1, params.frames, "frame")
