"""Parameters of `fusion.pipeline`: those of every step, nested, and what steps take over from each other (no torch)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from napari_recon.core.params import EngineParams, param
from napari_recon.engines.deconvolution.rl_params import Numbers, RLParams
from napari_recon.engines.fusion.background import BackgroundParams
from napari_recon.engines.fusion.deskew import DeskewParams
from napari_recon.engines.fusion.rldfn import RlDfnParams
from napari_recon.engines.fusion.split_views import SplitViewsParams
from napari_recon.engines.fusion.vsi_sr import VsiSrParams

SkewAxis = Literal["auto", "x", "y"]


class BackgroundStep(BackgroundParams):
    """The first step."""

    enabled: bool = param(True, "Take the mirror's line away; switch it off for recordings without a mirror.")
    skew_axis: SkewAxis = param("auto", "The axis along which structures move; auto: that of deskew.")  # type: ignore[assignment]


class DeskewStep(DeskewParams):
    """The second step."""

    enabled: bool = param(True, "Straighten the stack; switch it off for volumes that are straight.")


class VsiStep(VsiSrParams):
    """The third step."""

    enabled: bool | Literal["auto"] = param("auto", "Super-resolve the planes; auto: when a model for it is given.")


class SplitStep(SplitViewsParams):
    """The fourth step."""

    enabled: bool = param(True, "Split the volume at the mirror; switched off, the volume is fused as a single view.")
    skew_axis: SkewAxis = param("auto", "The axis along which structures moved; auto: that of deskew.")  # type: ignore[assignment]
    angle_deg: Annotated[float, Field(ge=-89, le=89)] | Literal["auto"] = param(  # type: ignore[assignment]
        "auto",
        "Turn about y that lays the mirror flat; auto: the angle of deskew, with the direction found there.",
        unit="deg",
    )


class MultiviewStep(RLParams):
    """The last step without a network."""

    psf_model: Literal["gaussian", "light-sheet", "widefield", "confocal"] = param(
        "light-sheet", "PSF without the input psf: of a light sheet, a Gaussian, or widefield and confocal by psfmodels."
    )
    psf_angle_deg: Numbers = param(
        (), "Tilt of each view's optical axis from z towards x; empty: as deskew and split have it.", unit="degree"
    )


class PipelineParams(EngineParams):
    """Parameters of `fusion.pipeline`: a group for each step, and how they are run."""

    fusion: Literal["multiview_rl", "rldfn", "none"] = param(
        "multiview_rl", "How the views are fused: by deconvolution, by a network, or not at all."
    )
    fusion_model: str = param(
        "", "The network of fusion=rldfn, an id or a file, when --model is that of vsi_sr.",
        file=(".pth", ".pt", ".safetensors"),
    )  # fmt: skip
    keep_intermediate: bool = param(False, "Also give what the steps before the last made.")
    work_folder: str = param(
        "",
        "Where finished steps are kept, so that an interrupted run goes on; empty: in the cache, until the run is complete. "
        "A folder of your own is kept, and runs with other settings of later steps start from there.",
        advanced=True,
    )
    compat: Literal["none", "upstream"] = param(
        "none", "upstream runs every step as published, slips included.", advanced=True
    )
    background: BackgroundStep = BackgroundStep()
    deskew: DeskewStep = DeskewStep()
    vsi_sr: VsiStep = VsiStep()
    split_views: SplitStep = SplitStep()
    multiview_rl: MultiviewStep = MultiviewStep()
    rldfn: RlDfnParams = RlDfnParams()
