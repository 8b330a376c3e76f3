"""Models that a run made: kept where models are kept, so that they are in the menus."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import ReconError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_recon.core.events import ArtifactReady
    from napari_recon.hub import ModelCard


def is_early(payload: Any) -> bool:
    """Return whether a model says that a better one of the same run is to come."""
    card = payload.get("card", {}) if isinstance(payload, dict) else {}
    return not card.get("training", {}).get("complete", True)


def kept_model(payload: Any, name: str, title: str) -> ModelCard:
    """Return the card of a model that a run made, after copying it to where models are kept."""
    from napari_recon.hub import import_model
    from napari_recon.jobs.artifacts import model_file

    own = payload.get("card", {}).get("title") if isinstance(payload, dict) else ""
    return import_model(model_file(payload), name, own or title)


def keep_quietly(event: ArtifactReady, engine: str, title: str, say: Callable[[str, str], None]) -> None:
    """Keep the final model of a run whose dock was closed, in a worker; other artifacts are left alone."""
    from napari_recon.viewer.worker import call_in_background

    if event.kind != "model" or is_early(event.payload):
        return
    now = datetime.now()
    name = f"{engine.replace('.', '-')}-{now:%Y%m%d-%H%M%S}"

    def failed(error: Exception) -> None:
        say(str(error) if isinstance(error, ReconError) else f"the model of {title} could not be kept", "error")

    call_in_background(
        kept_model,
        event.payload,
        name,
        f"{title} · {now:%d %b %H:%M}",
        done=lambda card: say(f"The model {card.name} is in the menu of its dock", "info"),
        failed=failed,
    )
