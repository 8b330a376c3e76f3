"""The engine `lightfield_inr.meta`: weights from which new scenes of a kind are fitted sooner. No torch until it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.compute import Compute
from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import CheckpointError, InputError
from napari_recon.core.events import Event, Warned
from napari_recon.core.frames import Refs, read_frame
from napari_recon.core.grid import Grid
from napari_recon.core.plan import InputRef, ModelRef, OutputSpec, Plan, Resources
from napari_recon.core.region import Selection
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine, held_bytes
from napari_recon.engines.lightfield_inr.fit_engine import PSF, check_pair, network_resources
from napari_recon.engines.lightfield_inr.meta_params import MetaParams, resolved_meta
from napari_recon.optics.psf_checks import mended_psf

#: Of so many scenes one is held out for validation, at least one of two.
HELD_OUT = 8
AVERAGED = ("nerf_sequence", "voxels")
VIEWS = InputSpec(
    name="views",
    axes="VYX",
    loops="T",
    required=False,
    many=True,
    description="light fields to learn from, one page per view: sequences, or several samples",
)
RESPONSE = PSF.model_copy(update={"required": False})


class Meta(WholeEngine[MetaParams]):
    """Learns a start over scenes (Reptile), or takes the mean over the time points of a fitted sequence."""

    Params = MetaParams
    makes = "uses whole light fields"
    instead = "crop them first"
    info = EngineInfo(
        name="lightfield_inr.meta",
        kind="train",
        title="Neural field (start)",
        summary="A start for the fits of neural fields, learnt over the frames of sequences or over samples",
        inputs=(VIEWS, RESPONSE),
        outputs=(
            OutputInfo(name="preview", axes="ZYX", description="a held-out scene, fitted for a few steps from the start"),
            OutputInfo(name="model", kind="model", description="the start, for init of lightfield_inr.fit"),
        ),
        needs_model="optional",
        references=("10.48550/arXiv.1803.02999",),
    )

    def plan(
        self,
        refs: Sequence[InputRef],
        params: Mapping[str, Any],
        selection: Selection = Selection(),
        model: ModelRef | None = None,
        compute: Compute = Compute(),
    ) -> Plan:
        """See `Engine.plan`; a model takes the place of light fields."""
        values, by_name = self.checked(refs, params, model)
        if model is None:
            plan = super().plan(refs, params, selection, model, compute)
            _, height, width = plan.outputs[0].grid.shape
            return plan.model_copy(update={"params": resolved_meta(values, (height, width)).model_dump(mode="json")})
        if any(by_name.values()) or selection != Selection():
            raise InputError(
                "a start comes from views and their PSF or from a fitted sequence (model), found both; drop one"
            )
        if model.architecture not in AVERAGED or not model.options.get("frames"):
            raise CheckpointError(
                f"{self.info.name} takes the mean over a fitted sequence, found {model.id} "
                f"({model.architecture or 'not recognised'}), which is none; give a sequence, or views with their PSF"
            )
        return self.planned(
            params=values.model_dump(mode="json"),
            inputs=(),
            model=model,
            compute=compute.resolved(),
            resources=Resources(memory_bytes=2**26, work=1e6),
        )

    def made(self, refs: Refs, params: MetaParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        if not refs["views"] or not refs["psf"]:
            raise InputError(
                "a start is learnt from views and their PSF, or is the mean of a fitted sequence, found neither; give "
                "--input views=FILE and --input psf=FILE, or --model"
            )
        psf = refs["psf"][0].grid
        grids = [_views_grid(ref) for ref in refs["views"]]
        if psf is None or set("VZYX") - set(psf.axes):
            raise InputError(f"psf should have axes VZYX, found {psf.axes if psf else 'no image'}; choose another file")
        size = grids[0].size("Y"), grids[0].size("X")
        for ref, grid in zip(refs["views"], grids, strict=True):
            check_pair(grid, psf)
            if (grid.size("Y"), grid.size("X")) != size:
                raise InputError(
                    f"light fields should be of one size, found {size} and {grid.size('Y'), grid.size('X')} ({ref.label}); "
                    "crop them alike"
                )
        params = resolved_meta(params, size)
        preview = OutputSpec(name="preview", grid=psf.only("Z").joined(grids[0].only("YX")))
        one = network_resources(psf, preview.grid, params, Compute().resolved())
        many = {"tiles": params.steps, "work": one.work * params.steps * params.batch_size}
        many["memory_bytes"] = one.memory_bytes + held_bytes(refs)
        return (preview,), one.model_copy(update=many)

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        token.check()
        if plan.model is not None:
            from napari_recon.engines.lightfield_inr.meta_mean import mean_of

            yield mean_of(plan.model)
            return
        from napari_recon.engines.lightfield_inr.meta_task import MetaTask
        from napari_recon.hub import checkpoint_folder
        from napari_recon.training.loop import train

        params = self.params_of(plan)
        frames = list(_frames(inputs, token))
        psf, said = mended_psf(read_frame(inputs["psf"][0], RESPONSE, {}))
        for sentence in said:
            yield Warned(sentence)
        kept = max(1, len(frames) // HELD_OUT) if len(frames) > 1 else 0
        learned, held = (frames[:-kept], frames[-kept:]) if kept else (frames, frames)
        if not kept:
            yield Warned("there is one scene only, so the validation is on what the start is learnt from; give several")
        task = MetaTask(params, plan, psf, learned, held)
        yield from train(task, params, plan.compute, checkpoint_folder(plan), token)


def _views_grid(ref: InputRef) -> Grid:
    if ref.grid is None or set("VYX") - set(ref.grid.axes) or set(ref.grid.axes) - set("TVYX"):
        found = f"axes {ref.grid.axes}" if ref.grid else "no image"
        raise InputError(f"views should have axes VYX, or TVYX for a sequence, found {found} ({ref.label}); choose others")
    return ref.grid


def _frames(inputs: Inputs, token: CancelToken) -> Iterator[NDArray[np.float32]]:
    """Yield the views (v, y, x) of every scene, those of a sequence by one common maximum, of others by their own."""
    for stack in inputs["views"]:
        series = []
        for time in range(stack.grid.size("T")):
            token.check()
            series.append(read_frame(stack, VIEWS, {"T": time}))
        peak = max(float(views.max()) for views in series)
        if peak <= 0:
            raise InputError(f"views should hold intensities above zero, found none in {stack.name}; check the data")
        yield from (np.divide(views, peak, dtype=np.float32) for views in series)
