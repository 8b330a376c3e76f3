"""sim.network: ML-SIM and related networks. What it takes and gives, and its plan; no torch before a run."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from napari_recon.core.arrange import Arrangement
from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import CheckpointError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.grid import Grid
from napari_recon.core.params import param
from napari_recon.core.plan import ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.layout import RAW, arranged
from napari_recon.engines.sim.networks.checkpoint import ARCHITECTURES, ENGINE
from napari_recon.engines.sim.networks.normalise import CROP, NORM, check_norm, picked
from napari_recon.engines.sim.networks.shapes import expected_shapes
from napari_recon.engines.sim.params import OpticsParams, check_calibration, resolved_optics
from napari_recon.engines.sim.samples import samples

if TYPE_CHECKING:
    from napari_recon.engines.sim.networks.pattern import Pattern


_LONGEST_LOG = 100_000
FRONT_NAMES = ("frames", "wiener")
"""What networks can see; how each is made is in `networks.front`."""


class SimNetworkParams(OpticsParams):
    """Parameters of `sim.network`."""

    norm: str = param(
        "auto",
        "How raw frames are scaled for the network: minmax (each to 0..1), minmax<factor>, adapthist (local contrast), none "
        "(by the common maximum), convert; auto takes what the model says, else minmax.",
    )
    precision: Literal["float32", "fast"] = param(
        "float32", "Arithmetic: float32, or fast (half precision where the device has it; up to 1 % off the exact result)."
    )
    widefield: bool = param(False, "Also give the wide field, the mean of the raw frames.")
    camera_offset: Annotated[float, Field(ge=0)] | Literal["auto"] = param(
        "auto",
        "Level of the camera in the dark, for models that see Wiener reconstructions; auto takes the darkest places.",
        unit="counts",
        advanced=True,
    )
    calibration: str = param(
        "auto",
        "A calibration file of sim.wiener, for models that see Wiener images; auto finds the pattern in the series.",
        file=(".json",),
        advanced=True,
    )
    tile_size: int = param(
        0, "Rows computed at once; 0 chooses. It does not change the result.", unit="pixel", ge=0, advanced=True
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream does what the authors' program does: the first frames of a file only, cut to 512 x 512 pixels; it also "
        "gives their wide field and 8-bit preview.",
        advanced=True,
    )


class SimNetwork(FrameEngine[SimNetworkParams]):
    """RCAN and other networks on the whole field: channel attention sees the whole frame, whatever region is asked for."""

    Params = SimNetworkParams
    info = EngineInfo(
        name=ENGINE,
        kind="reconstruct",
        title="Network SIM",
        summary="Super-resolved image from a structured-illumination stack with a trained network (ML-SIM and ours)",
        inputs=(RAW,),
        outputs=(
            OutputInfo(
                name="sr",
                axes="YX",
                description="the network's image: 0 to 1 for networks that see raw frames, counts after Wiener images",
            ),
            OutputInfo(name="widefield", axes="YX", description="mean of the raw frames, on request"),
            OutputInfo(name="preview", axes="YX", description="the authors' 8-bit preview, with compat=upstream"),
            OutputInfo(name="calibration", kind="transform", description="the pattern, for models that see Wiener images"),
        ),
        needs_model="required",
        halo="the whole field: channel attention averages over all of it, and a part is cut out of the result",
        roi_tolerance=1e-5,
        live=True,
        references=("10.1364/BOE.414680", "10.1007/978-3-030-01234-2_18"),
    )

    _pattern: Pattern | None = None

    def arranged(self, spec: InputSpec, grid: Grid, params: SimNetworkParams) -> Arrangement | None:
        """See `FrameEngine.arranged`; the authors read the first pages of a file only."""
        frames = params.layout.frames
        if params.compat == "upstream" and grid.axes == "NYX" and grid.size("N") > frames:
            return Arrangement(grid.cropped({"N": (0, frames)}), np.arange(frames))
        return arranged(grid, params.layout, params.frame_order)

    def outputs_of(self, refs: Refs, params: SimNetworkParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`; also where model, frames and optics are checked."""
        raw = refs["raw"][0]
        assert raw.grid is not None  # checked by the base class
        options = options_of(model)
        if params.norm != "auto":
            check_norm(params.norm)
        if needs_optics(options):
            given = Calibration.given(params.calibration)
            if given is not None:
                check_calibration(given, params, raw.grid)
            for channel in range(raw.grid.size("C")) if given is None else ():
                resolved_optics(params, raw, channel)
        else:
            picked(raw.grid.size("N"), options["nch_in"])
        field = raw.grid.only("YX")
        upstream = params.compat == "upstream"
        if upstream:
            field = field.cropped({a: (0, min(CROP, field.size(a))) for a in "YX"})
        image, outputs = grid_of(field, options), options["nch_out"]
        if outputs > 1:
            image = Grid.of("N", (outputs,)).joined(image)
        found = [OutputSpec(name="sr", grid=image)]
        if params.widefield or upstream:
            found.append(OutputSpec(name="widefield", grid=field))
        if upstream:
            found.append(OutputSpec(name="preview", grid=image.only("YX"), dtype="uint8"))
        return tuple(found)

    def resources(
        self,
        refs: Refs,
        params: SimNetworkParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`. Tiles are strips of rows; the whole width is always computed."""
        options, raw = options_of(model), refs["raw"][0].grid
        assert raw is not None and model is not None  # checked before
        scale = options["scale"]
        height, width = (outputs[0].grid.size(a) // scale for a in "YX")
        frames = raw.size("N") * raw.size("Y") * raw.size("X") * 4
        features, maps = (options["n_feats"], 4) if "n_feats" in options else (64, 6)
        rows = params.tile_size or max(16, 2**19 // (width * features) // 16 * 16)
        rows = height if compute.device != "cpu" and not params.tile_size else min(rows, height)
        strips = 4 * width * features * rows * (4 + 4 * scale**2)
        weights = sum(int(np.prod(s)) for s in expected_shapes(model.architecture, options).values() if len(s) == 4)
        # weights: as loaded, and as the convolutions hold them (four times as many where Winograd's transform is used)
        held = 4 * weights * (6 if features >= 64 else 2) + 2**24
        memory = 6 * frames + 4 * features * height * width * maps + strips + 4 * height * width * scale**2 + held
        warnings: tuple[str, ...] = ()
        if memory > compute.memory_bytes:
            warnings = (
                f"the network needs about {memory / 1e9:.1f} GB for {height} x {width} pixels, found "
                f"{compute.memory_bytes / 1e9:.1f} GB to use; crop the data, or choose a network with fewer features",
            )
        return Resources(
            tile={"y": rows},
            tiles=-(-height // rows),
            memory_bytes=memory,
            work=2.0 * weights * height * width,
            warnings=warnings,
            details={"rows": rows},
        )

    def prepared(self, plan: Plan) -> SimNetwork:
        """Return a copy that keeps the pattern from frame to frame, for models that need it."""
        if self._pattern is not None or not needs_optics(options_of(plan.model)):
            return self
        from napari_recon.engines.sim.networks.pattern import Pattern

        worker = copy.copy(self)
        worker._pattern = Pattern(plan, self.params_of(plan))
        return worker

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """Find the pattern in the whole series, whichever part of it is asked for."""
        worker = self.prepared(plan)
        if worker._pattern is not None:
            series = self._arranged_inputs(plan, inputs)["raw"][0]
            worker._pattern.samples = lambda channel: samples(series, self.info.inputs[0], channel)
        yield from FrameEngine.process(worker, plan, inputs, token)

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`."""
        from napari_recon.engines.sim.networks.pipeline import reconstruct

        worker = self.prepared(plan)
        yield from reconstruct(plan, self.params_of(plan), frame["raw"], index, worker._pattern, token)

    def sample(self, plan: Plan) -> Plan | None:
        """See `Engine.sample`: a part costs as much as the whole field, so there is no short sample."""
        return None


def options_of(model: ModelRef | None) -> dict[str, Any]:
    """Return a model's options with those it may leave out.

    Raises
    ------
    CheckpointError
        No network of this engine.
    """
    if model is None or model.architecture not in ARCHITECTURES:
        found = "none" if model is None else f"{model.id} ({model.architecture or 'not recognised'})"
        raise CheckpointError(
            f"{ENGINE} needs a model of architecture {', '.join(ARCHITECTURES)}, found {found}; choose another model"
        )
    options = {"nch_in": 9, "nch_out": 1, "scale": 1, "front": "frames", **contract_of(model), **model.options}
    if options["front"] not in FRONT_NAMES:
        raise CheckpointError(
            f"a model's front should be {' or '.join(FRONT_NAMES)}, found {options['front']!r}; choose another model"
        )
    return options


def contract_of(model: ModelRef) -> dict[str, Any]:
    """Return of a model's card what tells how to use it: ``norm`` and ``grid``."""
    contract = model.card.get("contract") or {}
    return {name: contract[name] for name in ("norm", "grid") if name in contract}


def norm_of(model: ModelRef) -> str:
    """Return how a model's frames are scaled: as its card says, or the log that ML-SIM leaves beside a checkpoint."""
    said = options_of(model).get("norm")
    log = Path(model.path).with_name("log.txt")
    if said is None and log.is_file():
        with log.open(encoding="utf-8", errors="replace") as file:
            found = re.search(r"\bnorm='([^']*)'", file.read(_LONGEST_LOG))
        if found:  # training takes any other word for no norm
            said = found[1] if NORM.fullmatch(found[1]) else "none"
    return check_norm(str(said or "minmax"))


def needs_optics(options: Mapping[str, Any]) -> bool:
    """Return whether a model sees what only a calibrated pattern can give."""
    return bool(options["front"] != "frames")


def grid_of(field: Grid, options: Mapping[str, Any]) -> Grid:
    """Return the grid of the image.

    ML-SIM's targets cover the same extent as its frames (edges meet); ours have sample 2 j on raw pixel j, as `sim.wiener`.
    """
    scale = int(options["scale"])
    if options.get("grid") == "samples" or needs_optics(options):
        return field.finer(scale)
    return field.resampled({a: scale * field.size(a) for a in "YX"})
