"""From the raw frames of one image to the network's image (torch)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.events import BlockReady, Decided, Event, Progress, Warned
from napari_recon.core.plan import Plan
from napari_recon.core.token import CancelToken
from napari_recon.engines.sim.network import SimNetworkParams, needs_optics, norm_of, options_of
from napari_recon.engines.sim.networks.bands import Banded
from napari_recon.engines.sim.networks.checkpoint import load_network
from napari_recon.engines.sim.networks.edsr import EDSR
from napari_recon.engines.sim.networks.front import FRONTS, Scene, Shown
from napari_recon.engines.sim.networks.inference import Residual
from napari_recon.engines.sim.networks.normalise import CROP, preview, turned_back
from napari_recon.engines.sim.networks.pattern import Pattern
from napari_recon.engines.sim.networks.rcan import RCAN

Array = NDArray[np.float32]
Bounds = tuple[int, int]


def reconstruct(
    plan: Plan, params: SimNetworkParams, raw: Array, index: int, pattern: Pattern | None, token: CancelToken
) -> Iterator[Event]:
    """Yield the strips of one image from top to bottom, then what else was asked for.

    Parameters
    ----------
    raw : numpy.ndarray
        (N, Y, X) float32, angle-major: the whole field.
    index : int
        Number of the image in the run; what is said aloud is said with the first.
    pattern : Pattern or None
        For models that see Wiener images.
    """
    assert plan.model is not None  # the engine requires one
    options, upstream = options_of(plan.model), params.compat == "upstream"
    norm = params.norm if params.norm != "auto" else norm_of(plan.model)
    if upstream:
        raw = raw[:, :CROP, :CROP]
    if index == 0 and params.norm == "auto" and not needs_optics(options):
        yield Decided({"norm": norm})
    yield Progress(0, 1, "image", "preparing the frames")
    raw = np.ascontiguousarray(raw)
    if pattern is not None:
        yield from pattern.of(raw, index, token)
    calibration, integers = None if pattern is None else pattern.calibration, "int" in plan.inputs[0].dtype
    shown = FRONTS[options["front"]](Scene(raw, int(options["nch_in"]), norm, integers, calibration))
    for remark in shown.remarks:
        yield Warned(remark)
    dtype, complaint = _arithmetic(params.precision, plan.compute.device)
    if index == 0 and complaint:
        yield Warned(complaint)
    token.check()
    runner = _runner(plan, dtype, token)
    y, x = _bounds(plan, "sr")
    scale, turned = int(options["scale"]), norm.startswith("convert")
    at_once = turned or upstream  # turned pictures and previews need the whole
    rows = (0, shown.channels.shape[1]) if at_once else (y[0] // scale, -(-y[1] // scale))
    strips = []
    with _full_float32():
        for part in runner(shown.channels.to(plan.compute.device), rows):
            if isinstance(part, float):
                yield Progress(part, 1, "image", "network")
                continue
            (lo, hi), answer = part
            strip = _image(answer, shown, slice(scale * lo, scale * hi))
            if at_once:
                strips.append(strip)
                continue
            a, b = max(y[0], scale * lo), min(y[1], scale * hi)
            strip = strip[:, a - scale * lo : b - scale * lo, x[0] : x[1]]
            yield _block("sr", strip, (a - y[0], 0))
    if at_once:
        image = turned_back(np.concatenate(strips, 1), norm)
        yield _block("sr", image[:, slice(*y), slice(*x)])
    names = [spec.name for spec in plan.outputs]
    if "widefield" in names:
        y, x = _bounds(plan, "widefield")
        yield _block("widefield", (shown.widefield if upstream else raw.mean(0))[None, slice(*y), slice(*x)])
    if "preview" in names:
        y, x = _bounds(plan, "preview")
        yield _block("preview", preview(image[0])[None, slice(*y), slice(*x)])
    yield Progress(1, 1, "image")


@contextmanager
def _full_float32() -> Iterator[None]:
    """Keep a GPU's float32 convolutions from dropping to 10 bits of mantissa."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _runner(plan: Plan, dtype: torch.dtype, token: CancelToken) -> Residual | Banded:
    assert plan.model is not None  # the engine requires one
    network, device = load_network(plan.model), plan.compute.device
    if device != "cpu":
        network = copy.deepcopy(network).to(device)
    rows = int(plan.resources.details["rows"])
    kind = Residual if isinstance(network, RCAN | EDSR) else Banded
    return kind(network, rows, dtype, token.check)  # type: ignore[arg-type]


def _arithmetic(precision: str, device: str) -> tuple[torch.dtype, str]:
    """Return what convolutions are computed in, and what to tell the user about it."""
    if precision == "float32":
        return torch.float32, ""
    if device.startswith("cuda"):
        return torch.float16, ""
    if device == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16, ""
    return torch.float32, f"precision=fast has no effect on this {device} (no half-precision arithmetic)"


def _image(answer: torch.Tensor, shown: Shown, rows: slice) -> Array:
    """Return a strip of the image from the network's answer."""
    if shown.base is not None:
        answer = shown.base[rows].to(answer.device) + shown.scale * answer
    return answer.cpu().numpy()


def _bounds(plan: Plan, name: str) -> tuple[Bounds, Bounds]:
    """Return which rows and columns of the whole output are asked for."""
    whole, part = plan.whole[name], plan.output(name).grid
    starts = [round(whole.to_index(a, part.origin(a))) for a in "YX"]
    y, x = ((start, start + part.size(a)) for a, start in zip("YX", starts, strict=True))
    return y, x


def _block(name: str, array: NDArray[np.generic], at: tuple[int, int] = (0, 0)) -> BlockReady:
    """Return a block of (images, Y, X); one image has no axis for it."""
    array = np.ascontiguousarray(array if len(array) > 1 else array[0])
    places = tuple(slice(start, start + n) for start, n in zip(at, array.shape[-2:], strict=True))
    return BlockReady(name, (*(slice(0, n) for n in array.shape[:-2]), *places), array)
