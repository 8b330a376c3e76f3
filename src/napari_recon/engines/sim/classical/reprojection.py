"""Is a super-resolved image what the raw frames show? It is imaged again and compared with them.

An image is known up to its own transfer function (apodisation, regularisation), scale and background, and a network's
up to more. So the transfer is fitted first: the image is split into a few rings of frequencies, each is sent through the
calibrated forward model, and the weights that explain the raw frames best are taken, together with smooth light that
carries no pattern. This handful of numbers can't explain a structure that is not there: what remains is judged pixel by
pixel against the noise of the raw frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_recon.engines.sim.calibration import Calibration
from napari_recon.engines.sim.classical.camera_noise import CameraNoise, camera_noise
from napari_recon.engines.sim.classical.edges import continued, padded_size
from napari_recon.engines.sim.classical.forward import ForwardModel
from napari_recon.engines.sim.classical.otf import CircularOtf, Transfer

RINGS = 7
BORDER = 12  # raw pixels at the border, lit by what lies outside, that are neither fitted nor counted
STEPS, INNER = 4, 3  # of fitting transfer and background in turns, of the background at each turn
OUTLIERS = 4.5  # medians of a difference, or 3 standard deviations, from which on it is no background
SAMPLES = 150_000  # pixels of the raw frames that are enough for the fit


@dataclass(frozen=True, eq=False)
class Comparison:
    """What came out.

    Attributes
    ----------
    residual : Tensor
        (N, Y, X) measured minus predicted, counts.
    smooth : Tensor
        (N, Y, X) the residual as the objective passes it, the noise that no light can make taken away.
    variance, smooth_variance : Tensor
        (N, Y, X) expected of both when the image is right, counts^2.
    predicted : Tensor
        (N, Y, X) counts above the camera's offset.
    rings_per_um : list of float
        Frequencies at which the transfer was fitted.
    weights, errors : list of float
        The image's content at these frequencies has to be multiplied by `weights` to explain the raw frames.
    noise : CameraNoise
    """

    residual: Tensor
    smooth: Tensor
    variance: Tensor
    smooth_variance: Tensor
    predicted: Tensor
    rings_per_um: list[float]
    weights: list[float]
    errors: list[float]
    noise: CameraNoise

    @property
    def significance(self) -> Tensor:
        """(Y, X) standard deviations: negative where the image has light that was not measured, positive where it lacks it.

        The larger of two tests: the mean over the frames, and the scatter of the frames (a chi-square of N degrees of
        freedom made normal after Wilson and Hilferty), which sees wrong detail whose mean over the frames is nothing.
        Towards the border, where light from outside is unknown, it fades to nothing.
        """
        mean = self.smooth.sum(dim=0) / self.smooth_variance.sum(dim=0).sqrt()
        frames = self.smooth.shape[0]
        width = 2.0 / (9.0 * frames)
        scatter = (self.smooth.square() / self.smooth_variance).mean(dim=0)
        scattered = (scatter.pow(1 / 3) - (1 - width)) / math.sqrt(width)
        sure = [_sure(n, mean.device) for n in mean.shape]
        return torch.where(mean < 0, -1.0, 1.0) * torch.maximum(mean.abs(), scattered) * sure[0][:, None] * sure[1]


class Reprojection:
    """Compares images with raw frames, for one calibration and field.

    Parameters
    ----------
    calibration : Calibration
    shape_yx : tuple of int
        Raw pixels.
    transfer : callable, optional
        The objective's; a circular aperture otherwise.
    background_um : float
        Light without a pattern that varies over more than this is taken for out-of-focus light that the image may lack.
    model_error : float
        Share of the local brightness by which prediction and measurement may differ although the image is right.
    """

    def __init__(
        self,
        calibration: Calibration,
        shape_yx: tuple[int, int],
        transfer: Transfer | None = None,
        *,
        background_um: float = 1.2,
        model_error: float = 0.03,
        device: torch.device | str = "cpu",
    ) -> None:
        transfer = transfer or CircularOtf(calibration.cutoff_per_um)
        self._calibration, self._shape = calibration, shape_yx
        self._model = ForwardModel(calibration, shape_yx, transfer, device=device)
        self._model_error = model_error
        self._device = torch.device(device)
        self._padded = padded_size(shape_yx[0]), padded_size(shape_yx[1])
        fy = torch.fft.fftfreq(self._padded[0], calibration.pixel_um[0])[:, None]
        fx = torch.fft.rfftfreq(self._padded[1], calibration.pixel_um[1])[None]
        self._pass = transfer(fy, fx).float().to(self._device)
        sigma = background_um / 2
        self._background = torch.exp(-2 * (math.pi * sigma) ** 2 * (fy**2 + fx**2)).to(self._device) if sigma > 0 else None
        top = calibration.result_cutoff_per_um
        self._rings = torch.linspace(0, top, RINGS).tolist()
        y, x = (n - 2 * BORDER for n in shape_yx)
        self._stride = max(1, math.ceil(math.sqrt(y * x * calibration.frames / SAMPLES)))
        self._gains = torch.tensor(calibration.gains or (1.0,) * calibration.frames, device=self._device)[:, None, None]

    def __call__(self, raw: Tensor, image: Tensor, check: Callable[[], None] = lambda: None) -> Comparison:
        """Compare.

        Parameters
        ----------
        raw : Tensor
            (N, Y, X) counts.
        image : Tensor
            (2 Y, 2 X), or (Y, X), which is interpolated; any unit.
        check : callable
            Called now and then; may raise to stop.
        """
        raw, image = raw.to(self._device, torch.float32), image.to(self._device, torch.float32)
        noise = camera_noise(raw, self._calibration.cutoff_per_um, self._calibration.pixel_um)
        check()
        signal = raw - self._calibration.camera_offset
        error = self._model_error * self._smoothed(signal, self._pass).clamp(min=0)
        variance = noise.variance(raw)
        rings = _Rings(image, self._shape, self._padded, self._calibration.pixel_um, self._rings)
        columns = []
        for number in range(RINGS):
            check()
            columns.append(self._sampled(self._predicted(rings.alone(number))))
        ones = torch.ones(2 * self._shape[0], 2 * self._shape[1], device=self._device)
        columns += [self._sampled(self._predicted(ones)), self._sampled(self._gains.expand_as(raw))]
        spread = self._sampled((variance + error.square()).sqrt())
        background = torch.zeros(self._shape, device=self._device)
        for _ in range(STEPS if self._background is not None else 1):
            check()
            weights, errors = _fitted(torch.stack(columns), self._sampled(signal - self._gains * background), spread)
            model = self._predicted(rings.together(weights[:RINGS]) + weights[RINGS]) + self._gains * weights[RINGS + 1]
            if self._background is not None:
                lacking = ((signal - model) / self._gains).mean(dim=0)
                for _ in range(INNER):
                    left = lacking - background
                    limit = OUTLIERS * float(left.abs().median())  # what is invented must not count as background
                    background = background + self._smoothed(left.clamp(-limit, limit), self._background)
        predicted = model + self._gains * background
        residual = signal - predicted
        check()
        spot = torch.fft.irfft2(self._pass, s=self._padded)
        smooth_variance = self._smoothed(variance, torch.fft.rfft2(spot.square()).real).clamp(min=1e-12)
        return Comparison(
            residual,
            self._smoothed(residual, self._pass),
            variance + error.square(),
            smooth_variance + error.square(),
            predicted,
            self._rings,
            weights[:RINGS].tolist(),
            errors[:RINGS].tolist(),
            noise,
        )

    def _predicted(self, image: Tensor) -> Tensor:
        frames: Tensor = self._model(image) - self._calibration.camera_offset
        return frames

    def _sampled(self, frames: Tensor) -> Tensor:
        return frames[..., BORDER : -BORDER : self._stride, BORDER : -BORDER : self._stride]

    def _smoothed(self, images: Tensor, transfer: Tensor) -> Tensor:
        whole = continued(continued(images, self._padded[0], -2), self._padded[1], -1)
        filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(whole) * transfer, s=self._padded)
        return filtered[..., : self._shape[0], : self._shape[1]]


class _Rings:
    """An image on the fine grid, taken apart by frequency; the parts sum up to it."""

    def __init__(
        self,
        image: Tensor,
        shape_yx: tuple[int, int],
        padded_yx: tuple[int, int],
        pixel_um: tuple[float, float],
        rings_per_um: list[float],
    ) -> None:
        factor = image.shape[-1] // shape_yx[1]
        self._fine_yx = 2 * shape_yx[0], 2 * shape_yx[1]
        self._padded_yx = 2 * padded_yx[0], 2 * padded_yx[1]
        whole = continued(continued(image, factor * padded_yx[0], 0), factor * padded_yx[1], 1)
        spectrum = torch.fft.rfft2(whole)
        if factor == 1:
            spectrum = _widened(spectrum, padded_yx)
        self._spectrum = spectrum
        fy = torch.fft.fftfreq(self._padded_yx[0], pixel_um[0] / 2, device=image.device)[:, None]
        fx = torch.fft.rfftfreq(self._padded_yx[1], pixel_um[1] / 2, device=image.device)[None]
        self._place = (torch.hypot(fy, fx) / rings_per_um[1]).clamp(max=len(rings_per_um) - 1)

    def alone(self, number: int) -> Tensor:
        """Return the part around one ring's frequency, (2 Y, 2 X)."""
        return self._filtered((1 - (self._place - number).abs()).clamp(min=0))

    def together(self, weights: Tensor) -> Tensor:
        """Return the image with its rings weighted, (2 Y, 2 X)."""
        low = self._place.floor().long().clamp(max=len(weights) - 2)
        return self._filtered(torch.lerp(weights[low], weights[low + 1], self._place - low))

    def _filtered(self, transfer: Tensor) -> Tensor:
        part: Tensor = torch.fft.irfft2(self._spectrum * transfer, s=self._padded_yx)
        return part[: self._fine_yx[0], : self._fine_yx[1]]


def _sure(size: int, device: torch.device) -> Tensor:
    """Return 1 inside, falling to 0 over the border at both ends."""
    place = torch.arange(size, device=device) + 0.5
    return (torch.minimum(place, size - place) / BORDER).clamp(max=1).square()


def _widened(spectrum: Tensor, shape_yx: tuple[int, int]) -> Tensor:
    """Return the half spectrum of an image interpolated to twice the samples."""
    (ny, nx), (rows, columns) = shape_yx, spectrum.shape
    wide = spectrum.new_zeros((2 * ny, nx + 1))
    wide[: (rows + 1) // 2, :columns] = spectrum[: (rows + 1) // 2]
    wide[-(rows // 2) :, :columns] = spectrum[(rows + 1) // 2 :]
    return 4 * wide


def _fitted(columns: Tensor, measured: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least-squares weights of `columns` (C, N, ...) and their standard errors."""
    scaled = (columns / spread).flatten(1).double()
    target = (measured / spread).flatten().double()
    gram = scaled @ scaled.T
    size = gram.diagonal().clamp(min=1e-30).sqrt()  # columns differ by orders of magnitude
    gram = gram / size / size[:, None] + 1e-9 * torch.eye(len(size), device=gram.device, dtype=gram.dtype)
    inverse = torch.linalg.inv(gram)
    weights = (inverse @ ((scaled @ target) / size)) / size
    return weights.float(), (inverse.diagonal().clamp(min=0).sqrt() / size).float()
