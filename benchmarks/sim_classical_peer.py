"""Times of napari-sim-processor's NumPy path; run by `sim_classical.py` with an interpreter that has the package.

    PYTHON benchmarks/sim_classical_peer.py FRAMES.npy OUT.npy

Frames are (9, n, n) counts without offset of an objective of NA 1.2 at 0.525 um and pixels of 0.065 um. The package's
widgets are not imported, so that it needs no Qt. Prints a JSON object.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

NAME = "napari_sim_processor"
SETTINGS = {
    "NA": 1.2,
    "n": 1.33,
    "wavelength": 0.525,
    "magnification": 100.0,
    "pixelsize": 6.5,
    "alpha": 0.3,
    "beta": 0.0,
    "w": 0.05,
    "eta": 0.8,
    "debug": False,
}


def fastest(do: Callable[[], Any], repeats: int) -> float:
    """Return the least time of some calls, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        do()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Calibrate and reconstruct."""
    spec = importlib.util.find_spec(NAME)
    assert spec is not None and spec.submodule_search_locations is not None
    package = types.ModuleType(NAME)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[NAME] = package
    from napari_sim_processor.processors.convSimProcessor import ConvSimProcessor

    frames = np.load(sys.argv[1]).astype(float)
    processor = ConvSimProcessor()
    processor.N = frames.shape[1]
    for name, value in SETTINGS.items():
        setattr(processor, name, value)
    found = {"calibrate": fastest(lambda: processor.calibrate(frames), 5)}
    ways = ("reconstruct_rfftw", "reconstruct_fftw")
    found["reconstruct"] = min(fastest(lambda way=way: getattr(processor, way)(frames), 8) for way in ways)
    np.save(sys.argv[2], processor.reconstruct_rfftw(frames))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
