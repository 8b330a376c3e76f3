"""Which way structures move from plane to plane of a raw stack, told from the stack itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Pairs of planes that are compared, and the least of them.
PAIRS, LEAST_PAIRS = 48, 3
#: Samples by which a pair's structures should have moved, so that both ways can be told apart.
LEAST_MOVE = 1.5
#: The difference between the two ways, in its standard errors, and as a correlation, from which on it counts.
CERTAIN, LEAST_DIFFERENCE = 4.0, 0.002


def direction_of(
    plane: Callable[[int], NDArray[np.float32]],
    planes: int,
    shift: float,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Return +1 when structures move towards larger x from plane to plane, -1 when towards smaller, 0 when nothing tells.

    Neighbouring planes of a skewed stack see the same structures, moved by a known number of samples: the right way
    makes them correlate more than the wrong one. What stands still in the picture speaks for neither.

    Parameters
    ----------
    plane : Callable
        ``plane(number)`` returns (rows, x) float32.
    planes : int
    shift : float
        By how many samples they move, without sign.
    check : Callable
        Called now and then; may raise.
    """
    apart = max(1, math.ceil(LEAST_MOVE / max(shift, 1e-6)))
    move = round(apart * shift)
    if planes - apart < LEAST_PAIRS:
        return 0
    differences = []
    for number in np.unique(np.linspace(0, planes - apart - 1, min(PAIRS, planes - apart)).astype(int)):
        check()
        here, there = (_whitened(plane(int(n))) for n in (number, number + apart))
        if here.shape[1] < 2 * move + 2:
            return 0
        energy = math.sqrt(float((here**2).sum()) * float((there**2).sum()))
        if energy <= 0:
            continue
        up = float((here[:, :-move] * there[:, move:]).sum())
        down = float((here[:, move:] * there[:, :-move]).sum())
        differences.append((up - down) / energy)
    if len(differences) < LEAST_PAIRS:
        return 0
    mean, error = float(np.mean(differences)), float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    if abs(mean) < max(CERTAIN * error, LEAST_DIFFERENCE):
        return 0
    return 1 if mean > 0 else -1


def _whitened(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what of the image is finer than a slope along x: broad light would correlate either way."""
    smooth = (image[:, 1:] + image[:, :-1]) / 2
    found: NDArray[np.float32] = np.asarray(smooth[:, 2:] - smooth[:, :-2], dtype=np.float32)
    return found
