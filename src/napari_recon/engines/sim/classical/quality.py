"""Is there a pattern, and how good is it: decisions and words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch

from napari_recon.core.errors import InputError
from napari_recon.engines.sim.calibration import Calibration, Carrier, Group
from napari_recon.engines.sim.classical.carriers import Correlations, Peak, peaks
from napari_recon.engines.sim.layout import Layout

#: Height of a peak from which on it is a carrier. Stacks without a pattern reach 2.1 on average, 2.8 at most.
FOUND = 3.5
#: The same where the other angles say how long k is, within `ALIKE`, and that it is not theirs, by `APART_DEG`.
GUIDED, ALIKE, APART_DEG = 2.8, 0.1, 12.0
#: Height from which on there is no doubt about phases either.
CLEAR = 6.0
#: A modulation below leaves more noise than resolution; one above can't be, with the optics given: 2 is what lines as thin
#: as one likes have.
WEAK_MODULATION, IMPOSSIBLE_MODULATION = 0.1, 2.1
#: Relative difference of an angle's |k| from the others' that one grating does not make.
OTHER_PERIOD = 0.1
#: Phase steps that far from even ones deserve a word, degrees; that far, the layout may be another one.
UNEVEN_DEG, STRANGE_DEG = 10.0, 60.0


def accepted(corr: Correlations, groups: Sequence[list[int]], layout: Layout, number: int) -> list[list[Peak]]:
    """Return the carriers of each group; a group may have none as long as most have theirs.

    Parameters
    ----------
    number : int
        Carriers of a group.

    Raises
    ------
    InputError
        No pattern, or one that fits only the other order of angles and phases.
    """
    candidates = [peaks(corr, group, number) for group in groups]
    found = [c if all(p.height >= FOUND for p in c) else [] for c in candidates]
    if number == 1 and not _turned([c[0] for c in found if c]):
        found = [[] for _ in found]
    if all(found):
        return found
    if layout.angles > 1:
        _refuse_other_order(corr, layout, sum(map(bool, found)))
    if any(found) and number == 1:
        found = [own or _guided(corr, group, found) for own, group in zip(found, groups, strict=True)]
    if 2 * sum(map(bool, found)) < len(groups):
        heights = ", ".join(f"{min(p.height for p in c):.1f}" for c in candidates)
        raise InputError(
            f"pattern not found: expected carriers at least {FOUND:g} times above the noise, found {heights}; this looks "
            "like a wide-field stack; otherwise check na, wavelength_um, pixel size, angles, phases and frame_order"
        )
    return found


def _guided(corr: Correlations, group: list[int], found: Sequence[list[Peak]]) -> list[Peak]:
    """Return the carrier of a group whose peak alone would not do, where the other angles leave room for one."""
    lattice = corr.lattice
    others = [p.k_per_um for peaks_ in found for p in peaks_]
    length = sum(math.hypot(*k) for k in others) / len(others)
    allowed = (lattice.radius * lattice.cutoff / length - 1).abs() < ALIKE
    for kx, ky in others:
        cosine = (lattice.fx * kx + lattice.fy * ky).abs() / (lattice.radius * lattice.cutoff * math.hypot(kx, ky)).clamp(
            min=1e-9
        )
        allowed &= cosine < math.cos(math.radians(APART_DEG))
    best = peaks(corr, group, 1, allowed=allowed)
    return best if best[0].height >= GUIDED else []


def _turned(found: Sequence[Peak]) -> bool:
    """Return whether carriers point in different directions; those of an object's own stripes that move do not."""
    directions = [math.atan2(p.k_per_um[1], p.k_per_um[0]) for p in found]
    apart = [abs(math.remainder(a - b, math.pi)) for i, a in enumerate(directions) for b in directions[:i]]
    return not apart or max(apart) > math.radians(APART_DEG)


def _refuse_other_order(corr: Correlations, layout: Layout, as_set: int) -> None:
    swapped = [list(range(a, layout.frames, layout.angles)) for a in range(layout.angles)]
    found = [peaks(corr, group, 1)[0] for group in swapped]
    if all(p.height >= CLEAR for p in found) and _turned(found):
        raise InputError(
            f"raw frames should be ordered angle by angle (or as frame_order says), found carriers at {as_set} of "
            f"{layout.angles} angles so, but at all of them with angles and phases swapped; "
            "set frame_order=pa (or ap, if it is pa)"
        )


def words(carrier: Carrier, doubtful: bool = False) -> str:
    """Return a carrier's verdict, starting with "clear" when there is nothing to do about it.

    Parameters
    ----------
    doubtful : bool
        Another place explains the frames nearly as well.
    """
    if carrier.modulation > IMPOSSIBLE_MODULATION:
        return f"modulation of {carrier.modulation:.2f} can't be; check wavelength_um, na and the pixel size"
    if carrier.modulation < WEAK_MODULATION:
        return "modulation too weak to gain resolution; check focus, polarisation and coherence of the illumination"
    if carrier.peak_to_noise < CLEAR:
        return "found but weak, phases are uncertain; more light or the average of several images would help"
    if doubtful:
        return "uncertain, another place explains the frames nearly as well; more light or an average of images would help"
    uneven = _unevenness_deg(carrier)
    if uneven > STRANGE_DEG:
        return (
            f"found, but the phase steps are up to {uneven:.0f} degrees off even ones; check angles, phases and frame_order"
        )
    return f"clear, though the phase steps are up to {uneven:.0f} degrees off even ones" if uneven > UNEVEN_DEG else "clear"


def odd(lengths: Sequence[float], tolerance: float) -> list[bool]:
    """Return for each |k| whether it differs from the middle of all by more than a share; of two, both do."""
    if not lengths:
        return []
    middle = (statistics.median_low(lengths), statistics.median_high(lengths))
    return [max(abs(length / m - 1) for m in middle) > tolerance for length in lengths]


def compared(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Return groups of stripes, with no clear verdict on a carrier that is longer or shorter than the others."""
    single = [g.carriers[0].k_magnitude_per_um for g in groups if len(g.carriers) == 1]
    differs = iter(odd(single, OTHER_PERIOD))
    told = []
    for group in groups:
        if len(group.carriers) == 1 and next(differs) and group.carriers[0].verdict.startswith("clear"):
            verdict = "its period differs from the other angles' by more than 10 %, which one grating does not do"
            group = group.model_copy(update={"carriers": (group.carriers[0].model_copy(update={"verdict": verdict}),)})
        told.append(group)
    return tuple(told)


def missing(angle: int) -> str:
    """Return the verdict on an angle without carrier."""
    return f"no pattern at angle {angle + 1}; it adds to the noise of the result but not to its resolution"


def verdict(calibration: Calibration, remark: str = "") -> str:
    """Return the whole calibration's verdict."""
    carriers = [c for g in calibration.groups for c in g.carriers]
    expected = 3 if calibration.pattern == "hexagonal" else len(calibration.groups)
    clear = sum(c.verdict.startswith("clear") for c in carriers)
    parts = [f"pattern found: {len(carriers)} of {expected} carriers, {clear} clear"]
    lengths = [c.k_magnitude_per_um for c in carriers]
    if lengths and max(lengths) > 1.15 * min(lengths):
        parts.append("their periods differ by more than 15 %, which one grating does not do")
    parts += [g.verdict for g in calibration.groups if g.verdict]
    return "; ".join([*parts, remark] if remark else parts)


def _unevenness_deg(carrier: Carrier) -> float:
    """Return how far phases are from even steps, in degrees, whatever multiple of the smallest step they advance by."""
    count = len(carrier.phases_rad)
    phases = torch.tensor(carrier.phases_rad, dtype=torch.float64)
    steps = 2 * math.pi / count * torch.arange(count, dtype=torch.float64)
    off = []
    for multiple in range(1, count):
        turned = torch.polar(torch.ones_like(phases), phases - multiple * steps)
        off.append(float((turned * turned.mean().conj()).angle().abs().max()))
    return math.degrees(min(off))
