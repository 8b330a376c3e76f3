"""Small light fields with known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_recon.core.compute import Compute
from napari_recon.core.events import BlockReady, Event, OutputOpened, PreviewReady
from napari_recon.core.plan import InputRef, Plan
from napari_recon.core.region import Selection
from napari_recon.core.stack import ImageStack
from napari_recon.core.token import CancelToken
from napari_recon.engines.deconvolution.engine import LightFieldRL
from napari_recon.optics.lightfield_geometry import load_psf_shift
from napari_recon.optics.lightfield_projector import projector_from_shift

S = 13 / 3
PLANES = 21


def psf_shift(planes: int = PLANES) -> NDArray[np.float32]:
    return load_psf_shift("geometric-13").with_planes(planes).psf_shift


def beads(field_yx: tuple[int, int] = (24, 27), planes: int = PLANES, seed: int = 0, count: int = 12) -> torch.Tensor:
    """Fine-grid volume (Z, Y, X) of small blurred beads inside the field."""
    rng = np.random.default_rng(seed)
    size = [round(n * S) for n in field_yx]
    axes = [torch.arange(n, dtype=torch.float32) for n in (planes, *size)]
    volume = torch.zeros(planes, *size)
    middle = planes // 2
    for _ in range(count):
        z, y, x = (
            rng.uniform(min(3, middle), max(planes - 4, middle)),
            rng.uniform(12, size[0] - 13),
            rng.uniform(12, size[1] - 13),
        )
        profile = [torch.exp(-((a - c) ** 2) / (2 * s**2)) for a, c, s in zip(axes, (z, y, x), (1.5, 2.5, 2.5), strict=True)]
        volume += float(rng.uniform(100, 300)) * profile[0][:, None, None] * profile[1][:, None] * profile[2]
    return volume


def views_of(
    fine_zyx: torch.Tensor,
    field_yx: tuple[int, int],
    shift_vz2: NDArray[np.float32] | None = None,
    background: float = 0.0,
    seed: int | None = 0,
    offset_fine: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Return the views of a volume; Poisson noise and N(0, 3) read noise unless ``seed`` is None."""
    shift = psf_shift(fine_zyx.shape[0]) if shift_vz2 is None else shift_vz2
    if offset_fine is not None:
        shift = shift + offset_fine[:, None].astype(np.float32)
    projector = projector_from_shift(torch.from_numpy(shift), field_yx, upsampling=S, voxels_per_pixel=S)
    views = projector.forward(projector.grid.average(fine_zyx)).clamp_min(0).numpy() + background
    if seed is None:
        return views
    rng = np.random.default_rng(seed)
    noisy: NDArray[np.float32] = np.clip(np.round(rng.poisson(views) + rng.normal(0, 3, views.shape)), 0, 65535)
    return noisy.astype(np.float32)


def plan_of(
    stacks: Mapping[str, ImageStack],
    params: Mapping[str, Any] | None = None,
    selection: Selection = Selection(),
    engine: LightFieldRL | None = None,
) -> Plan:
    refs = [InputRef(name=n, uri=f"memory:{n}", grid=s.grid, dtype=str(s.dtype)) for n, s in stacks.items()]
    values = {"planes": PLANES, "voxel": "half", **(params or {})}
    return (engine or LightFieldRL()).plan(refs, values, selection, compute=Compute(device="cpu", threads=1))


def run(
    stacks: Mapping[str, ImageStack] | NDArray[Any],
    params: Mapping[str, Any] | None = None,
    selection: Selection = Selection(),
    token: CancelToken | None = None,
) -> tuple[NDArray[np.float32], list[Event]]:
    """Return the final volume and all events."""
    if isinstance(stacks, np.ndarray):
        stacks = {"views": ImageStack.of(stacks, "VYX", "views")}
    plan = plan_of(stacks, params, selection)
    events = list(LightFieldRL().run(plan, {n: [s] for n, s in stacks.items()}, token))
    return assemble(events), events


def assemble(events: Sequence[Event]) -> NDArray[np.float32]:
    volume: NDArray[np.float32] | None = None
    for event in events:
        if isinstance(event, OutputOpened):
            volume = np.full(event.spec.grid.shape, np.nan, np.float32)
        elif isinstance(event, BlockReady | PreviewReady):
            assert volume is not None
            volume[event.slices] = event.array
    assert volume is not None
    return volume
