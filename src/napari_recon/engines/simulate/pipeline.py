"""The run of simulate.lightfield: draw each frame, look at it from every view, add the camera's noise."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress, Warned
from napari_recon.core.stack import ImageStack, check_content
from napari_recon.core.token import CancelToken
from napari_recon.engines.simulate.camera import record
from napari_recon.engines.simulate.geometry import Rig
from napari_recon.engines.simulate.lenslets import raw_lenslet, scan_order, scanned_lenslets
from napari_recon.engines.simulate.params import LightFieldParams
from napari_recon.engines.simulate.phantom_kinds import phantom
from napari_recon.engines.simulate.scene import Canvas, Volume, random_scene
from napari_recon.engines.simulate.seen import PsfSight, ShiftSight, Sight
from napari_recon.optics.psf_checks import mended_psf
from napari_recon.optics.psf_projector import normalised_psf, psf_shift_of

Image = NDArray[np.float32]


class Subject(Protocol):
    """What is looked at."""

    def draw(self, canvas: Canvas, time: float, check: Callable[[], None] = ...) -> Volume:
        """Return it at `time` (in frames) on a canvas."""


def recording(
    params: LightFieldParams,
    rig: Rig,
    seed: int,
    token: CancelToken,
    psf: ImageStack | None = None,
    given: ImageStack | None = None,
    device: str = "cpu",
) -> Iterator[Event]:
    """Yield the events of a whole recording.

    Noise depends on seed, frame and page alone and motion on the frame alone, so more frames or more views leave the
    others as they were.
    """
    sight: Sight
    if psf is None:
        sight = ShiftSight(rig, params.psf_sigma)
    else:
        first, last = rig.psf_planes
        mended, said = mended_psf(check_content(psf.read("VZYX", z=slice(first, last)), "the PSF", True))
        yield from (Warned(sentence) for sentence in said)
        kept = normalised_psf(torch.from_numpy(np.array(mended, order="C")))
        shift = psf_shift_of(kept).numpy().astype(np.float32)
        rig = replace(rig, shift_vz2=shift, geometry=replace(rig.geometry, psf_shift=shift))
        sight = PsfSight(rig, kept, (params.height, params.width), device)
    canvas = Canvas(rig.canvas_zyx, rig.geometry.z_step_um / rig.geometry.fine_pixel_um)
    subject = subject_of(params, rig, canvas, seed) if given is None else Given(given)
    volume = subject.draw(canvas, 0.0, token.check)
    unit = np.float32(photons_per_unit(volume, sight, params.peak, token.check))
    yield ArtifactReady("psf_shift", "file", str(_saved_shift(rig.geometry.psf_shift)))
    yield ArtifactReady("parameters", "report", _report(params, rig, seed))
    inner = _inner(rig, params)
    total = params.frames * rig.pages
    for time in range(params.frames):
        if time:
            volume = subject.draw(canvas, time, token.check)
        volume *= unit
        truth = (volume[inner] * np.float32(params.gain))[None]
        yield BlockReady("truth", (slice(time, time + 1), *(slice(0, n) for n in truth.shape[1:])), truth)
        if params.scan_motion or params.lenslets:
            exposures = _exposures(params, rig, sight, subject, canvas, time, volume, unit, token.check)
            yield from _behind_lenslets(params, rig, exposures, time, seed, token.check)
            pages: Iterator[tuple[int, Image]] = enumerate(exposures)
        else:
            pages = _pages(torch.from_numpy(volume), sight, rig, token.check)
        for page, clean_yx in pages:
            raw = recorded(params, clean_yx, [seed, 1, time, rig.page_number(page)])
            place = (slice(time, time + 1), slice(page, page + 1), slice(0, params.height), slice(0, params.width))
            yield BlockReady("raw", place, raw[None, None])
            yield Progress(time * rig.pages + page + 1, total, "view", f"frame {time + 1}/{params.frames}")


def recorded(params: LightFieldParams, clean: NDArray[np.floating], seed: list[int]) -> NDArray[np.uint16]:
    """Return what the camera makes of photons."""
    return record(
        clean,
        np.random.default_rng(seed),
        photon_noise=params.photon_noise,
        gain=params.gain,
        background=params.background,
        read_noise=params.read_noise,
        bits=params.bits,
    )


@dataclass(frozen=True)
class Given:
    """A volume from elsewhere (ZYX or TZYX), in the middle of the canvas and dark around it; its last frame stays."""

    stack: ImageStack

    def draw(self, canvas: Canvas, time: float, check: Callable[[], None] = lambda: None) -> Volume:
        """See `Subject.draw`."""
        check()
        frames = self.stack.grid.size("T") if "T" in self.stack.grid.axes else 0
        index = {"t": min(max(round(time), 0), frames - 1)} if frames else {}
        own = np.maximum(check_content(self.stack.read("ZYX", **index), "the object", True), 0)
        volume = np.zeros(canvas.shape_zyx, np.float32)
        corners = [(size - n) // 2 for size, n in zip(canvas.shape_zyx, own.shape, strict=True)]
        to = tuple(
            slice(max(c, 0), max(c, 0) + min(n, s)) for c, n, s in zip(corners, own.shape, canvas.shape_zyx, strict=True)
        )
        of = tuple(
            slice(max(-c, 0), max(-c, 0) + min(n, s)) for c, n, s in zip(corners, own.shape, canvas.shape_zyx, strict=True)
        )
        volume[to] = own[of]
        return volume


def subject_of(params: LightFieldParams, rig: Rig, canvas: Canvas, seed: int) -> Subject:
    """Return the phantom: within the field, widened by `beyond`, and the middle 80 % of the depth."""
    field_yx = np.array(rig.geometry.volume_yx(params.height, params.width))
    room_yx = np.minimum(field_yx * (0.5 + params.beyond), np.array(rig.canvas_zyx[1:]) / 2)
    depth = 0.4 * rig.canvas_zyx[0] * canvas.plane_step
    room = np.array([depth, *room_yx])
    if params.phantom != "mixed":
        z, y, x = (v * params.interval / rig.geometry.fine_pixel_um for v in params.velocity_um_s)
        return phantom(
            params.phantom, room, seed, entry=params.entry, speed=params.speed, drift=(z, y, x), frames=params.frames
        )
    return random_scene(
        room,
        seed,
        tubes=params.tubes,
        beads=params.beads,
        bubbles=params.bubbles,
        speed=params.speed,
        tube_radius=params.tube_radius,
        bead_radius=params.bead_radius,
        bubble_radius=params.bubble_radius,
    )


def photons_per_unit(first_zyx: Image, sight: Sight, peak: float, check: Callable[[], None]) -> float:
    """Return the photons per unit of drawn brightness that give the first frame's centre view its `peak`."""
    brightest = float(sight.centre(torch.from_numpy(first_zyx), check).max())
    if brightest <= 0:
        raise InputError("the phantom should show in the centre view, found it dark; add structures or planes")
    return peak / brightest


def _pages(
    volume: torch.Tensor, sight: Sight, rig: Rig, check: Callable[[], None]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield every page of a frame; those that see no light are zero."""
    lit, views, dark = set(rig.lit_pages), sight.views(volume, check), None
    for page in range(rig.pages):
        check()
        if page in lit:
            image = next(views)
            dark = np.zeros_like(image) if dark is None else dark
            yield page, image
        else:
            dark = np.zeros_like(sight.centre(volume, check)) if dark is None else dark
            yield page, dark


def _exposures(
    params: LightFieldParams,
    rig: Rig,
    sight: Sight,
    subject: Subject,
    canvas: Canvas,
    time: int,
    volume: Volume,
    unit: np.float32,
    check: Callable[[], None],
) -> Image:
    """Return all pages (V, Y, X) of a frame whose scan positions are taken one after the other."""
    scanning = rig.geometry.scanning
    if scanning == 1 or not params.scan_motion:
        return np.stack([image for _, image in _pages(torch.from_numpy(volume), sight, rig, check)])
    whole, order = np.empty((rig.pages, params.height, params.width), np.float32), scan_order(scanning)
    for step, cell in enumerate(order):
        row, column = divmod(cell, scanning)
        away = step - len(order) // 2
        now = subject.draw(canvas, time + away / len(order), check) * unit if away else volume
        for page, image in _pages(torch.from_numpy(now), sight, rig, check):
            whole[page, row::scanning, column::scanning] = image[row::scanning, column::scanning]
    return whole


def _behind_lenslets(
    params: LightFieldParams, rig: Rig, views: Image, time: int, seed: int, check: Callable[[], None]
) -> Iterator[Event]:
    """Yield the pictures that the camera takes during a frame."""
    if not params.lenslets:
        return
    nnum, scanning = rig.geometry.nnum, rig.geometry.scanning
    shape = rig.camera_yx(params)
    for step in range(scanning**2):
        check()
        clean = raw_lenslet(
            scanned_lenslets(views, scanning, step),
            nnum,
            shape_yx=shape,
            pitch_px=params.pitch_px or nnum,
            rotation_deg=params.rotation_deg,
            offset_px=params.offset_px,
            vignetting=params.vignetting,
        )
        number = time * scanning**2 + step
        raw = recorded(params, clean, [seed, 2, number])
        yield BlockReady("lenslets", (slice(number, number + 1), slice(0, shape[0]), slice(0, shape[1])), raw[None])


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
        "view_pages": [rig.page_number(page) for page in rig.lit_pages],
        "margin": rig.margin,
        "scan_order": list(scan_order(geometry.scanning)),
    }


def _saved_shift(shift_vz2: NDArray[np.float32]) -> Path:
    """Return a file with the table as a plain tensor; it lives until the process ends unless it is moved."""
    folder = Path(tempfile.mkdtemp(prefix="napari-recon-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "psf_shift.pt"
    torch.save(torch.from_numpy(np.ascontiguousarray(shift_vz2)), path)
    return path
