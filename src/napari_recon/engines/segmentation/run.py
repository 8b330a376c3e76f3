"""The segmentation of one stack: membranes, regions, sisters, labels, measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.segmentation.membranes import isotropic, likelihood, sharpened
from napari_recon.engines.segmentation.regions import Labels, flooded, measured, membrane_between, resampled
from napari_recon.engines.segmentation.seeded import SeededParams, isotropic_grid
from napari_recon.engines.segmentation.seeds import Nucleus, mother_of

_STEPS = 5


def segment(
    plan: Plan,
    params: SeededParams,
    stack: NDArray[np.float32],
    cells: Sequence[Nucleus],
    numbers: Mapping[str, int],
    time: int,
    token: CancelToken,
) -> Iterator[Event]:
    """Yield the labels of one stack (z, y, x), one row per cell, and what was decided about sisters."""
    grid = plan.inputs[0].grid
    assert grid is not None
    field = grid.only("ZYX")
    if not cells:
        yield Warned(f"frame {time} has no nuclei in the table, so its labels are empty")
    check_places(cells, field.shape)
    iso = isotropic_grid(field, params)
    shape = (iso.shape[0], iso.shape[1], iso.shape[2])
    token.check()
    yield Progress(0, _STEPS, "step", "sharpening")
    volume = sharpened(isotropic(stack, shape), (params.blur_z, params.blur_xy), params.sharpen_steps, token.check)
    yield Progress(1, _STEPS, "step", "membranes")
    membranes = likelihood(volume, token.check)
    yield Progress(2, _STEPS, "step", "cells")
    token.check()
    places = [[(p + 0.5) * n / m - 0.5 for p, n, m in zip(cell.zyx, shape, field.shape, strict=True)] for cell in cells]
    regions = flooded(membranes, places, params.nucleus_radius, params.pull)
    token.check()
    yield Progress(3, _STEPS, "step", "sisters")
    names, told = _named(regions, membranes, cells, params)
    regions = _relabelled(regions, [numbers[name] for name in names])
    yield Progress(4, _STEPS, "step", "labels")
    fine = resampled(regions, shape)
    token.check()
    labels = fine if params.grid == "isotropic" else resampled(regions, (field.shape[0], field.shape[1], field.shape[2]))
    box = plan.box
    assert isinstance(box, Box)
    kept = np.ascontiguousarray(labels[box.resolved(plan.whole["labels"]).slices("ZYX")])
    yield BlockReady("labels", tuple(slice(0, n) for n in kept.shape), kept)
    voxel = (abs(iso.step("Z")), abs(iso.step("Y")), abs(iso.step("X")))
    known = {numbers[name]: name for name in names}
    yield ArtifactReady("cells", "table", [{"time": time, **row} for row in measured(fine, known, voxel)])
    if told:
        yield ArtifactReady("report", "report", {"time": time, "sisters": told})
    yield Progress(_STEPS, _STEPS, "step")


def check_places(cells: Sequence[Nucleus], shape: Sequence[int]) -> None:
    """Raise when a nucleus lies outside the stack (InputError)."""
    outside = [c for c in cells if any(not -0.5 <= p <= n - 0.5 for p, n in zip(c.zyx, shape, strict=True))]
    if outside:
        first = outside[0]
        raise InputError(
            f"nuclei should lie in the stack of {tuple(shape)} voxels (z, y, x), found {len(outside)} outside, the first is "
            f"{first.name} at {tuple(round(p, 2) for p in first.zyx)}; check the order of the axes and the unit (voxels)"
        )


def _named(
    regions: Labels, membranes: NDArray[np.float32], cells: Sequence[Nucleus], params: SeededParams
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the name of every region (sisters that are one cell share their mother's) and what was looked at."""
    names = [cell.name for cell in cells]
    pairs = {
        (i + 1, j + 1): mother
        for i, one in enumerate(names)
        for j, other in enumerate(names[i + 1 :], i + 1)
        if (mother := mother_of(one, other))
    }
    told = []
    for (i, j), ratio in membrane_between(regions, membranes, list(pairs)).items():
        one_cell = params.divisions == "auto" and ratio < params.one_cell
        told.append(
            {
                "sisters": [cells[i - 1].name, cells[j - 1].name],
                "mother": pairs[i, j],
                "membrane_between": round(ratio, 3),
                "one_cell": one_cell,
            }
        )
        if one_cell:
            names = [pairs[i, j] if number in (i, j) else name for number, name in enumerate(names, 1)]
    return names, told


def _relabelled(regions: Labels, numbers: Sequence[int]) -> Labels:
    table = np.array([0, *numbers], np.int32)
    found: Labels = table[regions]
    return found
