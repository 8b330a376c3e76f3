"""What a simulated or stored stack truly is: its calibration, the image to compare with, and the measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from napari_recon.engines.sim.calibration import Calibration, Carrier, Group
from tests.engines.sim.sim_data import Stack, circle_otf

Array = NDArray[np.float64]


def calibration_of(stack: Stack) -> Calibration:
    """Return the true calibration of a simulated stack."""
    frames = iter(range(stack.phases_acp.shape[0] * stack.phases_acp.shape[2]))
    groups = []
    for angle, ks in enumerate(stack.k_ac):
        carriers = [
            Carrier(k_per_um=k, modulation=float(m), phases_rad=tuple(float(p) for p in phases))
            for k, m, phases in zip(ks, stack.modulation[angle], stack.phases_acp[angle], strict=True)
        ]
        own = tuple(next(frames) for _ in range(stack.phases_acp.shape[2]))
        groups.append(Group(frames=own, carriers=tuple(carriers)))
    hexagonal = len(stack.k_ac[0]) == 3
    return Calibration(
        na=stack.na,
        wavelength_um=stack.wavelength_um,
        pixel_um=(stack.pixel_um, stack.pixel_um),
        shape_yx=(stack.frames.shape[1], stack.frames.shape[2]),
        angles=stack.phases_acp.shape[0],
        phases=stack.phases_acp.shape[2],
        pattern="hexagonal" if hexagonal else "stripes",
        camera_offset=stack.offset,
        gains=tuple(float(g) for g in stack.gain_ap.ravel()),
        groups=tuple(groups),
    )


def wanted(stack: Stack, cutoff_per_um: float) -> Array:
    """Return the object (2 Y, 2 X) with the transfer of a wide field of that cut-off."""
    fine, field = stack.objects.shape[0], 2 * stack.frames.shape[1]
    f = np.fft.fftfreq(fine, stack.pixel_um / 2)
    transfer = circle_otf(np.hypot(f[:, None], f[None]) / cutoff_per_um)
    margin = (fine - field) // 2
    image = np.fft.ifft2(np.fft.fft2(stack.objects) * transfer).real
    return image[margin : margin + field, margin : margin + field]


def psnr(image: Any, reference: Array, border: int = 24) -> float:
    """Return the PSNR in dB after the best scale and offset, without a border."""
    inner = (slice(border, -border),) * 2
    x, y = np.asarray(image, float)[inner].ravel(), reference[inner].ravel()
    basis = np.stack([x, np.ones_like(x)], axis=1)
    error = basis @ np.linalg.lstsq(basis, y, rcond=None)[0] - y
    return float(20 * np.log10(np.ptp(y) / np.sqrt((error**2).mean())))


class Stored:
    """A stack of the parity fixtures."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "raw.tif"
        self.frames = torch.from_numpy(tifffile.imread(self.path).astype(np.float32))
        self.said = json.loads((folder / "params.json").read_text())
        truth = np.load(folder / "ground_truth.npz")
        low, high = truth["scale"]
        self.reference = truth["object_bandlimited"] / 65535 * (high - low) + low
        said = self.said
        phases = len(said["phase"][0])
        groups = [
            Group(
                frames=tuple(range(a * phases, (a + 1) * phases)),
                carriers=(Carrier(k_per_um=tuple(k), modulation=m, phases_rad=tuple(p)),),
            )
            for a, (k, m, p) in enumerate(zip(said["k"], said["mod"], said["phase"], strict=True))
        ]
        self.calibration = Calibration(
            na=said["na"],
            wavelength_um=said["wl"],
            pixel_um=(said["px"], said["px"]),
            shape_yx=(said["n"], said["n"]),
            angles=len(groups),
            phases=phases,
            camera_offset=said["offset"],
            gains=tuple(np.ravel(said["gain"])),
            groups=tuple(groups),
        )
