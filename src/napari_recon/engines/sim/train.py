"""sim.train: a network for structured illumination, from simulated recordings or the user's own pairs. No torch here."""

from __future__ import annotations

from collections.abc import Iterator

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.events import Event, Warned
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine, held_bytes
from napari_recon.engines.sim.training.inputs import OBJECTS, RAW, TRUTH, check_inputs, read_objects, read_pairs
from napari_recon.engines.sim.training.params import SimTrainParams

#: Of so many recordings with truth one is held out for validation, at least one of two.
HELD_OUT = 8


class Train(WholeEngine[SimTrainParams]):
    """Trains an RCAN that improves Wiener reconstructions, or reconstructs raw frames by itself."""

    Params = SimTrainParams
    makes = "uses whole recordings"
    instead = "crop the recordings first"
    info = EngineInfo(
        name="sim.train",
        kind="train",
        title="Train a SIM network",
        summary="A network for sim.network, trained on simulated recordings of your microscope or on your own pairs",
        inputs=(RAW, TRUTH, OBJECTS),
        outputs=(
            OutputInfo(name="preview", axes="YX", description="a held-out recording: before, network, truth"),
            OutputInfo(name="model", kind="model", description="the network with the best validation, for sim.network"),
        ),
        references=("10.1364/BOE.414680",),
    )

    def made(self, refs: Refs, params: SimTrainParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        params.check()
        edge = 2 * check_inputs(refs, params)
        preview = OutputSpec(name="preview", grid=Grid.of("YX", (edge, 3 * edge)))
        patch = params.crop**2 * params.features
        layers = 2 * params.groups * params.blocks + params.groups + 7
        return (preview,), Resources(
            tiles=params.steps,
            memory_bytes=2**28
            + 16 * patch * layers * params.batch_size
            + 80 * params.field**2 * 2 * params.pool
            + held_bytes(refs),
            work=54.0 * patch * params.features * layers * params.batch_size * params.steps,
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.sim.training.task import SimTask
        from napari_recon.hub import checkpoint_folder
        from napari_recon.training.loop import train

        token.check()
        params, edge = self.params_of(plan), plan.outputs[0].grid.size("Y")
        pairs = list(read_pairs(plan, inputs, params, token))
        kept = max(1, len(pairs) // HELD_OUT) if len(pairs) > 1 else 0
        learned, held = (pairs[:-kept], pairs[-kept:]) if kept else (pairs, pairs)
        if pairs and not kept:
            yield Warned("there is one recording only, so the validation is on what the network learns from; give several")
        task = SimTask(params, plan.compute.seed, learned, held, read_objects(inputs), edge)
        yield from train(task, params, plan.compute, checkpoint_folder(plan), token)
