"""Make the figures of docs/images that are no screenshots: python docs/make_figures.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

import napari_recon
from napari_recon import samples
from napari_recon.core.events import Event, PreviewReady
from napari_recon.core.stack import ImageStack
from napari_recon.io import open_stack

IMAGES = Path(__file__).parent / "images"
GAP, LABEL = 6, 22
Picture = NDArray[np.uint8]
Volume = NDArray[np.float32]


def sim_residual() -> None:
    """The sample's reconstruction, the same with an invented filament, and what sim.residual says of both."""
    raw = open_stack(samples.path("sim"))
    honest = napari_recon.run("sim.wiener", raw).outputs["sr"]
    image = np.asarray(honest.data)
    t = np.linspace(0, 1, 800)
    added = np.zeros_like(image)
    added[(215 + 60 * t).astype(int), (190 + 70 * t + 12 * np.sin(6 * t)).astype(int)] = 1
    added = gaussian_filter(added, 1.5)
    invented = ImageStack(image + added * (0.35 * np.quantile(image, 0.99) / added.max()), honest.grid, "invented")
    maps = [napari_recon.run("sim.residual", raw, one)["significance"] for one in (honest, invented)]
    low, high = np.quantile(image, (0.01, 0.997))
    panels = {
        "sim.wiener": grey(image, low, high),
        "significance": signed(maps[0]),
        "with an invented filament": grey(np.asarray(invented.data), low, high),
        "significance ": signed(maps[1]),
    }
    figure(panels).save(IMAGES / "sim-residual.png", optimize=True)


def neural_field() -> None:
    """A fit of the Fourier light-field sample sharpening: its previews, from above and from the side, and the truth."""
    found: list[tuple[int, Volume]] = []

    def keep(event: Event) -> None:
        if isinstance(event, PreviewReady):
            found.append((event.step, np.squeeze(np.array(event.array))))

    views, psf = samples.path("flfm"), samples.path("flfm_psf")
    fit = napari_recon.run("lightfield_inr.fit", views, psf, time=(0, 1), on_event=keep, device="cpu", threads=1)
    truth = np.squeeze(open_stack(samples.path("flfm_truth")).read("ZYX", t=0)).astype(np.float32)
    quality = [psnr(volume, truth) for _, volume in found]
    # the start is shown while the PSF is looked at; from there on every preview is another
    start = max(
        i for i in range(1, len(found) - 3) if abs(quality[i] - quality[i - 1]) < 0.01 or found[i][0] < found[i - 1][0]
    )
    refined = found[start + 1 :]
    chosen = {
        "views refocused": found[0][1],
        "Richardson-Lucy": found[start][1],
        f"field, step {refined[0][0]}": refined[0][1],
        f"field, step {refined[1][0]}": refined[1][1],
        "field, end": np.squeeze(fit["volume"]),
        "truth": truth,
    }
    panels = {}
    for name, volume in chosen.items():
        scaled = volume * ((volume * truth).sum() / (volume * volume).sum())
        light = np.sqrt(np.clip(scaled, 0, None) / np.quantile(truth[truth > 0], 0.98))
        deep = np.repeat(light.max(axis=1), 2, axis=0)  # planes are 1.5 pixels apart
        picture = np.vstack([light.max(axis=0), np.ones((2, light.shape[2])), deep])
        label = name if name == "truth" else f"{name}: {psnr(volume, truth):.1f} dB"
        panels[label] = np.repeat(np.repeat(grey(picture, 0, 1), 2, axis=0), 2, axis=1)
    figure(panels, 12).save(IMAGES / "neural-field-sharpening.png", optimize=True)


def phantoms() -> None:
    """The kinds of phantoms from above and from the side, and a light field of moving beads behind its lenslets."""
    panels = {}
    for kind in ("bubtub", "lines", "tissue"):
        volume = np.squeeze(np.asarray(napari_recon.run("simulate.phantom", params={"kind": kind}, seed=1)["truth"]))
        seen = np.concatenate([volume.max(axis=0), volume[50], volume.max(axis=1)[(np.arange(165) / 1.638).astype(int)]])
        panels[kind] = grey(seen, 0.0, 0.8 * float(volume.max()))
    moving = {"frames": 1, "height": 66, "width": 66, "planes": 41, "tubes": 14, "bubbles": 5, "speed": 20.0}
    light = napari_recon.run(
        "simulate.lightfield", params={**moving, "views": "all", "lenslets": True, "scan_motion": True}, seed=4
    )
    centre = np.asarray(light["raw"])[0, 84].astype(np.float32)
    picture = np.asarray(light["lenslets"])[4].astype(np.float32)
    torn, behind = (
        np.kron(image, np.ones((n, n)))[:size, :195] for image, n, size in ((centre, 3, 195), (picture[53:], 2, 360))
    )
    panels["scan in motion, lenslets"] = np.concatenate([grey(torn, 0, 250.0), grey(behind, 0, 80.0)])
    figure(panels, 12).save(IMAGES / "phantoms.png", optimize=True)


def psnr(volume: Volume, truth: Volume) -> float:
    """Return the PSNR in dB after the best scaling; the peak is the truth's maximum."""
    scaled = volume * ((volume * truth).sum() / (volume * volume).sum())
    return float(10 * np.log10(truth.max() ** 2 / ((scaled - truth) ** 2).mean()))


def grey(image: NDArray[np.floating], low: float, high: float) -> Picture:
    """Return an RGB picture of an image on the fine grid."""
    level = (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=2)


def signed(significance: NDArray[np.floating], limit: float = 10.0) -> Picture:
    """Return an RGB picture of a map on the raw grid: white agrees, magenta was invented, green is missing."""
    strength = np.clip(np.abs(significance) / limit, 0, 1)[..., None]
    colour = np.where(significance[..., None] < 0, (200, 0, 160), (0, 150, 60))
    picture = (255 - strength * (255 - colour)).astype(np.uint8)
    return np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1)


def figure(panels: dict[str, Picture], font_size: int = 14) -> Image.Image:
    """Return panels side by side with their names above."""
    height, width = next(iter(panels.values())).shape[:2]
    whole = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + LABEL), "white")
    draw = ImageDraw.Draw(whole)
    for number, (name, picture) in enumerate(panels.items()):
        left = number * (width + GAP)
        draw.text((left + 2, 4), name.strip(), fill="black", font_size=font_size)
        whole.paste(Image.fromarray(picture), (left, LABEL))
    return whole


if __name__ == "__main__":
    for make in (sim_residual, neural_field, phantoms):
        make()
