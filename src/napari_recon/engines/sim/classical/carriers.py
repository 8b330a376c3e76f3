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


class Peak(NamedTuple):
    """A candidate carrier.

    Attributes
    ----------
    k_per_um : tuple of float
        (kx, ky).
    height : float
        Of the round part, over the median of the whole in the annulus.
    roundness : float
        1 when the frames' phases are spread evenly, 0 when all lie on one line as with equal phases, with movement, or
        when the frames belong to different angles.
    phases : Tensor
        (P,) complex128, correlation of each frame.
    """

    k_per_um: tuple[float, float]
    height: float
    roundness: float
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
    whole = (scores.real**2 + scores.imag**2).sum(dim=0)
    # collinear phases (movement, bleaching, frames of different angles) do not count
    power = whole - (scores * scores).sum(dim=0).abs()
    annulus = (spectra.radius > NEAREST) & (spectra.radius < FARTHEST)
    # column 0 holds both +k and -k
    annulus[power.shape[0] // 2 :, 0] = False
    power = torch.where(annulus if allowed is None else annulus & allowed, power, power.new_zeros(()))
    middle = math.sqrt(max(float(whole[annulus].median()), 1e-30))
    found: list[Peak] = []
    for _ in range(number):
        at = divmod(int(power.argmax()), power.shape[1])
        k = (float(spectra.fx[0, at[1]]), float(spectra.fy[at[0], 0]))
        vector = scores[:, at[0], at[1]].to(torch.complex128)
        found.append(Peak(k, math.sqrt(float(power[at])) / middle, roundness(vector), vector))
        for sign in (1, -1):
            near = torch.hypot(spectra.fy - sign * k[1], spectra.fx - sign * k[0]) < apart * spectra.cutoff
            power = power.masked_fill(near, 0.0)
    return found


def roundness(vector: Tensor) -> float:
    """Return 1 - |sum x^2| / sum |x|^2 of the frames' correlations x: 1 for even phases, 0 for collinear ones."""
    total = float((vector.abs() ** 2).sum())
    return 1.0 - float((vector * vector).sum().abs()) / total if total > 0 else 0.0


def zoomed(corr: Correlations, frames: list[int], peak: Peak) -> tuple[float, float]:
    """Return (kx, ky) of the peak to a thousandth of a Fourier pixel, by matrix transforms around it in three levels."""
    spectra = corr.spectra
    product = corr.product(frames, peak.phases)
    kx, ky = peak.k_per_um
    step = (float(spectra.fy[1, 0]), float(spectra.fx[0, 1]))
    offsets = torch.linspace(-1, 1, 9, dtype=torch.float64, device=product.device)
    for _ in range(4):
        ys, xs = ky + offsets * step[0], kx + offsets * step[1]
        left = torch.polar(torch.ones_like(spectra.y_um), -2 * math.pi * ys[None] * spectra.y_um).T.to(product.dtype)
        right = torch.polar(torch.ones_like(spectra.x_um), -2 * math.pi * xs[:, None] * spectra.x_um).T.to(product.dtype)
        power = ((left @ product) @ right).abs()
        at = divmod(int(power.argmax()), power.shape[1])
        ky, kx = float(ys[at[0]]), float(xs[at[1]])
        step = (step[0] / 5, step[1] / 5)
    return kx, ky
