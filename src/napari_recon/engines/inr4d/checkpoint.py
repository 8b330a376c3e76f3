"""What a model of a 4-D field is, from names and shapes alone; torch is imported only to load one and to write one.

The published save folder holds `current.pth` (the field's network and its optimiser) and `latent_code.pt`; it says neither
how large the recording was nor what its intensities were. What this package's fits write has a card with both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.engines.inr4d.layers import FieldLayers
from napari_recon.hub.recognise import Recognised, State, differences

if TYPE_CHECKING:
    from torch import Tensor

ENGINE = "inr4d.query"
PUBLISHED, SPLINE, MOTION = "spatime", "spline", "motion"
ARCHITECTURES = (PUBLISHED, SPLINE, MOTION)
NETWORK, LATENT = "current.", "latent_code"
FILES = ("current.pth", "latent_code.pt")


def recognise(state: State) -> Recognised | None:
    """Return what a state dict of a published field is, or None for other networks.

    Parameters
    ----------
    state : mapping
        Parameter name -> anything with a ``shape``: ``current.coords_MLP.0.weight`` ... and ``latent_code``.
    """
    own = {name.removeprefix(NETWORK): tensor for name, tensor in state.items() if name.startswith(NETWORK)}
    if "coords_MLP.0.weight" not in own or LATENT not in state:
        return None
    latent = tuple(int(n) for n in state[LATENT].shape)
    layers, problems = _layers(own)
    if layers is not None:
        problems = differences(own, layers.shapes())
        if len(latent) != 4 or latent[-1] != layers.encoded:
            expected = f"(x, y, z, {layers.encoded})"
            problems = (*problems, f"latent_code should be {expected}, as the network's inputs are, found {latent}")
    options: dict[str, Any] = {"latent_xyz": list(latent[:3])}
    inferred: tuple[str, ...] = ()
    if layers is not None:
        options |= layers.model_dump(mode="json")
        inferred = (
            f"{layers.depth} layers of {layers.width} units, the point is put in again before {list(layers.skips)}, from "
            "the widths",
            f"{layers.octaves} octaves (max_freq {layers.octaves - 1}), from {layers.encoded} numbers per point",
            f"a recording of about {' x '.join(str(2 * n) for n in latent[:3])} voxels (x, y, z), from latent_code; its "
            "time points and intensities are not in the files",
        )
    return Recognised(engine=ENGINE, architecture=PUBLISHED, options=options, inferred=inferred, problems=tuple(problems))


def _layers(state: State) -> tuple[FieldLayers | None, tuple[str, ...]]:
    weights: list[tuple[int, ...]] = []
    while (tensor := state.get(f"coords_MLP.{len(weights)}.weight")) is not None and len(tensor.shape) == 2:
        weights.append(tuple(int(n) for n in tensor.shape))
    width, encoded = weights[0] if weights else (0, 0)
    if encoded < 12 or (encoded - 4) % 8:
        return None, (f"a point should be 4 numbers and 8 per octave, found {encoded} inputs of coords_MLP.0.weight",)
    skips = tuple(i for i, (_, inputs) in enumerate(weights) if i and inputs > width)
    return FieldLayers(depth=len(weights), width=width, skips=skips, octaves=(encoded - 4) // 8), ()


def layers_of(options: Mapping[str, Any]) -> FieldLayers:
    """Return the sizes of the network that a model's options describe."""
    return FieldLayers.model_validate({name: options[name] for name in FieldLayers.model_fields})


def load_field(model: ModelRef) -> tuple[dict[str, Tensor], Tensor]:
    """Return the parameters of the field's network by published name, and the latents (x, y, z, n). Imports torch.

    Raises
    ------
    CheckpointError
        Unreadable, changed, or another model.
    """
    from napari_recon.hub import sha256

    state = _load(model.path, model.sha256 or sha256(model.path))
    found = recognise(state)
    if found is None or found.problems:
        why = "; ".join(found.problems) if found else f"other parameters ({', '.join(list(state)[:3])} ...)"
        raise CheckpointError(f"{model.path} should be a published 4-D field, found {why}; choose another model")
    return {n.removeprefix(NETWORK): tensor for n, tensor in state.items() if n.startswith(NETWORK)}, state[LATENT]


def load_coefficients(model: ModelRef) -> Tensor:
    """Return the coefficients (t, z, y, x) of a field of splines. Imports torch."""
    from napari_recon.hub import sha256

    state = _load(model.path, model.sha256 or sha256(model.path))
    found = state.get("coefficients")
    if found is None or found.ndim != 4:
        raise CheckpointError(
            f"{model.path} should hold coefficients (t, z, y, x), found {', '.join(list(state)[:3])}; choose another model"
        )
    return found


def load_motion(model: ModelRef) -> tuple[Tensor, Tensor | None]:
    """Return frames (t, z, y, x) and the motion between them, None of a field without, of a field of moving frames."""
    from napari_recon.hub import sha256

    state = _load(model.path, model.sha256 or sha256(model.path))
    frames, motion = state.get("frames"), state.get("motion")
    if frames is None or frames.ndim != 4 or (motion is not None and motion.shape[:3] != (2, len(frames) - 1, 3)):
        raise CheckpointError(
            f"{model.path} should hold frames (t, z, y, x) and the motion between them, found {', '.join(list(state)[:3])}; "
            "choose another model"
        )
    return frames, motion


def forget() -> None:
    """Let go of models that were loaded last, which are kept for the next query."""
    _load.cache_clear()


@lru_cache(maxsize=2)
def _load(path: str, digest: str) -> dict[str, Tensor]:
    from napari_recon.hub import load_state

    return load_state(ModelRef(id=Path(path).name, path=path, sha256=digest))


def save_folder(
    folder: Path,
    network: Mapping[str, Tensor],
    latent: Tensor,
    optimiser: Mapping[str, Any],
    step: int,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a save folder in the published layout and return its `current.pth`; `extra` other readers leave aside."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "model1_state_dict": {name: tensor.detach().cpu().clone() for name, tensor in network.items()},
        "optimizer_state_dict": dict(optimiser),
        "step": step,
        **(extra or {}),
    }
    for name, part in ((FILES[1], latent.detach().cpu().float().clone()), (FILES[0], content)):
        temporary = folder / f".{name}.part"
        try:
            torch.save(part, temporary)
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)
    return folder / FILES[0]


def load_folder(path: str | Path) -> tuple[dict[str, Any], Tensor]:
    """Return what `current.pth` holds, and the latents, of a save folder or its `current.pth`.

    Raises
    ------
    CheckpointError
        It is none, or damaged, or has code in it.
    """
    from napari_recon.hub.state import load_torch, members

    place = Path(path).expanduser()
    folder = place.parent if place.name == FILES[0] else place
    files = members(folder)
    if files is None or tuple(file.name for file in files) != FILES:
        raise CheckpointError(f"{path} should be a save folder with {FILES[0]} and {FILES[1]}, found none; check the path")
    content, latent = (load_torch(file) for file in files)
    if not isinstance(content, Mapping) or "model1_state_dict" not in content or getattr(latent, "ndim", 0) != 4:
        raise CheckpointError(f"{path} should be the save folder of a 4-D field, found other content; choose another")
    return dict(content), latent
