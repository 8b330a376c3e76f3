"""Carriers: where the spectra of frames repeat the object's, displaced by the pattern's frequency.

The frames d_n and a Wiener estimate o of the object (from their mean) give G_n(k) = FFT(o . (h * d_n)), the
correlation of o displaced by k with d_n, weighted by the transfer function. Divided by its standard deviation under pure
noise it peaks at the pattern's frequencies. What all frames of a group have in common is taken out first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from napari_recon.engines.sim.classical.spectra import Spectra

#: Annulus of the search, and the centre of the object's spectrum that regression distrusts (out-of-focus light), in fc.
NEAREST, FARTHEST, CENTRE = 0.18, 1.2, 0.08
#: The object's spectrum is used up to here, in units of fc.
USED = 0.95
#: Power of the object's mean spectrum that the search divides by: 0 is best against noise, 1 against its own structure.
WHITEN = 0.5
#: Maxima around a carrier that may be the true one, over the highest.
RIVAL = 0.75


class Peak(NamedTuple):
    """A candidate carrier.

    Attributes
    ----------
    k_per_um : tuple of float
        (kx, ky).
    height : float
        Over the median of the annulus.
    phases : Tensor
        (P,) complex128 of magnitude 1, phases of the frames' correlations, advancing evenly.
    """

    k_per_um: tuple[float, float]
    height: float
    phases: Tensor


@dataclass
class Correlations:
    """Correlations of every frame with the displaced object.

    Attributes
    ----------
    products : Tensor
        (N, Yw, Xw) float32, o times the frames filtered with the transfer function.
    g : Tensor
        (N, Yw, Xw // 2 + 1) complex64, their spectra.
    sigma : Tensor
        (Yw, Xw // 2 + 1), standard deviation of g under noise alone.
    gains : Tensor
        (N,) illumination of each frame, float64.
    """

    spectra: Spectra
    products: Tensor
    g: Tensor
    sigma: Tensor
    gains: Tensor

    def group(self, frames: list[int]) -> Tensor:
        """Return (P, Yw, Xw // 2 + 1): what the frames of a group do not have in common, in units of the noise."""
        share = self._share(frames)
        g = self.g[frames]
        common = torch.einsum("p,pyx->yx", share[1].to(g), g)
        return (g - share[0].to(g)[:, None, None] * common) / self.sigma

    def product(self, frames: list[int], phases: Tensor) -> Tensor:
        """Return (Yw, Xw) complex64: the frames' products, what is common taken out, added in phase."""
        share = self._share(frames)
        weights = phases.conj() - (phases.conj() * share[0]).sum() * share[1]
        pairs = torch.stack([weights.real, weights.imag]).to(self.products)
        real, imaginary = torch.einsum("cp,pyx->cyx", pairs, self.products[frames])
        return torch.complex(real, imaginary)

    def _share(self, frames: list[int]) -> tuple[Tensor, Tensor]:
        """Return the group's gains, and the weights of the frames in the least-squares estimate of what is common."""
        gains = self.gains[frames]
        return gains, gains / (gains * gains).sum()


def correlations(spectra: Spectra) -> Correlations:
    """Correlate all frames with the object their mean shows."""
    mean = spectra.d.mean(dim=0)
    band = (spectra.radius > CENTRE) & (spectra.radius < 0.8)
    power = torch.where(band, spectra.count * (mean.real**2 + mean.imag**2), mean.real.new_zeros(()))
    shared = torch.where(band, spectra.count * mean, mean.new_zeros(()))
    gains = (torch.einsum("nyx,yx->n", spectra.d, shared.conj()).real / power.sum().clamp(min=1e-30)).double()
    object_spectrum = object_of(spectra, mean, spectra.noise / spectra.d.shape[0], 0.0, WHITEN)
    o = torch.fft.irfft2(object_spectrum, s=spectra.shape_yx, norm="forward")
    products = torch.fft.irfft2(spectra.d * spectra.otf, s=spectra.shape_yx, norm="forward").mul_(o)
    g = torch.fft.rfft2(products, norm="forward")
    squares = torch.stack([object_spectrum.real**2 + object_spectrum.imag**2, spectra.otf**2]).to(g.dtype)
    both = torch.fft.irfft2(squares, s=spectra.shape_yx, norm="forward").prod(dim=0)
    variance = torch.fft.rfft2(both, norm="forward").real * spectra.noise
    top = variance[0, 0].clamp(min=1e-30)
    return Correlations(spectra, products, g, variance.clamp(min=float(top) * 1e-6).sqrt(), gains)


def object_of(spectra: Spectra, order0: Tensor, noise: float, centre: float = CENTRE, whiten: float = 0.0) -> Tensor:
    """Return the object's spectrum as far as order 0 shows it: divided by the transfer function, shrunk as noise demands.

    The Wiener factor comes from the power over rings. With it, regression on the estimate is unbiased, although the
    estimate itself is noisy: its own power and its correlation with the truth are equal.
    """
    rings = (spectra.radius * (spectra.cutoff / spectra.step_per_um)).long()
    number = int(rings[spectra.radius < 1].max()) + 2 if bool((spectra.radius < 1).any()) else 1
    flat = rings.clamp(max=number - 1).flatten()
    count = spectra.count.expand(rings.shape).flatten()
    total = torch.zeros(number, device=flat.device).index_add_(0, flat, count * (order0.real**2 + order0.imag**2).flatten())
    mean = total / torch.zeros(number, device=flat.device).index_add_(0, flat, count)
    shrink = (1 - noise / mean.clamp(min=1e-30)).clamp(min=0)[flat].reshape(rings.shape)
    if whiten:
        shrink = shrink * (mean.clamp(min=1e-30).sqrt()[flat].reshape(rings.shape) / spectra.otf.clamp(min=1e-4)) ** -whiten
    used = (spectra.radius >= centre) & (spectra.radius < USED)
    return torch.where(used, order0 * (shrink / spectra.otf.clamp(min=1e-4)), order0.new_zeros(()))


def peaks(
    corr: Correlations, frames: list[int], number: int, apart: float = 0.12, allowed: Tensor | None = None
) -> list[Peak]:
    """Return the ``number`` highest peaks of a group, at least ``apart`` fc from each other, where it is allowed."""
    spectra = corr.spectra
    scores = corr.group(frames)
    count = len(frames)
    harmonics = torch.fft.fft(scores, dim=0, norm="ortho")
    # even phases fill one harmonic of each conjugate pair; collinear ones (movement, bleaching, mixed angles) both alike
    round_part = (harmonics[1:].abs() - harmonics[1:].flip(0).abs()).clamp_(min=0)
    power, which = round_part.square_().max(dim=0)
    annulus = (spectra.radius > NEAREST) & (spectra.radius < FARTHEST)
    # column 0 holds both +k and -k
    annulus[power.shape[0] // 2 :, 0] = False
    whole = (harmonics[1:].real ** 2 + harmonics[1:].imag ** 2).sum(dim=0)[annulus]
    middle = math.sqrt(max(float(whole.median()) * 2 / (count - 1), 1e-30))
    power = torch.where(annulus if allowed is None else annulus & allowed, power, power.new_zeros(()))
    steps = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)

    found: list[Peak] = []
    for _ in range(number):
        y, x = divmod(int(power.argmax()), power.shape[1])
        harmonic = int(which[y, x]) + 1
        phases = torch.polar(torch.ones_like(steps), harmonic * steps + float(harmonics[harmonic, y, x].angle()))
        kx, ky = float(spectra.fx[0, x]), float(spectra.fy[y, 0])
        found.append(Peak((kx, ky), math.sqrt(float(power[y, x])) / middle, phases))
        for sign in (1, -1):
            power[torch.hypot(spectra.fy - sign * ky, spectra.fx - sign * kx) < apart * spectra.cutoff] = 0
    return found


def zoomed(corr: Correlations, frames: list[int], peak: Peak) -> list[tuple[float, float]]:
    """Return (kx, ky) of all high maxima around a peak, the highest first, to a thousandth of a Fourier pixel.

    The object's own structure can raise a side maximum above the true one; which is which only the regression tells.
    """
    spectra = corr.spectra
    product = corr.product(frames, peak.phases)
    pixel = (float(spectra.fy[1, 0]), float(spectra.fx[0, 1]))

    def power(k: tuple[float, float], offsets: Tensor) -> Tensor:
        ys, xs = k[1] + offsets * pixel[0], k[0] + offsets * pixel[1]
        left = torch.polar(torch.ones_like(spectra.y_um), -2 * math.pi * ys[None] * spectra.y_um).T.to(product.dtype)
        right = torch.polar(torch.ones_like(spectra.x_um), -2 * math.pi * xs[:, None] * spectra.x_um).T.to(product.dtype)
        return ((left @ product) @ right).abs()

    around = torch.linspace(-2.5, 2.5, 16, dtype=torch.float64, device=product.device)
    wide = power(peak.k_per_um, around)
    crest = (wide == torch.nn.functional.max_pool2d(wide[None], 3, 1, 1)[0]) & (wide > RIVAL * wide.max())
    found = []
    for y, x in crest.nonzero().tolist():
        k, height = (peak.k_per_um[0] + float(around[x]) * pixel[1], peak.k_per_um[1] + float(around[y]) * pixel[0]), 0.0
        for half_width in (0.35, 0.07, 0.015):
            offsets = torch.linspace(-half_width, half_width, 11, dtype=torch.float64, device=product.device)
            fine = power(k, offsets)
            height = float(fine.max())
            at = divmod(int(fine.argmax()), len(offsets))
            k = (k[0] + float(offsets[at[1]]) * pixel[1], k[1] + float(offsets[at[0]]) * pixel[0])
        found.append((height, k))
    return [k for _, k in sorted(found, reverse=True)]
