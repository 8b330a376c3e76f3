"""fusion.pipeline: background, deskew, super-resolution, split and fusion as one run. No torch before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event
from napari_recon.core.frames import Frame, FrameEngine, Refs
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Box, Selection
from napari_recon.core.token import CancelToken
from napari_recon.engines.fusion.chain.links import Link, chained, links_of
from napari_recon.engines.fusion.chain.params import PipelineParams
from napari_recon.engines.fusion.joint_params import TRANSFER

INTERMEDIATE = ("clean", "straight", "sr", "view_a", "view_b")


class Pipeline(FrameEngine[PipelineParams]):
    """From the raw skewed stack to one volume; every step is the engine of its name, with its parameters in a group."""

    Params = PipelineParams
    info = EngineInfo(
        name="fusion.pipeline",
        kind="reconstruct",
        title="Light-sheet pipeline",
        summary="Raw lattice light-sheet stack to one fused volume: background, deskew, super-resolution, split, fusion",
        inputs=(
            InputSpec(name="raw", axes="ZYX", lazy=True, description="the raw skewed stack; z is the stage"),
            InputSpec(
                name="psf",
                axes="ZYX",
                loops="C",
                accepts=("psf",),
                many=True,
                required=False,
                description="PSF of each view on the grid of the views; one alone serves the mirrored view turned over",
            ),
            *TRANSFER,
        ),
        outputs=(
            OutputInfo(name="fused", axes="ZYX", description="the fused volume (with fusion=none: what the last step made)"),
            OutputInfo(name="clean", axes="ZYX", description="the stack without background, on request"),
            OutputInfo(name="straight", axes="ZYX", description="the straight volume, on request"),
            OutputInfo(name="sr", axes="ZYX", description="the super-resolved volume, on request"),
            OutputInfo(name="view_a", axes="ZYX", description="the view below the mirror, on request"),
            OutputInfo(name="view_b", axes="ZYX", description="the mirrored view, on request"),
            OutputInfo(name="transform", kind="transform", description="where the mirror lies: one for the whole series"),
            OutputInfo(name="report", kind="report", description="what every step found, and its time, per time point"),
        ),
        needs_model="optional",
        halo="that of the last step; the steps before it always treat whole volumes",
        roi_tolerance=1e-5,
    )

    def outputs_of(self, refs: Refs, params: PipelineParams, model: ModelRef | None) -> tuple[OutputSpec, ...]:
        """See `FrameEngine.outputs_of`: every step is planned from what the one before it gives."""
        links, plans = self._chain(refs, params, model, Selection(), Compute())
        made = {name: plan.output(o) for link, plan in zip(links, plans, strict=True) for o, name in link.makes.items()}
        last = list(links[-1].makes.values())
        wanted = [*last, *(n for n in INTERMEDIATE if n in made and n not in last and params.keep_intermediate)]
        return tuple(made[name].model_copy(update={"name": name}) for name in wanted)

    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """See `Engine.plan`; a region is one of the last step's result, what other steps make is always given whole."""
        if selection.box is not None and selection.space != "output":
            raise InputError(
                f"a region of fusion.pipeline should be one of its result, found one in {selection.space} space; the steps "
                "turn the volume, so give it in voxels of the output, or crop the recording"
            )
        plan = super().plan(refs, params, selection, model, compute)
        last = set(self._links(plan)[-1].makes.values())
        outer = plan.outputs[0].grid.only(plan.looped)
        outputs = tuple(
            s if s.name in last else s.model_copy(update={"grid": outer.joined(plan.whole[s.name])}) for s in plan.outputs
        )
        return plan.model_copy(update={"outputs": outputs})

    def resources(
        self,
        refs: Refs,
        params: PipelineParams,
        model: ModelRef | None,
        box: Box,
        outputs: tuple[OutputSpec, ...],
        compute: Compute,
    ) -> Resources:
        """See `FrameEngine.resources`: the step that needs most memory decides."""
        links, plans = self._chain(refs, params, model, Selection(box=box), compute)
        said = [f"{link.name}: {w}" for link, plan in zip(links, plans, strict=True) for w in plan.resources.warnings]
        return Resources(
            tile=plans[-1].resources.tile,
            tiles=sum(plan.resources.tiles for plan in plans),
            memory_bytes=max(plan.resources.memory_bytes for plan in plans),
            work=float(sum(plan.resources.work for plan in plans)),
            warnings=tuple(said),
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.fusion.chain.run import ChainRun

        token.check()
        yield from ChainRun(plan, self.params_of(plan), self._links(plan), inputs, token).events()

    def process_frame(self, plan: Plan, frame: Frame, index: int, token: CancelToken) -> Iterator[Event]:
        """See `FrameEngine.process_frame`; `process` runs the steps one by one instead."""
        raise NotImplementedError

    def frames_apart(self, plan: Plan) -> bool:
        """See `Engine.frames_apart`: every step treats the whole series before the next one starts."""
        return False

    def sample(self, plan: Plan) -> Plan | None:
        """See `Engine.sample`: the steps before the last treat whole volumes, so there is no short sample."""
        return None

    def _links(self, plan: Plan) -> list[Link]:
        names = [ref.name for ref in plan.inputs]
        transfer = [spec.name for spec in TRANSFER if spec.name in names]
        return links_of(self.params_of(plan), plan.model, names.count("psf"), transfer)

    def _chain(
        self, refs: Refs, params: PipelineParams, model: ModelRef | None, selection: Selection, compute: Compute
    ) -> tuple[list[Link], list[Plan]]:
        """Return the steps and their plans for one frame."""
        single = {name: [_of_one_frame(ref) for ref in group] for name, group in refs.items()}
        psfs = single["psf"]
        views = 2 if params.split_views.enabled else 1
        if len(psfs) > views:
            raise InputError(
                f"there should be at most one psf for each of the {views} views, found {len(psfs)}; leave the others out"
            )
        single["psf"] = psfs if len(psfs) != 1 else psfs * views
        single |= {name: [psf] for name, psf in zip(("psf_a", "psf_b"), single["psf"], strict=False)}
        links = links_of(params, model, len(psfs), [spec.name for spec in TRANSFER if single[spec.name]])
        return links, chained(links, single, params, selection, compute)


def _of_one_frame(ref: InputRef) -> InputRef:
    if ref.grid is None:
        return ref
    return ref.model_copy(update={"grid": ref.grid.only("".join(a for a in ref.grid.axes if a not in "TC"))})
