"""What a VSI-SR file is, from names and shapes alone; torch is imported only to rebuild the network."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.fusion.networks.vsi_shapes import PER_BLOCK, generator_shapes
from napari_recon.hub.recognise import Recognised, State, differences

if TYPE_CHECKING:
    from napari_recon.engines.fusion.networks.vsi_sr import Generator

ENGINE = "fusion.vsi_sr"
ARCHITECTURE = "vsi_sr"
_WITHOUT_BLOCKS = 6


def recognise(state: State) -> Recognised | None:
    """Return what a state dict of VSI-SR is, or None for other networks."""
    if "vars.0" not in state or any(name.startswith("conv2d1.") for name in state):
        return None
    first = tuple(state["vars.0"].shape)
    if len(first) != 4 or first[2:] != (3, 3):
        return None
    count = sum(name.startswith("vars.") for name in state)
    blocks, left = divmod(count - _WITHOUT_BLOCKS, PER_BLOCK)
    last = state.get(f"vars.{count - 2}")
    if left or blocks < 1 or last is None or len(last.shape) != 4:
        return None
    options: dict[str, Any] = {
        "blocks": blocks,
        "features": int(first[0]),
        "slices_in": int(first[1]),
        "slices_out": int(last.shape[0]),
    }
    return Recognised(
        engine=ENGINE,
        architecture=ARCHITECTURE,
        options=options,
        inferred=(
            f"{blocks} blocks of {first[0]} features, from {count} tensors and vars.0 {first}",
            f"{first[1]} planes in, from vars.0, and {options['slices_out']} out, from vars.{count - 2}",
        ),
        problems=_problems(state, options),
        contract={"slices": options["slices_in"], "scale": 1.5},
    )


def _problems(state: State, options: dict[str, Any]) -> tuple[str, ...]:
    found = differences(state, generator_shapes(**options))
    if options["slices_out"] != 3 or options["slices_in"] < 3 or options["slices_in"] % 2 == 0:
        slices = f"{options['slices_in']} planes in and {options['slices_out']} out where an odd number and 3 are needed"
        found = (*found, slices)
    return found


def load_generator(model: ModelRef) -> Generator:
    """Return the network of a checkpoint on the CPU; loading one file again is free. Imports torch.

    Raises
    ------
    CheckpointError
        The file is unreadable or does not fit; the message is a readable difference.
    """
    from napari_recon.hub import sha256

    return _load(model.model_copy(update={"sha256": model.sha256 or sha256(model.path)}).model_dump_json())


@lru_cache(maxsize=2)
def _load(reference: str) -> Generator:
    from napari_recon.engines.fusion.networks.vsi_sr import Generator
    from napari_recon.hub import load_state

    model = ModelRef.model_validate_json(reference)
    state = load_state(model)
    found = recognise(state)
    if found is None or found.problems:
        why = "; ".join(found.problems) if found else f"other parameters ({', '.join(list(state)[:3])} ...)"
        raise CheckpointError(f"{model.path} should be a VSI-SR network, found {why}; choose another model")
    network = Generator(**found.options)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network.eval().requires_grad_(False)
