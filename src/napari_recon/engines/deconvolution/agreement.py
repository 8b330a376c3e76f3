"""What a light field says of a volume made from it, whichever method made it: residual of its views, halves of its views."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.optics.lightfield_geometry import LightFieldGeometry
from napari_recon.optics.lightfield_projector import projector_from_shift

VOXELS_PER_PIXEL = 2.0
SEEN = 0.8
"""Pixels count whose light comes from inside the volume to this part, were light everywhere."""


def residual(
    volume_zyx: NDArray[np.float32],
    views_vyx: NDArray[np.float32],
    geometry: LightFieldGeometry,
    sigma_fine: float = 2.0,
    check: Callable[[], None] = lambda: None,
) -> float:
    """Return how far the views of a volume are from those recorded, as a part of what was recorded.

    Parameters
    ----------
    volume_zyx : ndarray
        Fine voxels of the field; beyond it goes on as at its edges. Brightness and background are fitted.
    views_vyx : ndarray
        All pages, or those in use.
    geometry : LightFieldGeometry
        With as many planes as the volume.
    sigma_fine : float
        Blur of the imaging in fine pixels.
    check : callable
        Raises when the work is not wanted any more.

    Returns
    -------
    float
        Root mean square of recorded minus predicted, over that of recorded minus background. 0 explains everything, 1
        nothing.
    """
    views = torch.from_numpy(np.ascontiguousarray(geometry.select(views_vyx), np.float32))
    projector = projector_from_shift(
        torch.from_numpy(geometry.psf_shift),
        (views.shape[1], views.shape[2]),
        upsampling=geometry.upsampling,
        sigma_fine=sigma_fine,
        voxels_per_pixel=VOXELS_PER_PIXEL,
        cache_bytes=0,
    )
    grid = projector.grid
    fine = torch.from_numpy(np.ascontiguousarray(volume_zyx, np.float32))
    inside = [_inside(grid.centres(axis), grid.field_yx[axis]) for axis in (0, 1)]
    volume = grid.average(fine)[:, inside[0]][:, :, inside[1]]
    predicted = projector.forward(volume, check)
    field = grid.average(torch.ones_like(fine))
    seen = projector.forward(field, check) / projector.forward(torch.ones_like(field), check).clamp_min(1e-9)
    used = seen > min(SEEN, 0.98 * float(seen.max()))
    x, y = predicted[used].double(), views[used].double()
    spread = ((x - x.mean()) ** 2).mean()
    slope = float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread > 0 else 0.0
    background = float(y.mean()) - slope * float(x.mean())
    recorded = float(((y - background) ** 2).mean()) if slope > 0 else float(((y - y.mean()) ** 2).mean())
    if slope <= 0:
        return 1.0
    return float(np.sqrt(float(((y - background - slope * x) ** 2).mean()) / max(recorded, 1e-30)))


def halves(views_vyx: NDArray[np.float32], geometry: LightFieldGeometry) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two stacks of all views, each from half of them: those of odd and of even places in the aperture.

    A view that a half lacks is the mean of its nearest neighbours in that half, so that every method takes the stack.
    """
    count, nnum = views_vyx.shape[0], geometry.nnum
    pages = range(count) if count == nnum**2 else geometry.view_order
    places = np.array([divmod(page, nnum) for page in pages], dtype=float)
    odd = places.sum(axis=1).astype(int) % 2 == 1
    return _filled(views_vyx, places, odd), _filled(views_vyx, places, ~odd)


def _filled(views_vyx: NDArray[np.float32], places: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    filled, there = views_vyx.astype(np.float32), np.flatnonzero(kept)
    for view in np.flatnonzero(~kept):
        away = ((places[there] - places[view]) ** 2).sum(axis=1)
        filled[view] = views_vyx[there[away <= away.min() + 1e-9]].mean(axis=0)
    return filled


def _inside(centres: torch.Tensor, pixels: int) -> torch.Tensor:
    """Return for each voxel the nearest one whose centre lies in the field."""
    there = torch.nonzero((centres > 0) & (centres < pixels))[:, 0]
    return torch.arange(len(centres)).clamp(int(there[0]), int(there[-1]))
