"""File > Open Sample: cells that move, turn and divide; every second frame and plane is withheld: the hidden truth has it.

Hollow cells with a nucleus go round a common middle, each a little on its own way; one of them divides. All is drawn when
the sample is opened, from one seed, so nothing has to be stored.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.stack import ImageStack
from napari_recon.engines.simulate.moving_cells import drawn
from napari_recon.samples.layers import LayerData, layer

SEED = 11
SHAPE_TZYX = (9, 19, 56, 56)
STEP_UM, INTERVAL_S = 0.5, 30.0
"""Voxels of the truth along all axes, and the time between its frames; the recording has every second of both."""
PHOTONS, READ, COUNTS = 400.0, 0.01, 4095
"""Light at the brightest voxel, the camera's noise relative to it, and what that voxel is stored as."""
_UNITS = {"T": "second", "Z": "micrometer", "Y": "micrometer", "X": "micrometer"}


def moving_cells() -> list[LayerData]:
    """Return the layers of the sample.

    Returns
    -------
    list of (data, attributes, layer type)
        The recording (T, Z, Y, X) of every second frame and plane, noisy, and, hidden, the truth with all of them.
    """
    random = np.random.default_rng(SEED)
    truth = drawn(random, SHAPE_TZYX)
    light = random.poisson(truth[::2, ::2] * PHOTONS) / PHOTONS
    seen = light + random.normal(0, READ, light.shape)
    return [
        _layer(seen, 2, "moving cells", colormap="gray"),
        _layer(truth, 1, "moving cells, ground truth", colormap="magma", blending="additive", visible=False),
    ]


def _layer(values: NDArray[np.float64], step: int, name: str, **look: object) -> LayerData:
    """Return the layer of values from 0 to 1 whose frames and planes are every `step`-th."""
    scale = {"T": INTERVAL_S * step, "Z": STEP_UM * step, "Y": STEP_UM, "X": STEP_UM}
    data = np.rint(values.clip(0, 1) * COUNTS).astype(np.uint16)
    made = layer(ImageStack.of(data, "TZYX", name, scale=scale, units=_UNITS), name, **look)
    made[1]["contrast_limits"] = (0.0, 0.8 * COUNTS)
    del made[1]["metadata"]["path"]  # it was never a file
    return made
