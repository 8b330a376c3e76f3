"""The user's recordings with their truth, and images to simulate recordings of: checked from headers, then read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.engine import Inputs, InputSpec
from napari_recon.core.errors import InputError
from napari_recon.core.frames import read_frame
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef, Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.layout import arranged
from napari_recon.engines.sim.params import resolved_optics
from napari_recon.engines.sim.training.params import SimTrainParams

if TYPE_CHECKING:
    from napari_recon.engines.sim.training.examples import Shown

RAW = InputSpec(
    name="raw",
    axes="NYX",
    loops="T",
    also=("A", "P"),
    required=False,
    many=True,
    description="recordings to learn from, each with its truth; none: they are simulated",
)
TRUTH = InputSpec(
    name="truth",
    axes="YX",
    loops="T",
    required=False,
    many=True,
    description="what each recording shall become: twice as many pixels, sample 2 j on raw pixel j",
)
OBJECTS = InputSpec(
    name="objects",
    axes="YX",
    loops="T",
    required=False,
    many=True,
    description="images that simulated recordings show instead of phantoms, a pixel half a raw one",
)
Refs = Mapping[str, Sequence[InputRef]]


def check_inputs(refs: Refs, params: SimTrainParams) -> int:
    """Return the edge (raw pixels) of the largest square that every recording has.

    Raises
    ------
    InputError
        Recordings without truth or of other sizes than it, too small ones, missing optics.
    """
    raw, truth = refs["raw"], refs["truth"]
    if not raw and not truth:
        params.check_simulation()
        for ref in refs["objects"]:
            _size(ref, "objects")
        return params.field
    if len(raw) != len(truth):
        raise InputError(
            f"every recording needs its truth, found {len(raw)} of raw and {len(truth)} of truth; give as many --input "
            "truth=FILE as raw stacks, in the same order"
        )
    if refs["objects"]:
        raise InputError("objects are for simulated recordings, found recordings with truth too; leave one of them out")
    edges = []
    for one, other in zip(raw, truth, strict=True):
        grid = raw_grid(one, params)
        size, fine = (grid.size("Y"), grid.size("X")), _size(other, "truth")
        if fine != (2 * size[0], 2 * size[1]):
            raise InputError(
                f"the truth of raw frames of {size[0]} x {size[1]} pixels should have {2 * size[0]} x {2 * size[1]}, found "
                f"{fine[0]} x {fine[1]} ({other.label}); resample it, or correct the order of the files"
            )
        times = grid.size("T"), other.grid.size("T") if other.grid is not None else 1
        if times[0] != times[1]:
            raise InputError(f"recording and truth should be equally long, found {times[0]} and {times[1]} frames; cut one")
        if params.front == "wiener":
            resolved_optics(params, one.model_copy(update={"grid": grid}))
        edges.append(min(size))
    if min(edges) < params.crop:
        raise InputError(f"recordings should have crop={params.crop} pixels or more, found {min(edges)}; set a smaller crop")
    return min(*edges, params.field)


def raw_grid(ref: InputRef, params: SimTrainParams) -> Grid:
    """Return the grid of raw frames as (T) N Y X, angle-major (InputError when it has other frames)."""
    if ref.grid is None:
        raise InputError(f"raw should be an image stack, found {ref.uri or 'none'}; choose another file")
    grid = arranged(ref.grid, params.layout, params.frame_order).grid
    if set(grid.axes) - set("TNYX"):
        raise InputError(f"raw should have axes NYX, or TNYX for a series, found {grid.axes}; give its channels one by one")
    return grid


def read_pairs(plan: Plan, inputs: Inputs, params: SimTrainParams, token: CancelToken) -> Iterator[Shown]:
    """Yield every recording as the network sees it, calibrated by itself. Imports torch."""
    import torch

    from napari_recon.engines.sim.classical.calibrate import calibrate
    from napari_recon.engines.sim.training.examples import shown

    refs = [ref for ref in plan.inputs if ref.name == "raw"]
    for ref, stack, truth in zip(refs, inputs.get("raw", ()), inputs.get("truth", ()), strict=True):
        series = arranged(stack.grid, params.layout, params.frame_order).of(stack)
        for time in range(series.grid.size("T")):
            token.check()
            frames = torch.from_numpy(read_frame(series, RAW, {"T": time}))
            wanted = torch.from_numpy(read_frame(truth, TRUTH, {"T": time}))
            calibration = None
            if params.front == "wiener":
                optics = resolved_optics(params, ref.model_copy(update={"grid": series.grid}))
                calibration = calibrate(frames, optics, params.layout, token=token)
            yield shown(frames, wanted, calibration)


def read_objects(inputs: Inputs) -> list[NDArray[np.float32]]:
    """Return the images that simulated recordings show, their darkest pixel 0."""
    found: list[Any] = []
    for stack in inputs.get("objects", ()):
        for time in range(stack.grid.size("T")):
            image = read_frame(stack, OBJECTS, {"T": time})
            found.append(image - image.min())
    return found


def _size(ref: InputRef, name: str) -> tuple[int, int]:
    if ref.grid is None or set(ref.grid.axes) - set("TYX") or not {"Y", "X"} <= set(ref.grid.axes):
        found = "no image" if ref.grid is None else f"axes {ref.grid.axes}"
        raise InputError(f"{name} should be images with axes YX, or TYX for a series, found {found} ({ref.label})")
    return ref.grid.size("Y"), ref.grid.size("X")
