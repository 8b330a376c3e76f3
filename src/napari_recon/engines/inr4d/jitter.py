"""Tables of jitter: where in a hypercube samples lie; from a file, a model's card, or the default ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.engines.inr4d.upstream.coordinates import per_axis
from napari_recon.engines.inr4d.upstream.field import default_tables


def jitter_tables(file: str, options: Mapping[str, Any], samples: int, count: int = 1) -> Tensor:
    """Return tables of jitter (k, m^4, 4).

    Parameters
    ----------
    file : str
        A table (m^4, 4) or several as .npy, or ``FILE.npz::NAME``; empty takes the model's, or the default ones.
    options : mapping
        Of the model; ``jitter`` is the table it was fitted with, if that was fixed.
    samples : int
    count : int
        Number of default tables.

    Raises
    ------
    InputError
        No such file, or a table of another size.
    """
    number = per_axis(samples) ** 4
    if not file:
        own = options.get("jitter")
        return torch.tensor(own)[None] if own else default_tables(number, count)
    table = torch.from_numpy(_read(file))
    table = table[None] if table.ndim == 2 else table
    if table.ndim != 3 or tuple(table.shape[1:]) != (number, 4) or not bool(((table >= 0) & (table <= 1)).all()):
        raise InputError(
            f"jitter should be a table of {number} samples x 4 axes with numbers from 0 to 1, found shape "
            f"{tuple(table.shape)} in {file}; choose another file, or set samples"
        )
    return table


def _read(file: str) -> Any:
    from napari_recon.io.open import split_uri

    path, name = split_uri(file)
    try:
        with path.open("rb") as source:
            found = np.load(source, allow_pickle=False)
            if not isinstance(found, np.ndarray):
                found = found[name or "jitter_table"]
            return np.asarray(found, np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{file} should be a table of jitter (.npy, or FILE.npz::NAME), found none ({error}); check it"
        ) from None
