"""Small objects and their projections."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.stack import ImageStack
from napari_recon.engines.tomography.sirt import Sirt
from napari_recon.optics.parallel_beam import ParallelBeam
from tests.contract.examples import Example

ANGLES = tuple(np.arange(0.0, 180.0, 7.5).tolist())


def blobs(shape: tuple[int, int, int], seed: int = 0, count: int = 8) -> NDArray[np.float32]:
    """Return soft balls inside the cylinder that is seen from all sides, values about one."""
    rng = np.random.default_rng(seed)
    places = [np.arange(n) - (n - 1) / 2 for n in shape]
    z, y, x = np.meshgrid(*places, indexing="ij")
    volume = np.zeros(shape)
    radius = 0.3 * min(shape[0], shape[2])
    for _ in range(count):
        turn, far = 2 * np.pi * rng.random(), radius * rng.random() ** 0.5
        centre = far * np.cos(turn), (rng.random() - 0.5) * 0.6 * shape[1], far * np.sin(turn)
        size = 1.5 + 1.5 * rng.random()
        distance = np.sqrt(sum((a - b) ** 2 for a, b in zip((z, y, x), centre, strict=True)))
        volume += (0.5 + rng.random()) * np.clip(size - distance + 0.5, 0, 1)
    return volume.astype(np.float32)


def projections(
    volume: NDArray[np.float32],
    angles: Any = ANGLES,
    noise: float = 0.0,
    seed: int = 0,
    **geometry: Any,
) -> NDArray[np.float32]:
    """Return the projections of a volume; noise is a part of their maximum."""
    planes, height, width = volume.shape
    beam = ParallelBeam(angles, (height, width), planes, **geometry)
    views = beam.forward(torch.from_numpy(volume)).numpy()
    made = np.random.default_rng(seed).normal(size=views.shape)
    return (views + noise * views.max() * made).astype(np.float32)


def stack(views: NDArray[Any], axes: str = "VYX") -> ImageStack:
    scale = {"T": 2.0, "Y": 0.5, "X": 0.5}
    return ImageStack.of(
        views,
        axes,
        "views",
        scale={a: scale[a] for a in axes if a in scale},
        translate={"Y": 3.0},
        units=dict.fromkeys("YX", "micrometer"),
    )


def counts(frames: int, size: tuple[int, int, int] = (14, 9, 16)) -> NDArray[np.uint16]:
    """Return (t, v, y, x) noisy counts of moving blobs."""
    made = [projections(blobs(size, seed), noise=0.01, seed=seed) for seed in range(frames)]
    return np.round(np.stack([100 + 900 * views / views.max() for views in made])).astype(np.uint16)


def example(frames: int = 1, **params: Any) -> Example:
    views = stack(counts(frames), "TVYX")
    return Example(
        Sirt(), {"views": views}, {"angles": ANGLES, "thickness": 14, **params}, tilings=({"slices": 2}, {"slices": 5})
    )
