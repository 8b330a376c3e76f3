"""What raw frames say about the camera: the level of the dark, and whether they can be used at all."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_recon.core.errors import InputError
from napari_recon.engines.sim.layout import Layout

#: Share of pixels at the highest value from which on frames are refused, or remarked upon.
SATURATED, CLIPPED = 0.2, 0.005


def camera_offset(frames: Tensor) -> float:
    """Return the level of the darkest places, in counts: the camera's offset, plus whatever light is there too.

    The pattern averages out over the frames, and the noise over windows of 8 x 8 pixels. Carriers, phases and modulation
    do not depend on the offset; only the constant level of the result does.

    Parameters
    ----------
    frames : Tensor
        (N, Y, X).
    """
    mean = frames.mean(dim=0)[None]
    side = min(8, *mean.shape[-2:])
    windows = torch.nn.functional.avg_pool2d(mean, side, stride=max(1, side // 2)).flatten()
    lowest = max(1, round(0.001 * windows.numel()))
    return float(windows.kthvalue(lowest).values)


def checked(frames: Tensor, layout: Layout) -> str:
    """Return a remark about clipped pixels, or an empty string.

    Raises
    ------
    InputError
        Too few frames, frames that are not finite, constant or saturated.
    """
    if frames.ndim != 3 or frames.shape[0] != layout.frames:
        raise InputError(
            f"calibration needs {layout.frames} frames ({layout.angles} angles x {layout.phases} phases), "
            f"found an array of shape {tuple(frames.shape)}; check angles and phases"
        )
    if min(frames.shape[-2:]) < 32:
        raise InputError(
            f"raw frames should have at least 32 x 32 pixels, found {tuple(frames.shape[-2:])}; choose a larger region"
        )
    low, high = (torch.stack(extremes) for extremes in zip(*(torch.aminmax(frame) for frame in frames), strict=True))
    if not bool(torch.isfinite(low).all() & torch.isfinite(high).all()):
        raise InputError("raw frames should be finite, found NaN or infinite pixels; repair or replace them")
    for n in range(layout.frames):
        if float(low[n]) == float(high[n]):
            raise InputError(
                f"every raw frame should show the object, found {_name(n, layout)} constant at {float(low[n]):g}; "
                "leave out this image or check the file"
            )
    top = high.max()
    # every fourth row tells
    at_top = [float((frame[::4] == top).float().mean()) for frame in frames]
    share = max(at_top)
    worst = at_top.index(share)
    if share > SATURATED:
        raise InputError(
            f"raw frames should not be saturated, found {share:.0%} of {_name(worst, layout)} at the highest value "
            f"({float(high.max()):g}); record with less light or a shorter exposure"
        )
    return f"{share:.1%} of {_name(worst, layout)} is clipped at {float(high.max()):g}" if share > CLIPPED else ""


def _name(n: int, layout: Layout) -> str:
    return f"frame {n + 1} (angle {n // layout.phases + 1}, phase {n % layout.phases + 1})"
