"""What a SeReNet checkpoint is, from names and shapes alone; torch is imported only to rebuild the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.serenet.networks.recognise import recognise as others
from napari_recon.hub.recognise import Recognised, State, differences
from napari_recon.optics.lightfield_geometry import VIEW_ORDERS

if TYPE_CHECKING:
    from torch import nn

ENGINE = "serenet.reconstruct"
DEFAULTS: dict[str, dict[str, Any]] = {
    "serenet": {"views": 49, "channels": (64, 32, 32, 16, 16, 8, 8, 4), "second_up": 2.0},
    "fserenet": {"views": 49, "channels": (64, 32, 32, 16, 16, 8), "decoder": (8, 8, 16), "second_up": 2.0},
}
_FUSION_INDEX = (0, 2, 4, 6, 9, 11, 14, 16, 18)
_DECODER = ("decoder.down_layers.0", "decoder.down_layers.1", "decoder.up_layers.0", "decoder.up_layers.1")
_FEWEST_NAMES = 4


def recognise(state: State) -> Recognised | None:
    """Return what a state dict of the SeReNet family is, or None for other networks.

    Parameters
    ----------
    state : mapping
        Parameter name -> anything with a ``shape``.

    Returns
    -------
    Recognised or None
        Architecture ``serenet`` or ``fserenet`` with its options; `problems` list what does not fit.
    """
    architecture = "fserenet" if any(k.startswith(("decoder.", "final_conv.")) for k in state) else "serenet"
    known = expected_shapes(architecture, DEFAULTS[architecture])
    if sum(name in known for name in state) < _FEWEST_NAMES or not any(_is_conv(state.get(name)) for name in known):
        return None
    options, inferred = _options(state, architecture)
    problems = differences(state, expected_shapes(architecture, options))
    nnum = next((n for n, order in VIEW_ORDERS.items() if len(order) == options["views"]), 0)
    return Recognised(
        engine=ENGINE,
        architecture=architecture,
        options=options,
        inferred=tuple(inferred),
        problems=problems,
        contract={"views": options["views"], "nnum": nnum, "scanning": 3, "intensity": "background", "units": "counts"},
    )


def expected_shapes(architecture: str, options: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return parameter name -> shape of a network, weights and biases."""
    channels = (options["views"], *options["channels"])
    pairs: dict[str, tuple[int, int]] = {}
    if architecture == "serenet":
        channels = (*channels, 1)
    for index, pair in zip(_FUSION_INDEX, pairwise(channels), strict=False):
        pairs[f"fusion.{index}"] = pair
    if architecture == "fserenet":
        base, one, two = options["decoder"]
        sizes = ((base, one), (one, two), (two, two), (2 * two, one))
        pairs |= {f"{name}.conv.0": size for name, size in zip(_DECODER, sizes, strict=True)}
        pairs |= {"decoder.up_layers.2.conv.0": (2 * one, one), "final_conv.0": (one, 1)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in pairs.items():
        shapes[f"{name}.weight"] = (outputs, inputs, 3, 3, 3)
        shapes[f"{name}.bias"] = (outputs,)
    return shapes


def load_network(model: ModelRef) -> nn.Module:
    """Return the network of a checkpoint on the CPU, in eval mode; loading one file again is free. Imports torch.

    Architecture and options are those of the reference where it has them, else what the file is recognised as.

    Raises
    ------
    CheckpointError
        The file is unreadable or does not fit; the message is a readable difference.
    """
    from napari_recon.hub import sha256

    return _load(model.model_copy(update={"sha256": model.sha256 or sha256(model.path)}).model_dump_json())


@lru_cache(maxsize=2)
def _load(reference: str) -> nn.Module:
    from napari_recon.engines.serenet.networks.build import build
    from napari_recon.hub import load_state

    model = ModelRef.model_validate_json(reference)
    state = load_state(model)
    found = recognise(state) or others(state)
    if found is None:
        raise CheckpointError(
            f"{model.path} should be a checkpoint of the SeReNet family, found other parameters "
            f"({', '.join(list(state)[:3])} ...); choose another model"
        )
    if found.problems:
        raise CheckpointError(
            f"{model.path} looks like {found.architecture} but does not fit: {'; '.join(found.problems)}; "
            "choose the complete checkpoint"
        )
    told = model.options if model.architecture == found.architecture else {}
    network = build(found.architecture, {**found.options, **told})
    network.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    )
    return network.requires_grad_(False)


def _is_conv(tensor: Any) -> bool:
    return tensor is not None and len(tensor.shape) == 5


def _options(state: State, architecture: str) -> tuple[dict[str, Any], list[str]]:
    default = DEFAULTS[architecture]
    inferred = []
    views, source = _size(state, "fusion.0.weight", 1, default["views"])
    inferred.append(f"{views} views, {source}")
    nnum = next((n for n, order in VIEW_ORDERS.items() if len(order) == views), None)
    if nnum:
        inferred.append(f"Nnum {nnum}, the only one whose published order has {views} views")
    second_up = 2.5 if architecture == "serenet" and views == len(VIEW_ORDERS[15]) else 2.0
    inferred.append(f"lateral up-sampling 2 x {second_up:g}, from the number of views (it has no parameters)")
    names = [f"fusion.{i}.weight" for i in _FUSION_INDEX[: len(default["channels"])]]
    channels = _sizes(state, names, default["channels"])
    inferred.append(f"{architecture}: convolutions with {', '.join(map(str, channels))} channels, from fusion.*.weight")
    options: dict[str, Any] = {"views": views, "channels": channels, "second_up": second_up}
    if architecture == "fserenet":
        first, second = (f"{name}.conv.0.weight" for name in _DECODER[:2])
        options["decoder"] = [channels[-1], *_sizes(state, [first, second], default["decoder"][1:])]
        inferred.append(f"axial U-Net with {', '.join(map(str, options['decoder']))} channels, from decoder.*.weight")
    return options, inferred


def _sizes(state: State, names: Sequence[str], default: Sequence[int]) -> list[int]:
    return [_size(state, name, 0, size)[0] for name, size in zip(names, default, strict=True)]


def _size(state: State, name: str, axis: int, default: int) -> tuple[int, str]:
    tensor = state.get(name)
    if tensor is not None and len(tensor.shape) == 5:
        return int(tensor.shape[axis]), f"from {name} {tuple(tensor.shape)}"
    return default, f"the usual number, as {name} is missing or has another shape"
