"""The segmentation of one stack: membranes, regions, sisters, labels, measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress, Warned
from napari_recon.core.grid import Grid
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.segmentation.kept import MEMBRANES
from napari_recon.engines.segmentation.membranes import isotropic, likelihood, sharpened
from napari_recon.engines.segmentation.regions import Labels, Shape, flooded, measured, membrane_between, resampled
from napari_recon.engines.segmentation.seeded import SeededParams, isotropic_grid
from napari_recon.engines.segmentation.seeds import Nucleus, When, mother_between

_STEPS = 5


@dataclass(frozen=True)
class Field:
    """The voxels of a run.

    Attributes
    ----------
    stack : Grid
        Of the input, one frame.
    iso : Grid
        That is worked on.
    """

    stack: Grid
    iso: Grid

    @classmethod
    def of(cls, plan: Plan, params: SeededParams) -> Field:
        """Return the grids of a plan."""
        grid = plan.inputs[0].grid
        assert grid is not None
        return cls(grid.only("ZYX"), isotropic_grid(grid.only("ZYX"), params))

    @property
    def shape(self) -> Shape:
        """Isotropic voxels."""
        return self.iso.shape[0], self.iso.shape[1], self.iso.shape[2]

    def output(self, params: SeededParams) -> Shape:
        """Return the voxels of the labels."""
        grid = self.iso if params.grid == "isotropic" else self.stack
        return grid.shape[0], grid.shape[1], grid.shape[2]

    def places(self, cells: Sequence[Nucleus]) -> list[list[float]]:
        """Return where nuclei are in isotropic voxels."""
        sizes = list(zip(self.shape, self.stack.shape, strict=True))
        return [[(p + 0.5) * n / m - 0.5 for p, (n, m) in zip(cell.zyx, sizes, strict=True)] for cell in cells]

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Size of an isotropic voxel."""
        return abs(self.iso.step("Z")), abs(self.iso.step("Y")), abs(self.iso.step("X"))


def segment(
    plan: Plan,
    params: SeededParams,
    stack: NDArray[np.float32],
    cells: Sequence[Nucleus],
    numbers: Mapping[str, int],
    when: When,
    token: CancelToken,
) -> Iterator[Event]:
    """Yield the labels of one stack (z, y, x), one row per cell, and what was decided about sisters."""
    field = Field.of(plan, params)
    if not cells:
        yield Warned(f"the table has no nuclei at time {when.time} (frame {when.frame}), so its labels are empty")
    check_places(cells, field.stack.shape)
    token.check()
    yield Progress(0, _STEPS, "step", "membranes")
    membranes = membranes_of(stack, field.shape, params, token.check)
    yield Progress(2, _STEPS, "step", "cells")
    token.check()
    regions = flooded(membranes, field.places(cells), params.nucleus_radius, params.pull)
    token.check()
    yield Progress(3, _STEPS, "step", "sisters")
    names, told = named(regions, membranes, cells, params, when.time)
    regions = relabelled(regions, [numbers[name] for name in names])
    yield Progress(4, _STEPS, "step", "labels")
    fine = resampled(regions, field.shape)[0]
    token.check()
    shape = field.output(params)
    labels = fine if shape == field.shape else resampled(regions, shape)[0]
    if params.method == "micro_sam":
        from napari_recon.engines.segmentation.prompted import refined

        yield Progress(4, _STEPS, "step", "micro-sam")
        labels = refined(stack, labels, token.check)
    box = plan.box
    assert isinstance(box, Box)
    kept = np.ascontiguousarray(labels[box.resolved(plan.whole["labels"]).slices("ZYX")])
    yield BlockReady("labels", tuple(slice(0, n) for n in kept.shape), kept)
    known = {numbers[name]: name for name in names}
    if params.method == "micro_sam":
        fine, voxel = labels, (abs(field.stack.step("Z")), abs(field.stack.step("Y")), abs(field.stack.step("X")))
    else:
        voxel = field.voxel
    yield ArtifactReady("cells", "table", rows_of(fine, known, voxel, when))
    if told:
        yield ArtifactReady("report", "report", {**when._asdict(), "sisters": told})
    yield Progress(_STEPS, _STEPS, "step")


def membranes_of(
    stack: NDArray[np.float32], shape: Shape, params: SeededParams, check: Callable[[], None] = lambda: None
) -> NDArray[np.float32]:
    """Return how likely each isotropic voxel is membrane; remembered while nuclei are edited."""
    print_ = blake2b(np.ascontiguousarray(stack).tobytes(), digest_size=16).hexdigest()
    key = (print_, stack.shape, shape, params.blur_z, params.blur_xy, params.sharpen_steps)

    def made() -> NDArray[np.float32]:
        volume = sharpened(isotropic(stack, shape), (params.blur_z, params.blur_xy), params.sharpen_steps, check)
        return likelihood(volume, check)

    return MEMBRANES.get(key, made)


def rows_of(labels: Labels, names: dict[int, str], voxel: tuple[float, float, float], when: When) -> list[dict[str, Any]]:
    """Return one row per cell of a time."""
    return [{**when._asdict(), **row} for row in measured(labels, names, voxel)]


def check_places(cells: Sequence[Nucleus], shape: Sequence[int]) -> None:
    """Raise when a nucleus lies outside the stack (InputError)."""
    outside = [c for c in cells if any(not -0.5 <= p <= n - 0.5 for p, n in zip(c.zyx, shape, strict=True))]
    if outside:
        first = outside[0]
        raise InputError(
            f"nuclei should lie in the stack of {tuple(shape)} voxels (z, y, x), found {len(outside)} outside, the first is "
            f"{first.name} at {tuple(round(p, 2) for p in first.zyx)}; check the order of the axes and the unit (voxels)"
        )


def named(
    regions: Labels, membranes: NDArray[np.float32], cells: Sequence[Nucleus], params: SeededParams, time: int
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the name of every region (sisters that are one cell share their mother's) and what was looked at."""
    names = [cell.name for cell in cells]
    pairs = {
        (i, j): mother
        for i, one in enumerate(cells, 1)
        for j, other in enumerate(cells[i:], i + 1)
        if (mother := mother_between(one, other))
    }
    told = []
    between = membrane_between(regions, membranes, list(pairs)) if pairs else {}
    for (i, j), ratio in between.items():
        mother = pairs[i, j]
        said = _said(mother, time, params)
        one_cell = params.divisions == "auto" and ratio < params.one_cell if said is None else said
        told.append(
            {
                "sisters": [cells[i - 1].name, cells[j - 1].name],
                "mother": mother,
                "membrane_between": round(ratio, 3),
                "one_cell": one_cell,
                "by": "membrane" if said is None else "hand",
            }
        )
        if one_cell:
            names = [mother if number in (i, j) else name for number, name in enumerate(names, 1)]
    return names, told


def _said(mother: str, time: int, params: SeededParams) -> bool | None:
    """Return whether a person said that two sisters are one cell, None when nobody did."""
    keys = {mother, f"{mother}:{time}"}
    return True if keys & set(params.together) else False if keys & set(params.apart) else None


def relabelled(regions: Labels, numbers: Sequence[int]) -> Labels:
    """Return regions 1..n with other numbers."""
    table = np.array([0, *numbers], np.int32)
    found: Labels = table[regions]
    return found
