"""micro-sam, where it is installed: cells drawn anew plane by plane inside boxes around those of the watershed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_recon.engines.segmentation.regions import Labels

_AROUND, _REACH = 10, 4
"""Pixels around a cell's box that are shown to the network, and by which its outline may lie outside of the watershed's."""
_SMALLEST = 20
"""Pixels of a plane below which a cell has no shape to refine."""


def refined(stack: NDArray[np.float32], labels: Labels, check: Callable[[], None]) -> Labels:
    """Return labels whose outlines in every plane are micro-sam's, prompted by boxes around the cells there.

    Parameters
    ----------
    stack : ndarray
        (z, y, x).
    labels : ndarray
        Of the watershed, on the same voxels. What micro-sam finds further than a few pixels from them is left out, a place
        that two cells claim stays as it was.
    """
    from micro_sam import prompt_based_segmentation, util  # type: ignore[import-not-found]

    low, high = np.percentile(stack, (0.2, 99.9))
    grey = np.clip((stack - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
    predictor = util.get_sam_model()
    found = np.zeros_like(labels)
    for z, plane in enumerate(labels):
        check()
        boxes = ndimage.find_objects(plane)
        if not any(boxes):
            continue
        embedded = util.precompute_image_embeddings(predictor, grey[z], ndim=2)
        claims = np.zeros(plane.shape, np.int16)
        for number, box in enumerate(boxes, 1):
            own = plane == number
            if box is None or own.sum() < _SMALLEST:
                continue
            check()
            mask = _mask(prompt_based_segmentation, predictor, embedded, box, plane.shape)
            mask &= ndimage.binary_dilation(own, iterations=_REACH)
            found[z][mask] = number
            claims += mask
        unclear = claims != 1
        found[z][unclear] = np.where(claims[unclear] > 1, plane[unclear], 0)
    return found


def _mask(sam: Any, predictor: Any, embedded: Any, box: tuple[slice, slice], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    corners = [max(0, s.start - _AROUND) for s in box] + [min(n, s.stop + _AROUND) for s, n in zip(box, shape, strict=True)]
    return np.asarray(sam.segment_from_box(predictor, np.array(corners), image_embeddings=embedded)[0], bool)
