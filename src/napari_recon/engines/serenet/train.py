"""serenet.train: the light-field networks, trained from the optics of a microscope. No torch before a run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from napari_recon.core.engine import EngineInfo, Inputs, OutputInfo
from napari_recon.core.errors import InputError
from napari_recon.core.events import Event, Warned
from napari_recon.core.frames import Refs
from napari_recon.core.grid import Grid
from napari_recon.core.plan import OutputSpec, Plan, Resources
from napari_recon.core.token import CancelToken
from napari_recon.core.whole import WholeEngine, held_bytes
from napari_recon.engines.serenet.training.inputs import (
    PSF,
    VIEWS,
    VOLUME,
    check_inputs,
    geometry_for,
    read_psf,
    read_recordings,
)
from napari_recon.engines.serenet.training.params import FROM_VIEWS, SerenetTrainParams, network_options
from napari_recon.optics.lightfield_geometry import LightFieldGeometry

HELD_OUT = 8
"""Of so many recordings one is held out for validation, at least one of two."""


class Train(WholeEngine[SerenetTrainParams]):
    """Trains a light-field network on recordings, on pairs, or on what a stated microscope would record."""

    Params = SerenetTrainParams
    makes = "uses whole recordings"
    instead = "crop the recordings first"
    info = EngineInfo(
        name="serenet.train",
        kind="train",
        title="Train a light-field network",
        summary="SeReNet and the networks beside it for your microscope: from its optics, your recordings, or pairs",
        inputs=(VIEWS, VOLUME, PSF),
        outputs=(
            OutputInfo(name="preview", axes="ZYX", description="a held-out recording: refocused, network, truth"),
            OutputInfo(name="model", kind="model", description="the network with the best validation"),
        ),
        references=("10.1038/s41592-025-02698-z",),
    )

    def made(self, refs: Refs, params: SerenetTrainParams) -> tuple[tuple[OutputSpec, ...], Resources]:
        """See `WholeEngine.made`."""
        params.check()
        geometry = geometry_for(params)
        check_inputs(refs, params, geometry)
        network_options(params, geometry)
        _check_reach(params, geometry)
        voxels = float(params.crop**2 * geometry.planes * params.batch_size)
        operations, floats = params.cost
        fine = geometry.planes * (params.field * geometry.upsampling) ** 2
        kept = 2 * params.pool * (4 * geometry.views * params.field**2 + (2 * fine if params.supervised else 0))
        warnings = []
        if params.views_per_step > geometry.views:
            warnings.append(
                f"views_per_step is {params.views_per_step}, more than the {geometry.views} views: all are compared"
            )
        memory = (
            2**29 + (held_bytes(refs) if refs["views"] else kept + 40 * fine) + 4 * voxels * (4 * geometry.views + floats)
        )
        return (OutputSpec(name="preview", grid=_preview(params, geometry)),), Resources(
            tiles=params.steps,
            memory_bytes=int(memory),
            work=operations * voxels * params.steps,
            warnings=tuple(warnings),
        )

    def process(self, plan: Plan, inputs: Inputs, token: CancelToken) -> Iterator[Event]:
        """See `Engine.process`."""
        from napari_recon.engines.serenet.training.tasks import task_of
        from napari_recon.hub import checkpoint_folder
        from napari_recon.training.loop import train

        params = self.params_of(plan)
        geometry = geometry_for(params)
        recordings = []
        said: set[str] = set()
        for recording, remark in read_recordings(inputs, params, geometry, token):
            recordings.append(recording)
            if remark and remark not in said:
                yield Warned(remark)
            said.add(remark)
        kept = max(1, len(recordings) // HELD_OUT) if len(recordings) > 1 else 0
        learned, held = (recordings[:-kept], recordings[-kept:]) if kept else (recordings, recordings)
        if recordings and not kept and not params.withholds:
            yield Warned("there is one recording only, so the validation is on what the network learns from; give several")
        options, scaled = network_options(params, geometry)
        psf = read_psf(inputs, geometry)
        task = task_of(params, geometry, plan.compute.seed, options, scaled, learned, held, psf)
        yield from train(task, params, plan.compute, checkpoint_folder(plan), token)


def _preview(params: SerenetTrainParams, geometry: LightFieldGeometry) -> Grid:
    """Return the grid of three pictures side by side: volumes, or for networks of views the middle view."""
    if params.network in FROM_VIEWS:
        return Grid.of("ZYX", (1, params.crop, 3 * params.crop))
    edge = geometry.volume_yx(params.crop, 0)[0]
    return Grid.of("ZYX", (geometry.planes, edge, 3 * edge))


def _check_reach(params: SerenetTrainParams, geometry: LightFieldGeometry) -> None:
    """Raise an InputError when patches are too small for the optics to say anything about them."""
    if params.network != "serenet" or params.compat == "upstream":
        return
    spread = float(np.ptp(np.concatenate([geometry.psf_shift, 0 * geometry.psf_shift[:, :1]], axis=1), axis=1).max())
    least = math.ceil(spread / geometry.upsampling + 2 * (1 + 2 * params.psf_sigma / geometry.upsampling)) + 3
    if params.crop < least:
        raise InputError(
            f"crop should be at least {least} pixels for {geometry.planes} planes, whose light is displaced by up to "
            f"{spread / geometry.upsampling:.1f} pixels, found {params.crop}; set a larger crop, or fewer planes"
        )
