"""Is there a pattern, and how good is it: decisions and words."""

from __future__ import annotations

from collections.abc import Sequence

from napari_recon.core.errors import InputError
from napari_recon.engines.sim.calibration import Calibration, Carrier
from napari_recon.engines.sim.classical.carriers import Correlations, Peak, peaks
from napari_recon.engines.sim.layout import Layout

#: Height of a peak over the median of the search area from which on it is a carrier, and from which on it is a clear one.
FOUND, CLEAR = 4.0, 8.0
#: Least roundness (see `Peak`) of a carrier whose phases are those of one angle.
ROUND = 0.25
#: A modulation below is too weak for a gain in resolution that noise would leave.
WEAK_MODULATION = 0.1


def is_found(peak: Peak) -> bool:
    """Return whether a peak is a carrier."""
    return peak.height >= FOUND and peak.roundness >= ROUND


def refuse_what_is_no_pattern(
    corr: Correlations, found: Sequence[Sequence[Peak]], groups: Sequence[Sequence[int]], layout: Layout, number: int
) -> None:
    """Raise an InputError when no group has a carrier, or when the other order of angles and phases fits better."""
    good = sum(all(is_found(p) for p in candidates[:number]) for candidates in found)
    if good == len(groups):
        return
    if layout.pattern == "stripes" and layout.angles > 1:
        swapped = [list(range(a, layout.frames, layout.angles)) for a in range(layout.angles)]
        better = sum(is_found(peaks(corr, group, 1)[0]) for group in swapped)
        if better == layout.angles:
            raise InputError(
                f"frames should be ordered angle by angle, found a pattern only when they are taken phase by phase "
                f"(all {layout.angles} angles clear, against {good} as set); set frame_order=pa"
            )
    if not good:
        best = max((c[0] for c in found), key=lambda p: p.height)
        raise InputError(
            f"pattern not found: expected a carrier at least {FOUND:g} times above the noise at each angle, found at most "
            f"{best.height:.1f} times; check na, wavelength_um, pixel size, angles, phases and frame_order, or whether "
            "this is a wide-field stack"
        )


def words(carrier: Carrier) -> str:
    """Return a carrier's verdict."""
    if carrier.modulation < WEAK_MODULATION:
        return "modulation too weak to gain resolution; check focus, polarisation and the coherence of the illumination"
    if carrier.peak_to_noise < CLEAR:
        return "found, weak; more light or an average of frames would make it sure"
    if carrier.modulation > 1.2:
        return "found, modulation above 1; check the wavelength, na and pixel size"
    return "clear"


def verdict(calibration: Calibration, remark: str = "") -> str:
    """Return the whole calibration's verdict."""
    return remark
