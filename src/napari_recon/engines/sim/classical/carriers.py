"""Carriers: where the spectra of frames repeat the object's, displaced by the pattern's frequency.

The frames d_n and a Wiener estimate o of the object (from their mean) give G_n(k) = FFT(o . (h * d_n)), the
correlation of o displaced by k with d_n, weighted by the transfer function. Divided by its standard deviation under pure
noise it peaks at the pattern's frequencies. What all frames of a group have in common is taken out first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from napari_recon.engines.sim.classical.spectra import Lattice, Spectra

#: Annulus of the search, and the centre of the object's spectrum that regression distrusts (out-of-focus light), in fc.
NEAREST, FARTHEST, CENTRE = 0.18, 1.2, 0.08
#: The object's spectrum is used up to here, in units of fc.
USED = 0.95
#: Power of the object's mean spectrum that the search divides by: 0 is best against noise, 1 against its own structure.
WHITEN = 0.5
#: Maxima around a carrier that may be the true one, over the highest.
RIVAL = 0.75
#: Power of a correlation below this share of the highest one's is no carrier, however far above the noise.
FAINT = 1e-4


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
        (N, Y, X) float32, o times the frames filtered with the transfer function.
    g : Tensor
        (N, Y, X // 2 + 1) complex64, their spectra.
    sigma : Tensor
        (Y, X // 2 + 1), standard deviation of g under noise alone.
    gains : Tensor
        (N,) illumination of each frame, float64.
    """

    lattice: Lattice
    products: Tensor
    g: Tensor
    sigma: Tensor
    gains: Tensor
    _landscapes: dict[tuple[int, ...], Landscape] = field(default_factory=dict)

    def landscape(self, frames: list[int]) -> Landscape:
        """Return the landscape of a group, kept for when it is looked at again."""
        if tuple(frames) not in self._landscapes:
            self._landscapes[tuple(frames)] = landscape(self, frames)
        return self._landscapes[tuple(frames)]

    def harmonics(self, frames: list[int]) -> Tensor:
        """Return (P - 1, Y, X // 2 + 1): g over the frames' index, transformed, what is common taken out, over the noise."""
        gains, share = self._share(frames)
        count = len(frames)
        index = torch.arange(count, dtype=torch.float64, device=gains.device)
        turns = torch.outer(index[1:], index) * (-2 * math.pi / count)
        transform = torch.polar(torch.full_like(turns, count**-0.5), turns)
        transform = transform - torch.outer((transform * gains).sum(dim=1), share.to(transform))
        g = self.g[frames]
        return (transform.to(g) @ g.flatten(1)).reshape(count - 1, *g.shape[1:]).div_(self.sigma)

    def product(self, frames: list[int], phases: Tensor) -> Tensor:
        """Return (Y, X) complex64: the frames' products, what is common taken out, added in phase."""
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
    lattice, d = spectra.search, spectra.d
    mean = d.mean(dim=0)
    band = (lattice.radius > CENTRE) & (lattice.radius < 0.8)
    shared = torch.where(band, lattice.count * mean, mean.new_zeros(()))
    # real parts of the sums of d times the conjugate of shared
    sums = torch.view_as_real(d).flatten(1) @ torch.view_as_real(shared).flatten()
    power = (torch.view_as_real(mean).flatten() * torch.view_as_real(shared).flatten()).sum()
    gains = (sums / power.clamp(min=1e-30)).double()
    object_spectrum = object_of(lattice, mean, spectra.noise / d.shape[0], whiten=WHITEN)
    products = lattice.image(d * lattice.otf).mul_(lattice.image(object_spectrum))
    g = torch.fft.rfft2(products, norm="forward")
    squares = torch.stack([object_spectrum.real**2 + object_spectrum.imag**2, lattice.otf**2]).to(g.dtype)
    variance = torch.fft.rfft2(lattice.image(squares).prod(dim=0), norm="forward").real * spectra.noise
    top = variance[0, 0].clamp(min=1e-30)
    return Correlations(lattice, products, g, variance.clamp(min=float(top) * 1e-6).sqrt(), gains)


def object_of(lattice: Lattice, order0: Tensor, noise: float, whiten: float = 0.0) -> Tensor:
    """Return the object's spectrum as far as order 0 shows it: divided by the transfer function, shrunk as noise demands.

    The Wiener factor comes from the power over rings. With it, regression on the estimate is unbiased, although the
    estimate itself is noisy: its own power and its correlation with the truth are equal.

    Parameters
    ----------
    order0 : Tensor
        (Y, X // 2 + 1).
    noise : float
        Power of the noise in each frequency of it.
    whiten : float
        Power of the object's mean spectrum to divide by.
    """
    rings = (lattice.radius * (lattice.cutoff / lattice.step_per_um)).long()
    number = int(lattice.cutoff / lattice.step_per_um) + 2
    flat = rings.clamp_(max=number - 1).flatten()
    weight = lattice.count.expand(rings.shape).flatten()
    total = torch.bincount(flat, weights=weight * (order0.real**2 + order0.imag**2).flatten(), minlength=number)
    mean = (total / torch.bincount(flat, weights=weight, minlength=number)).clamp(min=1e-30)
    shrink = (1 - noise / mean).clamp(min=0)
    factor = shrink.float()[flat].reshape(rings.shape) / lattice.otf.clamp(min=1e-4)
    if whiten:
        factor = factor * (mean.sqrt().float()[flat].reshape(rings.shape) / lattice.otf.clamp(min=1e-4)) ** -whiten
    return order0 * torch.where(lattice.radius < USED, factor, factor.new_zeros(()))


class Landscape(NamedTuple):
    """Where a group's carriers may be.

    Attributes
    ----------
    harmonics : Tensor
        (P - 1, Y, X // 2 + 1), see `Correlations.harmonics`.
    heights : Tensor
        (Y, X // 2 + 1), squared, of the harmonic whose index ``which`` has; 0 outside the annulus.
    weights : Tensor
        (Y, X // 2 + 1), 1, and less where the correlation is too faint for a carrier's.
    middle : float
        Median of the annulus.
    """

    harmonics: Tensor
    heights: Tensor
    which: Tensor
    weights: Tensor
    middle: float


def landscape(corr: Correlations, frames: list[int]) -> Landscape:
    """Return the landscape of a group."""
    lattice = corr.lattice
    harmonics = corr.harmonics(frames)
    # even phases fill one harmonic of each conjugate pair; collinear ones (movement, bleaching, mixed angles) both alike
    magnitudes = harmonics.abs()
    round_part = (magnitudes - magnitudes.flip(0)).clamp_(min=0)
    power, which = round_part.square_().max(dim=0)
    annulus = (lattice.radius > NEAREST) & (lattice.radius < FARTHEST)
    # column 0 holds both +k and -k
    annulus[power.shape[0] // 2 :, 0] = False
    whole = magnitudes.square().sum(dim=0)[annulus][::3]
    middle = math.sqrt(max(float(whole.median()) * 2 / (len(frames) - 1), 1e-30))
    power = torch.where(annulus, power, power.new_zeros(()))
    # any two bright frequencies make a peak far above the noise; next to the carrier's own it is tiny
    least = FAINT * float((power * corr.sigma.square()).max())
    return Landscape(harmonics, power, which, 1 / (1 + least / corr.sigma.square()), middle)


def peaks(
    corr: Correlations,
    frames: list[int],
    number: int,
    apart: float = 0.12,
    allowed: Tensor | None = None,
    share: float = 0.0,
) -> list[Peak]:
    """Return a group's highest peaks.

    Parameters
    ----------
    number : int
        How many at most; there is always one.
    apart : float
        Distance from each other at least, in fc.
    allowed : Tensor, optional
        (Y, X // 2 + 1) bool, where peaks are looked for.
    share : float
        Of the highest one's height that the others have at least.
    """
    lattice, reach = corr.lattice, apart * corr.lattice.cutoff
    land = corr.landscape(frames)
    power = land.heights * (land.weights if allowed is None else land.weights * allowed)
    steps = torch.arange(len(frames), dtype=torch.float64) * (2 * math.pi / len(frames))
    found: list[Peak] = []
    for _ in range(number):
        y, x = divmod(int(power.argmax()), power.shape[1])
        height = math.sqrt(float(land.heights[y, x])) / land.middle
        if found and height < share * found[0].height:
            break
        harmonic = int(land.which[y, x])
        first = float(land.harmonics[harmonic, y, x].angle())
        kx, ky = float(lattice.fx[0, x]), float(lattice.fy[y, 0])
        found.append(Peak((kx, ky), height, torch.polar(torch.ones_like(steps), (harmonic + 1) * steps + first)))
        for sign in (1, -1) if len(found) < number else ():
            rows, columns = (
                ((f.flatten() - sign * at).abs() < reach).nonzero()[:, 0] for f, at in ((lattice.fy, ky), (lattice.fx, kx))
            )
            away = torch.hypot(lattice.fy[rows] - sign * ky, lattice.fx[:, columns] - sign * kx) >= reach
            power[rows[:, None], columns] *= away
    return found


def zoomed(corr: Correlations, frames: list[int], peak: Peak) -> list[tuple[float, float]]:
    """Return (kx, ky) of all high maxima around a peak, the highest first, to a hundredth of a Fourier pixel.

    The object's own structure can raise a side maximum above the true one; which is which only the regression tells.
    """
    lattice = corr.lattice
    product = corr.product(frames, peak.phases)
    pixel = (float(lattice.fy[1, 0]), float(lattice.fx[0, 1]))

    def power(k: tuple[float, float], offsets: Tensor) -> Tensor:
        ys, xs = k[1] + offsets * pixel[0], k[0] + offsets * pixel[1]
        left = torch.polar(torch.ones_like(lattice.y_um), -2 * math.pi * ys[None] * lattice.y_um).T.to(product.dtype)
        right = torch.polar(torch.ones_like(lattice.x_um), -2 * math.pi * xs[:, None] * lattice.x_um).T.to(product.dtype)
        return ((left @ product) @ right).abs()

    around = torch.linspace(-2.5, 2.5, 16, dtype=torch.float64, device=product.device)
    wide = power(peak.k_per_um, around)
    crest = (wide == torch.nn.functional.max_pool2d(wide[None], 3, 1, 1)[0]) & (wide > RIVAL * wide.max())
    found = []
    for y, x in crest.nonzero().tolist():
        k, height = (peak.k_per_um[0] + float(around[x]) * pixel[1], peak.k_per_um[1] + float(around[y]) * pixel[0]), 0.0
        for half_width in (0.35, 0.07):
            offsets = torch.linspace(-half_width, half_width, 11, dtype=torch.float64, device=product.device)
            fine = power(k, offsets)
            height = float(fine.max())
            at = divmod(int(fine.argmax()), len(offsets))
            k = (k[0] + float(offsets[at[1]]) * pixel[1], k[1] + float(offsets[at[0]]) * pixel[0])
        found.append((height, k))
    return [k for _, k in sorted(found, reverse=True)]
