"""Which recording a field stands for: its grid and intensities, from the field's card or the recording itself. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.grid import Grid
from napari_recon.core.plan import ModelRef
from napari_recon.engines.inr4d.lattice import AXES
from napari_recon.engines.inr4d.layers import latent_size
from napari_recon.engines.inr4d.params import QueryParams

THIN = 0.5
"""An axis that is shorter than this part of its neighbours may be no row or column."""


def placed(
    whole: Grid,
    region: Mapping[str, tuple[int, int]],
    low: float,
    high: float,
    intensity: tuple[float, float] | None = None,
    digest: str = "",
) -> dict[str, Any]:
    """Return the options that say which recording a field stands for.

    Parameters
    ----------
    whole : Grid
        Of the recording (TZYX).
    region : mapping
        Axis -> bounds of the part that was fitted; the field's places count its voxels.
    low, high : float
        Least and largest intensity of that part.
    intensity : tuple of float, optional
        Offset and gain that make intensities of the field's values; otherwise the values go from 0 (low) to 1 (high).
    digest : str
        What identifies the values of that part.
    """
    bounds = [region.get(axis, (0, whole.size(axis))) for axis in AXES]
    grid = whole.cropped(dict(zip(AXES, bounds, strict=True)))
    return {
        "grid": grid.model_dump(mode="json"),
        "intensity": list(intensity or (low, high - low)),
        "recording": {
            "shape": list(whole.shape),
            "region": [list(each) for each in bounds],
            "range": [low, high],
            "digest": digest,
        },
    }


def data_grid(params: QueryParams, model: ModelRef, recording: Grid | None) -> Grid:
    """Return the grid (TZYX) of the recording that a field stands for.

    Raises
    ------
    InputError
        It is not known, or the recording is another one.
    """
    own = model.options.get("grid")
    if own is not None:
        try:
            grid = Grid.model_validate(own)
        except ValueError:
            raise CheckpointError(f"the card of model {model.id} should hold a grid, found {own}; fit it again") from None
        whole = tuple(model.options.get("recording", {}).get("shape", grid.shape))
        if recording is not None and recording.shape != whole:
            raise _another(model, recording, f"axes TZYX of {whole}")
        if params.shape_tzyx not in (None, grid.shape):
            raise InputError(
                f"model {model.id} stands for {grid.shape} (TZYX), found shape_tzyx {params.shape_tzyx}; leave it out"
            )
        return grid
    if recording is None and params.shape_tzyx is None:
        raise InputError(
            f"model {model.id} does not say how large its recording was; give the recording (--input recording=FILE), or "
            "set shape_tzyx=T,Z,Y,X (intensities are then from 0 to 1)"
        )
    grid = recording or Grid.of(AXES, params.shape_tzyx or ())
    if params.shape_tzyx not in (None, grid.shape):
        raise InputError(f"shape_tzyx {params.shape_tzyx} was set, found a recording of {grid.shape}; leave one out")
    latent = tuple(model.options["latent_xyz"])
    if tuple(latent_size(grid.size(axis)) for axis in "XYZ") != latent:
        raise _another(model, grid, f"twice {latent} voxels along x, y, z")
    return grid


def _another(model: ModelRef, found: Grid, expected: str) -> InputError:
    return InputError(
        f"the recording should be the one that {model.id} was fitted to, with {expected}, found {found.shape} (TZYX); "
        "choose that recording, or another field"
    )


def fitted_region(model: ModelRef, recording: Grid) -> tuple[slice, ...]:
    """Return the part of a recording (TZYX) that a field was fitted to."""
    bounds = model.options.get("recording", {}).get("region") or [(0, n) for n in recording.shape]
    return tuple(slice(int(start), int(stop)) for start, stop in bounds)


def check_recording(model: ModelRef, low: float, high: float, digest: str) -> None:
    """Raise an InputError when the fitted part of a recording has other intensities or values than those of the fit."""
    known = model.options.get("recording", {})
    expected = known.get("range")
    if expected and max(abs(low - expected[0]), abs(high - expected[1])) > 1e-3 * (expected[1] - expected[0]):
        raise InputError(
            f"the recording should be the one that {model.id} was fitted to (intensities {expected[0]:g} to "
            f"{expected[1]:g}), found {low:g} to {high:g}; choose that recording, or another field"
        )
    if known.get("digest", digest) not in ("", digest):
        raise InputError(
            f"the recording should be the one that {model.id} was fitted to, found other values of the same size and range; "
            "choose that recording, or leave it out: the field knows its intensities"
        )


def checked_movie(grid: Grid | None, axes_checked: bool = False, what: str = "the recording") -> Grid:
    """Return the grid of a recording to fit, in the order TZYX.

    Raises
    ------
    InputError
        No time, one time point, or a time axis that seems to lie elsewhere.
    """
    if grid is None:
        raise InputError(f"{what} should be an image with axes {AXES}, found none; choose another file")
    missing = [axis for axis in AXES if axis not in grid.axes]
    extra = [axis for axis in grid.axes if axis not in AXES and grid.size(axis) > 1]
    if missing or extra:
        raise InputError(_wrong_axes(grid, missing, extra, what))
    for axis in AXES:
        if grid.size(axis) < 2:
            several = "several time points" if axis == "T" else f"two voxels or more along {axis.lower()}"
            raise InputError(
                f"{what} should have {several}, found {grid.size(axis)} along {axis} ({_sizes(grid)}); "
                + ("name the axes (--axes) or choose a movie" if axis == "T" else "crop less, or choose other data")
            )
    if not axes_checked and (odd := looks_like_time(grid)):
        raise InputError(
            f"{what} should have axes {AXES}, found sizes {_sizes(grid)}, of which {odd} looks like time; name the axes as "
            f"they are (--axes, for example {example_axes(grid, odd)}), or set axes_checked"
        )
    return grid.only(AXES)


def looks_like_time(grid: Grid) -> str | None:
    """Return the axis among Y and X that is too short beside its neighbour and beside T to be one, None when all is well."""
    for axis, other in (("X", "Y"), ("Y", "X")):
        n = grid.size(axis)
        if n < THIN * grid.size("T") and n < THIN * max(grid.size(other), grid.size("Z")):
            square = grid.axes == AXES and grid.size("T") == grid.size("Z")  # rather x, y, z, t of a square field
            return "X" if square else axis
    return None


def _wrong_axes(grid: Grid, missing: list[str], extra: list[str], what: str) -> str:
    sizes, wanted = _sizes(grid), f"{what} should be a movie of volumes with axes {AXES}"
    if "T" in missing and extra:
        return (
            f"{what} should have axes {AXES}, found {sizes}; {extra[0]} looks like time: name the axes "
            f"(--axes {grid.axes.replace(extra[0], 'T')}) when it is"
        )
    if "T" in missing:
        return f"{wanted}, found {sizes} without time; choose a movie, or name the axes (--axes)"
    if missing:
        return f"{wanted}, found {sizes} without {missing[0]}; choose other data, or name the axes (--axes)"
    return f"{what} should have axes {AXES}, found {sizes}; choose one place along {extra[0]} first"


def _sizes(grid: Grid) -> str:
    return ", ".join(f"{axis}={n}" for axis, n in zip(grid.axes, grid.shape, strict=True))


def example_axes(grid: Grid, odd: str) -> str:
    """Return the order of axes when time lies where `odd` is now."""
    rest = iter("XYZ" if odd == "X" and grid.axes[-1] == "X" else [a for a in AXES if a != "T"])
    return "".join("T" if axis == odd else next(rest) for axis in grid.axes)


def unknown_step(grid: Grid) -> str | None:
    """Return a sentence when it is not known how far planes are apart in pixels, None when it is."""
    known: Mapping[str, str] = {axis: grid.unit(axis) for axis in "ZYX"}
    if all(unit != "pixel" for unit in known.values()):
        return None
    return (
        "the voxel size of the recording is not known, so how far planes are apart is not either (its anisotropy): the "
        "result is in voxels, and how alike planes are says how much finer they are made; "
        "give it (--voxel-size z=..,y=..,x=..)"
    )
