"""What a light field, its optics and the settings fix before a run: views, grids, windows, memory (no torch)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import Resources
from napari_recon.core.region import Box
from napari_recon.engines.deconvolution.windows import CORES, LARGE_CORES, Window, fine_bounds, overlap, windows_of
from napari_recon.engines.light_field_optics import load_optics
from napari_recon.optics.lightfield_geometry import (
    MICROMETERS,
    VIEW_ORDERS,
    LightFieldGeometry,
    page_indices,
    volume_grid,
)
from napari_recon.optics.psf_checks import odd_size
from napari_recon.optics.psf_shift import pixels_per_view_pixel, scanned_as
from napari_recon.optics.support import next_smooth_size, operator_support

#: Iterations an estimate of time assumes when they are automatic.
USUAL_ITERATIONS = 30

#: Light-field pixels by which a view may be displaced on top of its psf_shift before light from it is lost.
REFINED_VIEWS_HALO = 4

#: Largest size of kept response matrices; above it they are rebuilt at each pass.
RESPONSE_BYTES = 5 << 28

_FREQUENCY_CUT = 2.0 / 3.0


@dataclass(frozen=True, eq=False)
class Setup:
    """One light field and its optics.

    Attributes
    ----------
    pages : tuple of int
        Pages of the stack in use, in the order of the psf_shift's rows.
    field_yx : tuple of int
        Light-field pixels.
    psf_shift : ndarray or None
        (views, planes, 2) in fine pixels; None when the optics come from a PSF stack.
    psf_planes : tuple of int
        First and last-but-one plane used of a PSF stack.
    upsampling, sigma_fine : float
        Fine pixels per light-field pixel; blur in fine pixels.
    halo : int
        Light-field pixels one voxel reaches, ``wander`` included.
    wander : int
        Light-field pixels by which views may be displaced in addition.
    volume : Grid
        Whole output grid, axes ZYX.
    """

    pages: tuple[int, ...]
    field_yx: tuple[int, int]
    psf_shift: NDArray[np.float32] | None
    psf_planes: tuple[int, int]
    upsampling: float
    sigma_fine: float
    halo: int
    wander: int
    volume: Grid

    @property
    def planes(self) -> int:
        """Depth planes solved."""
        return self.volume.size("Z")

    def voxels_per_pixel(self, voxel: str) -> float:
        """Return the solver's lateral voxels per light-field pixel, at most the fine ones."""
        return min({"half": 2.0, "third": 3.0, "fine": self.upsampling}[voxel], self.upsampling)

    def windows(self, core: int, halo: int | None = None) -> list[Window]:
        """Return the windows of the whole field, each delivering up to ``core`` light-field pixels per axis."""
        return windows_of(self.field_yx, self.halo if halo is None else halo, core)

    def target(self, window: Window, box: Box) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Return the fine voxels (y, x bounds) of ``box`` that a window delivers; None when it delivers none."""
        found = []
        for core, axis, pixels in zip(window.core_yx, "YX", self.field_yx, strict=True):
            size = self.volume.size(axis)
            part = overlap(fine_bounds(core, pixels, size), box.bounds(axis, size))
            if part is None:
                return None
            found.append(part)
        return found[0], found[1]

    def resources(self, voxel: str, iterations: int | str, refine: bool, box: Box, memory_bytes: int) -> Resources:
        """Return the estimate of one frame, with the largest windows that fit into the memory."""
        core = next((core for core in self._cores(voxel) if self._size(voxel, core).memory_bytes <= memory_bytes), CORES[-1])
        size, windows = self._size(voxel, core), self.windows(core)
        wanted = [window for window in windows if self.target(window, box)]
        pilot = len(windows) > 1 and (iterations == "auto" or refine)
        steps = USUAL_ITERATIONS if isinstance(iterations, str) else iterations
        warnings = []
        if len(windows) > 1:
            warnings.append(
                f"the field is solved in {len(windows)} windows of {core} light-field pixels plus a halo of {self.halo}; "
                f"this region needs {len(wanted)} of them"
            )
        if size.memory_bytes > memory_bytes:
            warnings.append(
                f"about {size.memory_bytes / 1e9:.1f} GB are needed and {memory_bytes / 1e9:.1f} GB are free; keep fewer "
                "planes or choose voxel=half"
            )
        return Resources(
            tile={"y": core, "x": core},
            tiles=len(wanted),
            memory_bytes=size.memory_bytes,
            work=(len(wanted) + pilot) * steps * size.work,
            warnings=tuple(warnings),
        )

    @property
    def convolves(self) -> bool:
        """Whether the optics are a PSF stack sampled at the views' own pixels."""
        return self.psf_shift is None and self.upsampling == 1.0

    def _cores(self, voxel: str) -> tuple[int, ...]:
        """Return window sizes to choose from: convolution is fastest in one piece, as long as its responses are kept."""
        if not self.convolves:
            return CORES
        return (*(core for core in LARGE_CORES if self._size(voxel, core).responses <= RESPONSE_BYTES), *CORES)

    def _size(self, voxel: str, core: int) -> _Size:
        """Return what one window takes."""
        window = self.windows(core)[0]
        per_pixel = self.voxels_per_pixel(voxel)
        grid = [next_smooth_size(math.ceil((n + 2 * self.halo) * per_pixel)) for n in window.read_shape]
        length = [n / per_pixel for n in grid]
        voxels = self.planes * grid[0] * grid[1]
        frequencies = (2 * _FREQUENCY_CUT * length[0] + 1) * (_FREQUENCY_CUT * length[1] + 1)
        if self.convolves:
            frequencies = grid[0] * (grid[1] / 2 + 1) / 0.8
        pairs = 0.8 * frequencies * len(self.pages) * self.planes  # a half disc of frequencies
        if self.psf_shift is None:
            responses = 8 * pairs
        else:
            responses = min(4 * pairs, float(RESPONSE_BYTES))  # opposite views share theirs; rebuilt when too many
        fine = self.planes * math.prod(n * self.upsampling for n in window.read_shape) * 4
        views = 4 * 8 * len(self.pages) * self.field_yx[0] * self.field_yx[1]
        memory = responses + 4 * 12 * voxels + 32 * frequencies * self.planes + fine + views
        return _Size(int(memory), int(responses), 8 * pairs + 10 * voxels * math.log2(max(2, grid[0] * grid[1])))


class _Size(NamedTuple):
    memory_bytes: int
    responses: int
    work: float


def setup_of(
    field: Grid, psf: Grid | None, psf_shift: str, planes: int, sigma_fine: float, refine_views: bool = False
) -> Setup:
    """Return the set-up for a light field with grid ``field`` (V, Y, X at least).

    Raises
    ------
    InputError
        When views, PSF, psf_shift and planes do not belong together.
    """
    geometry = load_optics(psf_shift)
    wander = REFINED_VIEWS_HALO if refine_views else 0
    if psf is not None:
        return _with_psf(field, psf, geometry, planes, wander)
    geometry = scanned_as(geometry.with_planes(planes), field)
    pages = geometry.page_indices(field.size("V"))
    return Setup(
        pages=pages,
        field_yx=(field.size("Y"), field.size("X")),
        psf_shift=geometry.psf_shift,
        psf_planes=(0, geometry.planes),
        upsampling=geometry.upsampling,
        sigma_fine=sigma_fine,
        halo=operator_support(float(np.abs(geometry.psf_shift).max()), geometry.upsampling, sigma_fine) + wander,
        wander=wander,
        volume=geometry.volume_of(field),
    )


def _with_psf(field: Grid, psf: Grid, geometry: LightFieldGeometry, planes: int, wander: int) -> Setup:
    views, depth = psf.size("V"), psf.size("Z")
    if views != field.size("V") and field.size("V") not in [nnum**2 for nnum in VIEW_ORDERS]:
        raise InputError(
            f"the light field and its PSF should have the same views, found {field.size('V')} and {views}; choose the PSF "
            "of this recording, or leave out the views it lacks"
        )
    upsampling = _measured_upsampling(field, psf)
    if upsampling is None and views != geometry.views:
        upsampling = 1.0  # nothing says otherwise: no pixel sizes, and a microscope of its own
    if upsampling is None:
        upsampling = geometry.upsampling
    if upsampling == 1.0:
        odd_size(psf.size("Y"), psf.size("X"))
    if planes and (planes % 2 == 0 or planes > depth):
        raise InputError(
            f"planes should be an odd number up to {depth} (the depth of the PSF), found {planes}; choose fewer planes"
        )
    kept = planes or depth
    pages = tuple(range(views)) if views == field.size("V") else page_indices(field.size("V"), views)
    z_step_um = psf.step("Z") if psf.unit("Z") in MICROMETERS else geometry.z_step_um
    fine_pixel_um = psf.step("Y") if psf.unit("Y") in MICROMETERS else geometry.fine_pixel_um
    first = depth // 2 - kept // 2
    volume = volume_grid(field, upsampling, kept, abs(z_step_um), abs(fine_pixel_um))
    if psf.origin("Z") and psf.step("Z") > 0 and {psf.unit("Z"), volume.unit("Z")} <= MICROMETERS:
        depths = psf.only("Z").cropped({"Z": (first, first + kept)})  # the PSF says where its planes lie
        volume = depths.joined(volume.only("YX"))
    return Setup(
        pages=pages,
        field_yx=(field.size("Y"), field.size("X")),
        psf_shift=None,
        psf_planes=(first, first + kept),
        upsampling=upsampling,
        sigma_fine=0.0,
        halo=math.ceil(max(psf.size("Y"), psf.size("X")) / 2 / upsampling + 2) + wander,
        wander=wander,
        volume=volume,
    )


def _measured_upsampling(field: Grid, psf: Grid) -> float | None:
    """Return how many PSF pixels lie on one of the light field, None when a pixel size is missing.

    Raises
    ------
    InputError
        Pixels of the PSF that are larger, that differ along y and x, or that are of another magnification.
    """
    if not all(grid.unit("Y") in MICROMETERS for grid in (field, psf)):
        return None
    along_y, along_x = (abs(field.step(axis) / psf.step(axis)) for axis in "YX")
    if along_y < 0.99 or abs(along_x / along_y - 1) > 0.01:
        raise InputError(
            f"the PSF's pixels should be as large as the light field's ({abs(field.step('Y')):.4g} x "
            f"{abs(field.step('X')):.4g} um), or smaller by one factor, found {abs(psf.step('Y')):.4g} x "
            f"{abs(psf.step('X')):.4g} um; resample the PSF or correct a pixel size"
        )
    return pixels_per_view_pixel(field, abs(psf.step("Y")), psf.size("V"), "the PSF")
