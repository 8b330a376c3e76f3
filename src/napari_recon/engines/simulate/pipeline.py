"""The run of simulate.lightfield: draw each frame, look at it from every view, add the camera's noise."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress
from napari_recon.core.token import CancelToken
from napari_recon.engines.simulate.camera import record
from napari_recon.engines.simulate.geometry import Rig
from napari_recon.engines.simulate.lightfield import Imaging, pieces_of
from napari_recon.engines.simulate.params import LightFieldParams
from napari_recon.engines.simulate.scene import Canvas, Scene, random_scene


def recording(params: LightFieldParams, rig: Rig, seed: int, token: CancelToken) -> Iterator[Event]:
    """Yield the events of a whole recording.

    Noise depends on seed, frame and page alone and motion on the frame alone, so more frames or more views leave the
    others as they were.
    """
    canvas = Canvas(rig.canvas_zyx, rig.geometry.z_step_um / rig.geometry.fine_pixel_um)
    scene = scene_of(params, rig, canvas, seed)
    imaging = Imaging(rig.canvas_zyx, rig.geometry.upsampling, params.psf_sigma, rig.margin)
    volume = scene.draw(canvas, 0.0, token.check)
    unit = np.float32(photons_per_unit(volume, imaging, params.peak, rig, token.check))
    yield ArtifactReady("psf_shift", "file", str(_saved_shift(rig.geometry.psf_shift)))
    yield ArtifactReady("parameters", "report", _report(params, rig, seed))
    inner = _inner(rig, params)
    total = params.frames * rig.pages
    for time in range(params.frames):
        if time:
            volume = scene.draw(canvas, time, token.check)
        volume *= unit
        truth = (volume[inner] * np.float32(params.gain))[None]
        yield BlockReady("truth", (slice(time, time + 1), *(slice(0, n) for n in truth.shape[1:])), truth)
        for page, clean_yx in _pages(torch.from_numpy(volume), imaging, rig, token.check):
            raw = record(
                clean_yx,
                np.random.default_rng([seed, 1, time, _page_number(rig, page)]),
                photon_noise=params.photon_noise,
                gain=params.gain,
                background=params.background,
                read_noise=params.read_noise,
            )
            place = (slice(time, time + 1), slice(page, page + 1), slice(0, params.height), slice(0, params.width))
            yield BlockReady("raw", place, raw[None, None])
            yield Progress(time * rig.pages + page + 1, total, "view", f"frame {time + 1}/{params.frames}")


def scene_of(params: LightFieldParams, rig: Rig, canvas: Canvas, seed: int) -> Scene:
    """Return the phantom: within the field, widened by `beyond`, and the middle 80 % of the depth."""
    field_yx = np.array(rig.geometry.volume_yx(params.height, params.width))
    room_yx = np.minimum(field_yx * (0.5 + params.beyond), np.array(rig.canvas_zyx[1:]) / 2)
    depth = 0.4 * rig.canvas_zyx[0] * canvas.plane_step
    return random_scene(
        np.array([depth, *room_yx]),
        seed,
        tubes=params.tubes,
        beads=params.beads,
        bubbles=params.bubbles,
        speed=params.speed,
        tube_radius=params.tube_radius,
        bead_radius=params.bead_radius,
        bubble_radius=params.bubble_radius,
    )


def photons_per_unit(
    first_zyx: NDArray[np.float32], imaging: Imaging, peak: float, rig: Rig, check: Callable[[], None]
) -> float:
    """Return the photons per unit of drawn brightness that give the first frame's centre view its `peak`."""
    centre = imaging.view(pieces_of(torch.from_numpy(first_zyx), check), rig.shift_vz2[rig.centre], check)
    brightest = float(centre.max())
    if brightest <= 0:
        raise InputError("the phantom should show in the centre view, found it dark; add structures or planes")
    return peak / brightest


def _pages(
    volume: torch.Tensor, imaging: Imaging, rig: Rig, check: Callable[[], None]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield every page of a frame; those that see no light are zero."""
    lit = {page: row for row, page in enumerate(rig.lit_pages)}
    pieces = pieces_of(volume, check)
    for page in range(rig.pages):
        check()
        if page in lit:
            yield page, imaging.view(pieces, rig.shift_vz2[lit[page]], check).numpy()
        else:
            yield page, np.zeros(imaging.view_shape, np.float32)


def _page_number(rig: Rig, page: int) -> int:
    """Return the page of the full stack, so that a view has the same noise whether the others are made or not."""
    return page if rig.pages == rig.geometry.nnum**2 else rig.geometry.view_order[page]


def _inner(rig: Rig, params: LightFieldParams) -> tuple[slice, slice, slice]:
    start = round(rig.margin * rig.geometry.upsampling)
    fine_y, fine_x = rig.geometry.volume_yx(params.height, params.width)
    return slice(None), slice(start, start + fine_y), slice(start, start + fine_x)


def _report(params: LightFieldParams, rig: Rig, seed: int) -> dict[str, Any]:
    geometry = rig.geometry
    return {
        **params.model_dump(mode="json"),
        "seed": seed,
        "nnum": geometry.nnum,
        "upsampling": geometry.upsampling,
        "fine_pixel_um": geometry.fine_pixel_um,
        "light_field_pixel_um": geometry.fine_pixel_um * geometry.upsampling,
        "z_step_um": geometry.z_step_um,
        "na": geometry.na,
        "magnification": geometry.magnification,
        "view_pages": [_page_number(rig, page) for page in rig.lit_pages],
        "margin": rig.margin,
    }


def _saved_shift(shift_vz2: NDArray[np.float32]) -> Path:
    """Return a file with the table as a plain tensor; it lives until the process ends unless it is moved."""
    folder = Path(tempfile.mkdtemp(prefix="napari-recon-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "psf_shift.pt"
    torch.save(torch.from_numpy(np.ascontiguousarray(shift_vz2)), path)
    return path
