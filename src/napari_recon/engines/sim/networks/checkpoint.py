"""What an ML-SIM checkpoint is, from names and shapes alone; torch is imported only to rebuild the network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.sim.networks.shapes import NARCH_HEADS, expected_shapes
from napari_recon.hub.recognise import Recognised, State, differences

if TYPE_CHECKING:
    from torch import Tensor, nn

ENGINE = "sim.network"
ARCHITECTURES = ("rcan", "edsr", "unet", "unet_n2n")


def recognise(state: State) -> Recognised | None:
    """Return what a state dict of the ML-SIM family is, or None for other networks.

    Parameters
    ----------
    state : mapping
        Parameter name -> anything with a ``shape``.

    Returns
    -------
    Recognised or None
        Architecture ``rcan``, ``edsr``, ``unet`` or ``unet_n2n`` with its options; `problems` list what does not fit.
    """
    architecture = _architecture(state)
    if architecture is None:
        return None
    residual = architecture in ("rcan", "edsr")
    options, inferred = _residual_options(state, architecture) if residual else _unet_options(state, architecture)
    problems = [*_other_task(state, options), *differences(state, expected_shapes(architecture, options))]
    nch_in = options["nch_in"]
    frames = {6: "frames 0 1 3 4 6 7 of nine", 3: "frames 0 4 8 of nine"}.get(nch_in, f"the first {nch_in} frames")
    return Recognised(
        engine=ENGINE,
        architecture=architecture,
        options=options,
        inferred=(*inferred, f"takes {frames}, each scaled to 0..1 (norm minmax) unless norm or a log.txt says otherwise"),
        problems=tuple(problems),
        contract={"frames": options["nch_in"], "grid": "edges"},
    )


def load_network(model: ModelRef) -> nn.Module:
    """Return the network of a checkpoint on the CPU, in eval mode; loading one file again is free. Imports torch.

    Raises
    ------
    CheckpointError
        The file is unreadable or does not fit; the message is a readable difference.
    """
    from napari_recon.hub import sha256

    return _load(model.model_copy(update={"sha256": model.sha256 or sha256(model.path)}).model_dump_json())


def build(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """Return a network with fresh weights; options it does not know (a norm, a front) are left aside. Imports torch."""
    import inspect

    from napari_recon.engines.sim.networks.edsr import EDSR
    from napari_recon.engines.sim.networks.rcan import RCAN
    from napari_recon.engines.sim.networks.unet import UNet, UNetN2N

    made: dict[str, type[nn.Module]] = {"rcan": RCAN, "edsr": EDSR, "unet": UNet, "unet_n2n": UNetN2N}
    if architecture not in made:
        raise CheckpointError(f"{ENGINE} knows the networks {', '.join(made)}, found {architecture!r}; choose another model")
    known = inspect.signature(made[architecture]).parameters
    return made[architecture](**{name: value for name, value in options.items() if name in known})


@lru_cache(maxsize=4)
def _load(reference: str) -> nn.Module:
    from napari_recon.hub import load_state

    model = ModelRef.model_validate_json(reference)
    state: dict[str, Tensor] = load_state(model)
    found = recognise(state)
    if found is None:
        raise CheckpointError(
            f"{model.path} should be a network that turns raw SIM frames into an image (RCAN, EDSR, U-Net), found other "
            f"parameters ({', '.join(list(state)[:3])} ...); choose another model"
        )
    if found.problems:
        raise CheckpointError(
            f"{model.path} looks like {found.architecture} but does not fit: {'; '.join(found.problems)}; choose another"
        )
    network = build(found.architecture, found.options)
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network.eval().requires_grad_(False)


def _architecture(state: State) -> str | None:
    if "_block1.0.weight" in state and "_block6.0.weight" in state:
        return "unet_n2n"
    if "inc.conv.conv.0.weight" in state and any(name.startswith("up1.") for name in state):
        return "unet"
    starts = [name for name in ("head.0.weight", "combineHead.weight") if _is_conv(state.get(name))]
    if not starts or not any(name.startswith("tail.") for name in state):
        return None
    if any(".conv_du." in name for name in state):
        return "rcan"
    return "edsr" if "body.0.body.0.weight" in state and "body.0.body.2.weight" in state else None


def _other_task(state: State, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a network of a known architecture was made for another task."""
    last = state.get(_last(state))
    if last is not None and tuple(last.shape[2:]) == (1, 1) and "tail.0.weight" in state:
        yield (
            f"its last convolution tail.0 {tuple(last.shape)} is 1x1, as in segmentation (task segment): it labels "
            f"{options['nch_out']} classes and does not reconstruct"
        )
    elif any(name.startswith(("sub_mean.", "add_mean.")) for name in state):
        yield "it subtracts the mean colour of photographs (sub_mean): super-resolution of photographs, not SIM"


def _residual_options(state: State, architecture: str) -> tuple[dict[str, Any], list[str]]:
    """Return the options of RCAN or EDSR and the sentences that say where each comes from."""
    narch = int("combineHead.weight" in state)
    first = "combineHead.weight" if narch else "head.0.weight"
    features, inputs = (int(n) for n in state[first].shape[:2])
    nch_in = NARCH_HEADS if narch else inputs
    scale, said = _scale(state, features)
    last = _last(state)
    nch_out = int(state[last].shape[0]) if last in state else 1
    options: dict[str, Any] = {"nch_in": nch_in, "nch_out": nch_out, "n_feats": features}
    inferred = [
        f"{nch_in} frames in and {features} features, from {first} {tuple(state[first].shape)}",
        f"{nch_out} image{'s' if nch_out > 1 else ''} out, from {last}",
        f"scale {scale}, {said}",
    ]
    if architecture == "edsr":
        options |= {"n_resblocks": _count(state, r"body\.(\d+)\.body\.0\.weight"), "scale": scale}
        inferred.append(f"EDSR, as there is no channel attention, of {options['n_resblocks']} blocks, by counting")
        return options, inferred
    groups = _count(state, r"body\.(\d+)\.body\.0\.body\.0\.weight")
    blocks = _count(state, r"body\.0\.body\.(\d+)\.body\.0\.weight")
    hidden = next((int(t.shape[0]) for n, t in state.items() if n.endswith(".conv_du.0.weight")), 1)
    reduction = 16 if max(1, features // 16) == hidden else max(1, features // hidden)
    options |= {"n_resgroups": groups, "n_resblocks": blocks, "reduction": reduction, "scale": scale, "narch": narch}
    inferred.append(f"RCAN of {groups} groups of {blocks} blocks, by counting; reduction {reduction}, from conv_du.0")
    if narch:
        inferred.append("narch 1: each of nine frames has a head of its own, as combineHead is there")
    return options, inferred


def _unet_options(state: State, architecture: str) -> tuple[dict[str, Any], list[str]]:
    first, last = {"unet": ("inc.conv.conv.0", "outc.conv"), "unet_n2n": ("_block1.0", "_block6.4")}[architecture]
    options = {"nch_in": _size(state, f"{first}.weight", 1, 9), "nch_out": _size(state, f"{last}.weight", 0, 1), "scale": 1}
    return options, [f"{options['nch_in']} frames in, from {first}", f"{options['nch_out']} out, from {last}"]


def _scale(state: State, features: int) -> tuple[int, str]:
    """Return the up-sampling of a tail and where it shows."""
    shuffles = [tuple(t.shape) for n, t in state.items() if re.fullmatch(r"tail\.0\.\d+\.weight", n)]
    if not shuffles:
        return 1, "as the tail has no pixel shuffle"
    if len(shuffles) == 1 and shuffles[0][0] == 9 * features:
        return 3, f"from tail.0.0.weight {shuffles[0]}"
    return 2 ** len(shuffles), f"from {len(shuffles)} pixel shuffle(s) in tail.0"


def _last(state: State) -> str:
    return "tail.1.weight" if "tail.1.weight" in state or "tail.0.0.weight" in state else "tail.0.weight"


def _count(state: State, pattern: str) -> int:
    """Return how many numbers from 0 on the names have where the pattern's group is."""
    numbers = {int(match[1]) for name in state if (match := re.fullmatch(pattern, name))}
    return max(numbers, default=-1) + 1


def _size(state: State, name: str, axis: int, default: int) -> int:
    return int(state[name].shape[axis]) if _is_conv(state.get(name)) else default


def _is_conv(tensor: Any) -> bool:
    return tensor is not None and len(tensor.shape) == 4
