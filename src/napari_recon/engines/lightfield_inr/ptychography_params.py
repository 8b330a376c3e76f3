"""Parameters of Fourier ptychography, and how lamps and optics follow from them. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import Resources
from napari_recon.io import read_table

MEDIUM = 1.33
"""Refractive index around the sample, which the published field counts from."""
PLANES = 2
_REMEDY = "give a file (.csv) with a line y,x per image, or a list of pairs"
Lamps = Annotated[
    tuple[tuple[float, float], ...] | str, BeforeValidator(lambda v: v.as_posix() if isinstance(v, Path) else v)
]


class PtychographyParams(EngineParams):
    """Objective and lamps."""

    na: Annotated[float, Field(gt=0, lt=1.33)] | None = param(None, "fpm: numerical aperture of the objective.")
    wavelength_um: Annotated[float, Field(gt=0, le=5)] | None = param(
        None, "fpm: wavelength of the light in vacuum.", unit="um"
    )
    leds: Lamps = param(
        "",
        "fpm: direction of the light of each image, (y, x) as sines (numerical apertures), or as places of lamps when "
        "led_distance is given; a list of pairs, or a table.",
        file=(".csv", ".json"),
    )
    led_distance: float = param(
        0.0, "fpm: distance of the lamps from the sample, in the unit of their places; 0 takes leds for sines.", ge=0
    )
    upsampling: int = param(0, "fpm: voxels per pixel; 0 takes as many as the lamps' directions resolve.", ge=0, le=16)
    plane_um: float = param(1.0, "fpm: distance of the volume's planes.", unit="um", gt=0, le=100, advanced=True)


def lamps_of(params: PtychographyParams, images: int) -> tuple[tuple[float, float], ...]:
    """Return the sines (y, x) of each image's light.

    Raises
    ------
    InputError
        Not one pair per image, or directions that no light has.
    """
    found: Any = params.leds
    if found == "" or not len(found):
        raise InputError(f"Fourier ptychography needs the direction of each image's light, found none; set leds: {_REMEDY}")
    if isinstance(found, str):
        found = _pairs(read_table(Path(found).expanduser()))
    if len(found) != images:
        raise InputError(f"leds should say one direction per image ({images}), found {len(found)}; {_REMEDY}")
    if params.led_distance:
        found = [tuple(v / math.hypot(y, x, params.led_distance) for v in (y, x)) for y, x in found]
    steepest = max(math.hypot(y, x) for y, x in found)
    if not steepest < 1:
        raise InputError(
            f"leds should be sines below 1, found {steepest:.4g}; set led_distance where they are places of lamps"
        )
    return tuple((float(y), float(x)) for y, x in found)


def _pairs(rows: Any) -> list[tuple[float, float]]:
    try:
        if rows and isinstance(rows[0], dict):
            header = list(rows[0])
            y, x = (next((name for name in header if axis in name.lower()), header[n]) for n, axis in enumerate("yx"))
            first = [(float(y), float(x))] if _number(y) and _number(x) else []
            return first + [(float(row[y]), float(row[x])) for row in rows]
        return [(float(y), float(x)) for y, x in rows]
    except (TypeError, ValueError, IndexError, KeyError):
        raise InputError(f"leds should be a table of directions, found another one; {_REMEDY}") from None


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def resolved_ptychography(params: Any, views: Grid) -> dict[str, Any]:
    """Return parameters with nothing left automatic.

    Raises
    ------
    InputError
        Optics that are not known or do not fit the pixels.
    """
    if views.size("T") > 1 and "T" in views.axes:
        raise InputError("Fourier ptychography fits one time point, found several; crop to one")
    if params.na is None or params.wavelength_um is None:
        raise InputError("Fourier ptychography needs na and wavelength_um, found none; set them")
    if any(views.unit(axis) != "micrometer" for axis in "YX"):
        raise InputError("Fourier ptychography needs the pixel's size in the sample; name it (--voxel-size y=...,x=...)")
    pixel = max(abs(views.step(axis)) for axis in "YX")
    if params.na / params.wavelength_um > 0.5 / pixel:
        raise InputError(
            f"pixels of {pixel:.4g} um can't sample waves of aperture {params.na} ({params.wavelength_um} um), which need "
            f"{0.5 * params.wavelength_um / params.na:.4g} um; mend the pixel size (in the sample) or na"
        )
    lamps = lamps_of(params, views.size("V"))
    if not any(math.hypot(y, x) < params.na for y, x in lamps):
        raise InputError(
            "Fourier ptychography needs a lamp whose light passes the objective (below na), found none; mend leds"
        )
    steepest = max(math.hypot(y, x) for y, x in lamps)
    needed = math.ceil(2 * pixel * (params.na + steepest) / params.wavelength_um - 1e-6)
    return {
        "leds": lamps,
        "led_distance": 0.0,
        "upsampling": params.upsampling or max(1, needed),
        "thickness": params.thickness or PLANES,
        "preset": "fpm",
    }


def index_grid(params: Any, views: Grid) -> Grid:
    """Return where the volume lies: planes around the focus, pixels divided."""
    depth = Grid.of(
        "Z",
        (params.thickness,),
        {"Z": params.plane_um},
        {"Z": -params.plane_um * (params.thickness - 1) / 2},
        {"Z": "micrometer"},
    )
    return depth.joined(views.only("YX").finer(params.upsampling))


def ptychography_resources(volume: Grid, params: Any) -> Resources:
    """Return what a fit takes: waves of some lamps through all planes, and the layers of every point."""
    voxels, planes = math.prod(volume.shape), volume.size("Z")
    steps = 400 if params.iterations == "auto" else params.iterations
    waves = 24 * min(12 * voxels, 1 << 24) * 4
    return Resources(tiles=steps, memory_bytes=2**28 + waves + 400 * voxels, work=float(voxels) * 12 * 60 * steps * planes)


def table_shape(volume_zyx: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the shape of the published table whose lattice holds a volume: it may be some voxels larger."""
    from napari_recon.engines.lightfield_inr.dense_shape import CROP

    planes, height, width = volume_zyx
    sides = [5 * math.ceil((n + 2 * CROP) / 5) for n in (height, width)]
    return 3 * sides[0] // 5, 3 * sides[1] // 5, max(1, math.ceil(planes / 2)), 3
