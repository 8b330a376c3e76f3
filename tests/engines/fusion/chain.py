"""A small recording over a mirror for the pipeline, made by the simulator."""

from __future__ import annotations

from functools import cache

import napari_recon
from napari_recon.core.stack import ImageStack
from tests.contract.examples import Example

SMALL = {"planes": 44, "height": 20, "width": 56, "pixel_um": 0.2, "step_um": 0.4, "tubes": 6, "beads": 40, "bubbles": 0}
OPTICS = {"line": 1.0, "sheet_fwhm_um": 1.5, "na": 0.6, "peak": 500.0}
QUICK = {
    "background.preset": "SKL",
    "split_views.refine": False,
    "split_views.angle_range": (-0.1, 0.1),
    "multiview_rl.sheet_fwhm_um": 1.5,
    "multiview_rl.iterations": 3,
}


@cache
def recording(frames: int = 2, **params: object) -> dict[str, ImageStack]:
    """Return raw, truth, psf_a and psf_b of a simulated recording."""
    found = napari_recon.simulate("llsm", seed=1, frames=frames, **{**SMALL, **OPTICS, **params})
    raw = found.outputs["raw"]
    optics = {"na": (0.6,), "wavelength_um": (0.525,), "refractive_index": (1.33,)}
    stacks = {name: found.outputs[name] for name in ("truth", "psf_a", "psf_b") if name in found.outputs}
    return {"raw": ImageStack(raw.data, raw.grid, "raw", metadata={"optics": optics}), **stacks}


def example(**params: object) -> Example:
    """Return the pipeline on two time points with measured PSFs."""
    from napari_recon.engines.fusion.pipeline import Pipeline

    made = recording()
    stacks = {"raw": made["raw"], "psf": [made["psf_a"], made["psf_b"]]}
    return Example(Pipeline(), stacks, {**QUICK, **params}, reshaped="X")
