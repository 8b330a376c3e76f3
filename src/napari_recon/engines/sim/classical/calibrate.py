"""Blind calibration: carriers, phases, modulation and intensities of a raw stack, from optics alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.calibration import Calibration, Carrier, Group
from napari_recon.engines.sim.classical import quality
from napari_recon.engines.sim.classical.carriers import Correlations, Peak, correlations, object_of, peaks, zoomed
from napari_recon.engines.sim.classical.choice import Choice, Place, Start, chosen
from napari_recon.engines.sim.classical.noise import camera_offset as estimated_offset
from napari_recon.engines.sim.classical.noise import checked
from napari_recon.engines.sim.classical.otf import CircularOtf, Transfer
from napari_recon.engines.sim.classical.regression import Fit, Samples
from napari_recon.engines.sim.classical.spectra import Spectra, spectra_of
from napari_recon.engines.sim.layout import Layout
from napari_recon.engines.sim.params import Optics

#: What can't be measured better, because the model is not that exact: phases in rad, gains.
PHASE_FLOOR, GAIN_FLOOR = 0.01, 0.004
#: Deviations are believed when their mean square is this many times what their errors explain.
BELIEVED = 4.0
#: Gauss-Newton steps of the carriers at most; most stacks need two.
STEPS = 6
#: Peaks of one angle that are compared at most, how high they are over the highest, and Fourier pixels between them.
CANDIDATES, SIMILAR, BESIDE = 5, 0.6, 2.5
#: Relative distance from the other angles' |k| within which an angle's carrier is looked for.
ALIKE = 0.05


def calibrate(
    frames: Tensor,
    optics: Optics,
    layout: Layout,
    *,
    camera_offset: float | Literal["auto"] = "auto",
    transfer: Transfer | None = None,
    token: CancelToken | None = None,
) -> Calibration:
    """Find the pattern of a raw stack.

    Parameters
    ----------
    frames : Tensor
        (N, Y, X) float32, angle-major, counts.
    camera_offset : float or "auto"
        Counts; auto takes the level of the darkest places.
    transfer : callable, optional
        Measured transfer function; a circular aperture otherwise.

    Raises
    ------
    InputError
        Frames that can't be used, no pattern, or a pattern that fits only the other order of angles and phases.
    """
    remark = checked(frames, layout)
    otf = transfer or CircularOtf(optics.cutoff_per_um)
    offset = estimated_offset(frames) if camera_offset == "auto" else float(camera_offset)
    spectra = spectra_of(frames - offset, optics, otf)
    light = float(frames.mean()) - offset
    if camera_offset == "auto" and light < 0.5 * spectra.noise_power:
        # an even field has no dark places, but noise that says how much light there is
        offset = max(0.0, offset + light - spectra.noise_power)
        spectra = spectra_of(frames - offset, optics, otf)
    _check(token)
    corr = correlations(spectra)
    groups, number = _groups(layout)
    starts = []
    for group, good in zip(groups, quality.accepted(corr, groups, layout, number), strict=True):
        places = [_places(corr, group, peak, c) for c, peak in enumerate(good)]
        rivals = [place for _, *others in places for place in others]
        lower = partial(_lower, corr, group) if number == 1 and good else None
        firsts = [first for first, *_ in places]
        if number == 1 and good:
            rivals += _lower(corr, group, (), SIMILAR, good[0])
        starts.append(Start(group, np.array([p.k for p in firsts]).reshape(-1, 2), [p.height for p in good], rivals, lower))
        _check(token)
    return _settled(spectra, starts, optics, layout, offset, tuple(frames.shape[-2:]), remark, token)


def refine(
    calibration: Calibration,
    frames: Tensor,
    *,
    transfer: Transfer | None = None,
    steps: int = STEPS,
    token: CancelToken | None = None,
) -> Calibration:
    """Fit a known pattern again to other frames of the same series: phases, intensities, and a little drift of k.

    Parameters
    ----------
    frames : Tensor
        (N, Y, X) float32, angle-major, counts.
    steps : int
        Gauss-Newton steps of k at most; 0 keeps k.
    """
    layout = Layout(calibration.angles, calibration.phases, calibration.pattern)
    remark = checked(frames, layout)
    optics = Optics(calibration.na, calibration.wavelength_um, calibration.pixel_um)
    spectra = spectra_of(frames - calibration.camera_offset, optics, transfer or CircularOtf(optics.cutoff_per_um))
    starts = [
        Start(
            list(g.frames), np.array([c.k_per_um for c in g.carriers]).reshape(-1, 2), [c.peak_to_noise for c in g.carriers]
        )
        for g in calibration.groups
    ]
    shape = (int(frames.shape[-2]), int(frames.shape[-1]))
    return _settled(spectra, starts, optics, layout, calibration.camera_offset, shape, remark, token, steps)


def _settled(
    spectra: Spectra,
    starts: Sequence[Start],
    optics: Optics,
    layout: Layout,
    offset: float,
    shape_yx: tuple[int, ...],
    remark: str,
    token: CancelToken | None,
    steps: int = STEPS,
) -> Calibration:
    """Fit all groups twice, the second time with order 0 freed of what pattern and intensities left in the mean."""
    samples = Samples(spectra)
    order0 = np.full(len(spectra.d), 1.0 / len(spectra.d))
    choices = chosen(samples, starts, order0, _object(spectra, order0), min(steps, 1))
    _check(token)
    order0 = _order0_weights(starts, [c.fit for c in choices])
    o = _object(spectra, order0)
    fits = []
    for choice in choices:
        fits.append(choice.problem.fit(order0, o, steps, 3))
        _check(token)
    gains = np.concatenate([f.gains for f in fits])
    gains /= gains.mean()
    error = np.hypot(np.concatenate([f.gain_error for f in fits]), GAIN_FLOOR)
    if float(np.mean(((gains - 1) / error) ** 2)) < BELIEVED:
        gains = np.ones_like(gains)
    groups = tuple(_group(number, c, f) for number, (c, f) in enumerate(zip(choices, fits, strict=True)))
    if layout.pattern == "stripes":
        groups = quality.compared(groups)
    found = Calibration(
        na=optics.na,
        wavelength_um=optics.wavelength_um,
        pixel_um=optics.pixel_um,
        shape_yx=(shape_yx[0], shape_yx[1]),
        angles=layout.angles,
        phases=layout.phases,
        pattern=layout.pattern,
        camera_offset=offset,
        gains=tuple(float(g) for g in gains),
        groups=groups,
        noise_power=spectra.noise_power,
    )
    return found.model_copy(update={"verdict": quality.verdict(found, remark)})


def _object(spectra: Spectra, order0: NDArray[np.float64]) -> Tensor:
    """Return the object (Y, X) on the regression lattice from weights (N,) of all frames in order 0."""
    shared = torch.einsum("n,nyx->yx", torch.from_numpy(order0).to(spectra.d), spectra.d)
    found = object_of(spectra.search, shared, spectra.noise * float((order0**2).sum()))
    return spectra.regression.image(spectra.regression.take(found, spectra.search.shape_yx))


def _places(corr: Correlations, group: list[int], peak: Peak, carrier: int = 0) -> list[Place]:
    """Return the maxima around a peak."""
    return [Place(np.array(k), peak.height, carrier) for k in zoomed(corr, group, peak)]


def _lower(
    corr: Correlations, group: list[int], lengths: Sequence[float], share: float = 0.3, known: Peak | None = None
) -> list[Place]:
    """Return where a group's peaks are, but a known one, that reach a share of its highest; of some |k| only, if given."""
    lattice, allowed = corr.lattice, None
    for length in lengths:
        ring = (lattice.radius * (lattice.cutoff / length) - 1).abs() < ALIKE
        allowed = ring if allowed is None else allowed | ring
    apart = BESIDE * lattice.step_per_um / lattice.cutoff
    found = peaks(corr, group, CANDIDATES, apart, allowed, share)
    # where light is scarce, the regression alone follows noise
    high = [p for p in found if p.height >= quality.FOUND and (known is None or p.k_per_um != known.k_per_um)]
    return [place for p in high for place in _places(corr, group, p)]


def _order0_weights(starts: Sequence[Start], fits: Sequence[Fit]) -> NDArray[np.float64]:
    """Return the weights of all frames that leave order 0 and nothing of the pattern; the groups count alike."""
    weights = np.zeros(sum(len(s.frames) for s in starts))
    for start, f in zip(starts, fits, strict=True):
        mixing = np.concatenate([f.gains[None], (f.gains * f.amplitudes).real, (f.gains * f.amplitudes).imag]).T
        weights[start.frames] = np.linalg.pinv(mixing, rcond=1e-2)[0] / len(starts)
    return weights


def _group(number: int, choice: Choice, f: Fit) -> Group:
    """Return the group with phases as measured, or with even steps where the measurement does not contradict them."""
    carriers = []
    for c, k in enumerate(f.k):
        amplitudes, error = f.amplitudes[c], f.amplitude_error[c]
        count = len(amplitudes)
        steps = 2 * np.pi * np.outer(np.arange(count), np.arange(count)) / count
        harmonics = np.exp(-1j * steps) @ amplitudes
        best = int(np.abs(harmonics[1:]).argmax()) + 1
        first = harmonics[best]
        if best > count // 2:
            # the same pattern with k and phases of the other sign
            k, amplitudes, first, best = -k, amplitudes.conj(), first.conj(), count - best
        even = steps[best] + np.angle(first)
        off = np.angle(amplitudes * np.exp(-1j * even))
        sigma = np.hypot(error / np.maximum(np.abs(amplitudes), 1e-6), PHASE_FLOOR)
        phases = even if float((off**2 / sigma**2).sum()) / max(count - 1, 1) < BELIEVED else np.angle(amplitudes)
        modulation = float((amplitudes * np.exp(-1j * phases)).real.mean())
        carrier = Carrier(
            k_per_um=(float(k[0]), float(k[1])),
            modulation=modulation,
            phases_rad=tuple(float(p) for p in phases % (2 * np.pi)),
            peak_to_noise=choice.heights[c],
        )
        carriers.append(carrier.model_copy(update={"verdict": quality.words(carrier, choice.doubtful)}))
    return Group(
        frames=tuple(choice.start.frames),
        carriers=tuple(carriers),
        verdict="" if carriers else quality.missing(number),
        misfit=f.residual,
    )


def _groups(layout: Layout) -> tuple[list[list[int]], int]:
    """Return the frames of each group and the number of carriers in each."""
    if layout.pattern == "hexagonal":
        return [list(range(layout.frames))], 3
    return [list(range(a * layout.phases, (a + 1) * layout.phases)) for a in range(layout.angles)], 1


def _check(token: CancelToken | None) -> None:
    if token is not None:
        token.check()
