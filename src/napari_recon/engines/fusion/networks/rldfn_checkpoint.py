"""What an RL-DFN model is, from names and shapes alone; torch is imported only to rebuild the networks."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.hub.recognise import Recognised, State, differences

if TYPE_CHECKING:
    from napari_recon.engines.fusion.networks.rldfn import RlDfn

ENGINE = "fusion.rldfn"
ARCHITECTURE = "rldfn"
MULTIPLE = 4
"""Sizes have to be multiples of this: the network halves them twice."""
HALO = 28
"""Voxels around a result that it depends on, from the widths of all layers, in whole multiples."""


def recognise(state: State) -> Recognised | None:
    """Return what a state dict with tensors of ``net_FA`` and ``net_G`` is, or None for other networks."""
    first = state.get("net_FA.first_conv.weight")
    if first is None or len(first.shape) != 5:
        return None
    features = int(first.shape[0])
    return Recognised(
        engine=ENGINE,
        architecture=ARCHITECTURE,
        options={"features": features},
        inferred=(f"{features} features, from net_FA.first_conv.weight {tuple(first.shape)}",),
        problems=differences(state, shapes(features)),
        contract={"views": 2},
    )


def shapes(features: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of both networks."""
    n = features
    found: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, out: int, into: int, size: int) -> None:
        found.update({f"{name}.weight": (out, into, size, size, size), f"{name}.bias": (out,)})

    def convolutions(name: str, *widths: int) -> None:
        for number, (into, out) in enumerate(pairwise(widths)):
            convolution(f"{name}.convolution.{3 * number}", out, into, 3)
            norm = f"{name}.convolution.{3 * number + 1}"
            found.update({f"{norm}.{part}": (out,) for part in ("weight", "bias", "running_mean", "running_var")})
            found[f"{norm}.num_batches_tracked"] = ()

    convolution("net_FA.first_conv", n, 1, 1)
    convolutions("net_FA.mid_conv", n, n, n)
    convolution("net_FA.last_conv", n, n, 1)
    convolutions("net_G.double_conv1", n, n, n)
    convolutions("net_G.double_conv2", n, 2 * n, 2 * n)
    convolutions("net_G.bottom_layer", 2 * n, 4 * n, 4 * n, 4 * n)
    found.update({"net_G.t_conv2.weight": (4 * n, 2 * n, 2, 2, 2), "net_G.t_conv2.bias": (2 * n,)})
    convolutions("net_G.ex_double_conv2", 4 * n, 2 * n, 2 * n)
    found.update({"net_G.t_conv1.weight": (2 * n, n, 2, 2, 2), "net_G.t_conv1.bias": (n,)})
    convolutions("net_G.ex_conv1_1", 2 * n, n)
    convolution("net_G.one_by_one", 1, n, 1)
    convolution("net_G.one_by_one_2", 1, 1, 1)
    return found


def load_rldfn(model: ModelRef) -> RlDfn:
    """Return the networks of a model on the CPU, in eval mode; loading one again is free. Imports torch.

    Raises
    ------
    CheckpointError
        Unreadable, or it does not fit; the message is a readable difference.
    """
    from napari_recon.hub import sha256

    return _load(model.model_copy(update={"sha256": model.sha256 or sha256(model.path)}).model_dump_json())


@lru_cache(maxsize=1)
def _load(reference: str) -> RlDfn:
    from napari_recon.engines.fusion.networks.rldfn import RlDfn
    from napari_recon.hub import load_state

    model = ModelRef.model_validate_json(reference)
    state: dict[str, Any] = load_state(model)
    found = recognise(state)
    if found is None or found.problems:
        why = "; ".join(found.problems) if found else f"other parameters ({', '.join(list(state)[:3])} ...)"
        raise CheckpointError(f"{model.path} should be an RL-DFN model, found {why}; choose another model")
    networks = RlDfn(**found.options)
    networks.load_state_dict(state)
    return networks.eval().requires_grad_(False)
