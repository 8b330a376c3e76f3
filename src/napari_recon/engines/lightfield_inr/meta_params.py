"""Parameters of `lightfield_inr.meta` (no torch)."""

from __future__ import annotations

from napari_recon.core.errors import InputError
from napari_recon.core.params import param
from napari_recon.engines.lightfield_inr.network_params import NetworkParams, resolved_network
from napari_recon.training.params import TrainingParams


class MetaParams(NetworkParams, TrainingParams):
    """The published network, its objective, and how the start for it is learnt."""

    steps: int = param(300, "Steps of the whole run; each fits scenes for a while and moves the start.", ge=1, le=1_000_000)
    inner_steps: int = param(
        20, "Steps for which a scene is fitted from the start, which then moves towards where they led.", ge=1, le=10_000
    )
    batch_size: int = param(1, "Scenes per step.", ge=1, le=64)
    learning_rate: float = param(2e-3, "Step size of the start's weights (Adam) at its highest.", gt=0, le=1)
    averaging: float = param(
        0.98, "Decay of the running mean of the start, which is what is validated and kept; 0 keeps the last.",
        ge=0, lt=1, advanced=True,
    )  # fmt: skip
    validate_every: int = param(25, "Steps between validations on held-out scenes.", ge=1)
    checkpoint_every: int = param(25, "Steps between checkpoints from which a run can be resumed.", ge=1)


def resolved_meta(params: MetaParams, size_yx: tuple[int, int]) -> MetaParams:
    """Return parameters with nothing left automatic.

    Raises
    ------
    InputError
        Settings that do not fit together or the views.
    """
    params.check_training()
    if params.devices > 1:
        raise InputError(f"a start is learnt on one device, found devices={params.devices}; leave it out")
    found = resolved_network(params)
    inner = {"steps": params.inner_steps, "steps_per_frame": params.inner_steps, "coarse_steps": 0}
    settings = found["upstream"].fitted(size_yx).model_copy(update=inner)
    return params.model_copy(update={**found, "upstream": settings})
