"""The views of a volume, each by itself: what simulations and projectors are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.simulate.lightfield import Imaging, pieces_of


def simulate_views(
    volume_zyx: NDArray[np.floating] | Tensor,
    psf_shift_vz2: NDArray[np.floating] | Tensor,
    *,
    upsampling: float,
    psf_sigma: float = 2.0,
    margin: int = 0,
    check: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Return the noise-free views (V, Y, X) of a volume on the fine grid that is `margin` pixels larger than the field."""
    volume = torch.as_tensor(volume_zyx, dtype=torch.float32)
    depth, size_y, size_x = volume.shape
    imaging = Imaging((depth, size_y, size_x), upsampling, psf_sigma, margin)
    pieces = pieces_of(volume, check)
    return np.stack([imaging.view(pieces, one, check).numpy() for one in np.asarray(psf_shift_vz2, dtype=np.float64)])
