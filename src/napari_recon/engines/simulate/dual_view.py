"""simulate.dual_view: registered volumes of one phantom from several directions, with truth and PSFs."""

from __future__ import annotations

import math
import string
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.simulate.camera import record
from napari_recon.engines.simulate.light_sheet_params import DualViewParams, SceneParams
from napari_recon.optics.light_sheet import gaussian_psf, light_sheet_psf

MICRONS = dict.fromkeys("ZYX", "micrometer")


class DualView(WholeEngine[DualViewParams]):
    """Makes views of a volume whose truth is known; the seed is the run's seed."""

    Params = DualViewParams
    makes = "makes whole recordings"
    instead = "set planes, height, width, frames"
    uses_torch = False
    info = EngineInfo(
        name="simulate.dual_view",
        kind="simulate",
        title="Simulated views of a light sheet",
        summary="A phantom seen from two or more directions on one grid, with truth and PSFs",
        outputs=(
            OutputInfo(name="raw", axes="VZYX", description="what the cameras record, one page per view"),
            OutputInfo(name="truth", axes="ZYX", description="the phantom in photons per voxel"),
            OutputInfo(name="psf_a", axes="ZYX", description="PSF of the first view (psf_b: of the second ...), sum 1"),
            OutputInfo(name="view_a", axes="ZYX", description="the first view alone (view_b: the second ...)"),
            OutputInfo(name="parameters", kind="report", description="settings as numbers"),
        ),
        references=("10.1038/nmeth.2929",),
    )

    def made(self, refs: Refs, params: DualViewParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        params.checked()
        views = len(params.angles_deg)
        if len(params.brightness) not in (0, views) or any(not b > 0 for b in params.brightness):
            raise InputError(
                f"brightness should hold one number above 0 for each of the {views} views, found {params.brightness}; "
                "correct it"
            )
        field = Grid.of(
            "ZYX", (params.planes, params.height, params.width), dict.fromkeys("ZYX", params.voxel_um), units=MICRONS
        )
        time = time_grid(params)
        pages = Grid.of("V", (views,))
        known = known_optics(params)
        letters = string.ascii_lowercase[:views]
        psfs = psfs_of(params)
        outputs = (
            OutputSpec(name="raw", grid=time.joined(pages).joined(field), dtype="uint16", optics=known),
            OutputSpec(name="truth", grid=time.joined(field)),
            *(psf_spec(f"psf_{letter}", psf, params.voxel_um) for letter, psf in zip(letters, psfs, strict=True)),
            *(
                OutputSpec(name=f"view_{letter}", grid=time.joined(field), dtype="uint16", optics=known)
                for letter in letters
            ),
        )
        voxels = math.prod(field.shape)
        return outputs, Resources(
            tiles=params.frames,
            memory_bytes=100 * (voxels + psfs[0].size) + 2**26,
            work=300.0 * voxels * views * params.frames,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.simulate.light_sheet import displaced, drawn, scene_of, seen

        params, seed = self.params_of(plan), plan.compute.seed
        shape = (params.planes, params.height, params.width)
        scene, psfs = scene_of(params, shape, seed), psfs_of(params)
        letters = string.ascii_lowercase[: len(psfs)]
        for letter, psf in zip(letters, psfs, strict=True):
            yield BlockReady(f"psf_{letter}", tuple(slice(0, n) for n in psf.shape), psf)
        report = {**params.model_dump(mode="json"), "seed": seed, "views": len(psfs)}
        yield ArtifactReady("parameters", "report", report)
        brightness = params.brightness or (1.0,) * len(psfs)
        unit = 0.0
        for time in range(params.frames):
            volume = drawn(scene, shape, float(time), token.check)
            clean = []
            for number, (psf, light) in enumerate(zip(psfs, brightness, strict=True)):
                token.check()
                view = seen(volume, psf) * np.float32(light)
                clean.append(displaced(view, tuple(o / params.voxel_um for o in params.offset_um)) if number else view)
            unit = unit or photons_per_unit(params, max(float(view.max()) for view in clean))
            yield BlockReady("truth", placed(params, time, shape), leading(params, volume * np.float32(unit)))
            for number, view in enumerate(clean):
                token.check()
                raw = recorded(params, view * np.float32(unit), [seed, 1, time, number])
                page = placed(params, time, shape, number)
                yield BlockReady("raw", page, leading(params, raw[None]))
                yield BlockReady(f"view_{letters[number]}", placed(params, time, shape), leading(params, raw))
                yield Progress(time * len(psfs) + number + 1, params.frames * len(psfs), "view")


def psfs_of(params: DualViewParams) -> list[NDArray[np.float32]]:
    """Return the PSF of each view."""
    step = (params.voxel_um,) * 3
    if params.psf_model == "gaussian":
        return [gaussian_psf(params.psf_fwhm_um, params.psf_fwhm_z_um, step, angle) for angle in params.angles_deg]
    optics = (params.na, params.wavelength_um, params.refractive_index, params.sheet_fwhm_um)
    return [light_sheet_psf(*optics, step, angle) for angle in params.angles_deg]


def known_optics(params: SceneParams) -> dict[str, tuple[float, ...]]:
    """Return what a raw picture says of its microscope."""
    return {"na": (params.na,), "wavelength_um": (params.wavelength_um,), "refractive_index": (params.refractive_index,)}


def time_grid(params: SceneParams) -> Grid:
    """Return the axis T of several time points; one has none."""
    if params.frames == 1:
        return Grid.of("", ())
    return Grid.of("T", (params.frames,), {"T": params.interval}, units={"T": "second"})


def psf_spec(name: str, psf_zyx: NDArray[np.float32], step_um: float) -> OutputSpec:
    """Return the output of a PSF: its middle voxel lies at 0."""
    first = {a: -(n // 2) * step_um for a, n in zip("ZYX", psf_zyx.shape, strict=True)}
    return OutputSpec(name=name, grid=Grid.of("ZYX", psf_zyx.shape, dict.fromkeys("ZYX", step_um), first, MICRONS))


def photons_per_unit(params: SceneParams, brightest: float) -> float:
    """Return the photons per unit of drawn brightness that give the brightest voxel its peak."""
    if brightest <= 0:
        raise InputError("the phantom should show in the views, found it dark; add structures or enlarge the volume")
    return params.peak / brightest


def recorded(params: SceneParams, clean: NDArray[np.float32], seed: list[int]) -> NDArray[np.uint16]:
    """Return what the camera makes of light in photons."""
    return record(
        clean,
        np.random.default_rng(seed),
        photon_noise=params.photon_noise,
        background=params.camera_offset,
        read_noise=params.read_noise,
    )


def placed(params: SceneParams, time: int, shape: tuple[int, ...], view: int | None = None) -> tuple[slice, ...]:
    """Return where a volume of one time (and view) goes."""
    outer = [] if params.frames == 1 else [time]
    outer += [] if view is None else [view]
    return (*(slice(n, n + 1) for n in outer), *(slice(0, n) for n in shape))


def leading(params: SceneParams, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array with T in front where there are several time points."""
    return array if params.frames == 1 else array[None]
