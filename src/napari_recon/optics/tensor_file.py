"""Reading one plain tensor from a torch file without importing torch or unpickling, so that planning stays quick."""

from __future__ import annotations

import pickletools
import zipfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STORAGES = {"torch FloatStorage": "<f4", "torch DoubleStorage": "<f8"}
_MEMO = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")


def read_tensor(path: Path) -> NDArray[Any]:
    """Return the tensor of a ``.pt`` file.

    The usual file is a zip with a three-axis contiguous float tensor, whose description is *read*, not executed; for
    anything else torch is asked (``weights_only=True``).

    Raises
    ------
    ValueError
        When the file holds something else than one tensor.
    Exception
        Whatever torch says about damaged files and files with code.
    """
    described = _described(path)
    if described is not None:
        return described
    import torch

    loaded = torch.load(path, weights_only=True, map_location="cpu")
    if not isinstance(loaded, torch.Tensor):
        raise ValueError(f"it holds a {type(loaded).__name__}")
    array: NDArray[Any] = loaded.detach().numpy()
    return array


def _described(path: Path) -> NDArray[Any] | None:
    """Return the array when the pickle is exactly that of a contiguous three-axis float tensor, else None."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        if "data.pkl" not in names or ("byteorder" in names and archive.read(names["byteorder"]) != b"little"):
            return None
        steps = pickletools.genops(archive.read(names["data.pkl"]))
        said = [argument for step, argument, _ in steps if argument is not None and step.name not in _MEMO]
        if len(said) != 15:
            return None
        storage, key, count, shape = said[3], said[4], said[6], tuple(said[8:11])
        usual = [2, "torch._utils _rebuild_tensor_v2", "storage", storage, key, said[5], count, 0, *shape]
        usual += [prod(shape[1:]), shape[2], 1, "collections OrderedDict"]
        if said != usual or storage not in _STORAGES or f"data/{key}" not in names:
            return None
        content = archive.read(names[f"data/{key}"])
    values = np.frombuffer(content, _STORAGES[storage])
    return values.reshape(shape).copy() if values.size == count == prod(shape) else None
