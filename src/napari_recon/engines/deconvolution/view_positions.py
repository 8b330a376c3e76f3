"""Joint estimation of one constant displacement per view, alongside the volume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_recon.engines.deconvolution.noise import READ_VARIANCE
from napari_recon.engines.deconvolution.richardson_lucy import flat_start, richardson_lucy, sensitivity_weight
from napari_recon.optics.psf_projector import ViewProjector

_BORDER = 3


def remove_gauge(offset_v2: Tensor, slope_v2: Tensor) -> Tensor:
    """Return the offsets without the parts that only move the volume.

    A common translation moves the volume sideways; an offset proportional to each view's shift per plane moves it
    along z. Neither can be told from the data.

    Parameters
    ----------
    offset_v2, slope_v2 : Tensor
        (views, 2): offsets, and the displacement per depth plane of every view.
    """
    rows = [torch.zeros_like(offset_v2), torch.zeros_like(offset_v2), slope_v2 - slope_v2.mean(dim=0)]
    rows[0][:, 0] = 1
    rows[1][:, 1] = 1
    result = offset_v2
    for row in rows:
        energy = (row * row).sum()
        if energy > 0:
            result = result - row * ((result * row).sum() / energy)
    return result


class ViewPositions:
    """Refines the view offsets of a projector by weighted Gauss-Newton steps while the volume converges.

    Pass the object as ``after_projection`` of :func:`richardson_lucy`; it changes the projector's view offsets.

    Parameters
    ----------
    projector : ViewProjector
        Its ``displace_views`` is updated.
    slope_v2 : Tensor
        (views, 2) displacement per depth plane, for the axial gauge.
    offset_pixels : Tensor, optional
        (views, 2) offsets to start from, in light-field pixels.
    largest_step : float
        Bound of one step, in light-field pixels.
    first, every : int
        Iteration of the first step, and iterations from one step to the next.
    """

    def __init__(
        self,
        projector: ViewProjector,
        slope_v2: Tensor,
        offset_pixels: Tensor | None = None,
        largest_step: float = 0.35,
        first: int = 4,
        every: int = 1,
    ) -> None:
        self._projector, self._first, self._every = projector, first, every
        self._slope, self._largest = slope_v2.double().cpu(), largest_step
        start = torch.zeros(projector.views_shape[0], 2) if offset_pixels is None else offset_pixels
        self.offset_pixels = start.double()
        projector.displace_views(self.offset_pixels)

    def __call__(self, iteration: int, data: Tensor, model: Tensor) -> None:
        """Take one step when it is due."""
        spectrum = self._projector.last_view_spectrum
        if spectrum is None or iteration < self._first or (iteration - self._first) % self._every:
            return
        step = gauss_newton_step(data, model, *self._projector.sample_gradients(spectrum))
        step = step.cpu().clamp(-self._largest, self._largest)
        self.offset_pixels = remove_gauge(self.offset_pixels + step, self._slope)
        self._projector.displace_views(self.offset_pixels)


@dataclass(frozen=True)
class Scale:
    """One level of the coarse-to-fine search; lengths in light-field pixels."""

    blur: float
    frequency_cut: float
    iterations: int = 16


#: Blurred views have no local optimum to be caught in; each level ends well inside the next one's reach. Measured on
#: offsets of 6 fine pixels rms (single views up to 23): left over 0.5, 0.17 and 0.04 fine pixels after the levels.
SCALES = (Scale(3.0, 0.12), Scale(1.5, 0.24), Scale(0.7, 0.40))

#: Light-field pixels; a view found further away tells nothing about its position.
FARTHEST = 8.0


def align_views(
    make_projector: Callable[[Scale], ViewProjector],
    data: Tensor,
    background: float,
    slope_v2: Tensor,
    check: Callable[[], None],
) -> Iterator[Tensor]:
    """Yield the view offsets (views, 2) in light-field pixels after each level of a coarse-to-fine search.

    Parameters
    ----------
    make_projector : Callable
        Returns the projector of a level: its blur added to the imaging's, frequencies cut as the level says.
    data : Tensor
        Views (V, Y, X).
    """
    found = torch.zeros_like(slope_v2, dtype=torch.float64, device="cpu")
    for number, scale in enumerate(SCALES):
        projector = make_projector(scale)
        solve = partial(_solved, projector, blurred_views(data, scale.blur), background, scale, slope_v2, check)
        aligned, deviance = solve(found, every=1)
        # a field too small for its shifts tells some views nothing: they would wander off
        found = remove_gauge(aligned * (aligned.abs().amax(dim=1, keepdim=True) < FARTHEST), slope_v2.double().cpu())
        if number == len(SCALES) - 1 and solve(torch.zeros_like(found), every=0)[1] <= deviance:
            found = torch.zeros_like(found)
        yield found


def _solved(
    projector: ViewProjector,
    data: Tensor,
    background: float,
    scale: Scale,
    slope_v2: Tensor,
    check: Callable[[], None],
    offset: Tensor,
    every: int,
) -> tuple[Tensor, float]:
    """Return offsets and reduced deviance after the iterations of one level; ``every`` 0 keeps the offsets."""
    positions = ViewPositions(projector, slope_v2, offset, largest_step=scale.blur, first=2, every=every)
    weight, seen = sensitivity_weight(projector, data, check)
    iterations = richardson_lucy(
        projector,
        data,
        background=background,
        iterations=scale.iterations,
        weight=weight,
        start=flat_start(data, background, seen),
        after_projection=positions if every else None,
        check=check,
    )
    deviance = math.inf
    for estimate in iterations:
        deviance = estimate.deviance
        check()
    return positions.offset_pixels, deviance


def blurred_views(views_vyx: Tensor, sigma: float) -> Tensor:
    """Return views (V, Y, X) blurred by a Gaussian of ``sigma`` pixels, edge pixels repeated outwards."""
    radius = math.ceil(3 * sigma)
    place = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (place / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(views_vyx.dtype).to(views_vyx.device)
    padded = F.pad(views_vyx[:, None], (radius, radius, radius, radius), mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None, :])
    return blurred[:, 0]


def gauss_newton_step(data: Tensor, model: Tensor, along_y: Tensor, along_x: Tensor) -> Tensor:
    """Return the displacement (views, 2) in pixels that brings each model view closest to its data.

    Parameters
    ----------
    data, model : Tensor
        Views (V, Y, X).
    along_y, along_x : Tensor
        Derivatives of the model views per pixel. Moving a view by +d changes it by -d times its derivative.
    """
    inner = (slice(None), *(slice(_BORDER, n - _BORDER) if n > 2 * _BORDER + 1 else slice(None) for n in data.shape[1:]))
    weight = 1.0 / (model[inner] + READ_VARIANCE)
    residual, slope_y, slope_x = data[inner] - model[inner], along_y[inner], along_x[inner]

    def inner_product(a: Tensor, b: Tensor) -> Tensor:
        return (weight * a * b).sum(dim=(1, 2)).double()

    yy, xx, yx = inner_product(slope_y, slope_y), inner_product(slope_x, slope_x), inner_product(slope_y, slope_x)
    right_y, right_x = inner_product(slope_y, residual), inner_product(slope_x, residual)
    ridge = 1e-6 * (yy + xx) + 1e-12
    yy, xx = yy + ridge, xx + ridge
    determinant = yy * xx - yx * yx
    return -torch.stack([xx * right_y - yx * right_x, yy * right_x - yx * right_y], dim=1) / determinant[:, None]
