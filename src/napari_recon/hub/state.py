"""Loading weights safely: safetensors, or torch files with ``weights_only=True``; code in a file is never run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_recon.core.errors import CheckpointError
from napari_recon.core.plan import ModelRef
from napari_recon.hub.recognise import HasShape

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = (
    *("state_dict", "model_state_dict", "network_fn_state_dict", "model", "sd", "params", "params_ema", "net", "network"),
    *("weights", "model1_state_dict"),
)
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
FOLDERS = [("net_FA.pth", "net_G.pth"), ("current.pth", "latent_code.pt")]
"""Files that are one model together; names of its tensors begin with the file's, as ``net_G.``."""
REFUSED = re.compile(r"(?:GLOBAL|Unsupported class|unrecognized function) ([\w.]+)")
"""How torch names an object it will not build; its wording differs between versions."""


def load_state(model: ModelRef | str | Path) -> dict[str, Tensor]:
    """Return a network's tensors on the CPU, wrappers and ``module.`` prefixes removed. Imports torch.

    Those of a folder of files that belong together (`FOLDERS`) have the file's name in front.

    Raises
    ------
    CheckpointError
        No readable checkpoint, one with code in it or with NaN, or one that changed since it was recognised.
    """
    path = Path(model.path if isinstance(model, ModelRef) else model).expanduser()
    parts = members(path)
    for part in parts or [path]:
        _sniff(part)
    if isinstance(model, ModelRef) and model.sha256 and sha256(path) != model.sha256:
        raise CheckpointError(
            f"{path} should be the file of model {model.id}, found other content (its checksum differs); "
            "import the new file, or restore the old one"
        )
    if parts:
        return {name: tensor for part in parts for name, tensor in _named(part).items()}
    if path.suffix == ".safetensors":
        read_shapes(path)
        from safetensors.torch import load_file

        return _finite(unprefixed(load_file(path, device="cpu")), path)
    return _finite(_flat(load_torch(path), path), path)


def members(path: Path) -> list[Path] | None:
    """Return the files of a folder that are one model together, None for a file or any other folder."""
    for names in FOLDERS if path.is_dir() else ():
        files = [path / name for name in names]
        if all(file.is_file() for file in files):
            return files
    return None


def _named(part: Path) -> dict[str, Tensor]:
    """Return the tensors of one file of several, the file's name in front; a single tensor has that name."""
    import torch

    content = load_torch(part)
    if isinstance(content, torch.Tensor):
        return _finite({part.stem: content}, part)
    return _finite({f"{part.stem}.{name}": tensor for name, tensor in _flat(content, part).items()}, part)


def state_shapes(path: Path) -> Mapping[str, HasShape]:
    """Return what a recogniser looks at; torch is imported only for torch files."""
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        return load_state(path)
    _sniff(path)
    return unprefixed(read_shapes(path))


class Shape:
    """A tensor of which only the shape was read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


def read_shapes(path: Path) -> dict[str, Shape]:
    """Return names and shapes from the header of a safetensors file.

    Raises
    ------
    CheckpointError
        When it is damaged or truncated.
    """
    size = path.stat().st_size
    try:
        header, length = _header(path)
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"{8 + length + end} bytes are announced, {size} are there")
        return {name: Shape(tuple(entry["shape"])) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} should be a safetensors file, found a damaged one ({error}); download it again"
        ) from None


def read_card(path: Path) -> dict[str, Any]:
    """Return the card a training run stored with its weights, empty when there is none (torch files have no room)."""
    if path.suffix != ".safetensors":
        return {}
    try:
        card = json.loads(_header(path)[0].get("__metadata__", {}).get("card", "{}"))
    except (ValueError, AttributeError, TypeError):
        return {}
    return card if isinstance(card, dict) else {}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file and its length in bytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(path.stat().st_size, 100_000_000):
            raise ValueError("its header is longer than the file")
        return json.loads(file.read(length)), length


def sha256(path: str | Path) -> str:
    """Return the checksum of a file, or of a folder's files together; an unchanged file is not read again."""
    path = Path(path)
    if parts := members(path):
        return hashlib.sha256("".join(sha256(part) for part in parts).encode()).hexdigest()
    about = path.stat()
    return _sha256(str(path.resolve()), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unprefixed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state without prefixes that all its names share and that training wrappers leave."""
    state = dict(state)
    while prefix := next((p for p in PREFIXES if state and all(k.startswith(p) for k in state)), None):
        state = {name[len(prefix) :]: value for name, value in state.items()}
    return state


def _sniff(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} should be a checkpoint file that exists, found none; check the path")
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise CheckpointError(f"{path} should be a checkpoint, found an empty file (0 bytes); download it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} should be a checkpoint, found a Git LFS pointer; download the file it points to")
    if start.lstrip()[:1] == b"<" or (path.suffix != ".safetensors" and _is_text(start)):
        raise CheckpointError(f"{path} should be a checkpoint, found a text file; download the file itself, not its page")


def _is_text(start: bytes) -> bool:
    printable = sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in start)
    return len(start) > 4 and printable == len(start)


def load_torch(path: Path) -> Any:
    """Return what a torch file holds: tensors, plain containers, numbers and text, and NumPy's numbers.

    Raises
    ------
    CheckpointError
        Damaged, or with anything else in it.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        refused = REFUSED.search(str(error))
        if refused:
            raise CheckpointError(
                f"{path} should hold tensors only, found Python objects that could run code ({refused[1]}); "
                "nothing was executed. Save the network's state_dict alone and use that"
            ) from None
        raise CheckpointError(
            f"{path} should be a torch checkpoint, found a damaged, truncated or other file; download it again"
        ) from None


def _numpy_numbers() -> list[Any]:
    """Return what a NumPy number in a file is made with; a learning rate may be one. It can't hold an object."""
    import numpy as np

    scalar, kinds = np.float64().__reduce__()[0], (np.float64, np.float32, np.int64)
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [*((scalar, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in kinds)]


def _flat(content: Any, path: Path) -> dict[str, Tensor]:
    import torch

    if isinstance(content, torch.Tensor):
        raise CheckpointError(
            f"{path} should hold the weights of a network, found a single tensor of shape {tuple(content.shape)}; "
            "choose the checkpoint (a psf_shift file is given as the parameter psf_shift)"
        )
    found = _tensors(content, torch.Tensor)
    if not found:
        holds = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(
            f"{path} should hold the weights of a network, found: {holds or 'nothing'}; choose another file"
        )
    return unprefixed(found)


def _finite(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(
                f"{path} should hold finite weights, found NaN or infinity in {name}; its training went wrong: choose an "
                "earlier checkpoint"
            )
    return state


def _tensors(content: Any, kind: type) -> dict[str, Any]:
    """Return the state dict inside `content`, looking through the usual wrappers; a list's names are ``NUMBER.name``."""
    if isinstance(content, list | tuple):
        parts = [unprefixed(_tensors(part, kind)) for part in content]
        return {f"{number}.{name}": tensor for number, part in enumerate(parts) for name, tensor in part.items()}
    if not isinstance(content, Mapping):
        return {}
    for name in WRAPPERS:
        if isinstance(content.get(name), Mapping) and (inner := _tensors(content[name], kind)):
            return inner
    return {str(name): value for name, value in content.items() if isinstance(value, kind)}
