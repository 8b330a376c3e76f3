"""fusion.rldfn: two views of one volume fused by a network that sees what physics would change. No torch before a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.networks.rldfn_checkpoint import ARCHITECTURE, ENGINE, HALO

BYTES_PER_VOXEL = 4 * 64 * 5
"""Feature maps of 64 channels that are held at once, in a tile."""
MARGIN = 8
"""Voxels of zeros around a view, as in training: the network treats the border of its data as dark."""
LARGEST_TILE = 256


class RlDfnParams(EngineParams):
    """Parameters of `fusion.rldfn`."""

    tile_size: int = param(
        0,
        "Rows and columns fused at once; 0 chooses. It does not change the result.",
        unit="voxel",
        ge=0,
        advanced=True,
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream fuses patches by themselves, each scaled by its own maximum, leaves rows and columns that fill none, pads "
        "the planes, and blurs with the PSF where the published program has its centre.",
        advanced=True,
    )
    patch_x: int = param(256, "Columns of a patch, for compat=upstream.", unit="voxel", ge=4, multiple_of=4, advanced=True)
    patch_y: int = param(256, "Rows of a patch, for compat=upstream.", unit="voxel", ge=4, multiple_of=4, advanced=True)
    patch_z: int = param(108, "Planes of a patch, for compat=upstream.", unit="voxel", ge=4, multiple_of=4, advanced=True)


class RlDfnFusion(FrameEngine[RlDfnParams]):
    """RL-DFN: the corrections of one Richardson-Lucy step per view, fused by convolutions with a limited view."""

    Params = RlDfnParams
    info = EngineInfo(
        name=ENGINE,
        kind="reconstruct",
        title="Dual-view fusion by network",
        summary="One isotropic volume from two registered views and their PSFs, by a self-supervised network",
        inputs=(
            InputSpec(name="view_a", axes="ZYX", description="the first view"),
            InputSpec(name="view_b", axes="ZYX", description="the second view, registered to the first"),
            InputSpec(name="psf_a", axes="ZYX", accepts=("psf",), loops="C", description="PSF of the first view"),
            InputSpec(name="psf_b", axes="ZYX", accepts=("psf",), loops="C", description="PSF of the second view"),
        ),
        outputs=(OutputInfo(name="fused", axes="ZYX", description="the fused volume, in counts of the views"),),
        needs_model="required",
        halo=f"{HALO} voxels of the networks, besides the corrections, which are computed on the whole volume",
        roi_tolerance=1e-5,
        references=("10.5281/zenodo.13486221",),
    )

    def outputs_of(self, refs: Refs, params: RlDfnParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`; also where the views are compared."""
        features_of(model)
        grid = same_grid(refs["view_a"][0], refs["view_b"][0])
        if params.compat == "upstream":
            rows, columns = (grid.size(a) // p * p for a, p in (("Y", params.patch_y), ("X", params.patch_x)))
            if not rows or not columns:
                raise InputError(
                    f"the views should hold at least one patch of {params.patch_y} x {params.patch_x}, found "
                    f"{grid.size('Y')} x {grid.size('X')}; set patch_y and patch_x, or compat=none"
                )
            grid = grid.cropped({"Z": (0, params.patch_z), "Y": (0, rows), "X": (0, columns)})
        return (OutputSpec(name="fused", grid=grid),)

    def resources(
        self,
        refs: Refs,
        params: RlDfnParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        grid, features = outputs[0].grid, features_of(model)
        planes = min(grid.size("Z"), LARGEST_TILE)
        held = BYTES_PER_VOXEL * features // 64
        most = max(64, int((compute.memory_bytes / 2 / held / (planes + 2 * HALO)) ** 0.5) - 2 * HALO)
        side = params.tile_size or min(LARGEST_TILE, most)
        side = max(4, side // 4 * 4)
        read = (min(side + 2 * HALO, grid.size("Y") + 16), min(side + 2 * HALO, grid.size("X") + 16))
        if params.compat == "upstream":
            read = (params.patch_y + 16, params.patch_x + 16)
        memory = 4 * 14 * grid.size("Z") * grid.size("Y") * grid.size("X") + held * (planes + 2 * HALO) * read[0] * read[1]
        # per voxel: the convolutions of both networks
        operations = 2.0 * 27 * features**2 * (2 * 2 + 2 + (2 + 4 + 8 + 4) / 8 + (8 + 16 + 16) / 64 + 2)
        return Resources(
            tile={"z": planes, "y": side, "x": side}, memory_bytes=memory, work=operations * planes * read[0] * read[1]
        )

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.fusion.networks import rldfn_run

        params = self.params_of(plan)
        run = rldfn_run.fuse_patches if params.compat == "upstream" else rldfn_run.fuse
        yield from run(plan, params, frame, index, token)


def features_of(model: ModelRef | None) -> int:
    """Return the width of an RL-DFN model's layers (CheckpointError for another model)."""
    if model is None or model.architecture != ARCHITECTURE:
        found = "none" if model is None else f"{model.id} ({model.architecture or 'not recognised'})"
        raise CheckpointError(f"{ENGINE} needs an RL-DFN model, found {found}; choose another model")
    return int(model.options["features"])


def same_grid(a: InputRef, b: InputRef) -> Grid:
    """Return the grid ZYX of both views: that of the first; the second one's file may say nothing of its voxel size."""
    assert a.grid is not None and b.grid is not None  # checked by the base class
    first, second = a.grid.only("ZYX"), b.grid.only("ZYX")
    if first.shape != second.shape:
        raise InputError(
            f"both views should have the same size, found {first.shape} and {second.shape}; split them again "
            "(fusion.split_views), or crop one"
        )
    untold = all(second.unit(axis) != "micrometer" and second.step(axis) == 1 for axis in "ZYX")
    if not untold and any(abs(s - t) > 1e-3 * abs(s) for s, t in zip(first.scale, second.scale, strict=True)):
        raise InputError(
            f"both views should have the same voxel size, found {first.scale} and {second.scale}; resample one of them"
        )
    return first
