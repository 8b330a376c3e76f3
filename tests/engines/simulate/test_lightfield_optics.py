"""simulate.lightfield through whole PSFs, of given volumes, as a scan in motion, and behind the lenslets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_recon.core.compute import Compute
from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, OutputOpened, apply_block
from napari_recon.core.plan import InputRef, Plan
from napari_recon.core.stack import ImageStack
from napari_recon.engines import registry
from napari_recon.engines.simulate.lenslets import scan_order
from napari_recon.optics.lightfield_geometry import load_psf_shift

QUIET = {"photon_noise": False, "read_noise": 0.0}
SMALL = {"frames": 1, "height": 9, "width": 12, "planes": 5, "tubes": 2, "beads": 4, "bubbles": 0, "peak": 20000, **QUIET}
PIXEL = 100 / 13 / 63
MICRONS = dict.fromkeys("ZYX", "micrometer")


def plan_of(inputs: dict[str, ImageStack], **params: Any) -> Plan:
    refs = [InputRef(name=name, uri=name, grid=stack.grid, dtype=str(stack.dtype)) for name, stack in inputs.items()]
    compute = Compute(device="cpu", threads=1, seed=3)
    return registry.get("simulate.lightfield").plan(refs, {**SMALL, **params}, compute=compute)


def run(inputs: dict[str, ImageStack] | None = None, **params: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    arrays: dict[str, np.ndarray] = {}
    artifacts: dict[str, Any] = {}
    inputs = inputs or {}
    plan = plan_of(inputs, **params)
    for event in registry.get("simulate.lightfield").run(plan, {name: [stack] for name, stack in inputs.items()}):
        if isinstance(event, OutputOpened):
            arrays[event.output] = np.zeros(event.spec.grid.shape, event.spec.dtype)
        elif isinstance(event, BlockReady):
            apply_block(arrays[event.output], event)
        elif isinstance(event, ArtifactReady):
            artifacts[event.name] = event.payload
    return arrays, artifacts


def gaussian_psf(shift: np.ndarray, sigma: float = 2.0, pixel: float = PIXEL, size: int = 41) -> ImageStack:
    place = np.arange(size) - (size - 1) / 2
    spots = [np.exp(-0.5 * ((place - shift[..., axis, None]) / sigma) ** 2) for axis in (0, 1)]
    psf = (spots[0][..., :, None] * spots[1][..., None, :]).astype(np.float32)
    psf /= psf.sum(axis=(2, 3), keepdims=True)
    first = {"Z": -(shift.shape[1] // 2) * 0.2}
    scale = {"Z": 0.2, "Y": pixel, "X": pixel}
    return ImageStack.of(psf, "VZYX", "psf", scale=scale, translate=first, units=MICRONS)


def test_a_psf_of_displaced_spots_sees_what_the_shifts_see() -> None:
    psf = gaussian_psf(load_psf_shift("geometric-13").with_planes(5).psf_shift)
    through, artifacts = run({"psf": psf})
    displaced, _ = run()
    np.testing.assert_allclose(through["truth"], displaced["truth"], rtol=0.02, atol=0.02 * displaced["truth"].max())
    off = through["raw"].astype(float) - displaced["raw"]
    assert np.linalg.norm(off) < 0.02 * np.linalg.norm(displaced["raw"])
    assert np.abs(load_psf_shift(artifacts["psf_shift"]).psf_shift[:, 1] - psf_centre(psf)[:, 1]).max() < 0.02


def psf_centre(psf: ImageStack) -> np.ndarray:
    from napari_recon.optics.lightfield_geometry import centre_of_mass_shift

    return centre_of_mass_shift(np.asarray(psf.data))


def test_a_fourier_light_field_has_the_pixels_of_its_psf() -> None:
    shift = np.zeros((3, 5, 2), np.float32)
    shift[1, :, 0], shift[2, :, 1] = np.arange(-2, 3), np.arange(-2, 3)
    arrays, artifacts = run({"psf": gaussian_psf(shift, 1.2, 0.3, 15)}, height=20, width=23)
    assert arrays["raw"].shape == (1, 3, 20, 23) and arrays["truth"].shape == (1, 5, 20, 23)
    assert artifacts["parameters"]["light_field_pixel_um"] == pytest.approx(0.3)
    sums = arrays["raw"][0].sum(axis=(1, 2), dtype=float)
    assert sums.min() > 0.8 * sums.max()


def test_a_given_volume_is_looked_at_frame_by_frame() -> None:
    volume = np.zeros((2, 5, 39, 52), np.float32)
    volume[0, 2, 19, 13], volume[1, 2, 19, 39] = 1.0, 1.0
    given = ImageStack.of(volume, "TZYX", "given")
    arrays, _ = run({"object": given}, frames=3)
    truth = arrays["truth"]
    assert [np.unravel_index(frame.argmax(), frame.shape) for frame in truth] == [(2, 19, 13), (2, 19, 39), (2, 19, 39)]
    columns = [frame[0].sum(axis=0) @ np.arange(12) / frame[0].sum() for frame in arrays["raw"].astype(float)]
    assert columns == pytest.approx([13.5 * 3 / 13 - 0.5, 39.5 * 3 / 13 - 0.5, 39.5 * 3 / 13 - 0.5], abs=0.05)


def test_motion_tears_a_scan_and_leaves_its_middle_exposure() -> None:
    moving = {"tubes": 0, "beads": 3, "speed": 9.0, "beyond": 0.0}
    torn, still = run(**moving, scan_motion=True)[0], run(**moving)[0]
    np.testing.assert_array_equal(torn["truth"], still["truth"])
    row, column = divmod(scan_order(3)[4], 3)
    np.testing.assert_array_equal(torn["raw"][..., row::3, column::3], still["raw"][..., row::3, column::3])
    other = (..., slice(2 - row, None, 3), slice(column, None, 3))
    assert np.abs(torn["raw"][other].astype(float) - still["raw"][other]).max() > 0.05 * still["raw"].max()
    resting = {**moving, "speed": 0.0}
    np.testing.assert_array_equal(run(**resting, scan_motion=True)[0]["raw"], run(**resting)[0]["raw"])


def test_pictures_behind_the_lenslets_hold_the_views() -> None:
    arrays, _ = run(lenslets=True, views="all", frames=2)
    raw, pictures = arrays["raw"], arrays["lenslets"]
    assert pictures.shape == (18, 39, 52)
    again = np.zeros_like(raw)
    for number, picture in enumerate(pictures):
        time, step = divmod(number, 9)
        row, column = divmod(scan_order(3)[step], 3)
        pages = picture.reshape(3, 13, 4, 13).transpose(1, 3, 0, 2).reshape(169, 3, 4)
        again[time, :, row::3, column::3] = pages
    np.testing.assert_array_equal(again, raw)


def test_realignment_finds_the_lenslets_the_scan_and_the_views() -> None:
    import napari_recon

    array = {"pitch_px": 13.37, "rotation_deg": 0.6, "offset_px": (1.3, -0.7), "vignetting": 0.3}
    scene = {"height": 36, "width": 36, "planes": 3, "phantom": "tissue", "beyond": 1.0, "peak": 2000}
    params = {**SMALL, **scene, **array, "views": "all", "lenslets": True, "photon_noise": True}
    light = napari_recon.run("simulate.lightfield", params=params, seed=2)
    found = napari_recon.run("serenet.realign", light.outputs["lenslets"], params={"scanning": 3})
    report = found.artifacts["report"]
    assert report["pitch_px"] == pytest.approx(13.37, rel=5e-4)
    assert report["rotation_deg"] == pytest.approx(0.6, abs=0.02)
    views, raw = (np.squeeze(np.asarray(a)).astype(float)[:, 6:-6, 6:-6] for a in (found["views"], light["raw"]))
    for page in (84, 85, 58, 110):
        assert np.corrcoef(views[page].ravel(), raw[page].ravel())[0, 1] > 0.95


def test_bits_cut_what_is_too_bright_and_five_by_five_scans_are_finer() -> None:
    arrays, _ = run(bits=8, scanning=5, height=10, width=15)
    assert arrays["raw"].max() == 255
    assert arrays["truth"].shape == (1, 5, 26, 39)


@pytest.mark.parametrize("kind", ["bubtub", "lines", "tissue"])
def test_every_phantom_can_be_seen(kind: str) -> None:
    arrays, _ = run(phantom=kind)
    assert 19000 < arrays["raw"][0, 0].max() <= 20001


def test_reconstructions_name_a_psf_of_another_magnification(tmp_path: Path) -> None:
    import napari_recon
    from napari_recon.io.output import write_stack

    psf = gaussian_psf(load_psf_shift("geometric-13").with_planes(5).psf_shift, pixel=100 / 13 / 20)
    write_stack(tmp_path / "psf.ome.tif", psf)
    pixel = dict.fromkeys("YX", PIXEL * 13 / 3)
    units = dict.fromkeys("YX", "micrometer")
    views = ImageStack.of(np.ones((49, 9, 12), np.uint16), "VYX", "views", scale=pixel, units=units)
    said = r"magnification: 4\.333 of its pixels .* found 1\.376 .* 0\.317 times"
    with pytest.raises(InputError, match=said):
        napari_recon.plan("deconvolution.lightfield_rl", views, psf)
    for engine in ("deconvolution.lightfield_rl", "serenet.refocus"):
        with pytest.raises(InputError, match=said):
            napari_recon.plan(engine, views, params={"psf_shift": str(tmp_path / "psf.ome.tif")})


def test_what_does_not_belong_together_is_one_sentence() -> None:
    for params, words in (
        ({"lenslets": True}, "needs all 169 views, found 49"),
        ({"scanning": 5, "height": 9}, "multiple of scanning"),
        ({"scanning": 2}, "scanning"),
    ):
        with pytest.raises(InputError, match=words):
            plan_of({}, **params)
    shift = load_psf_shift("geometric-13").with_planes(5).psf_shift
    with pytest.raises(InputError, match="planes should be 0 or an odd number up to 5"):
        plan_of({"psf": gaussian_psf(shift)}, planes=4)
    with pytest.raises(InputError, match="5 planes, found ZYX with shape"):
        plan_of({"object": ImageStack.of(np.ones((3, 9, 9), np.float32), "ZYX", "o")})
    coarse = ImageStack.of(np.ones((5, 9, 9), np.float32), "ZYX", "o", scale=dict.fromkeys("YX", 0.3), units=MICRONS)
    with pytest.raises(InputError, match=r"fine pixels of the microscope, 0\.1221 um, found 0\.3 um"):
        plan_of({"object": coarse})
    with pytest.raises(InputError, match="microlens array"):
        plan_of({"psf": gaussian_psf(np.zeros((7, 5, 2), np.float32))}, scan_motion=True)
    for bad in (np.full((5, 9, 9), np.nan, np.float32), np.ones((5, 9, 9), np.complex64)):
        with pytest.raises(InputError, match="the object"):
            run({"object": ImageStack.of(bad, "ZYX", "o")})
