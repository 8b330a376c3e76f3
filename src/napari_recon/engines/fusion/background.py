"""fusion.background: what it takes and gives, and its plan. No torch is imported before a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import field_validator

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.params import param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.params import StackParams
from napari_recon.tiling.partition import tiles

PresetName = Literal["ER", "Lifeact", "Lyso", "MT", "SKL"]
_SPELLINGS = {"er": "ER", "lifeact": "Lifeact", "f-actin": "Lifeact", "lyso": "Lyso", "mt": "MT", "skl": "SKL"}
#: The line is looked for in a picture of at least this many samples along the skew axis, and across it.
LEAST_SIDE = 8
PIECE = 2**24


class BackgroundParams(StackParams):
    """Parameters of `fusion.background`."""

    preset: PresetName = param(
        "Lifeact",
        "Widths and strength for a kind of sample: ER, Lifeact (F-actin), Lyso, MT (microtubules), SKL (peroxisomes).",
        title="Kind of sample",
    )
    camera_offset: float = param(
        100.0, "Level of the camera in the dark, taken off first; with compat=upstream it is put back.", unit="counts", ge=0
    )
    drift: bool = param(True, "Let the mirror's line drift along z.", advanced=True)
    tile_size: int = param(0, "Planes of a piece; 0 takes what fits into memory.", unit="plane", ge=0, advanced=True)

    @field_validator("preset", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        return _SPELLINGS.get(value.strip().lower(), value) if isinstance(value, str) else value


class Background(FrameEngine[BackgroundParams]):
    """Takes the bright line of the mirror, and its haze, out of a raw reflective light-sheet stack."""

    Params = BackgroundParams
    info = EngineInfo(
        name="fusion.background",
        kind="preprocess",
        title="Mirror background (light sheet)",
        summary="Raw light-sheet stack without the bright line of the mirror, both sides of it equally bright",
        inputs=(InputSpec(name="raw", axes="ZYX", lazy=True, description="the raw skewed stack; z is the stage"),),
        outputs=(
            OutputInfo(name="clean", axes="ZYX", description="the stack without background, as skewed as before"),
            OutputInfo(name="report", kind="report", description="where the line lies, its tilt and drift, the balance"),
        ),
        halo="none: line, drift and balance are measured on the whole stack, then each voxel stands alone",
        roi_tolerance=1e-6,
    )

    def outputs_of(self, refs: Refs, params: BackgroundParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`."""
        raw = refs["raw"][0].grid
        assert raw is not None  # checked with the axes
        if min(raw.size("Y"), raw.size("X")) < LEAST_SIDE:
            raise InputError(
                f"raw should have at least {LEAST_SIDE} samples along y and x to find the mirror's line in, "
                f"found {raw.size('Y')} x {raw.size('X')}; choose the whole stack, or name its axes (--axes ZYX)"
            )
        return (OutputSpec(name="clean", grid=raw.only("ZYX"), optics=refs["raw"][0].optics),)

    def resources(
        self,
        refs: Refs,
        params: BackgroundParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`."""
        grid = outputs[0].grid
        plane = grid.size("Y") * grid.size("X")
        planes = dict(box.resolved(grid).items())["Z"]
        room = max(1, min(compute.memory_bytes // 2 // (40 * plane), PIECE // plane))
        size = min(params.tile_size or room, planes[1] - planes[0])
        pieces = tiles(box, grid, {"Z": size})
        groups = grid.size("Z") // 11 + 2
        return Resources(
            tile={"z": size},
            tiles=len(pieces),
            memory_bytes=int(40 * plane * size + 8 * plane * (groups + 40) + 8 * min(PIECE, plane * grid.size("Z"))),
            work=float(plane * grid.size("Z")) * 6,
        )

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.fusion.preparing.background_run import cleaned

        yield from cleaned(plan, self.params_of(plan), frame["raw"], index, token)
