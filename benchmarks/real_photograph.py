"""A real light-field photograph from raw picture to volume: a vesicle, its lenslets, residuals and roundness.

    python benchmarks/real_photograph.py FOLDER [--work DIR] [--save]

FOLDER holds Lightfield_GUVExperim1.tif, Radiometry_GUVExperim1.tif and DarkFrame_GUVExperim1.tif: a giant unilamellar
vesicle (example data of napari-LF, recorded by Rudolf Oldenbourg). Only a picture in docs/images and the
numbers are kept of it. What takes long (the PSF, the volumes) is kept in DIR and not made again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from recording import Row, save
from scipy import ndimage, optimize

import napari_recon
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "real-photograph.png"
UM = "micrometer"
NNUM, FINER = 15, 3
#: Planes of the PSF of which the field takes one.
EVERY = 2
ARRAY = {"nnum": NNUM, "pitch_um": 100.0, "camera_pixel_um": 6.5, "magnification": 60.0}
LENSLET_UM = ARRAY["pitch_um"] / ARRAY["magnification"]
MICROSCOPE = {
    "na": 1.2,
    "magnification": 60.0,
    "wavelength_um": 0.593,
    "medium_index": 1.35,
    "pitch_um": 100.0,
    "microlens_um": 2500.0,
    "nnum": NNUM,
    "depth_from_um": -20.0,
    "depth_to_um": 20.0,
    "depth_step_um": 1.0,
}
FIELD = {"method": "fast", "psf_width": 1.0, "psf_aberrations": "never"}
DEPTH_UM = 40.0
#: Planes whose circles are measured, in micrometers from the one in focus.
MEASURED = 8.0
Volume = NDArray[np.float64]


def kept(path: Path, make: Any) -> Path:
    """Return `path`, made first where it is missing."""
    if not path.exists():
        make(path)
    return path


def realigned(folder: Path, work: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Return the file of views, and what was found with the white picture and without it."""
    raw, white, dark = (folder / f"{name}_GUVExperim1.tif" for name in ("Lightfield", "Radiometry", "DarkFrame"))
    made = napari_recon.run(
        "serenet.realign", raw, inputs={"white": white, "dark": dark}, params=ARRAY, out=work / "views.ome.tif"
    )
    alone = napari_recon.run("serenet.realign", raw, params=ARRAY)
    return work / "views.ome.tif", made.artifacts["report"], alone.artifacts["report"]


def on_finer_pixels(views: Path, psf: Path) -> tuple[ImageStack, ImageStack]:
    """Return views with `FINER` pixels per lenslet and their PSF on the same pixels, as `lightfield_inr.fit` takes them.

    Views are interpolated linearly between lenslets; the PSF is widened by the same triangle and by the pixel.
    """
    stack = open_stack(psf)
    fine, step = np.asarray(stack.data[:, ::EVERY], dtype=np.float32), NNUM // FINER
    lens, pixel = np.full(NNUM, 1 / NNUM), np.full(step, 1 / step)
    kernel = np.convolve(np.convolve(lens, lens), pixel)
    half, reach = len(kernel) // 2, fine.shape[-1] // 2
    radius = (reach + NNUM) // step
    distance = np.arange(-reach, reach + 1)[None, :] - step * np.arange(-radius, radius + 1)[:, None]
    matrix = np.where(np.abs(distance) <= half, kernel[np.clip(distance + half, 0, len(kernel) - 1)], 0).astype(np.float32)
    coarse = np.stack([np.einsum("iy,zyx,jx->zij", matrix, one, matrix, optimize=True) for one in fine])
    pages = np.asarray(open_stack(views).data, dtype=np.float32)[list(VIEW_ORDERS[NNUM])]
    size = pages.shape[-1]
    place = np.clip((np.arange(FINER * size) + 0.5) / FINER - 0.5, 0, size - 1)
    for axis in (1, 2):
        low = np.minimum(place.astype(int), size - 2)
        part = (place - low).reshape([-1 if n == axis else 1 for n in range(3)]).astype(np.float32)
        pages = np.take(pages, low, axis) * (1 - part) + np.take(pages, low + 1, axis) * part
    lateral, units = LENSLET_UM / FINER, {"Z": UM, "Y": UM, "X": UM}
    z = {"Z": EVERY * float(stack.grid.step("Z"))}
    psf_stack = ImageStack.of(
        coarse, "VZYX", "psf", scale={**z, "Y": lateral, "X": lateral}, translate={"Z": stack.grid.origin("Z")}, units=units
    )
    return ImageStack.of(pages, "VYX", "views", scale={"Y": lateral, "X": lateral}, units={"Y": UM, "X": UM}), psf_stack


def circles(volume: Volume, pixel_um: float) -> list[tuple[float, float, float]]:
    """Return height, radius (both in um) and unevenness along the ring, of every plane that is measured.

    Unevenness: standard deviation over mean of the ring's brightness, without what changes slower than an eighth of a turn.
    """
    angle, radii = np.deg2rad(np.arange(0, 360, 2.0)), np.arange(8.0, 17.0, 0.05)

    def ring(plane: Volume, centre: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        y = centre[0] + np.sin(angle)[:, None] * radii / pixel_um
        x = centre[1] + np.cos(angle)[:, None] * radii / pixel_um
        light = ndimage.map_coordinates(ndimage.gaussian_filter(plane, 0.5 / pixel_um), [y, x], order=1)
        return radii[light.argmax(axis=1)], light.max(axis=1)

    def circle(radius: NDArray[np.float64], centre: tuple[float, float]) -> tuple[float, float, float]:
        near = np.abs(radius - np.median(radius)) < 1.0
        y, x = (c + f(angle[near]) * radius[near] / pixel_um for c, f in zip(centre, (np.sin, np.cos), strict=True))
        a, b, c = np.linalg.lstsq(np.stack([2 * y, 2 * x, np.ones_like(y)], axis=1), y * y + x * x, rcond=None)[0]
        return float(a), float(b), float(np.sqrt(c + a * a + b * b)) * pixel_um

    middle, step_um = len(volume) // 2, DEPTH_UM / (len(volume) - 1)
    centre = (volume.shape[1] / 2, volume.shape[2] / 2)
    for _ in range(4):
        y, x, _radius = circle(ring(volume[middle - 2 : middle + 3].mean(axis=0), centre)[0], centre)
        centre = (y, x)
    found = []
    for number, plane in enumerate(volume):
        height = (number - middle) * step_um
        if abs(height) <= MEASURED:
            radius, light = ring(plane, centre)
            waves = np.fft.rfft(light - light.mean())
            waves[:9] = 0
            found.append((height, circle(radius, centre)[2], float(np.fft.irfft(waves, len(light)).std() / light.mean())))
    return found


def sphere(found: list[tuple[float, float, float]]) -> tuple[float, NDArray[np.float64]]:
    """Return the height of the sphere's middle, and its diameter by each plane's circle (um)."""
    height, radius = np.array(found)[:, 0], np.array(found)[:, 1]

    def missed(guess: NDArray[np.float64]) -> NDArray[np.float64]:
        rest: NDArray[np.float64] = np.sqrt(np.maximum(guess[0] ** 2 - (height - guess[1]) ** 2, 0)) - radius
        return rest

    middle = float(optimize.least_squares(missed, [radius.max(), 0.0]).x[1])
    return middle, 2 * np.sqrt(radius**2 + (height - middle) ** 2)


def light_inside(volume: Volume, pixel_um: float) -> float:
    """Return the light in the vesicle's inner half over that on its shell, in the planes around the focus."""
    plane = volume[len(volume) // 2 - 3 : len(volume) // 2 + 4].mean(axis=0)
    rings = circles(volume, pixel_um)
    radius = rings[len(rings) // 2][1]
    bright = ndimage.center_of_mass(np.clip(plane - np.percentile(plane, 80), 0, None))
    y, x = (np.arange(n) - middle for n, middle in zip(plane.shape, bright, strict=True))
    away = np.hypot(y[:, None], x[None, :]) * pixel_um
    return float(plane[away < 0.5 * radius].mean() / plane[np.abs(away - radius) < 0.6].mean())


def rows_of(name: str, volume: Volume) -> list[Row]:
    """Return what is measured of one volume."""
    pixel_um = LENSLET_UM * 28 / volume.shape[1]
    found = circles(volume, pixel_um)
    middle, diameters = sphere(found)
    native = next(one for one in found if one[0] == 0)
    return [
        Row(f"{name}: diameter of the vesicle, mean of {len(found)} planes", float(diameters.mean()), "um"),
        Row(f"{name}: standard deviation of the diameter between planes", float(diameters.std()), "um"),
        Row(f"{name}: height of its middle over the native plane", middle, "um"),
        Row(f"{name}: unevenness along the ring in the native plane", 100 * native[2], "%"),
        Row(f"{name}: the same, median of all planes", 100 * float(np.median([one[2] for one in found])), "%"),
        Row(f"{name}: light inside over light on the shell", 100 * light_inside(volume, pixel_um), "%"),
    ]


def residual_of(views: Path, psf: Path, volume: Volume, background: float) -> float:
    """Return the root mean square of views minus projected volume, over that of the views' light.

    Three lenslets at the edge are left out, as light from beside the volume reaches them.
    """
    import torch

    from napari_recon.optics.psf_projector import normalised_psf, projector_from_psf

    measured = np.asarray(open_stack(views).data, dtype=np.float32)[list(VIEW_ORDERS[NNUM])]
    response = normalised_psf(torch.from_numpy(np.array(open_stack(psf).data, dtype=np.float32)))
    size = measured.shape[-1]
    factor = volume.shape[-1] // (FINER * size)
    coarse = volume.reshape(len(volume), FINER * size, factor, FINER * size, factor).mean(axis=(2, 4))
    margin = 18
    projector = projector_from_psf(
        response, (size, size), upsampling=float(NNUM), voxels_per_pixel=float(FINER), margin=margin
    )
    whole = torch.zeros(len(coarse), *projector.grid.size_yx)
    field = slice(FINER * margin, FINER * (margin + size))
    whole[:, field, field] = torch.from_numpy(coarse).float()
    model = projector.forward(whole).numpy()
    inner = (slice(None), slice(3, -3), slice(3, -3))
    light, made = measured[inner] - background, model[inner]
    made = made * float((light * made).sum() / (made * made).sum())
    return float(np.sqrt(((light - made) ** 2).mean() / (light**2).mean()))


def picture(raw: NDArray[Any], volumes: dict[str, Volume]) -> Image.Image:
    """Return the raw picture above planes and sections of each volume."""
    edge, gap, label = 168, 4, 18
    heights = (-12, -8, 0, 8, 12)
    canvas = Image.new("RGB", (7 * edge + 8 * gap, len(volumes) * (edge + label) + 2 * gap), "black")
    draw = ImageDraw.Draw(canvas)

    def put(image: NDArray[Any], left: int, top: int, text: str, low: float, high: float, tall: int = edge) -> None:
        grey = np.clip((image - low) / (high - low), 0, 1) ** 0.7
        shown = Image.fromarray(np.asarray(255 * grey, np.uint8)).resize((edge, tall), Image.Resampling.BICUBIC)
        canvas.paste(shown, (left, top + label))
        draw.text((left + 2, top + 2), text, fill="white")

    for number, (name, volume) in enumerate(volumes.items()):
        top, middle = number * (edge + label) + gap, len(volume) // 2
        if number == 0:
            put(raw, gap, top, "raw picture", *np.percentile(raw, (0.5, 99.7)))
        elif number == 1:
            part = raw[150:230, 50:130]
            put(part, gap, top, "a part of it", *np.percentile(part, (0.5, 99.9)))
        high = float(np.percentile(volume, 99.9))
        for at, height in enumerate(heights):
            text = f"{name}, z = {height:+d} um" if at == 0 else f"{height:+d} um"
            put(
                volume[middle + round(height * (len(volume) - 1) / DEPTH_UM)],
                gap + (at + 1) * (edge + gap),
                top,
                text,
                0.0,
                high,
            )
        row = round(ndimage.center_of_mass(np.clip(volume[middle] - np.percentile(volume[middle], 80), 0, None))[0])
        tall = round(edge * DEPTH_UM / (28 * LENSLET_UM))
        put(volume[:, row], gap + 6 * (edge + gap), top, "from the side", 0.0, high, tall)
    return canvas


def main() -> None:
    """Realign, reconstruct, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="photograph-"))
    work.mkdir(parents=True, exist_ok=True)
    views, report, alone = realigned(options.folder, work)
    psf = kept(work / "psf" / "psf.ome.tif", lambda _: napari_recon.simulate("lfm_psf", out=work / "psf", **MICROSCOPE))
    rows = [
        Row("pitch by the white picture", report["pitch_px"], "pixel"),
        Row("pitch by the photograph alone, difference", 100 * (alone["pitch_px"] / report["pitch_px"] - 1), "%"),
        Row("rotation by the white picture", report["rotation_deg"], "degrees"),
        Row("rotation by the photograph alone, difference", alone["rotation_deg"] - report["rotation_deg"], "degrees"),
    ]
    volumes: dict[str, Volume] = {}
    for name, tv in (("Richardson-Lucy", 0.0), ("Richardson-Lucy, tv=0.01", 0.01)):
        file, note = work / f"rl-{tv:g}.ome.tif", work / f"rl-{tv:g}.txt"
        if not file.exists():
            made = napari_recon.run("deconvolution.lightfield_rl", views, psf, params={"tv": tv}, out=file)
            note.write_text(str(made.artifacts["report"]["background"]))
        volumes[name] = np.squeeze(np.asarray(open_stack(file).data, dtype=np.float64))
        rows += rows_of(name, volumes[name])
        left = residual_of(views, psf, volumes[name], float(note.read_text()))
        rows.append(Row(f"{name}: residual of the views over their light", 100 * left, "%"))
    file = work / "field.ome.tif"
    if not file.exists():
        finer_views, finer_psf = on_finer_pixels(views, psf)
        napari_recon.run("lightfield_inr.fit", finer_views, finer_psf, params=FIELD, out=file)
    volumes["fast field"] = np.squeeze(np.asarray(open_stack(file).data, dtype=np.float64))
    rows += rows_of("fast field", volumes["fast field"])
    for row in rows:
        print(f"{row.what:75s} {row.value:10.4g} {row.unit}")
    raw = np.asarray(open_stack(options.folder / "Lightfield_GUVExperim1.tif").data, dtype=np.float64)
    made_picture = picture(np.squeeze(raw), volumes)
    made_picture.save(work / "picture.png")
    if options.save:
        made_picture.convert("L").save(PICTURE, optimize=True)
        save("real_photograph", rows, "python benchmarks/real_photograph.py FOLDER --save", NOTE)


NOTE = (
    "A giant unilamellar vesicle behind 28 x 28 lenslets. Diameters: a circle is fitted to the ring of every plane between "
    "-8 and 8 um, and a sphere to the circles' radii; what its diameter would be by each plane alone is compared. "
    "Unevenness: brightness along the ring, without what changes slower than an eighth of a turn."
)


if __name__ == "__main__":
    main()
