"""serenet.vsnet: the views of a light field that was not scanned, made finer. No torch until it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.params import EngineParams, param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.compat import SCRIPTS
from napari_recon.engines.serenet.prestep import PAPER, VIEWS, grid_of, model_of

DEFAULTS = {"nnum": 13, "groups": 4, "blocks": 4, "channels": 64, "factor": 3}


class VsnetParams(EngineParams):
    """Parameters of `serenet.vsnet`."""

    precision: Literal["float32", "fast"] = param(
        "float32", "Arithmetic: float32, or fast (bfloat16 where the device has it; about 1 % off the exact result)."
    )
    tile_size: int = param(
        0,
        "Largest tile; 0 chooses by memory. It does not change the result, except with compat=upstream, where 0 is 81.",
        unit="light-field pixel",
        advanced=True,
        ge=0,
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream blends overlapping tiles as the authors' script does, which shows faint seams; none is exact.",
        advanced=True,
    )
    overlap: int | Literal["auto"] = param(
        "auto",
        "Overlap of blended tiles, only with compat=upstream; auto is the script's (9).",
        unit="light-field pixel",
        advanced=True,
    )


class Vsnet(FrameEngine[VsnetParams]):
    """VsNet before a reconstruction: a light field of 1 x 1 views becomes one as if it were scanned."""

    Params = VsnetParams
    info = EngineInfo(
        name="serenet.vsnet",
        kind="preprocess",
        title="VsNet (finer views)",
        summary="Views three times finer from a light field that was not scanned, with a trained VsNet",
        inputs=(VIEWS,),
        outputs=(OutputInfo(name="finer", axes="VYX", description="the views, as fine as those of a scanned light field"),),
        needs_model="required",
        halo="36 light-field pixels for the published network (two per block and four)",
        roi_tolerance=1e-5,
        references=(PAPER, "10.1038/s41592-022-01771-1"),
    )

    def outputs_of(self, refs: Refs, params: VsnetParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        grid, options = grid_of(refs), options_of(model)
        nnum, factor = options["nnum"], options["factor"]
        if grid.size("V") != nnum**2:
            raise InputError(
                f"serenet.vsnet with this model needs all {nnum**2} views of Nnum {nnum} in page order, found "
                f"{grid.size('V')}; give the whole stack, or a model for its Nnum"
            )
        if params.compat == "upstream":
            SCRIPTS["vsnet"].with_sizes(params.tile_size, params.overlap, 1)
        return (OutputSpec(name="finer", grid=grid.resampled({a: grid.size(a) * factor for a in "YX"})),)

    def resources(
        self,
        refs: Refs,
        params: VsnetParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`. Tiles are counted in light-field pixels."""
        grid, options = grid_of(refs), options_of(model)
        sizes = [-(-(hi - lo) // options["factor"]) for _, (lo, hi) in box.items()]
        halo, whole = reach(options), max(grid.size("Y"), grid.size("X"))
        values = 5 * options["channels"] * options["nnum"] ** 2 * 4
        edge = params.tile_size or max(sizes)
        while not params.tile_size and edge > 8 and values * min(edge + 2 * halo, whole) ** 2 > compute.memory_bytes:
            edge -= 4
        tiles = 1
        for size in sizes:
            tiles *= -(-size // edge)
        work = (
            6.4e6 * options["groups"] * options["blocks"] / 16 * options["nnum"] ** 2 / 169 * (options["channels"] / 64) ** 2
        )
        return Resources(
            tile={"y": edge, "x": edge},
            tiles=tiles,
            memory_bytes=values * min(edge + 2 * halo, whole) ** 2 + 8 * grid.size("V") * whole**2 * 10,
            work=work * tiles * min(edge + 2 * halo, whole) ** 2,
            details={"tile_size": edge},
        )

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.serenet.finer_views import finer

        yield from finer(plan, self.params_of(plan), options_of(plan.model), frame["views"], token)


def options_of(model: ModelRef | None) -> dict[str, int]:
    """Return a model's options, complete."""
    return {**DEFAULTS, **model_of(model, "vsnet").options}


def reach(options: dict[str, int]) -> int:
    """Return the light-field pixels around a block that the network looks at."""
    return 2 * options["groups"] * options["blocks"] + 4
