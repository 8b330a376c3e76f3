"""What a checkpoint of a neural field is, from names and shapes alone; torch is imported only to load and to write one.

Five layouts are known: one scene (a dict with step, network and optimiser), a sequence (a list of dicts, one per time
point), the bare state of the ptychography field, what this package's own fits of networks write, and plain voxels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.lightfield_inr import dense_shape
from napari_recon.engines.lightfield_inr.field import PRESETS, Layers, guessed, possible
from napari_recon.hub.recognise import Recognised, State, differences

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

ENGINE = "lightfield_inr.query"
ARCHITECTURES = ("nerf", "nerf_sequence", "nerf_ex", "voxels", "grid")
_FRAME = re.compile(r"(\d+)\.(pts_linear\..+|output_linear\..+)")


def recognise(state: State) -> Recognised | None:
    """Return what a state dict of a neural field is, or None for other networks.

    Parameters
    ----------
    state : mapping
        Parameter name -> anything with a ``shape``; the names of a sequence start with the number of the time point.

    Returns
    -------
    Recognised or None
        Architecture ``nerf``, ``nerf_sequence``, ``nerf_ex`` or ``voxels``. Its options lack an encoder when
        shapes do not tell it.
    """
    if "table" in state and any(name.startswith("net_real.") for name in state):
        return _dense(state)
    if set(state) == {"voxels"}:
        return _voxels(state)
    if set(state) == {"coefficients"}:
        return _grid(state)
    frames = _frames(state)
    first = frames[0] if frames else state
    if "pts_linear.0.weight" not in first or len(first["pts_linear.0.weight"].shape) != 2:
        return None
    layers = _layers(first)
    problems = list(differences(first, layers.shapes()))
    for number, frame in enumerate(frames[1:], 1):
        if found := differences(frame, layers.shapes()):
            problems.append(f"time point {number} differs from the first: {'; '.join(found)}")
            break
    options: dict[str, Any] = layers.model_dump(mode="json") | {"frames": len(frames)}
    inferred = [
        f"{layers.depth} layers of {layers.width} units, from pts_linear.*",
        f"the encoded point is put in again after layer {', '.join(map(str, layers.skips))}, from the widths"
        if layers.skips
        else "no skip connections, from the widths",
    ]
    encoding = guessed(layers)
    if encoding is None:
        presets = ", ".join(name for name, preset in PRESETS.items() if preset.encoding.length == layers.encoded)
        fitting = "; ".join(str(each) for each in list(possible(layers.encoded))[:3]) or "none of the known encoders"
        inferred.append(
            f"{layers.encoded} numbers per point do not tell the encoder: {fitting}. Choose a preset "
            f"({presets or ', '.join(PRESETS)}), the run's config.cfg, or an encoder"
        )
    else:
        options |= encoding.model_dump(mode="json")
        inferred.append(f"{encoding}, from {layers.encoded} numbers per point")
    if frames:
        inferred.append(f"{len(frames)} time points")
    return Recognised(
        engine=ENGINE,
        architecture="nerf_sequence" if frames else "nerf",
        options=options,
        inferred=tuple(inferred),
        problems=tuple(problems),
    )


def load_states(model: ModelRef) -> Sequence[Mapping[str, Tensor]]:
    """Return the parameters of each time point (one for a single scene), on the CPU. Imports torch.

    Volumes of a sequence are read when they are asked for.

    Raises
    ------
    CheckpointError
        The file is unreadable, changed or does not fit.
    """
    from napari_recon.hub import sha256

    return _load(model.path, model.sha256 or sha256(model.path))


def save_checkpoint(
    path: str | Path,
    step: int,
    network: Mapping[str, Tensor],
    optimiser: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write one scene in the published layout (``cp_000100.tar``). Imports torch.

    Parameters
    ----------
    path : path
    step : int
        ``global_step``.
    network : mapping
        Parameters by published name.
    optimiser : mapping, optional
        ``state_dict()`` of Adam.
    extra : mapping, optional
        Further entries, which other readers of the layout leave aside.
    """
    import torch

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.items()}
    content = {"global_step": step, "network_fn_state_dict": state, "optimizer_state_dict": dict(optimiser or {})}
    torch.save({**content, **(extra or {})}, path)
    return Path(path)


def save_sequence(path: str | Path, networks: Sequence[Mapping[str, Tensor]], first: int = 0) -> Path:
    """Write the networks of consecutive time points as one file in the published layout. Imports torch."""
    import torch

    content = [
        {
            "network_fn_state_dict": {name: tensor.detach().cpu().contiguous() for name, tensor in network.items()},
            "Timepoint": f"timepoint_{number:03d}",
        }
        for number, network in enumerate(networks, first)
    ]
    torch.save(content, path)
    return Path(path)


def load_training(path: str | Path) -> tuple[int, dict[str, Tensor], dict[str, Any]]:
    """Return step, parameters and optimiser state of a scene's checkpoint, to go on training. Imports torch.

    Weights alone (a model, for example a learnt start) are of step 0 and have no optimiser state.

    Raises
    ------
    CheckpointError
        It is no checkpoint of one scene.
    """
    import torch

    from napari_recon.hub import load_state

    network = load_state(path)  # says what is wrong with the file
    path = Path(path).expanduser()
    alone = path.suffix == ".safetensors"
    content = {} if alone else torch.load(path, map_location="cpu", weights_only=True)
    if "voxels" in network:
        raise CheckpointError(
            f"{path} should hold a network to start from, found voxels (a fast fit needs no start); choose a model of "
            "method=upstream or of lightfield_inr.meta"
        )
    if not isinstance(content, Mapping) or "pts_linear.0.weight" not in network:
        raise CheckpointError(f"{path} should be the checkpoint of one scene, found another file; choose a cp_*.tar")
    optimiser = content.get("optimizer_state_dict") or {}
    return int(content.get("global_step", 0)), network, dict(optimiser)


def restored(optimiser: Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimiser the state a checkpoint holds; an empty one changes nothing."""
    if state.get("param_groups"):
        optimiser.load_state_dict(dict(state))


def forget() -> None:
    """Let go of models that were loaded last, which are kept for the next query."""
    _load.cache_clear()


@lru_cache(maxsize=2)
def _load(path: str, digest: str) -> Sequence[Mapping[str, Tensor]]:
    from napari_recon.hub import load_state, sha256
    from napari_recon.hub.state import read_shapes

    if path.endswith(".safetensors") and set(shapes := read_shapes(Path(path))) == {"voxels"} and sha256(path) == digest:
        if len(shape := shapes["voxels"].shape) == 4:
            from napari_recon.engines.lightfield_inr.voxels import VoxelFrames

            return VoxelFrames(path, shape[0])
    state = load_state(ModelRef(id=Path(path).name, path=path, sha256=digest))
    found = recognise(state)
    if found is None or not found.fits:
        problems = "; ".join(found.problems) if found else f"it has {', '.join(list(state)[:3])} ..."
        raise CheckpointError(
            f"{path} should be a checkpoint of a neural field, found differences: {problems}; choose another"
        )
    if found.architecture == "grid":
        return [dict(state)]
    if found.architecture == "voxels":
        return [{"voxels": volume} for volume in state["voxels"]]
    return [dict(frame) for frame in _frames(state)] or [dict(state)]


def _frames(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the time points of a sequence, in order; empty when it is none."""
    found: dict[int, dict[str, Any]] = {}
    for name, tensor in state.items():
        if match := _FRAME.fullmatch(name):
            found.setdefault(int(match[1]), {})[match[2]] = tensor
    return [found[number] for number in sorted(found)]


def _layers(state: State) -> Layers:
    weights: list[tuple[int, ...]] = []
    while (tensor := state.get(f"pts_linear.{len(weights)}.weight")) is not None and len(tensor.shape) == 2:
        weights.append(tuple(int(n) for n in tensor.shape))
    width, encoded = weights[0]
    skips = tuple(i - 1 for i, (_, inputs) in enumerate(weights) if i and inputs == width + encoded)
    return Layers(depth=len(weights), width=width, skips=skips, encoded=encoded)


def _voxels(state: State) -> Recognised:
    shape = tuple(int(n) for n in state["voxels"].shape)
    fits = len(shape) == 4
    frames, planes, height, width = shape if fits else (1, 1, 1, 1)
    return Recognised(
        engine=ENGINE,
        architecture="voxels",
        options={"frames": frames if frames > 1 else 0, "render_size": [height, width, planes]},
        inferred=(f"voxels (t, z, y, x) {shape}: the field of a fast fit",),
        problems=() if fits else (f"voxels should have four dimensions (t, z, y, x), found {shape}",),
    )


def _grid(state: State) -> Recognised:
    shape = tuple(int(n) for n in state["coefficients"].shape)
    return Recognised(
        engine=ENGINE,
        architecture="grid",
        options={"frames": 0, "render_size": []},
        inferred=(
            f"coefficients (t, z, y, x) {shape}: splines that a fast fit made; how many voxels and time points they "
            "stand for its card says",
        ),
        problems=() if len(shape) == 4 else (f"coefficients should have four dimensions (t, z, y, x), found {shape}",),
    )


def _dense(state: State) -> Recognised:
    table = tuple(int(n) for n in state["table"].shape)
    problems: tuple[str, ...] = (f"table should have four dimensions, found {table}",)
    if len(table) == 4:
        problems = differences(state, dense_shape.shapes(table))
    return Recognised(
        engine=ENGINE,
        architecture="nerf_ex",
        options={"table": list(table), "frames": 0},
        inferred=(f"a table of features {table} and a tiny network: the field of Fourier ptychography",),
        problems=problems,
    )
