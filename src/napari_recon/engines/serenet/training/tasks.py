"""Which task trains which network (torch)."""

from __future__ import annotations

from typing import Any

from napari_recon.engines.serenet.training.params import SerenetTrainParams
from napari_recon.engines.serenet.training.serenet_task import SerenetTask
from napari_recon.engines.serenet.training.task import LightFieldTask
from napari_recon.engines.serenet.training.views_task import TWNetTask, VsNetTask
from napari_recon.engines.serenet.training.volumes_task import RLNetTask, ViewsTask

_TASKS: dict[str, type[LightFieldTask]] = {
    **dict.fromkeys(("serenet", "renet", "fserenet"), SerenetTask),
    **{"rlnet": RLNetTask, "vcdnet": ViewsTask, "hylfmnet": ViewsTask, "vsnet": VsNetTask, "twnet": TWNetTask},
}


def task_of(params: SerenetTrainParams, *arguments: Any, **named: Any) -> LightFieldTask:
    """Return the task of a network; see `LightFieldTask`."""
    return _TASKS[params.network](params, *arguments, **named)
