"""The numerics of serenet.predao: shifts of views, the wavefront they are slopes of, views moved back (torch)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_recon.core.events import ArtifactReady, BlockReady, Event, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.region import Box
from napari_recon.core.token import CancelToken
from napari_recon.engines.serenet.intensity import BACKGROUND_QUANTILE
from napari_recon.engines.serenet.layout import working_device
from napari_recon.engines.serenet.predao import PredaoParams
from napari_recon.engines.serenet.view_shifts import found_shifts, highest_points
from napari_recon.engines.serenet.wavefront import Wavefront, defocus_of, fitted

Array = NDArray[np.float64]
#: Fine pixels (rms) below which parallax of a thick sample can pass for aberration: 2.6 to 3.2 were found in one without.
AMBIGUOUS = 5.0
_LITTLE = 0.3
"""Fine pixels: shifts below are not worth a correction."""
SMOOTH_FROM = 20
"""Views from which a wavefront of ten numbers is told from what single views say."""
_ROUNDS = 8
_AGREED = 1.5
"""Fine pixels that half the views may be off a smooth wavefront which they are said to agree on."""


def aligned(
    plan: Plan, params: PredaoParams, pages: tuple[int, ...], views: NDArray[np.float32], time: int, token: CancelToken
) -> Iterator[Event]:
    """Yield the corrected views of one frame, the wavefront and what was found."""
    box = plan.selection.box
    assert isinstance(box, Box)  # plans resolve it
    details = plan.resources.details
    nnum, upstream = int(details["nnum"]), params.compat == "upstream"
    scale = nnum / params.scanning
    chosen = views if len(views) == len(pages) else views[list(pages)]
    background = float(np.quantile(chosen, BACKGROUND_QUANTILE))
    light = torch.from_numpy(chosen - np.float32(background)).to(working_device(plan.compute.device))
    angles = np.stack([np.asarray(pages) // nnum, np.asarray(pages) % nnum], axis=1) - nnum // 2
    centre = int(np.argmin(np.abs(angles).sum(axis=1)))
    yield Progress(0, 3, "step", "finding the shifts of the views")
    if upstream:
        shifts, confidence = highest_points(light, token.check), np.ones(len(pages))
    else:
        shifts, confidence = found_shifts(light, centre, token.check)
        shifts = shifts * scale
        shifts, doubtful = _believed(shifts, confidence, angles, nnum)
        if doubtful:
            yield Warned(
                f"{doubtful} of {len(pages)} views show too little to find their shift; the others' wavefront is taken"
            )
    slope = defocus_of(shifts - shifts[centre], angles)
    applied = shifts - slope * angles if params.defocus == "removed" else shifts
    applied = applied - applied[centre]
    yield Progress(1, 3, "step", "moving the views")
    result = moved(light, applied / scale if not upstream else applied * _published_step(light.shape[-2:]), upstream)
    result = result if upstream else result + background
    token.check()
    cut = box.slices("YX")
    array = result[(slice(None), *cut)].cpu().numpy()
    yield BlockReady("corrected", tuple(slice(0, n) for n in array.shape), array)
    wavefront = fitted(applied, confidence, angles, nnum, float(details["na"]) * float(details["fine_pixel_um"]))
    picture = wavefront.picture(views.shape[-2:])[cut]
    yield BlockReady("wavefront", tuple(slice(0, n) for n in picture.shape), picture)
    yield Progress(3, 3, "step")
    yield ArtifactReady("shifts", "table", _rows(pages, angles, shifts, applied, confidence, time))
    report = _report(wavefront, applied, slope, params, time)
    yield ArtifactReady("report", "report", report)
    if not upstream and _LITTLE <= report["shift_rms_fine_pixels"] < AMBIGUOUS:
        yield Warned(
            f"shifts of {report['shift_rms_fine_pixels']:.2g} fine pixels are also what objects at several depths look "
            "like; where the sample is thick, compare with and without, or let deconvolution.lightfield_rl refine the views"
        )


def moved(views: torch.Tensor, shifts_yx: Array, zeros: bool) -> torch.Tensor:
    """Return views (n, y, x) sampled at ``+ shifts`` light-field pixels, bicubic; what is shifted there comes back."""
    height, width = views.shape[-2:]
    y, x = ((torch.arange(n, device=views.device) * 2 + 1) / n - 1 for n in (height, width))
    shift = torch.from_numpy(np.asarray(shifts_yx, np.float32)).to(views.device)
    rows = y[None] + 2 / height * shift[:, :1]
    columns = x[None] + 2 / width * shift[:, 1:]
    grid = torch.empty((len(views), height, width, 2), device=views.device)
    grid[..., 0] = columns[:, None, :]
    grid[..., 1] = rows[:, :, None]
    padding = "zeros" if zeros else "border"
    return F.grid_sample(views[:, None], grid, mode="bicubic", padding_mode=padding, align_corners=False)[:, 0]


def _published_step(size_yx: tuple[int, ...]) -> Array:
    """Return light-field pixels per fine pixel, as the script has them: by the width, which it takes for both."""
    height, width = size_yx
    fine = round(width / 3 * 13)
    return np.array([height / fine, width / fine])


def _believed(shifts: Array, confidence: Array, angles: NDArray[np.int64], nnum: int) -> tuple[Array, int]:
    """Return the shifts that one smooth wavefront explains, and how many views show too little to have a say.

    Single views may follow an object at another depth than the rest, whose parallax is no aberration: they stand out from
    the wavefront of the others, and count the less the farther they do (Cauchy weights). Where most views stand out, the
    wavefront is not smooth: then each view that shows enough keeps its own shift.
    """
    doubtful = confidence < 0.4 * np.median(confidence)
    if len(shifts) - doubtful.sum() < SMOOTH_FROM:
        return shifts, 0
    weight = np.where(doubtful, 0.0, confidence)
    for _ in range(_ROUNDS):
        smooth = fitted(shifts, weight, angles, nnum, 1.0).slopes(angles)
        rest = shifts - smooth
        level = np.median(rest[~doubtful], axis=0)
        away = np.hypot(*(rest - level).T)
        usual = max(float(np.median(away[~doubtful])), _LITTLE)
        weight = np.where(doubtful, 0.0, confidence / (1 + (away / usual) ** 2))
    found = smooth + level
    return (found if usual <= _AGREED else np.where(doubtful[:, None], found, shifts)), int(doubtful.sum())


def _rows(
    pages: tuple[int, ...], angles: NDArray[np.int64], shifts: Array, applied: Array, confidence: Array, time: int
) -> list[dict[str, Any]]:
    return [
        {
            "time": time,
            "view": page,
            "row": int(angle[0]),
            "column": int(angle[1]),
            "shift_y": round(float(shift[0]), 3),
            "shift_x": round(float(shift[1]), 3),
            "corrected_y": round(float(taken[0]), 3),
            "corrected_x": round(float(taken[1]), 3),
            "confidence": round(float(sure), 3),
        }
        for page, angle, shift, taken, sure in zip(pages, angles, shifts, applied, confidence, strict=True)
    ]


def _report(wavefront: Wavefront, applied: Array, slope: float, params: PredaoParams, time: int) -> dict[str, Any]:
    rms = float(np.sqrt((applied**2).sum(axis=1).mean()))
    verdict = "nothing to correct" if rms < _LITTLE else "the views were moved back"
    return {
        "verdict": f"{verdict}: they are off by {rms:.2g} fine pixels (root mean square)",
        "time": time,
        "shift_rms_fine_pixels": round(rms, 4),
        "defocus_fine_pixels_per_view": round(slope, 5),
        "defocus": params.defocus,
        "wavefront_rms_um": round(wavefront.rms(), 5),
        "parts_um": {name: round(value, 5) for name, value in wavefront.parts().items()},
    }
