"""A Fourier light-field recording through wave-optics PSFs, small enough to deconvolve in a unit test."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.stack import ImageStack
from napari_recon.io.psf_files import cut_views
from napari_recon.optics.flfm_microscope import FlfmMicroscope
from napari_recon.optics.flfm_psf import sensor_psf
from napari_recon.optics.psf_convolution import PsfProjector
from tests.engines.simulate.microscopes import SMALL

FIELD = (33, 31)
UM = dict.fromkeys("ZYX", "micrometer")
MICROSCOPE = FlfmMicroscope(**{k: v for k, v in SMALL.items() if not k.startswith("depth")})
DEPTHS = np.arange(-4, 5) * 0.75


@cache
def psf() -> NDArray[np.float32]:
    """Views x 9 planes x 21 x 21, the light of a depth summing to 1 over all views."""
    found = dict(sensor_psf(MICROSCOPE, DEPTHS.tolist()))
    images = np.stack([found[number].numpy() for number in range(len(DEPTHS))])
    return cut_views(images, MICROSCOPE.lens_centres.tolist(), 10)


@cache
def truth() -> NDArray[np.float32]:
    """Beads at random places of all depths."""
    rng = np.random.default_rng(3)
    volume = np.zeros((len(DEPTHS), *FIELD), np.float32)
    z, y, x = np.ogrid[: len(DEPTHS), : FIELD[0], : FIELD[1]]
    for place in rng.random((8, 3)) * [len(DEPTHS) - 3, FIELD[0] - 12, FIELD[1] - 12] + [1, 6, 6]:
        volume += np.exp(-((z - place[0]) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2) / 2).astype(np.float32)
    return volume


def stacks(peak: float = 400.0, seed: int = 0, calibrated: bool = True) -> dict[str, ImageStack]:
    """Noisy views and their PSF."""
    projector = PsfProjector.same(torch.from_numpy(psf()), FIELD)
    clean = projector.forward(torch.from_numpy(truth())).clamp_min(0).numpy()
    views = np.random.default_rng(seed).poisson(clean / clean.max() * peak + 2).astype(np.uint16)
    step = {"Z": 0.75, "Y": MICROSCOPE.voxel_um, "X": MICROSCOPE.voxel_um}
    place = {"Z": float(DEPTHS[0])}
    known = {"scale": step, "units": UM} if calibrated else {}
    lateral = {k: {a: v[a] for a in "YX"} for k, v in known.items()}
    return {
        "views": ImageStack.of(views, "VYX", "views", **lateral),
        "psf": ImageStack.of(psf(), "VZYX", "psf", **known, **({"translate": place} if calibrated else {})),
    }


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
