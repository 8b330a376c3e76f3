"""simulate.llsm: the raw, skewed stack of a (reflective) lattice light-sheet microscope, with truth and PSFs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.dual_view import (
    MICRONS,
    known_optics,
    leading,
    photons_per_unit,
    placed,
    psf_spec,
    recorded,
    time_grid,
)
from napari_recon.engines.simulate.light_sheet import SkewedScan, drawn, scene_of, seen
from napari_recon.engines.simulate.light_sheet_params import LlsmParams
from napari_recon.optics.light_sheet import light_sheet_psf


class Llsm(WholeEngine[LlsmParams]):
    """Makes stage-scanned light-sheet stacks whose truth is known; the seed is the run's seed."""

    Params = LlsmParams
    makes = "makes whole recordings"
    instead = "set planes, height, width, frames"
    uses_torch = False
    info = EngineInfo(
        name="simulate.llsm",
        kind="simulate",
        title="Simulated lattice light sheet",
        summary="The raw skewed stack of a light sheet over a mirror (or plain glass), with truth and PSFs",
        outputs=(
            OutputInfo(name="raw", axes="ZYX", description="what the camera records; z is the stage, the skew axis is x"),
            OutputInfo(
                name="truth", axes="ZYX", description="the phantom in photons per voxel, planes parallel to the coverslip"
            ),
            OutputInfo(name="psf_a", axes="ZYX", description="PSF of the direct view in the frame of the truth, sum 1"),
            OutputInfo(name="psf_b", axes="ZYX", description="PSF of the reflected view, turned over (with a mirror)"),
            OutputInfo(name="parameters", kind="report", description="settings as numbers, and where the mirror lies"),
        ),
        references=("10.1126/science.1257998",),
    )

    def made(self, refs: Refs, params: LlsmParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        params.checked()
        scan, time, pixel = SkewedScan(params), time_grid(params), params.pixel_um
        raw = Grid.of(
            "ZYX",
            (params.planes, params.height, params.width),
            {"Z": params.step_um, "Y": pixel, "X": pixel},
            units=MICRONS,
        )
        first_v, first_u = scan.first_um
        first = {
            "Z": raw.to_world("Z", (params.planes - 1) / 2) + first_v,
            "X": raw.to_world("X", (params.width - 1) / 2) + first_u,
        }
        truth = Grid.of("ZYX", scan.shape, dict.fromkeys("ZYX", pixel), first, MICRONS)
        psfs = psfs_of(params)
        outputs = (
            OutputSpec(name="raw", grid=time.joined(raw), dtype="uint16", optics=known_optics(params)),
            OutputSpec(name="truth", grid=time.joined(truth)),
            *(psf_spec(name, psf, pixel) for name, psf in psfs.items()),
        )
        voxels = 2 * math.prod(scan.shape) + math.prod(raw.shape)
        return outputs, Resources(
            tiles=params.frames,
            memory_bytes=100 * (voxels + psfs["psf_a"].size) + 2**26,
            work=300.0 * voxels * params.frames,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        params, seed = self.params_of(plan), plan.compute.seed
        scan, psfs = SkewedScan(params), psfs_of(params)
        scene = scene_of(params, scan.shape, seed)
        for name, psf in psfs.items():
            yield BlockReady(name, tuple(slice(0, n) for n in psf.shape), psf)
        yield ArtifactReady(
            "parameters", "report", {**params.model_dump(mode="json"), "seed": seed, "mirror_um": scan.mirror_um}
        )
        unit = 0.0
        shape = (params.planes, params.height, params.width)
        for time in range(params.frames):
            volume = drawn(scene, scan.shape, float(time), token.check)
            token.check()
            clean = scan.planes(seen(scan.world(volume), psfs["psf_a"]), token.check)
            unit = unit or photons_per_unit(params, float(clean.max()))
            light = clean * np.float32(unit)
            if params.mirror:
                light += np.float32(params.line * params.peak) * scan.line()
            yield BlockReady("truth", placed(params, time, scan.shape), leading(params, volume * np.float32(unit)))
            yield BlockReady("raw", placed(params, time, shape), leading(params, recorded(params, light, [seed, 1, time])))
            yield Progress(time + 1, params.frames, "frame")


def psfs_of(params: LlsmParams) -> dict[str, NDArray[np.float32]]:
    """Return the PSFs in the frame of the coverslip: of what is seen directly and, turned over, of what the mirror shows."""
    optics = (params.na, params.wavelength_um, params.refractive_index, params.sheet_fwhm_um)
    tilt = -params.direction * params.angle_deg
    angles = {"psf_a": tilt, "psf_b": -tilt} if params.mirror else {"psf_a": tilt}
    return {name: light_sheet_psf(*optics, (params.pixel_um,) * 3, angle) for name, angle in angles.items()}
