"""The point spread function of a Fourier light-field microscope by wave optics: one sensor image per depth.

A spherical wave from a point on the axis is brought to the objective's pupil by a lens (one Fourier transform, known in
closed form), relayed onto the microlenses, and propagated from there to the sensor (angular spectrum). Double precision
throughout: the phases reach many thousand radians. On request the wave is sampled and transformed, as published.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from napari_recon.optics.cubic_resize import cubic_matrix
from napari_recon.optics.flfm_microscope import FlfmMicroscope

#: Rows of the sampled wave handled together: bounds the memory and the time between two looks at the cancel token.
ROWS = 256

#: A point exactly in focus would divide by zero on the axis; this is what stands for it, in micrometers.
IN_FOCUS = 1e-8


def sensor_psf(
    microscope: FlfmMicroscope,
    depths_um: Sequence[float],
    *,
    threshold: float = 1e-3,
    device: torch.device | str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield number and sensor image (S, S, float64) of each depth, from focus outward.

    Parameters
    ----------
    microscope : FlfmMicroscope
    depths_um : sequence of float
        Positions of the point along the axis. Opposite depths share one pupil field (its complex conjugate).
    threshold : float
        Values below this part of an image's maximum become 0; every image then sums to 1.
    device : torch.device or str
        One with double precision.
    check : callable
        Called between pieces of work; may raise to stop.
    """
    middle = microscope.sensor_pixels // 2
    lenses = microlens_array(microscope)[middle:, middle:].to(device)
    propagator = free_space(microscope)[: middle + 1, : middle + 1].to(device)
    together: dict[float, list[int]] = {}
    for number, depth in enumerate(depths_um):
        together.setdefault(round(abs(depth), 9), []).append(number)
    for distance, numbers in sorted(together.items()):
        below = field_quarter(microscope, -distance, device=device, check=check)
        for number in numbers:
            field = below if depths_um[number] <= 0 else below.conj()
            spectrum = _even_transform(field * lenses, torch.fft.fft)
            check()
            wave = _even_transform(spectrum.mul_(propagator), torch.fft.ifft)
            image = wave.real.square() + wave.imag.square()
            image = _whole(torch.where(image < threshold * image.max(), 0.0, image))
            check()
            yield number, image / image.sum()


def _even_transform(quarter: Tensor, transform: Callable[..., Tensor]) -> Tensor:
    """Return a quarter of the two-dimensional transform of a field of odd size that is even in x and y.

    Half the lines of the first axis and half those of the second are all there is to transform.
    """
    for _ in range(2):
        lines = torch.cat([quarter, quarter[:, 1:].flip(1)], dim=1)
        quarter = transform(lines)[:, : quarter.shape[1]].T
    return quarter


def field_at_microlenses(
    microscope: FlfmMicroscope,
    depth_um: float,
    *,
    device: torch.device | str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the complex wave (S, S) that a point at ``depth_um`` on the axis sends onto the microlens plane."""
    return _whole(field_quarter(microscope, depth_um, device=device, check=check))


def field_quarter(
    microscope: FlfmMicroscope,
    depth_um: float,
    *,
    device: torch.device | str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the part of :func:`field_at_microlenses` from the axis outward; the rest is its mirror image."""
    if not microscope.samples:
        return exact_quarter(microscope, depth_um, device=device)
    quarter = pupil_quarter(microscope, depth_um, device=device, check=check)
    inner, crop, size = quarter.shape[0] - 1, microscope.crop, microscope.sensor_pixels
    matrix = torch.from_numpy(cubic_matrix(2 * crop + 1, size))[size // 2 :]
    from_axis = matrix[:, crop : crop + inner + 1]
    from_axis[:, 1:] += matrix[:, crop - inner : crop].flip(1)  # what lies beyond the axis is its mirror image
    from_axis = from_axis.to(device)
    return torch.complex(*(from_axis @ part @ from_axis.T for part in (quarter.real, quarter.imag)))


def exact_quarter(microscope: FlfmMicroscope, depth_um: float, *, device: torch.device | str = "cpu") -> Tensor:
    """Return what :func:`field_quarter` comes to with ever finer samples of an ever wider wave, up to a constant.

    The Fourier transform of a spherical wave is known (Weyl): ``exp(i k_z |z|) / k_z``.
    """
    edge = microscope.sensor_pixels // 2
    place = torch.arange(edge + 1, dtype=torch.float64, device=device) * (microscope.pixel_um / microscope.relay)
    square = place[:, None] ** 2 + place[None, :] ** 2
    inside = square < microscope.pupil_um**2
    cosine = torch.sqrt(1 - torch.where(inside, square, 0.0) / (microscope.objective_um * microscope.medium_index) ** 2)
    phase = (-2 * math.pi * microscope.medium_index / microscope.wavelength_um * depth_um) * cosine
    return torch.where(inside, torch.polar(1 / cosine, phase), 0.0)


def _whole(quarter: Tensor) -> Tensor:
    """Return the field that is even in x and y, from its part on and beyond the axes."""
    half = torch.cat([quarter[1:].flip(0), quarter])
    return torch.cat([half[:, 1:].flip(1), half], dim=1)


def pupil_quarter(
    microscope: FlfmMicroscope,
    depth_um: float,
    *,
    device: torch.device | str = "cpu",
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Return the wave in the objective's pupil, x and y from the axis outward; the rest follows by symmetry.

    The sum is the discrete Fourier transform of the whole sampled wave. Only what passes pupil and sensor is computed, as
    sums of cosines over one octant of the wave: it is even in x and y and symmetric in both.
    """
    half = microscope.samples // 2
    spacing = microscope.field_um / microscope.samples
    axis = torch.arange(half + 1, dtype=torch.float64, device=device) * (microscope.field_um / (microscope.samples - 1))
    step = microscope.pupil_side_um / (microscope.samples - 1)
    count = min(microscope.crop, math.ceil(microscope.pupil_um / step)) + 1
    number = torch.arange(count, dtype=torch.float64, device=device)
    turns = torch.outer(torch.arange(half + 1, dtype=torch.float64, device=device), number) % microscope.samples
    cosine = torch.cos(turns * (2 * math.pi / microscope.samples))
    cosine[1:] *= 2
    depth = depth_um if depth_um != 0 else IN_FOCUS
    total_real, total_imaginary = (torch.zeros(count, count, dtype=torch.float64, device=device) for _ in range(2))
    for first in range(0, half + 1, ROWS):
        stop = min(first + ROWS, half + 1)
        real, imaginary = _spherical_wave(microscope, axis[first:stop, None], axis[None, :stop], depth)
        for part, total in ((real, total_real), (imaginary, total_imaginary)):
            part[:, first:] *= 0.5  # the square on the diagonal is counted from both sides
            total += cosine[first:stop].T @ (part @ cosine[:stop])
        check()
    field = torch.complex(total_real + total_real.T, total_imaginary + total_imaginary.T) * spacing**2
    wave_number = 2 * math.pi * microscope.medium_index / microscope.wavelength_um
    turned = -1j * complex(math.cos(wave_number * microscope.objective_um), math.sin(wave_number * microscope.objective_um))
    field = field * (turned / (microscope.wavelength_um * microscope.objective_um))
    inside = (number[:, None] * step) ** 2 + (number[None, :] * step) ** 2 < microscope.pupil_um**2
    return torch.where(inside, field, 0.0)


def _spherical_wave(microscope: FlfmMicroscope, y: Tensor, x: Tensor, depth: float) -> tuple[Tensor, Tensor]:
    """Return real and imaginary part of -i k / (2 pi r) exp(i k r), r negative behind the focus."""
    wave_number = 2 * math.pi * microscope.medium_index / microscope.wavelength_um
    radius = torch.sqrt(x**2 + y**2 + depth**2)
    radius = -radius if depth > 0 else radius
    size = wave_number / (2 * math.pi * radius)
    angle = wave_number * radius
    return size * torch.sin(angle), -size * torch.cos(angle)


def microlens_array(microscope: FlfmMicroscope) -> Tensor:
    """Return the complex transmission (S, S) of the seven microlenses."""
    lens = microlens(microscope)
    size, reach = microscope.sensor_pixels, microscope.lens_pixels // 2
    array = torch.zeros(size, size, dtype=torch.complex128)
    for row, column in microscope.lens_centres.tolist():
        array[row - reach : row + reach + 1, column - reach : column + reach + 1] += lens
    return array


def microlens(microscope: FlfmMicroscope) -> Tensor:
    """Return the complex transmission of one microlens, zero from its rim on."""
    reach = microscope.lens_pixels // 2
    place = torch.arange(-reach, reach + 1, dtype=torch.float64) * microscope.pixel_um
    square = place[:, None] ** 2 + place[None, :] ** 2
    phase = -math.pi * microscope.air_index / microscope.wavelength_um / microscope.microlens_um * square
    lens = torch.complex(torch.cos(phase), torch.sin(phase))
    return torch.where(square < (microscope.pitch_um / 2) ** 2, lens, 0.0)


def free_space(microscope: FlfmMicroscope) -> Tensor:
    """Return the transfer (S, S) from the microlenses to the sensor, in the order of FFT frequencies."""
    frequency = torch.fft.fftfreq(microscope.sensor_pixels, microscope.pixel_um, dtype=torch.float64)
    sine = (microscope.wavelength_um**2) * (frequency[:, None] ** 2 + frequency[None, :] ** 2)
    wave_number = 2 * math.pi * microscope.air_index / microscope.wavelength_um
    along = torch.sqrt(torch.complex(1 - sine, torch.zeros_like(sine)))
    return torch.exp(1j * microscope.microlens_um * wave_number * along)
