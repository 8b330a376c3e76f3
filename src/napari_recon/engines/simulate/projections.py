"""simulate.projections: a phantom, its projections at many angles, and the truth. No torch at import."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.tomography_phantom import phantom
from napari_recon.engines.tomography.angles import Angles, angles_for, in_range
from napari_recon.engines.tomography.params import AngleList


class ProjectionsParams(EngineParams):
    """The phantom, how it is turned, and how light or electrons are counted."""

    phantom: Literal["cell", "shepp_logan", "slab"] = param(
        "cell",
        "cell: membranes, organelles, filaments; shepp_logan: the head of ellipsoids; slab: a slice of ice with grains.",
    )
    size: int = param(64, "Pixels of a projection across the axis of rotation.", unit="pixel", ge=8, le=2048)
    slices: int = param(32, "Pixels along the axis.", unit="pixel", ge=1, le=2048)
    thickness: int = param(0, "Planes of the phantom; 0 takes as many as a projection is wide.", unit="voxel", ge=0)
    angles: AngleList = param(
        "0:180:3", "Angles: start:stop:step without stop (tilts from -60 to 60: -60:61:3), or a list.", unit="degree"
    )
    axis: Literal["y", "x"] = param("y", "Axis of rotation on the projections.")
    centre: float = param(0.0, "Where the axis appears, from the projections' middle.", unit="pixel", ge=-512, le=512)
    signal: Literal["emission", "transmission", "density"] = param(
        "emission", "emission: light adds up; transmission: what is left of the flat field; density: sums with even noise."
    )
    peak: float = param(
        500.0, "Photons of the brightest pixel (emission) or of the flat field (transmission).", unit="photon", gt=0, le=1e7
    )
    noise: float = param(
        0.02,
        "Noise of densities, as a part of the largest sum; of counted light, any number above 0 draws it.",
        ge=0,
        le=10,
    )
    pixel_um: float = param(1.0, "Size of a pixel, and of a voxel.", unit="um", gt=0)


class Projections(WholeEngine[ProjectionsParams]):
    """Makes projections of a phantom that is known; the seed is the run's seed."""

    Params = ProjectionsParams
    makes = "makes whole recordings"
    instead = "set size and slices"
    info = EngineInfo(
        name="simulate.projections",
        kind="simulate",
        title="Simulated projections",
        summary="A phantom, its projections at known angles, and the ground truth",
        outputs=(
            OutputInfo(name="raw", axes="VYX", description="the projections"),
            OutputInfo(name="truth", axes="ZYX", description="the phantom in the projections' unit per voxel"),
            OutputInfo(name="angles", kind="table", description="the angle of each projection"),
            OutputInfo(name="parameters", kind="report", description="geometry and settings as numbers"),
        ),
    )

    def made(self, refs: Refs, params: ProjectionsParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        angles, (planes, height, width) = angles_of(params), shape_of(params)
        steps, units = dict.fromkeys("ZYX", params.pixel_um), dict.fromkeys("ZYX", "micrometer")
        field = Grid.of("YX", (height, width), {a: steps[a] for a in "YX"}, units={a: units[a] for a in "YX"})
        depth = Grid.of(
            "Z", (planes,), {"Z": params.pixel_um}, {"Z": -params.pixel_um * (planes - 1) / 2}, {"Z": "micrometer"}
        )
        dtype = "float32" if params.signal == "density" else "uint16"
        voxels = planes * height * width
        return (
            OutputSpec(name="raw", grid=Grid.of("V", (len(angles),)).joined(field), dtype=dtype),
            OutputSpec(name="truth", grid=depth.joined(field)),
        ), Resources(tiles=1, memory_bytes=40 * voxels + 2**26, work=4.0 * voxels * len(angles))

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        import torch

        from napari_recon.optics.parallel_beam import ParallelBeam

        params = self.params_of(plan)
        angles, shape = angles_of(params), shape_of(params)
        rows = [{"view": view, "angle": angle} for view, angle in enumerate(angles)]
        yield ArtifactReady("angles", "table", rows)
        yield ArtifactReady("parameters", "report", {**params.model_dump(mode="json"), "angles": list(angles)})
        rng = np.random.default_rng(plan.compute.seed)
        truth = phantom(params.phantom, shape, params.axis, rng, token.check)
        beam = ParallelBeam(angles, shape[1:], shape[0], axis=params.axis, centre=params.centre)
        sums = beam.forward(torch.from_numpy(truth), token.check).numpy()
        scale, views = counted(sums, params, rng)
        yield BlockReady("truth", tuple(slice(0, n) for n in shape), truth * np.float32(scale))
        yield BlockReady("raw", tuple(slice(0, n) for n in views.shape), views)
        yield Progress(1, 1, "recording")


def angles_of(params: ProjectionsParams) -> Angles:
    """Return the angles of the projections."""
    if isinstance(params.angles, str):
        found = in_range(params.angles)
        if found is not None:
            return found
        raise InputError(f"angles should be start:stop:step or a list in degrees, found {params.angles!r}; set them")
    return angles_for(params.angles, len(params.angles))


def shape_of(params: ProjectionsParams) -> tuple[int, int, int]:
    """Return the voxels of the phantom (z, y, x)."""
    planes = params.thickness or params.size
    return (planes, params.slices, params.size) if params.axis == "y" else (planes, params.size, params.slices)


def counted(
    sums: NDArray[np.float32], params: ProjectionsParams, rng: np.random.Generator
) -> tuple[float, NDArray[np.float32] | NDArray[np.uint16]]:
    """Return what a voxel's value is multiplied by, and what is recorded."""
    top = max(float(sums.max()), 1e-6)
    if params.signal == "density":
        views = sums + params.noise * top * rng.normal(size=sums.shape)
        return 1.0, views.astype(np.float32)
    if params.signal == "emission":
        scale = params.peak / top
        light = np.maximum(sums, 0) * scale
    else:
        scale = math.log(10) / top  # a tenth is left of the light in the densest ray
        light = params.peak * np.exp(-np.maximum(sums, 0) * scale)
    counts = rng.poisson(light) if params.noise > 0 else np.round(light)
    return scale, np.minimum(counts, 65535).astype(np.uint16)
