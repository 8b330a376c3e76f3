"""Parameters of the SeReNet engines."""

from __future__ import annotations

from typing import Literal

from napari_recon.core.params import EngineParams, param
from napari_recon.engines.light_field_optics import OPTICS_FILES


class RefocusParams(EngineParams):
    """Parameters of `serenet.refocus`."""

    psf_shift: str = param(
        "geometric-13",
        "Where each view sees each depth: the id of a microscope (geometric-13, geometric-15), a psf_shift file, or a PSF "
        "file, whose centres of mass are taken.",
        file=OPTICS_FILES,
    )
    planes: int = param(0, "Centre planes kept, an odd number; 0 keeps all.", unit="plane", ge=0)
    method: Literal["mean", "geometric"] = param(
        "mean",
        "How the shifted views are combined: their mean, or the geometric mean, which keeps only what all views agree on.",
    )


class SerenetParams(EngineParams):
    """Parameters of `serenet.reconstruct`."""

    psf_shift: str = param(
        "auto",
        "Where each view sees each depth: a psf_shift file, a PSF file (its centres of mass are taken), the id of a "
        "microscope (geometric-13, geometric-15), or auto: the microscope with as many views as the model.",
        file=OPTICS_FILES,
    )
    planes: int = param(0, "Centre planes reconstructed, an odd number; 0 keeps all of the psf_shift.", unit="plane", ge=0)
    intensity: Literal["auto", "counts"] = param(
        "auto",
        "The networks know camera counts: auto rescales data in other units (such as 0 to 1) for the network and the "
        "result back; counts takes the values as they are.",
    )
    precision: Literal["float32", "fast"] = param(
        "float32",
        "Arithmetic: float32, or fast (bfloat16 where the device has it): about 1 % of the maximum off on light fields; on "
        "nothing but noise, 2 % (SeReNet, HyLFM-Net), 7 % (RL-Net) or 15 % (VCD-Net).",
    )
    tile_size: int = param(
        0,
        "Largest tile; 0 chooses by memory. It does not change the result, except with compat=upstream, where 0 is the "
        "script's size (126; RL-Net 546 fine pixels).",
        unit="light-field pixel",
        advanced=True,
        ge=0,
    )
    compat: Literal["none", "upstream"] = param(
        "none",
        "upstream blends overlapping tiles as the authors' scripts do, which shows faint seams; none is exact.",
        advanced=True,
    )
    overlap: int | Literal["auto"] = param(
        "auto",
        "Overlap of blended tiles, only with compat=upstream; auto is the script's (15; RL-Net 65 fine pixels).",
        unit="light-field pixel",
        advanced=True,
    )
    batch_norm: Literal["auto", "stored", "batch"] = param(
        "auto",
        "VCD-Net's normalisation: stored statistics of its training, or batch, those of each tile, as the authors' script "
        "runs it; auto is stored, and batch with compat=upstream.",
        advanced=True,
    )
