"""Going on: a run that was stopped continues from its checkpoint, one click away."""

from __future__ import annotations

from typing import Any

from napari_recon.viewer.run import Offer


def offer_to_continue(dock: Any, engine: str, saved: Any, partial: tuple[Any, ...], what: str) -> None:
    """Offer to go on exactly from a checkpoint.

    Parameters
    ----------
    dock : EngineDock
    engine : str
        What was run; it has a parameter ``resume``.
    saved : CheckpointSaved
    partial : tuple of Layer
        What the stopped run left; hidden when the run goes on.
    what : str
        What the run was, in a word.
    """

    def go_on() -> None:
        for layer in partial:
            layer.visible = False
        dock.choose_method(engine)
        # a checkpoint has its own weights: what a training started from does not matter any more
        before = {name: dock.settings.values()[name] for name in ("init",) if name in dock.settings.form.fields}
        dock.settings.change({**dict.fromkeys(before, ""), "resume": saved.path})
        dock.start_run()
        if dock.controller.state != "idle":  # the next run is a new one
            dock.settings.change({**before, "resume": ""})

    dock.run_bar.offer(Offer(f"Go on exactly from step {saved.step}", f"Contin&ue the {what}", go_on))
