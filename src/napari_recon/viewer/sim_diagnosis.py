"""A quick look at the pattern of one raw image: spectrum, cut-off and carriers, from the middle of the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError
from napari_recon.core.plan import InputRef
from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.params import Optics, OpticsParams, resolved_optics
from napari_recon.viewer.sim_frames import SPECTRUM, Pages, power_spectrum


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes
    ----------
    spectrum : ndarray
        log10 of the relative power, (y, x), zero frequency at n // 2.
    optics : Optics or None
        None while NA, wavelength or pixel size are missing or impossible.
    calibration : Calibration or None
        None when no pattern was found.
    problem : str
        Why one of them is None.
    """

    spectrum: NDArray[np.float32]
    optics: Optics | None = None
    calibration: Calibration | None = None
    problem: str = ""


class Diagnoser:
    """Looks at the middle of one image; frames and spectra are kept while only the optics change. For one thread."""

    def __init__(self) -> None:
        self._read: tuple[Pages, dict[str, int], NDArray[np.float32]] | None = None
        self._spectra: dict[int | None, NDArray[np.float32]] = {}

    def look(self, pages: Pages, index: Mapping[str, int], params: Mapping[str, Any], angle: int | None) -> Diagnosis:
        """Return the diagnosis of the image at `index`.

        Parameters
        ----------
        pages : Pages
        index : mapping
            Axis letter -> index, of T, C and Z.
        params : mapping
            The form's settings.
        angle : int or None
            Show the spectrum of this angle alone.
        """
        frames = self._frames(pages, index)
        if angle not in self._spectra:
            phases = pages.layout.phases
            chosen = frames if angle is None else frames[angle * phases : (angle + 1) * phases]
            self._spectra[angle] = power_spectrum(chosen)
        spectrum = self._spectra[angle]
        optics = None
        try:
            optics = optics_of(pages, index, params)
            return Diagnosis(spectrum, optics, _calibrated(frames, optics, pages, params))
        except InputError as error:
            return Diagnosis(spectrum, optics, None, str(error))

    def _frames(self, pages: Pages, index: Mapping[str, int]) -> NDArray[np.float32]:
        if self._read is None or not pages.same(self._read[0]) or self._read[1] != index:
            self._read = pages, dict(index), pages.frames(SPECTRUM, index)
            self._spectra.clear()
        return self._read[2]


def optics_of(pages: Pages, index: Mapping[str, int], params: Mapping[str, Any]) -> Optics:
    """Return the microscope as form and file say it (InputError when they do not)."""
    stack = pages.stack
    known = {name: value for name, value in params.items() if name in OpticsParams.model_fields}
    ref = InputRef(name="raw", grid=stack.grid, label=stack.name, optics=stack.metadata.get("optics", {}))
    return resolved_optics(OpticsParams.model_validate(known), ref, index.get("C", 0))


def _calibrated(frames: NDArray[np.float32], optics: Optics, pages: Pages, params: Mapping[str, Any]) -> Calibration:
    import torch

    from napari_recon.engines.sim.classical.calibrate import calibrate

    offset = params.get("camera_offset", "auto")
    return calibrate(torch.from_numpy(frames), optics, pages.layout, camera_offset=offset)
