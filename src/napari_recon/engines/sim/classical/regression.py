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
#: Rounds of estimating what O hides, after k has settled.
ROUNDS = 4
#: O is taken as known up to here, in units of fc.
KNOWN = 0.85


#: Carriers have settled when they move by less than this share of their standard deviation.
SETTLED = 0.3


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


def fit(
    spectra: Spectra,
    frames: list[int],
    order0: Tensor,
    object_spectrum: Tensor,
    k: Array,
    steps: int = 2,
    rounds: int = ROUNDS,
) -> Fit:
    """Fit one group.

    Parameters
    ----------
    frames : list of int
        Indices of the group's frames.
    order0 : Tensor
        (Yw, Xw // 2 + 1), the shared order 0.
    object_spectrum : Tensor
        Of the same shape, from `object_of`.
    k : ndarray
        (C, 2) start.
    steps : int
        Gauss-Newton steps at most; 0 keeps k.
    rounds : int
        Rounds of estimating the hidden parts, each for fixed k.
    """
    problem = _Problem(spectra, frames, order0, torch.fft.irfft2(object_spectrum, s=spectra.shape_yx, norm="forward"))
    if not len(k):
        return _without_carriers(problem)
    problem.displace(k)
    weights = problem.solve()
    for step in range(steps + 1):
        if step:
            change, spread = problem.step_of_k(weights)
            k = k + change
            problem.displace(k)
        for _ in range(rounds):
            problem.uncover(weights)
            weights = problem.solve()
        if step and bool((change**2 < SETTLED**2 * spread * problem.errors(weights)[0]).all()):
            break
    variance, error = problem.errors(weights)
    gains = weights[0]
    safe = np.where(np.abs(gains) > 1e-6, gains, 1e-6)
    amplitudes = np.asarray((weights[1::2] + 1j * weights[2::2]) / safe, dtype=np.complex128)
    k_error = np.sqrt(variance * problem.step_of_k(weights)[1])
    gain_error = np.full(len(frames), error[0])
    amplitude_error = np.hypot(error[1::2], error[2::2])[:, None] / math.sqrt(2) / np.abs(safe)
    return Fit(
        k, gains, amplitudes, gain_error, amplitude_error, k_error, variance / max(spectra.noise * problem.share, 1e-30)
    )


def _without_carriers(problem: _Problem) -> Fit:
    """Return the intensities of frames that show order 0 alone."""
    count = len(problem.data)
    problem.hidden, problem.t = torch.zeros(0, 2, 1, dtype=torch.bool), torch.zeros(0, 2, 1)
    weights = problem.solve()
    variance, error = problem.errors(weights)
    nothing = np.zeros((0, 2))
    residual = variance / max(problem.spectra.noise * problem.share, 1e-30)
    none = np.zeros((0, count))
    return Fit(nothing, weights[0], none.astype(np.complex128), np.full(count, error[0]), none, nothing, residual)


class _Problem:
    """The least-squares problem of one group on the frequencies in use; complex columns, weighted for the whole plane."""

    def __init__(self, spectra: Spectra, frames: list[int], order0: Tensor, o: Tensor) -> None:
        self.spectra, self.o = spectra, o
        self.keep = (spectra.radius > CENTRE) & (spectra.radius < USED)
        self.root = spectra.count.expand(self.keep.shape)[self.keep].sqrt()
        self.data = spectra.inner[frames][:, self.keep] * self.root
        self.order0 = order0[self.keep] * self.root
        self.share = float(spectra.window.square().mean())
        self.samples = float(self.root.square().sum())

    def displace(self, k: Array) -> None:
        """Set T+ and T- of every carrier, (C, 2, K), their slopes in kx and ky, (C, 2, 2, K), and where they are hidden."""
        spectra, displaced, hidden, moved = self.spectra, [], [], []
        for kx, ky in k:
            argument = 2 * math.pi * (kx * spectra.x_um + ky * spectra.y_um)
            pair = torch.stack([torch.cos(argument), torch.sin(argument)]).to(self.o) * self.o
            displaced.append(self._both(pair))
            moved.append(torch.stack([self._both(pair * at.to(self.o)) for at in (spectra.x_um, spectra.y_um)]))
            away = [torch.hypot(spectra.fx - s * kx, spectra.fy - s * ky)[self.keep] / spectra.cutoff for s in (1, -1)]
            hidden.append(torch.stack([(r < CENTRE) | (r > KNOWN) for r in away]))
        if not len(k):  # an angle whose pattern was not found
            self.hidden = torch.zeros((0, 2, self.data.shape[1]), dtype=torch.bool, device=self.data.device)
            self.t = self.data.new_zeros((0, 2, self.data.shape[1]))
            self.slopes = self.data.new_zeros((0, 2, 2, self.data.shape[1]))
            return
        self.hidden = torch.stack(hidden)
        self.t = torch.stack(displaced) * ~self.hidden
        self.slopes = torch.stack(moved)

    def _both(self, pair: Tensor) -> Tensor:
        """Return H/2 FFT(o e^{+-i arg}) from o cos and o sin."""
        spectra = self.spectra
        blurred = torch.fft.irfft2(torch.fft.rfft2(pair, norm="forward") * spectra.otf, s=spectra.shape_yx, norm="forward")
        cos, sin = torch.fft.rfft2(blurred * spectra.window, norm="forward")[:, self.keep] * (0.5 * self.root)
        return torch.stack([cos + 1j * sin, cos - 1j * sin])

    def uncover(self, weights: Array) -> None:
        """Estimate T where it is hidden, one displaced spectrum after the other."""
        gains, b = _tensors(weights, self.data)
        # (C, 2, P): each frame's factor of T+ and T-
        factors = torch.stack([b, b.conj()], dim=1)
        rest = self.data - gains[:, None] * self.order0 - torch.einsum("csp,csk->pk", factors, self.t)
        for c in range(len(b)):
            for s in (0, 1):
                factor = factors[c, s]
                change = (factor.conj() @ rest) / factor.abs().square().sum().clamp(min=1e-20) * self.hidden[c, s]
                self.t[c, s] += change
                rest -= factor[:, None] * change

    def solve(self) -> Array:
        """Return (1 + 2C, P): gain and real and imaginary part of b, for each frame."""
        basis = [self.order0[None]] + [torch.stack([plus + minus, 1j * (plus - minus)]) for plus, minus in self.t]
        self.basis = torch.view_as_real(torch.cat(basis)).flatten(1)
        self.real_data = torch.view_as_real(self.data).flatten(1)
        self.gram = _products(self.basis, self.basis)
        self.inverse = np.linalg.pinv(self.gram, hermitian=True)
        self.projections = _products(self.basis, self.real_data)
        return self.inverse @ self.projections

    def errors(self, weights: Array) -> tuple[float, Array]:
        """Return the residual's variance per real sample and the standard deviations (1 + 2C,) of the weights."""
        total = float(self.real_data.double().pow(2).sum())
        rest = max(total - float(np.einsum("ip,ip->", self.projections, weights)), 0.0)
        count = self.real_data.shape[0]
        free = float((self.hidden * self.root.square()).sum()) if len(self.hidden) else 0.0
        variance = rest / max(self.samples * count - free, 1.0)
        return variance, np.sqrt(np.maximum(np.diag(self.inverse), 0) * variance)

    def step_of_k(self, weights: Array) -> tuple[Array, Array]:
        """Return the change (C, 2) of k that lowers the residual most, all amplitudes following, and its variance."""
        carriers = self.t.shape[0]
        seen = ~self.hidden
        # d/dk of b T+ + b* T-: T(+-) e^{+-2 pi i k r} brings +-2 pi i r
        turned = self.slopes * (2j * math.pi) * seen[:, None]
        plus, minus = turned[:, :, 0], -turned[:, :, 1]
        derivative = torch.cat([plus + minus, 1j * (plus - minus)], dim=1).flatten(0, 1)  # C x (x re, y re, x im, y im)
        real = torch.view_as_real(derivative).flatten(1)
        cross = _products(self.basis, real)
        left = _products(real, real) - cross.T @ self.inverse @ cross
        right = _products(real, self.real_data) - cross.T @ weights
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
    """Return a b^T of real rows; rows are scaled first, so that float32 sums keep their precision."""
    scale_a, scale_b = (x.norm(dim=1).clamp(min=1e-30) for x in (a, b))
    product = (a / scale_a[:, None]) @ (b / scale_b[:, None]).T
    scales: Array = np.outer(scale_a.double().cpu().numpy(), scale_b.double().cpu().numpy())
    product_of_unit_rows: Array = product.double().cpu().numpy()
    return scales * product_of_unit_rows
