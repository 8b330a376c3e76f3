"""File > Open Sample: a small Fourier light-field time-lapse with its PSF and, hidden, what it was made from."""

from __future__ import annotations

from napari_recon.io import open_stack
from napari_recon.samples.files import path
from napari_recon.samples.layers import LayerData, layer
from napari_recon.samples.lightfield import spread


def flfm() -> list[LayerData]:
    """Return the layers of the Fourier light-field sample.

    Returns
    -------
    list of (data, attributes, layer type)
        Views (T, V, Y, X), PSF (V, Z, Y, X; hidden) and truth (T, Z, Y, X; hidden), in micrometers and seconds. The truth
        lies over the views, the PSF's point is at the middle of the field.
    """
    views, psf, truth = (open_stack(path(name)) for name in ("flfm", "flfm_psf", "flfm_truth"))
    return [
        layer(spread(views, truth.grid), "Fourier light field", colormap="gray"),
        layer(psf, "Fourier light field, PSF", colormap="magma", blending="additive", visible=False),
        layer(truth, "Fourier light field, ground truth", colormap="magma", blending="additive", visible=False),
    ]
