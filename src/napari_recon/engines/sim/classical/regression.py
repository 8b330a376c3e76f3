"""Phases, modulation and intensity of every frame, and the carriers themselves, by regression.

A frame of a group is modelled as D_n = a_n S + sum_c (b_cn T_c+ + b*_cn T_c-): S is the order 0 all frames share,
T_c+-(f) = H(f) O(f -+ k_c) / 2 are the displaced spectra of the object seen in it. Then a_n is the frame's intensity and
b_cn = a_n m e^{i phi_n}: absolute phases without assuming steps. A change of k adds the derivatives of T; solving for it
too (Gauss-Newton) moves k to where all frames agree best.

Beyond the cut-off O is unknown, and near zero frequency it can't be trusted (out-of-focus light, camera offset). There
T_c+- are free unknowns, estimated from the frames in turn with everything else (block descent on one least-squares sum):
left out they would be a noise far above that of the camera.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_recon.engines.sim.classical.carriers import CENTRE, USED
from napari_recon.engines.sim.classical.spectra import Spectra

Array = NDArray[np.float64]
#: Frequencies used, at most: a large field has more than k and phases need.
SAMPLES = 24_000
#: O is taken as known up to here, in units of fc.
KNOWN = 0.85


#: Carriers have settled when they move by less than this share of their standard deviation.
SETTLED = 0.3
#: Fourier pixels that a carrier may move from where it was seen.
REACH = 1.0


class Fit(NamedTuple):
    """What regression says about one group.

    Attributes
    ----------
    k : ndarray
        (C, 2), (kx, ky) of each carrier, cycles/um.
    gains : ndarray
        (P,) a_n.
    amplitudes : ndarray
        (C, P) complex, m e^{i phi_n}.
    gain_error, amplitude_error : ndarray
        (P,) and (C, P), standard deviations from the residual.
    k_error : ndarray
        (C, 2), standard deviations, cycles/um.
    residual : float
        Power of the residual over that of noise.
    """

    k: Array
    gains: Array
    amplitudes: NDArray[np.complex128]
    gain_error: Array
    amplitude_error: Array
    k_error: Array
    residual: float

    @property
    def uncertainty(self) -> float:
        """Standard deviation of an amplitude over the amplitude, of the worst carrier."""
        size = np.abs(self.amplitudes).mean(axis=1)
        return float((self.amplitude_error.mean(axis=1) / np.maximum(size, 1e-6)).max(initial=0.0))


class Samples:
    """The frequencies that regression uses, of all frames, weighted for the whole plane.

    Attributes
    ----------
    used : Tensor
        (K,) indices into the half plane.
    data : Tensor
        (N, K) complex64.
    """

    def __init__(self, spectra: Spectra) -> None:
        lattice = self.lattice = spectra.regression
        self.window, self.noise = spectra.window, spectra.inner_noise
        used = ((lattice.radius > CENTRE) & (lattice.radius < USED)).flatten().nonzero()[:, 0]
        self.used = used[:: max(1, math.ceil(len(used) / SAMPLES))]
        self.root = self.chosen(lattice.count.expand(lattice.radius.shape)).sqrt()
        self.transfer = self.chosen(lattice.otf) * (0.5 * self.root)
        self.fx, self.fy = (self.chosen(f.expand(lattice.radius.shape)) for f in (lattice.fx, lattice.fy))
        self.data = self.chosen(spectra.inner) * self.root
        self.total = float(self.root.square().sum())

    def chosen(self, planes: Tensor) -> Tensor:
        """Return (..., K) of (..., Y, X // 2 + 1)."""
        return planes.flatten(-2)[..., self.used]


class Regression:
    """The least-squares problem of one group. It is solved again from where it was left when k or the object change.

    Parameters
    ----------
    samples : Samples
    frames : list of int
        Indices of the group's frames.
    k : ndarray
        (C, 2) start, cycles/um.
    centre : float
        Where O is not trusted, in units of fc.
    """

    def __init__(self, samples: Samples, frames: list[int], k: Array, centre: float = CENTRE) -> None:
        self.samples, self.k, self._start, self.centre = samples, k, k, centre
        self.data = samples.data[frames]
        self._real_data = torch.view_as_real(self.data).flatten(1)
        self._power = float(self._real_data.square().sum(dtype=torch.float64))
        self._weights: Array | None = None
        self._slopes_at: Array | None = None
        count, carriers = len(samples.used), len(k)
        self._slopes = self.data.new_zeros((carriers, 2, 2, count))
        self._hidden = torch.zeros((carriers, 2, count), dtype=torch.bool, device=self.data.device)

    def fit(self, order0: Array, o: Tensor, steps: int, rounds: int) -> Fit:
        """Fit the group.

        Parameters
        ----------
        order0 : ndarray
            (N,) weights of all frames in the shared order 0.
        o : Tensor
            (Y, X) of the regression lattice, the object.
        steps : int
            Gauss-Newton steps at most; 0 keeps k. Gains and amplitudes are those before the last one, which is small or,
            with a single step, a beginning.
        rounds : int
            Rounds of estimating the hidden parts, for each k.
        """
        self._o = o
        self._order0 = torch.from_numpy(order0).to(self.samples.data) @ self.samples.data
        self._displace()
        weights = self._solve() if self._weights is None else self._weights
        for step in range(max(steps, 1)):
            for _ in range(rounds if len(self.k) else 1):
                self._uncover(weights)
                weights = self._solve()
            variance, error = self._errors(weights)
            change, spread = self._step_of_k(weights)
            # a step beyond the peak it starts on follows noise
            if steps and bool((np.abs(self.k + change - self._start) < REACH * self.samples.lattice.step_per_um).all()):
                self.k = self.k + change
            if step + 1 >= steps or bool((change**2 <= SETTLED**2 * spread * variance).all()):
                break
            self._displace()
        self._weights, gains = weights, weights[0]
        safe = np.where(np.abs(gains) > 1e-6, gains, 1e-6)
        return Fit(
            k=self.k,
            gains=gains,
            amplitudes=np.asarray((weights[1::2] + 1j * weights[2::2]) / safe, dtype=np.complex128),
            gain_error=np.full(len(gains), error[0]),
            amplitude_error=np.hypot(error[1::2], error[2::2])[:, None] / math.sqrt(2) / np.abs(safe),
            k_error=np.sqrt(variance * spread),
            residual=variance / max(self.samples.noise, 1e-30),
        )

    def _displace(self) -> None:
        """Set T+ and T- of every carrier, (C, 2, K), their slopes in kx and ky, (C, 2, 2, K), and where they are hidden."""
        samples, lattice, k = self.samples, self.samples.lattice, self.k
        self._t = self.data.new_zeros((len(k), 2, len(samples.used)))
        # the slopes only steer k: near enough they are kept, and window and transfer function may change places
        moved = self._slopes_at is None or bool(np.abs(k - self._slopes_at).max(initial=0) > 0.1 * lattice.step_per_um)
        self._slopes_at = k if moved else self._slopes_at
        inner, outer = (self.centre * lattice.cutoff) ** 2, (KNOWN * lattice.cutoff) ** 2
        for c, (kx, ky) in enumerate(k):
            for s, sign in enumerate((1, -1)):
                squared = (samples.fx - sign * kx).square_() + (samples.fy - sign * ky).square_()
                self._hidden[c, s] = (squared < inner) | (squared > outer)
            seen, wave = ~self._hidden[c], self._wave(kx, ky)
            blurred = lattice.image(torch.fft.rfft2(wave, norm="forward") * lattice.otf)
            self._t[c] = self._both(blurred * samples.window, 0.5 * samples.root) * seen
            for axis, at in enumerate((lattice.x_um, lattice.y_um) if moved else ()):
                self._slopes[c, axis] = self._both(wave * (samples.window * at.to(wave)), samples.transfer) * seen

    def _wave(self, kx: float, ky: float) -> Tensor:
        """Return (2, Y, X): o cos 2 pi k r and o sin 2 pi k r."""
        y, x = 2 * math.pi * ky * self.samples.lattice.y_um, 2 * math.pi * kx * self.samples.lattice.x_um
        across = torch.cat([x.cos(), x.sin()])
        along = torch.stack([torch.cat([y.cos(), -y.sin()], dim=1), torch.cat([y.sin(), y.cos()], dim=1)])
        return (along.to(self._o) @ across.to(self._o)).mul_(self._o)

    def _both(self, wave: Tensor, factor: Tensor) -> Tensor:
        """Return the spectra of w e^{+-i arg} at the frequencies in use from w cos and w sin, times a factor."""
        cos, sin = self.samples.chosen(torch.fft.rfft2(wave, norm="forward")) * factor
        return torch.stack([cos + 1j * sin, cos - 1j * sin])

    def _uncover(self, weights: Array) -> None:
        """Estimate T where it is hidden, one displaced spectrum after the other."""
        gains, b = _tensors(weights, self.data)
        # (C, 2, P): each frame's factor of T+ and T-
        factors = torch.stack([b, b.conj()], dim=1)
        known = torch.cat([self._order0[None], self._t.flatten(0, 1)])
        rest = self.data - torch.cat([gains.to(b)[None], factors.flatten(0, 1)]).T @ known
        for c in range(len(b)):
            for s in (0, 1):
                factor = factors[c, s]
                change = ((factor.conj() / factor.abs().square().sum().clamp(min=1e-20)) @ rest) * self._hidden[c, s]
                self._t[c, s] += change
                rest.addr_(factor, change, alpha=-1)

    def _solve(self) -> Array:
        """Return (1 + 2C, P): gain and real and imaginary part of b, for each frame."""
        basis = [self._order0[None]] + [torch.stack([plus + minus, 1j * (plus - minus)]) for plus, minus in self._t]
        self._basis = torch.view_as_real(torch.cat(basis)).flatten(1)
        self._inverse = np.linalg.pinv(_products(self._basis, self._basis), hermitian=True)
        self._projections = _products(self._basis, self._real_data)
        return self._inverse @ self._projections

    def _errors(self, weights: Array) -> tuple[float, Array]:
        """Return the residual's power per frequency and the standard deviations (1 + 2C,) of the weights."""
        rest = max(self._power - float(np.einsum("ip,ip->", self._projections, weights)), 0.0)
        free = float((self._hidden * self.samples.root.square()).sum())
        variance = rest / max(self.samples.total * len(self.data) - free, 1.0)
        return variance, np.sqrt(np.maximum(np.diag(self._inverse), 0) * variance)

    def _step_of_k(self, weights: Array) -> tuple[Array, Array]:
        """Return the change (C, 2) of k that lowers the residual most, all amplitudes following, and its variance."""
        carriers = len(self._t)
        # d/dk of b T+ + b* T-: T(+-) e^{+-2 pi i k r} brings +-2 pi i r
        turned = self._slopes * (2j * math.pi)
        plus, minus = turned[:, :, 0], -turned[:, :, 1]
        derivative = torch.cat([plus + minus, 1j * (plus - minus)], dim=1).flatten(0, 1)  # C x (x re, y re, x im, y im)
        real = torch.view_as_real(derivative).flatten(1)
        cross = _products(self._basis, real)
        left = _products(real, real) - cross.T @ self._inverse @ cross
        right = _products(real, self._real_data) - cross.T @ weights
        matrix, vector = np.zeros((2 * carriers, 2 * carriers)), np.zeros(2 * carriers)
        for n in range(weights.shape[1]):
            turn = np.zeros((4 * carriers, 2 * carriers))
            for c in range(carriers):
                for axis in (0, 1):
                    turn[4 * c + axis, 2 * c + axis] = weights[1 + 2 * c, n]
                    turn[4 * c + 2 + axis, 2 * c + axis] = weights[2 + 2 * c, n]
            matrix += turn.T @ left @ turn
            vector += turn.T @ right[:, n]
        inverse = np.linalg.pinv(matrix, hermitian=True)
        return (inverse @ vector).reshape(carriers, 2), np.maximum(np.diag(inverse), 0).reshape(carriers, 2)


def _tensors(weights: Array, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return gains (P,) and b (C, P) as tensors."""
    b = torch.from_numpy(weights[1::2] + 1j * weights[2::2]).to(like)
    return torch.from_numpy(weights[0]).to(like.device, like.real.dtype), b


def _products(a: Tensor, b: Tensor) -> Array:
    """Return a b^T of real rows."""
    product: Array = (a @ b.T).double().cpu().numpy()
    return product
