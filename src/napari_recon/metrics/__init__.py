"""How good a result is: PSNR, SSIM, NRMSE and correlation against a reference; Fourier ring and shell correlation."""

from __future__ import annotations

from napari_recon.metrics.comparison import compare, parse_crop
from napari_recon.metrics.images import correlation, nrmse, psnr, scale_alignment, ssim
from napari_recon.metrics.resolution import FourierCorrelation, fourier_ring_correlation

__all__ = [
    "FourierCorrelation",
    "compare",
    "correlation",
    "fourier_ring_correlation",
    "nrmse",
    "parse_crop",
    "psnr",
    "scale_alignment",
    "ssim",
]
