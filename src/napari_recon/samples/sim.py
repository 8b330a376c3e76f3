"""File > Open Sample: a structured-illumination stack and, hidden, what it was made from."""

from __future__ import annotations

from napari_recon.io import open_stack
from napari_recon.samples.files import path
from napari_recon.samples.layers import LayerData, layer


def sim() -> list[LayerData]:
    """Return the layers of the structured-illumination sample.

    Returns
    -------
    list of (data, attributes, layer type)
        Nine raw frames (N, Y, X), three angles of three phases, and the truth (Y, X) on a twice finer grid, in micrometers.
        The raw frames know their NA and wavelength.
    """
    raw, truth = open_stack(path("sim")), open_stack(path("sim_truth"))
    return [
        layer(raw, "SIM frames", colormap="gray"),
        layer(truth, "SIM, ground truth", colormap="magma", blending="additive", visible=False),
    ]
