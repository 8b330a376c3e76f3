"""fusion.vsi_sr: super-resolution of light-sheet planes along three directions, joined. No torch before a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.joint_params import TRANSFER, JointParams, check_transfer, with_transfer
from napari_recon.engines.fusion.networks.vsi_checkpoint import ARCHITECTURE, ENGINE
from napari_recon.engines.fusion.networks.vsi_shapes import SCALE, finer_size
from napari_recon.engines.fusion.wiener import joined_outputs

LEAST_PLANES, LEAST_PLANES_PUBLISHED = 9, 17


class VsiSrParams(JointParams):
    """Parameters of `fusion.vsi_sr`."""

    orientations: Literal[3, 1] = param(
        3, "3 sharpens along 0, 60 and 120 degrees and joins them; 1 sharpens along x only and needs no transfer functions."
    )
    keep_orientations: bool = param(False, "Also give the three sharpened volumes, upright.")


class VsiSr(FrameEngine[VsiSrParams]):
    """VSI-SR on whole planes: channel attention and the joint filter see all of a plane, whatever region is asked for."""

    Params = VsiSrParams
    info = EngineInfo(
        name=ENGINE,
        kind="reconstruct",
        title="Virtual structured illumination",
        summary="Lateral super-resolution of light-sheet volumes: a network along three directions, joined",
        inputs=(InputSpec(name="stack", axes="ZYX", description="a deskewed volume"), *TRANSFER),
        outputs=(
            OutputInfo(name="sr", axes="ZYX", description="1.5 times the pixels along y and x, 3 planes less at each end"),
            OutputInfo(name="mip", axes="YX", description="its maximum projection, with compat=upstream"),
            OutputInfo(name="orientations", axes="AZYX", description="the sharpened volumes before joining, on request"),
        ),
        needs_model="required",
        halo="whole planes (channel attention, joint filter) and three planes above and below",
        roi_tolerance=1e-5,
        references=("10.5281/zenodo.13486221", "10.1007/978-3-030-01234-2_18"),
    )

    def outputs_of(self, refs: Refs, params: VsiSrParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`; also where model, planes and transfer functions are checked."""
        options = options_of(model)
        grid = refs["stack"][0].grid
        assert grid is not None  # checked by the base class
        if params.orientations == 1 and params.compat == "upstream":
            raise InputError("compat=upstream joins three orientations, found orientations=1; leave one of them out")
        smoothed = params.evens_brightness and params.compat == "upstream"
        least = LEAST_PLANES_PUBLISHED if smoothed else LEAST_PLANES
        if grid.size("Z") < least:
            why = " to even out the brightness as published" if smoothed else ""
            raise InputError(
                f"the stack should have at least {least} planes{why} (the network sees {options['slices_in']} at a time), "
                f"found {grid.size('Z')}; give more planes"
            )
        fine = finer(grid.only("ZYX"), options["slices_in"] // 2)
        if params.orientations == 3:
            check_transfer(refs, params, refs["stack"][0], fine, ", or set orientations=1")
        found = joined_outputs(fine, params)
        if params.keep_orientations:
            turned = Grid.of("A", (params.orientations,)).joined(fine)
            found = (*found, OutputSpec(name="orientations", grid=turned))
        return found

    def resources(
        self,
        refs: Refs,
        params: VsiSrParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        options, grid = options_of(model), refs["stack"][0].grid
        assert grid is not None
        size = grid.size("Y") * grid.size("X")
        canvas = size if params.orientations == 1 else 2 * size
        whole = params.compat == "upstream"
        start, stop = (0, outputs[0].grid.size("Z")) if whole else box.bounds("Z", outputs[0].grid.size("Z"))
        count = stop - start
        features = options["features"]
        weights = features**2 * 18 * options["blocks"] + features * 9 * 256 * 2.25
        maps = 4 * features * canvas * 4
        memory = 2 * 4 * grid.size("Z") * size + maps + 2**28 + 16 * 2 * 12 * int(2.25 * size)
        memory += 8 * int(2.25 * size) * outputs[0].grid.size("Z") if whole else 0
        passes = 1.0 if params.orientations == 1 else 1 + 2 * 1.87
        return Resources(memory_bytes=int(memory), work=2.0 * weights * size * passes * (count + (0 if whole else 2)))

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.fusion.networks.vsi_run import sharpen

        params = self.params_of(plan)
        yield from sharpen(plan, params, with_transfer(plan, params, frame, index), token)

    def sample(self, plan: Plan) -> Plan | None:
        """See `Engine.sample`: a part of a plane costs as much as the plane, so there is no short sample."""
        return None


def options_of(model: ModelRef | None) -> dict[str, Any]:
    """Return the options of a VSI-SR model (CheckpointError for another one)."""
    if model is None or model.architecture != ARCHITECTURE:
        found = "none" if model is None else f"{model.id} ({model.architecture or 'not recognised'})"
        raise CheckpointError(f"{ENGINE} needs a VSI-SR model, found {found}; choose another model")
    return dict(model.options)


def finer(grid: Grid, margin: int) -> Grid:
    """Return the grid ZYX of the result: 1.5 times the pixels of the same extent, without `margin` planes at each end."""
    inner = grid.cropped({"Z": (margin, grid.size("Z") - margin)})
    scale, translate = list(inner.scale), list(inner.translate)
    for i in (1, 2):
        scale[i] = inner.scale[i] / SCALE
        translate[i] += (scale[i] - inner.scale[i]) / 2
    shape = (inner.shape[0], *finer_size((inner.shape[1], inner.shape[2])))
    return inner.model_copy(update={"shape": shape, "scale": tuple(scale), "translate": tuple(translate)})
