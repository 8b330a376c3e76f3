"""fusion.multiview_rl: views of one volume fused by Richardson-Lucy; the numerics are those of deconvolution.rl."""

from __future__ import annotations

from napari_recon.core.engine import EngineInfo
from napari_recon.engines.deconvolution.rl import OUTPUTS, PSF, REFERENCES, VIEWS, DeconvolutionRL


class MultiviewRL(DeconvolutionRL):
    """Fuses registered views of a volume: the volume that, seen through each view's PSF, explains all of them."""

    info = EngineInfo(
        name="fusion.multiview_rl",
        kind="reconstruct",
        title="Multi-view Richardson-Lucy",
        summary="One volume from two or more registered views and their PSFs, by deconvolution; needs no model",
        inputs=(VIEWS, PSF),
        outputs=OUTPUTS,
        halo=DeconvolutionRL.info.halo,
        roi_tolerance=1e-6,
        references=(*REFERENCES, "10.1038/nmeth.2929"),
    )
