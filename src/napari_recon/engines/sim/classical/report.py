"""The quality report of a reconstruction: plain data for JSON, in numbers and words."""

from __future__ import annotations

import math
from typing import Any

from napari_recon.engines.sim.calibration import Calibration, Carrier

ABSENT = "no pattern was found; it adds nothing to the resolution"


def quality_report(calibration: Calibration, wiener: float) -> dict[str, Any]:
    """Return what was found: per angle k (cycles/um), modulation, phase steps (degrees), peak over noise, a verdict.

    ``misfit`` is what the fitted pattern leaves of the frames, over the noise: about 1 where it explains them.
    """
    rows = [
        {"angle": angle + 1, **row, "misfit": round(group.misfit, 3)}
        for angle, group in enumerate(calibration.groups)
        for row in ([_row(carrier) for carrier in group.carriers] or [{"peak_to_noise": 0.0, "verdict": ABSENT}])
    ]
    return {
        "angles": rows,
        "verdict": calibration.verdict,
        "wiener": wiener,
        "camera_offset": round(calibration.camera_offset, 3),
        "frame_intensities": [round(gain, 4) for gain in calibration.gains],
        "noise_power": round(calibration.noise_power, 4),
        "na": calibration.na,
        "wavelength_um": calibration.wavelength_um,
        "cutoff_per_um": round(calibration.cutoff_per_um, 5),
        "result_cutoff_per_um": round(calibration.result_cutoff_per_um, 5),
    }


def complaints(calibration: Calibration) -> list[str]:
    """Return a sentence for every angle without a pattern, and for every carrier that is not clear."""
    found = []
    for angle, group in enumerate(calibration.groups):
        if not group.carriers:
            found.append(f"angle {angle + 1}: {ABSENT}")
        found += [f"angle {angle + 1}: {c.verdict}" for c in group.carriers if not c.verdict.startswith("clear")]
    return found


def _row(carrier: Carrier) -> dict[str, Any]:
    kx, ky = carrier.k_per_um
    return {
        "k_per_um": [round(kx, 5), round(ky, 5)],
        "k_magnitude_per_um": round(carrier.k_magnitude_per_um, 5),
        "period_um": round(1.0 / carrier.k_magnitude_per_um, 5),
        "orientation_deg": round(math.degrees(math.atan2(ky, kx)), 3),
        "modulation": round(carrier.modulation, 4),
        "phase_steps_deg": [round(step, 2) for step in carrier.phase_steps_deg],
        "peak_to_noise": round(carrier.peak_to_noise, 2),
        "verdict": carrier.verdict,
    }
