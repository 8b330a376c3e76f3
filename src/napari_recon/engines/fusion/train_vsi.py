"""fusion.train_vsi: VSI-SR from pairs of raw stacks and structured illumination. No torch before a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from napari_recon.core.engine import EngineInfo, Inputs, InputSpec, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event, Warned
from napari_recon.core.frames import Refs, read_frame
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine
from napari_recon.engines.fusion.networks.vsi_shapes import finer_size
from napari_recon.engines.fusion.training.vsi_params import TrainVsiParams
from napari_recon.engines.fusion.vsi_sr import LEAST_PLANES, options_of

#: Of so many recordings one is held out for validation, at least one of two.
HELD_OUT = 8
STACK = InputSpec(
    name="stack",
    axes="ZYX",
    loops="T",
    many=True,
    description="deskewed light-sheet stacks to learn from, each with its truth",
)
TRUTH = InputSpec(
    name="truth",
    axes="ZYX",
    loops="T",
    many=True,
    description="what each stack shall become: its image from structured light, the same planes, 1.5 times the pixels",
)


class TrainVsi(WholeEngine[TrainVsiParams]):
    """Adapts a network for `fusion.vsi_sr` to your cells, or trains one."""

    Params = TrainVsiParams
    makes = "uses whole recordings"
    instead = "crop the recordings first"
    info = EngineInfo(
        name="fusion.train_vsi",
        kind="train",
        title="Train virtual structured illumination",
        summary="A network for fusion.vsi_sr, adapted to a few of your own cells, or trained from nothing",
        inputs=(STACK, TRUTH),
        outputs=(
            OutputInfo(name="preview", axes="YX", description="a held-out plane: enlarged, network, truth"),
            OutputInfo(name="model", kind="model", description="the network with the best validation, for fusion.vsi_sr"),
        ),
        references=("10.5281/zenodo.13486221", "10.48550/arXiv.1703.03400"),
    )

    def made(self, refs: Refs, params: TrainVsiParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        params.check()
        params.check_training()
        voxels = _check_pairs(refs, params.patch)
        options = network_options(params)
        edge = params.patch * 3 // 2
        preview = OutputSpec(name="preview", grid=Grid.of("YX", (edge, 3 * edge)))
        features, blocks = options["features"], options["blocks"]
        patches, passes = params.batch_size, 3.0
        if params.method == "meta":
            # every inner step of either network, the discriminator being the wider one
            patches, passes = params.examples_per_task // 2, 40.0 * params.batch_size * params.task_iterations
        work = passes * params.batch_size * params.patch**2 * 18 * (features**2 * 2 * blocks + features * 256 * 2.25)
        maps = 4 * params.patch**2 * (features * (6 * blocks + 4) + 2.25 * 256 * 4) * patches
        return (preview,), Resources(
            tiles=params.steps,
            memory_bytes=int(2**28 + maps + 4 * 4.5 * voxels + (3e9 if params.method == "meta" else 0)),
            work=work * params.steps,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.fusion.training.vsi_examples import recording
        from napari_recon.engines.fusion.training.vsi_task import VsiTask
        from napari_recon.hub import checkpoint_folder
        from napari_recon.training.loop import train

        params = self.params_of(plan)
        recordings = []
        for stack, truth in zip(inputs["stack"], inputs["truth"], strict=True):
            for time in range(stack.grid.size("T")):
                token.check()
                pair = (read_frame(stack, STACK, {"T": time}), read_frame(truth, TRUTH, {"T": time}))
                recordings.append(recording(*pair, params.patch, params.label_blur))
        kept = max(1, len(recordings) // HELD_OUT) if len(recordings) > 1 else 0
        learned, held = (recordings[:-kept], recordings[-kept:]) if kept else (recordings, recordings)
        if not kept:
            yield Warned("there is one recording only, so the validation is on what the network learns from; give several")
        task = VsiTask(params, plan.compute.seed, network_options(params), learned, held)
        yield from train(task, params, plan.compute, checkpoint_folder(plan), token)


def network_options(params: TrainVsiParams) -> dict[str, Any]:
    """Return what rebuilds the network: that of `init` or `resume`, or a new one."""
    known = params.init or (params.resume if params.resume != "auto" else "")
    if known:
        from napari_recon.hub import resolve

        return options_of(resolve(known, "fusion.vsi_sr"))
    return {"blocks": params.blocks, "features": params.features, "slices_in": 7, "slices_out": 3}


def _check_pairs(refs: Refs, patch: int) -> int:
    """Return how many voxels all stacks have.

    Raises
    ------
    InputError
        Stacks without truth or of other sizes than it, too small ones.
    """
    stacks, truths = refs["stack"], refs["truth"]
    if len(stacks) != len(truths):
        raise InputError(
            f"every stack needs its truth, found {len(stacks)} of stack and {len(truths)} of truth; give as many --input "
            "truth=FILE as stacks, in the same order"
        )
    voxels = 0
    for ref, other in zip(stacks, truths, strict=True):
        for one, name in ((ref, "stack"), (other, "truth")):
            if one.grid is None or set("ZYX") - set(one.grid.axes) or set(one.grid.axes) - set("TZYX"):
                found = one.grid.axes if one.grid else "no image"
                raise InputError(f"{name} should be a volume ZYX, or TZYX for a series, found {found} ({one.label})")
        assert ref.grid is not None and other.grid is not None
        grid, fine = ref.grid, other.grid
        wanted = (grid.size("T"), grid.size("Z"), *finer_size((grid.size("Y"), grid.size("X"))))
        size = tuple(fine.size(a) for a in "TZYX")
        if size != wanted:
            raise InputError(
                f"the truth of a stack of {grid.only('ZYX').shape} should have 1.5 times its pixels and the same planes, "
                f"{wanted[1:]}, found {size[1:]} ({other.label}); resample it, or correct the order of the files"
            )
        if grid.size("Z") < LEAST_PLANES or min(grid.size("Y"), grid.size("X")) < patch:
            raise InputError(
                f"a stack to learn from should have at least {LEAST_PLANES} planes of patch={patch} pixels, found "
                f"{grid.only('ZYX').shape} ({ref.label}); give larger ones, or set a smaller patch"
            )
        voxels += wanted[0] * grid.size("Z") * grid.size("Y") * grid.size("X")
    return voxels
