"""Where a fitted field lies: written into its card, so that a query of it lies on the data. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_recon.core.grid import Grid
from napari_recon.core.plan import Plan

LENGTH = "micrometer"


def placed(plan: Plan) -> dict[str, Any]:
    """Return the options that say where the field of a fit lies in space, when lengths are known, and in time.

    Returns
    -------
    dict
        ``voxel_um`` and ``origin_um`` (z, y, x; centre of voxel 0), ``time`` (step, first, unit).
    """
    grid = plan.whole["volume"]
    found: dict[str, Any] = {}
    if all(grid.unit(axis) == LENGTH for axis in "ZYX"):
        found["voxel_um"] = [abs(grid.step(axis)) for axis in "ZYX"]
        if all(grid.step(axis) > 0 for axis in "ZYX"):
            found["origin_um"] = [grid.origin(axis) for axis in "ZYX"]
    if plan.looped:
        series = plan.outputs[0].grid
        found["time"] = [series.step("T"), series.origin("T"), series.unit("T")]
    return found


def time_grid(options: Mapping[str, Any]) -> Grid | None:
    """Return the grid along T of a model that holds a sequence, None for a single scene."""
    frames = int(options.get("frames", 0))
    if not frames:
        return None
    step, first, unit = options.get("time", (1.0, 0.0, "pixel"))
    return Grid.of("T", (frames,), {"T": step}, {"T": first}, {"T": unit})


def lattice_grid(options: Mapping[str, Any], shape: tuple[int, int, int], voxel_um: tuple[float, ...] | None) -> Grid:
    """Return the grid (Z, Y, X) of a field's lattice; with another voxel size than its own it starts at 0."""
    if not voxel_um:
        return Grid.of("ZYX", shape)
    own = list(voxel_um) == list(options.get("voxel_um") or ())
    origin = options.get("origin_um") if own else None
    steps, units = dict(zip("ZYX", voxel_um, strict=True)), dict.fromkeys("ZYX", LENGTH)
    return Grid.of("ZYX", shape, steps, dict(zip("ZYX", origin or (0.0, 0.0, 0.0), strict=True)), units)
