"""Voxels under the published objective: its value falls below that of a usual fit, and a run goes on exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_recon.core.events import ArtifactReady, CheckpointSaved, MetricLogged
from napari_recon.core.token import CancelToken
from napari_recon.engines.lightfield_inr.fast.optics import Counts, Optics
from napari_recon.engines.lightfield_inr.fast.scene import SceneFit
from napari_recon.engines.lightfield_inr.upstream.losses import objective
from napari_recon.engines.lightfield_inr.upstream.settings import FitSettings
from napari_recon.engines.lightfield_inr.upstream.stage import normalised_psf
from napari_recon.optics.psf_convolution import PsfProjector

from .scenes import fast_example, psf, views

SETTINGS = FitSettings()


def test_its_value_is_that_of_the_volume_in_published_units_and_lower_than_a_usual_fits() -> None:
    seen = np.round(2000 * views().numpy() / float(views().max())).astype(np.float32)
    response = psf().numpy() * np.array([0.5, 1, 1, 1.5], np.float32)[:, None, None, None]
    found = {}
    for published in (None, SETTINGS):
        counts, optics = Counts.of(seen, torch.device("cpu")), Optics(response, (21, 21), torch.device("cpu"))
        fit = SceneFit(counts, optics, penalty=0.02, steps=25, published=published)
        *_, last = fit.steps()
        peak, unit = seen.max() * counts.scale, float(optics.brightness_v.mean())
        volume = optics.inner(last.volume) * unit / peak
        made = PsfProjector.same(normalised_psf(torch.from_numpy(response)), (21, 21)).forward(volume)
        found[published] = float(objective(made, torch.from_numpy(seen / seen.max()), volume, SETTINGS)), last.loss
    assert found[SETTINGS][0] < found[None][0]
    assert abs(found[SETTINGS][0] - found[SETTINGS][1]) < 0.1 * found[SETTINGS][0], "but for the softness"


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path: Path) -> None:
    def state(events: list[Any]) -> Any:
        return next(e.payload for e in events if isinstance(e, ArtifactReady) and e.name == "model")["state"]

    whole = fast_example(objective="published", checkpoint_folder=str(tmp_path / "whole"))
    complete = whole.events(whole.plan())
    one = fast_example(objective="published", checkpoint_folder=str(tmp_path / "cut"))
    token, seen = CancelToken(), []
    for event in one.engine.run(one.plan(), {n: [s] for n, s in one.stacks.items()}, token):
        seen.append(event)
        if isinstance(event, MetricLogged) and event.name == "loss" and event.step == 3:
            token.cancel()
    saved = [e.path for e in seen if isinstance(e, CheckpointSaved)][-1]
    again = one.events(one.plan(resume=saved))
    np.testing.assert_array_equal(state(again)["voxels"], state(complete)["voxels"])
