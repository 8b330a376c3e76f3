"""What ML-SIM does to raw frames before its network, and to images for show: the authors' recipe, without its traps.

References
----------
.. [1] Christensen et al., Biomedical Optics Express 12, 2720 (2021), 10.1364/BOE.414680.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from napari_recon.core.errors import InputError

Image = NDArray[np.float32]
CROP = 512
"""The authors' programs cut larger frames to their upper left corner of this size."""
PICKED = {6: (0, 1, 3, 4, 6, 7), 3: (0, 4, 8)}
"""Number of input channels -> which of nine frames these networks were trained on."""
_TURNED = (6, 7, 8, 3, 4, 5, 0, 1, 2)
_CLIP, _CLIP_PREVIEW = 0.001, 0.01
NORM = re.compile(r"(minmax|convert)(\d*\.?\d*)|adapthist|none")


def check_norm(norm: str) -> str:
    """Return `norm` after checking that it is one of the recipes.

    Raises
    ------
    InputError
        Another word; the message lists the words.
    """
    if not NORM.fullmatch(norm):
        raise InputError(
            "norm should be auto, minmax, minmax<factor> (minmax0.5), adapthist, none, convert or convert<factor>, found "
            f"{norm!r}; choose one of them"
        )
    return norm


def picked(frames: int, wanted: int) -> tuple[int, ...]:
    """Return which of an image's raw frames a network with `wanted` input channels sees.

    Raises
    ------
    InputError
        Fewer frames than the network needs.
    """
    if frames < wanted:
        raise InputError(
            f"the network needs {wanted} raw frames per image, found {frames}; set angles and phases to the recording's, or "
            "choose a model for fewer frames"
        )
    return PICKED[wanted] if frames == 9 and wanted in PICKED else tuple(range(wanted))


def normalised(frames: Image, norm: str, integers: bool = True) -> tuple[Image, Image, tuple[int, ...]]:
    """Return a network's input, the wide-field image, and which frames are constant.

    Parameters
    ----------
    frames : numpy.ndarray
        (N, Y, X), the frames the network sees.
    norm : str
        ``minmax`` scales every frame to 0..1, ``minmax<f>`` to 0..f; ``adapthist`` equalises local contrast; ``none``
        divides all by their common maximum only; ``convert`` turns frames by 90 degrees and reorders nine of them first.
    integers : bool
        Whether the file holds whole numbers, which ``convert`` truncates to.

    Returns
    -------
    input : numpy.ndarray
        (N, Y, X) float32; (N, X, Y) for ``convert``. Constant frames are zero (minmax) instead of not a number.
    widefield : numpy.ndarray
        Mean of the frames, scaled to 0..1, (Y, X) float32.
    constant : tuple of int
    """
    check_norm(norm)
    constant = tuple(i for i, frame in enumerate(frames) if frame.min() == frame.max())
    values = frames.astype(np.float64)
    if norm.startswith("convert"):
        values = _converted(values, norm.removeprefix("convert"), integers)
    brightest = values.max()
    if brightest <= 0:
        raise InputError(f"raw frames should hold positive values, found at most {brightest:g}; subtract a smaller offset")
    values /= brightest
    mean = values.mean(0)
    if norm == "adapthist":
        network_input = np.stack([_equalised(frame, _CLIP) for frame in values]).astype(np.float32)
        mean = _equalised(mean, _CLIP)
    elif norm.startswith("minmax"):
        factor = np.float32(norm.removeprefix("minmax") or 1)
        network_input = np.stack([stretched(frame) for frame in values.astype(np.float32)]) * factor
    else:
        network_input = values.astype(np.float32)
    return network_input, stretched(turned_back(mean, norm).astype(np.float32)), constant


def turned_back(image: NDArray[np.generic], norm: str) -> NDArray[np.generic]:
    """Return an image whose last two axes lie as in the file: ``convert`` shows the network turned frames."""
    return np.ascontiguousarray(np.rot90(image, -1, (-2, -1))) if norm.startswith("convert") else image


def stretched(image: Image) -> Image:
    """Return an image scaled to 0..1 by its extremes, zero if it is constant."""
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else np.zeros_like(image)


def preview(image: Image) -> NDArray[np.uint8]:
    """Return the authors' 8-bit preview of a network's output (Y, X): clamped to 0..1, truncated, local contrast raised."""
    return _bytes(_equalised(_bytes(np.clip(image, 0.0, 1.0)), _CLIP_PREVIEW))


def _converted(values: NDArray[np.float64], factor: str, integers: bool) -> NDArray[np.float64]:
    if len(values) != len(_TURNED):
        raise InputError(f"norm=convert reorders {len(_TURNED)} frames, found {len(values)}; choose another norm")
    turned = np.rot90(values, 1, (1, 2))[list(_TURNED)]
    peaks = turned.max((1, 2), keepdims=True)
    scaled = turned / np.where(peaks > 0, peaks, 1.0) * (float(factor) * 255.0 if factor else 100.0)
    return np.trunc(scaled) if integers else scaled


def _equalised(image: NDArray[np.generic], clip: float) -> NDArray[np.float64]:
    from skimage.exposure import equalize_adapthist

    if image.min() == image.max():
        return np.zeros(image.shape)
    return np.asarray(equalize_adapthist(image, clip_limit=clip))


def _bytes(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    return (255 * image).astype(np.uint8)
