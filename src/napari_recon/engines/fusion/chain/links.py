"""Which engines follow each other in the light-sheet pipeline, and what each gets from those before (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_recon.core.compute import Compute
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.frames import FrameEngine
from napari_recon.core.plan import InputRef, ModelRef, Plan
from napari_recon.core.region import Selection
from napari_recon.engines.fusion.background import Background
from napari_recon.engines.fusion.chain.params import PipelineParams
from napari_recon.engines.fusion.deskew import Deskew, stated_direction
from napari_recon.engines.fusion.multiview_rl import MultiviewRL
from napari_recon.engines.fusion.networks.rldfn_checkpoint import ARCHITECTURE as RLDFN
from napari_recon.engines.fusion.networks.vsi_checkpoint import ARCHITECTURE as VSI
from napari_recon.engines.fusion.rldfn import RlDfnFusion
from napari_recon.engines.fusion.split_views import SplitViews
from napari_recon.engines.fusion.vsi_sr import VsiSr

Refs = Mapping[str, Sequence[InputRef]]
Decisions = Mapping[str, Mapping[str, Any]]
VIEWS = ("view_a", "view_b")


@dataclass(frozen=True)
class Link:
    """One step.

    Attributes
    ----------
    name : str
        Its group of parameters.
    engine : FrameEngine
    takes : dict
        Input name -> what feeds it: ``"raw"``, an input of the pipeline, or what an earlier step made.
    makes : dict
        Output name -> what it is called from here on.
    model : ModelRef, optional
    share : float
        Part of the time it usually takes; only the progress bar believes it.
    decides : str
        The parameter that the recording's first frame decides when it is automatic.
    """

    name: str
    engine: FrameEngine[Any]
    takes: Mapping[str, tuple[str, ...]]
    makes: Mapping[str, str]
    model: ModelRef | None = None
    share: float = 1.0
    decides: str = ""

    def plan(self, refs: Refs, values: Mapping[str, Any], selection: Selection, compute: Compute) -> Plan:
        """Return the plan of the step for one frame; `refs` by the name of the thing."""
        given = [r.model_copy(update={"name": n}) for n, names in self.takes.items() for name in names for r in refs[name]]
        return self.engine.plan(given, values, selection, self.model, compute)


def links_of(params: PipelineParams, model: ModelRef | None, psfs: int, transfer: Sequence[str]) -> list[Link]:
    """Return the steps that are on, in order.

    Parameters
    ----------
    params : PipelineParams
    model : ModelRef, optional
        Of vsi_sr, or of rldfn.
    psfs : int
        How many there are.
    transfer : sequence of str
        Which transfer functions there are.

    Raises
    ------
    InputError
        No step, a model that nothing uses, views without a network.
    """
    sharpens, fuses = _models(params, model)
    links: list[Link] = []
    last = "raw"
    if params.background.enabled:
        links.append(Link("background", Background(), {"raw": (last,)}, {"clean": "clean"}, share=1))
        last = "clean"
    if params.deskew.enabled:
        links.append(Link("deskew", Deskew(), {"raw": (last,)}, {"volume": "straight"}, share=1, decides="direction"))
        last = "straight"
    if sharpens is not None:
        takes: dict[str, tuple[str, ...]] = {"stack": (last,), **{name: (name,) for name in transfer}}
        links.append(Link("vsi_sr", VsiSr(), takes, {"sr": "sr"}, sharpens, share=60))
        last = "sr"
    views: tuple[str, ...] = (last,)
    if params.split_views.enabled:
        views = VIEWS
        made = dict(zip(VIEWS, VIEWS, strict=True))
        links.append(Link("split_views", SplitViews(), {"volume": (last,)}, made, share=3, decides="transform"))
    if params.fusion == "multiview_rl":
        takes = {"views": views, **({"psf": ("psf",)} if psfs else {})}
        links.append(Link("multiview_rl", MultiviewRL(), takes, {"volume": "fused"}, share=20, decides="iterations"))
    elif params.fusion == "rldfn":
        if len(views) < 2 or psfs < 1:
            raise InputError(
                f"fusion=rldfn needs two views and their PSFs, found {len(views)} and {psfs}; switch split_views on and "
                "give --input psf=FILE, or take fusion=multiview_rl"
            )
        takes = {"view_a": (VIEWS[0],), "view_b": (VIEWS[1],), "psf_a": ("psf_a",), "psf_b": ("psf_b",)}
        links.append(Link("rldfn", RlDfnFusion(), takes, {"fused": "fused"}, fuses, share=200))
    if not links:
        raise InputError("the pipeline should have at least one step, found all switched off; switch one on")
    return links


def _models(params: PipelineParams, model: ModelRef | None) -> tuple[ModelRef | None, ModelRef | None]:
    """Return the models of vsi_sr and of rldfn; vsi_sr is off without one."""
    sharpens = model if model is not None and model.architecture == VSI else None
    fuses = model if model is not None and model.architecture == RLDFN else None
    if model is not None and sharpens is None and fuses is None:
        raise CheckpointError(
            f"fusion.pipeline needs a VSI-SR or RL-DFN model, found {model.id} ({model.architecture}); choose another"
        )
    if params.fusion_model and params.fusion == "rldfn":
        from napari_recon.hub import resolve

        fuses = resolve(params.fusion_model, "fusion.rldfn")
    if params.vsi_sr.enabled is True and sharpens is None:
        raise InputError("vsi_sr needs a model, found none; choose one (--model), or leave vsi_sr.enabled at auto")
    if params.fusion == "rldfn" and fuses is None:
        raise InputError(
            "fusion=rldfn needs a model, found none; give --model FOLDER, or fusion_model beside that of vsi_sr"
        )
    if params.fusion != "rldfn" and fuses is not None:
        raise InputError(f"the model {fuses.id} is one for fusion=rldfn, found fusion={params.fusion}; set fusion=rldfn")
    return (sharpens if params.vsi_sr.enabled else None), fuses


def values_of(link: Link, params: PipelineParams, decided: Decisions, missing: str = "") -> dict[str, Any]:
    """Return the parameters of a step: its own, what it takes over from others, what was decided, in this order."""
    own = getattr(params, link.name)
    values: dict[str, Any] = own.model_dump(mode="json", exclude={"enabled"})
    if params.compat == "upstream":
        values["compat"] = "upstream"
    if values.get("skew_axis") == "auto":
        values["skew_axis"] = params.deskew.skew_axis
    way = int(decided.get("deskew", {}).get("direction", stated_direction(params.deskew))) if params.deskew.enabled else 1
    angle = way * abs(params.deskew.angle_deg)
    if link.name == "deskew" and values["camera_offset"] == "auto" and values["compat"] == "none":
        values["camera_offset"] = 0.0 if params.background.enabled else params.background.camera_offset
    if link.name == "vsi_sr":
        optics = {n: getattr(params.multiview_rl, n) for n in ("na", "wavelength_um") if values[n] == "auto"}
        values |= optics
    if link.name == "split_views" and values["angle_deg"] == "auto":
        values["angle_deg"] = angle
    if link.name == "multiview_rl":
        if (
            values["background"] == "auto"
            and values["compat"] == "none"
            and (params.background.enabled or params.deskew.enabled)
        ):
            values["background"] = 0.0  # the camera's offset is gone, and around the data there are zeros
        values["psf_angle_deg"] = list(own.psf_angle_deg) or _tilts(params, angle)
        if missing:
            kept = VIEWS.index("view_b" if missing == "a" else "view_a")
            for name in ("psf_angle_deg", "weights"):
                values[name] = values[name][kept : kept + 1] if len(values[name]) == len(VIEWS) else values[name]
    return {**values, **decided.get(link.name, {})}


def undecided(link: Link, values: Mapping[str, Any]) -> bool:
    """Return whether the step's first frame decides something that holds for all."""
    return bool(link.decides) and values[link.decides] == "auto" and values["compat"] == "none"


def chained(links: Sequence[Link], refs: Refs, params: PipelineParams, selection: Selection, compute: Compute) -> list[Plan]:
    """Return the plans of all steps for one frame, from headers alone; the selection is of the last one's result."""
    things, plans = dict(refs), []
    for link in links:
        asked = selection if link is links[-1] else Selection()
        plan = link.plan(things, values_of(link, params, {}), asked, compute)
        plans.append(plan)
        things |= {
            name: [InputRef(name=name, grid=plan.output(output).grid, dtype=plan.output(output).dtype, optics=_optics(refs))]
            for output, name in link.makes.items()
        }
    return plans


def _optics(refs: Refs) -> dict[str, tuple[float, ...]]:
    return refs["raw"][0].optics


def _tilts(params: PipelineParams, angle: float) -> list[float]:
    """Return how far the detection axis of each view leans from z towards x, in the frame of the fused volume."""
    if not params.split_views.enabled:
        return [-angle if params.deskew.enabled and params.deskew.coverslip else 0.0]
    turn = params.split_views.angle_deg
    angle = angle if turn == "auto" else float(turn)
    angle = -angle if params.split_views.orientation == "published" else angle
    return [-angle, angle]
