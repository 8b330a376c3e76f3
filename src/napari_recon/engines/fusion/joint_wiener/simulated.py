"""Transfer functions from the optics alone, where nobody measured them: shaped like the published ones (numpy only).

They are weights: what counts is which orientation is trusted at which frequency. So the diffraction limit is exact, the fall
towards it is one that describes the published files, and the sharper direction reaches half as far again.

References
----------
.. [1] Meta-rLLS-VSIM, the published transfer functions: 10.5281/zenodo.13486221.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
EXTENSION = 1.5
"""How much farther the sharper direction reaches than diffraction lets pass."""
_FALL = 7.0
_EDGE, _BEND = 1.33, 0.9
SIZE = 256


def simulated(na: float, wavelength_um: float, pixel_um: float) -> dict[str, Array]:
    """Return ``otf0``, ``otf1`` and ``apodisation``, zero frequency in the middle (index n // 2).

    Parameters
    ----------
    na, wavelength_um : float
        Of the detection.
    pixel_um : float
        Of the joined picture; the functions reach to its sampling limit.

    Returns
    -------
    dict
        (256, 256) float32 each. `otf1` is the sharper direction as the published files have it: along the first axis, which
        the joint filter turns onto the columns.
    """
    k = (np.arange(SIZE) - SIZE // 2) / (SIZE * pixel_um)
    cutoff = 2 * na / wavelength_um
    y, x = (k / cutoff)[:, None], (k / cutoff)[None]
    shift = EXTENSION - 1
    apart = _passed(np.hypot(y - shift, x)) + _passed(np.hypot(y + shift, x))
    edge = np.clip(1 - np.hypot(y, x) / _EDGE, 0, 1) ** _BEND
    found = {"otf0": _passed(np.hypot(y, x)), "otf1": apart, "apodisation": edge}
    return {name: array.astype(np.float32) for name, array in found.items()}


def _passed(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what passes at a radius in units of the cut-off."""
    r = np.minimum(radius, 1.0)
    passed: NDArray[np.float64] = 2 / np.pi * (np.arccos(r) - r * np.sqrt(1 - r**2)) / (1 + _FALL * r)
    return passed
